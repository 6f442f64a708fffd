// SPDX-License-Identifier: Apache-2.0
#include "node/log.h"

#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <nlohmann/json.hpp>

namespace weft::node {

namespace {

bool as_json = false;

void write(spdlog::level::level_enum level, const std::string& message) {
  // dump() quotes and escapes; the pattern of the JSON format leaves the quotes to it.
  if (as_json)
    spdlog::log(
        level, "{}",
        nlohmann::json(message).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
  else
    spdlog::log(level, "{}", message);
}

}  // namespace

void start_logging(const Config& config) {
  spdlog::set_default_logger(spdlog::stderr_logger_mt("weftd"));
  as_json = config.log_format == "json";
  if (as_json)
    spdlog::set_pattern(R"({"time":"%Y-%m-%dT%H:%M:%S.%f%z","level":"%l","message":%v})");
  else
    spdlog::set_pattern("%Y-%m-%dT%H:%M:%S.%e %l %v");
  spdlog::set_level(spdlog::level::from_str(config.log_level));
  spdlog::flush_on(spdlog::level::debug);
}

void log_debug(const std::string& message) { write(spdlog::level::debug, message); }
void log_info(const std::string& message) { write(spdlog::level::info, message); }
void log_warning(const std::string& message) { write(spdlog::level::warn, message); }
void log_error(const std::string& message) { write(spdlog::level::err, message); }

}  // namespace weft::node
