// SPDX-License-Identifier: Apache-2.0
#include "node/config.h"

#include <unistd.h>

#include <algorithm>
#include <cxxopts.hpp>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>

#include "io/files.h"

namespace weft::node {

namespace {

using Json = nlohmann::json;

struct Key {
  const char* name;
  const char* help;
  std::function<Result<>(Config&, const std::vector<std::string>&)> set;
};

Result<uint16_t> parse_port(const std::string& text) {
  if (text.empty() || text.size() > 5 || !std::all_of(text.begin(), text.end(), ::isdigit))
    return Error(ErrorCode::invalid, "'" + text + "' is not a port");
  const unsigned long value = std::stoul(text);
  if (value == 0 || value > 65535) return Error(ErrorCode::invalid, "'" + text + "' is not a port");
  return uint16_t(value);
}

auto set_text(std::string Config::*member) {
  return [member](Config& c, const std::vector<std::string>& v) -> Result<> {
    if (v.back().empty()) return Error(ErrorCode::invalid, "must not be empty");
    c.*member = v.back();
    return Ok;
  };
}

auto set_port(uint16_t Config::*member) {
  return [member](Config& c, const std::vector<std::string>& v) -> Result<> {
    c.*member = TRY(parse_port(v.back()));
    return Ok;
  };
}

auto set_choice(std::string Config::*member, std::vector<std::string> choices) {
  return [member, choices](Config& c, const std::vector<std::string>& v) -> Result<> {
    if (std::find(choices.begin(), choices.end(), v.back()) == choices.end()) {
      std::string list;
      for (const auto& choice : choices) list += (list.empty() ? "" : ", ") + choice;
      return Error(ErrorCode::invalid, "'" + v.back() + "' is not one of " + list);
    }
    c.*member = v.back();
    return Ok;
  };
}

auto set_address(std::string Config::*member) {
  return [member](Config& c, const std::vector<std::string>& v) -> Result<> {
    const Address address = TRY(Address::parse(v.back()));
    c.*member = address.to_string();
    return Ok;
  };
}

Result<> set_resolvers(Config& c, const std::vector<std::string>& v) {
  for (const std::string& text : v) TRY(Address::parse(text));
  c.resolvers = v;
  return Ok;
}

const std::vector<Key>& keys() {
  static const std::vector<Key> table = {
      {"name", "name of this node (default: the host's name)", set_text(&Config::name)},
      {"state", "folder for what must survive a reboot", set_text(&Config::state)},
      {"run", "folder for weftd.sock", set_text(&Config::run)},
      {"bpffs", "folder for pinned maps and links", set_text(&Config::bpffs)},
      {"uplink", "device of the underlay (default: that of the default route)",
       set_text(&Config::uplink)},
      {"advertise-address", "address other nodes reach this one at",
       set_address(&Config::advertise_address)},
      {"gossip-port", "gossip, UDP and TCP (default 7946)", set_port(&Config::gossip_port)},
      {"manager-port", "managers, TCP (default 2377)", set_port(&Config::manager_port)},
      {"vxlan-port", "overlay traffic, UDP (default 4789)", set_port(&Config::vxlan_port)},
      {"xdp", "auto, native, generic or off",
       set_choice(&Config::xdp, {"auto", "native", "generic", "off"})},
      {"cgroup", "cgroup2 mount for localhost access to published ports, auto or off",
       set_text(&Config::cgroup)},
      {"resolver", "upstream DNS server, repeatable (default: /etc/resolv.conf)", set_resolvers},
      {"log-level", "debug, info, warning or error",
       set_choice(&Config::log_level, {"debug", "info", "warning", "error"})},
      {"log-format", "text or json", set_choice(&Config::log_format, {"text", "json"})},
  };
  return table;
}

size_t line_of(const std::string& text, size_t offset) {
  return 1 +
         size_t(std::count(text.begin(), text.begin() + long(std::min(offset, text.size())), '\n'));
}

size_t line_of_key(const std::string& text, const std::string& key) {
  const size_t at = text.find('"' + key + '"');
  return at == std::string::npos ? 1 : line_of(text, at);
}

Result<std::vector<std::string>> values_of(const Json& value) {
  std::vector<std::string> out;
  const auto one = [&](const Json& v) -> Result<> {
    if (v.is_string())
      out.push_back(v.get<std::string>());
    else if (v.is_number_unsigned())
      out.push_back(std::to_string(v.get<uint64_t>()));
    else
      return Error(ErrorCode::invalid, "must be a text or a number");
    return Ok;
  };
  if (value.is_array()) {
    if (value.empty()) return Error(ErrorCode::invalid, "must not be an empty list");
    for (const Json& v : value) TRY(one(v));
  } else {
    TRY(one(value));
  }
  return out;
}

Result<std::string> read_config_file(const std::string& path, bool must_exist) {
  auto text = io::read_file(path);
  if (!text && !must_exist && text.error().code() == ErrorCode::not_found) return std::string();
  return text;
}

std::string host_name() {
  char name[256] = {};
  return ::gethostname(name, sizeof name - 1) == 0 ? name : "node";
}

}  // namespace

Result<> apply_config_file(Config& config, const std::string& path, const std::string& text) {
  const auto fail = [&](size_t line, const std::string& what) {
    return Error(ErrorCode::invalid, path + ": line " + std::to_string(line) + ": " + what);
  };
  Json json;
  try {
    json = Json::parse(text);
  } catch (const Json::parse_error& e) {
    return fail(line_of(text, e.byte), "not valid JSON");
  }
  if (!json.is_object()) return fail(1, "must be one JSON object");
  for (const auto& [name, value] : json.items()) {
    const auto key =
        std::find_if(keys().begin(), keys().end(), [&](const Key& k) { return k.name == name; });
    if (key == keys().end()) return fail(line_of_key(text, name), "unknown key '" + name + "'");
    auto values = values_of(value);
    if (!values) return fail(line_of_key(text, name), name + " " + values.error().message());
    if (auto done = key->set(config, *values); !done)
      return fail(line_of_key(text, name), name + ": " + done.error().message());
  }
  return Ok;
}

Result<CommandLine> parse_command_line(int argc, const char* const* argv) {
  cxxopts::Options options("weftd", "The agent of a Weft node: container networks over eBPF.\n");
  auto add = options.add_options();
  add("config", "configuration file, JSON with the keys below", cxxopts::value<std::string>());
  for (const Key& key : keys()) add(key.name, key.help, cxxopts::value<std::vector<std::string>>());
  add("h,help", "print this help");
  add("version", "print the version");
  CommandLine out;
  out.help = options.help();
  try {
    const auto parsed = options.parse(argc, argv);
    if (!parsed.unmatched().empty())
      return Error(ErrorCode::invalid, "unexpected argument '" + parsed.unmatched().front() + "'");
    out.show_help = parsed.count("help") > 0;
    out.show_version = parsed.count("version") > 0;
    if (out.show_help || out.show_version) return out;
    const bool named = parsed.count("config") > 0;
    const std::string path = named ? parsed["config"].as<std::string>() : "/etc/weft/weftd.json";
    const std::string text = TRY(read_config_file(path, named));
    if (!text.empty()) TRY(apply_config_file(out.config, path, text));
    for (const Key& key : keys()) {
      if (parsed.count(key.name) == 0) continue;
      TRY_IN(std::string("--") + key.name,
             key.set(out.config, parsed[key.name].as<std::vector<std::string>>()));
    }
  } catch (const cxxopts::exceptions::exception& e) {
    return Error(ErrorCode::invalid, e.what());
  }
  if (out.config.name.empty()) out.config.name = host_name();
  return out;
}

}  // namespace weft::node
