// SPDX-License-Identifier: Apache-2.0
#include "cli/service_spec.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "cli/syntax.h"

namespace weft::cli {
namespace {

constexpr uint64_t replicas_max = 100'000;
constexpr uint64_t parallelism_max = 100'000;
constexpr uint64_t retries_max = 1000;

using Values = std::vector<std::string>;

Result<Json> as_text(const Values& values) { return Json(values.back()); }
Result<Json> as_list(const Values& values) { return Json(values); }
Result<Json> as_pairs(const Values& values) { return parse_pairs(values); }
Result<Json> as_replicas(const Values& values) {
  return Json(TRY(parse_number(values.back(), 0, replicas_max)));
}
Result<Json> as_parallelism(const Values& values) {
  return Json(TRY(parse_number(values.back(), 0, parallelism_max)));
}
Result<Json> as_retries(const Values& values) {
  return Json(TRY(parse_number(values.back(), 1, retries_max)));
}
Result<Json> as_duration(const Values& values) {
  return Json(TRY(parse_duration(values.back())).count());
}
Result<Json> as_global(const Values& values) { return Json(values.back() == "global"); }
Result<Json> as_endpoint_mode(const Values& values) {
  return Json(values.back() == "dnsrr" ? "DNSRR" : "VIP");
}
// docker's health commands are shell text.
Result<Json> as_shell(const Values& values) { return Json{"/bin/sh", "-c", values.back()}; }
Result<Json> as_ports(const Values& values) {
  Json ports = Json::array();
  for (const std::string& value : values) {
    Json some = TRY(parse_publish(value));
    for (Json& port : some) ports.push_back(std::move(port));
  }
  return ports;
}
// "none" empties the list of an update.
template <Result<Json> (*read)(const Values&)>
Result<Json> or_none(const Values& values) {
  if (values.size() == 1 && values[0] == "none") return Json::array();
  return read(values);
}

struct SpecField {
  Option option;
  const char* field;  // of ServiceSpec
  const char* inner;  // of the message in it, or null
  Result<Json> (*read)(const Values&);
};

constexpr SpecField spec_fields[] = {
    {{.name = "network",
      .value = "NETWORK",
      .help = "Network of the tasks; the service gets a VIP in each",
      .many = true},
     "networks",
     nullptr,
     as_list},
    {{.name = "mode",
      .value = "MODE",
      .help = "replicated: as many tasks as told (default); global: one on every node",
      .choice = "replicated global"},
     "global",
     nullptr,
     as_global},
    {{.name = "replicas",
      .value = "N",
      .help = "Number of tasks (default: 1; none with --runtime none)"},
     "replicas",
     nullptr,
     as_replicas},
    {{.name = "endpoint-mode",
      .value = "MODE",
      .help = "vip: one address for all tasks (default); dnsrr: the name resolves to the tasks",
      .choice = "vip dnsrr"},
     "endpoint_mode",
     nullptr,
     as_endpoint_mode},
    {{.name = "publish",
      .letter = 'p',
      .value = "PORTS",
      .help = "[IP:]PUBLISHED:TARGET[/tcp|udp|sctp][,mode=ingress|host]; TARGET alone takes a "
              "free published port; 'none' empties the list",
      .many = true},
     "ports",
     nullptr,
     or_none<as_ports>},
    {{.name = "alias", .value = "NAME", .help = "Another name in DNS", .many = true},
     "aliases",
     nullptr,
     or_none<as_list>},
    {{.name = "constraint",
      .value = "EXPRESSION",
      .help = "Where tasks may run: node.labels.x==y, node.name!=z, node.role==manager",
      .many = true},
     "constraints",
     nullptr,
     or_none<as_list>},
    {{.name = "runtime",
      .value = "RUNTIME",
      .help = "netns: a command in its own namespaces; docker: an image (not yet); none: endpoints "
              "join "
              "by attach (default: by what is given)",
      .choice = "netns docker none"},
     "runtime",
     nullptr,
     as_text},
    {{.name = "image", .value = "IMAGE", .help = "Image of the docker runtime"},
     "image",
     nullptr,
     as_text},
    {{.name = "env",
      .letter = 'e',
      .value = "KEY=VALUE",
      .help = "Environment of the tasks",
      .many = true},
     "environment",
     nullptr,
     or_none<as_list>},
    {{.name = "hostname", .value = "NAME", .help = "Host name inside the tasks"},
     "hostname",
     nullptr,
     as_text},
    {{.name = "health-cmd",
      .value = "COMMAND",
      .help = "Shell command that tells if a task is "
              "healthy"},
     "health",
     "command",
     as_shell},
    {{.name = "health-interval", .value = "TIME", .help = "Time between health checks"},
     "health",
     "interval_ms",
     as_duration},
    {{.name = "health-timeout", .value = "TIME", .help = "Longest time of a health check"},
     "health",
     "timeout_ms",
     as_duration},
    {{.name = "health-retries", .value = "N", .help = "Failures until a task is unhealthy"},
     "health",
     "retries",
     as_retries},
    {{.name = "stop-grace-period",
      .value = "TIME",
      .help = "Time between SIGTERM and SIGKILL "
              "(default: 10s)"},
     "stop_grace_ms",
     nullptr,
     as_duration},
    {{.name = "update-parallelism", .value = "N", .help = "Tasks replaced at a time by an update"},
     "update_parallelism",
     nullptr,
     as_parallelism},
    {{.name = "update-delay", .value = "TIME", .help = "Time between them"},
     "update_delay_ms",
     nullptr,
     as_duration},
    {{.name = "label",
      .letter = 'l',
      .value = "KEY=VALUE",
      .help = "Label of the service",
      .many = true},
     "labels",
     nullptr,
     as_pairs},
    {{.name = "opt",
      .value = "KEY=VALUE",
      .help = "Option: affinity=client, direct-return=true",
      .many = true},
     "options",
     nullptr,
     as_pairs},
};

}  // namespace

std::vector<Option> spec_options() {
  std::vector<Option> options;
  for (const SpecField& field : spec_fields) options.push_back(field.option);
  return options;
}

Result<> read_spec(const Arguments& arguments, Json& spec, std::vector<std::string>& fields) {
  const auto note = [&](const std::string& field) {
    if (std::find(fields.begin(), fields.end(), field) == fields.end()) fields.push_back(field);
  };
  for (const SpecField& field : spec_fields) {
    const auto values = arguments.all(field.option.name);
    if (values.empty()) continue;
    Json value = TRY(field.read(values));
    if (field.inner) {
      spec[field.field][field.inner] = std::move(value);
    } else {
      spec[field.field] = std::move(value);
    }
    note(field.field);
  }
  if (arguments.text("mode") == "global" && arguments.has("replicas")) {
    return usage("a global service has one task on every node: leave --replicas out");
  }
  if (arguments.text("runtime") == "none" &&
      (spec.value("replicas", 0) > 0 || arguments.text("mode") == "global" ||
       !arguments.command.empty())) {
    return usage(
        "a service of runtime none has no tasks of its own: leave --replicas, --mode global and "
        "the command out, and attach endpoints to it");
  }
  if (!arguments.command.empty()) {
    spec["command"] = arguments.command;
    note("command");
  }
  return Ok;
}

}  // namespace weft::cli
