// SPDX-License-Identifier: Apache-2.0
#include <cstdio>
#include <nlohmann/json.hpp>

#include "cli/actions.h"

namespace weft::cli {
namespace {

std::string percent(const Json& backend) {
  char buffer[16];
  std::snprintf(buffer, sizeof buffer, "%.1f%%", 100 * backend.value("share", 0.0));
  return buffer;
}

Result<int> list(const Context& context) {
  const Json answer = TRY(context.client.get("/v1/lb"));
  Table table({"ID", "NAME", "NETWORK", "VIP", "BACKENDS", "SLOTS", "PORTS"});
  for (const Json& service : answer.value("services", Json::array())) {
    table.row({short_id(text(service, "id")), text(service, "name"), text(service, "network"),
               or_dash(addresses(service, "vip4", "vip6")),
               std::to_string(service.value("backends", Json::array()).size()),
               text(service, "slots"), or_dash(ports_text(service.value("ports", Json::array())))});
  }
  print_list(context, answer, "services", table);
  return 0;
}

Result<int> show(const Context& context) {
  const Json service = TRY(context.client.get(path_of("lb", context.arguments.operands[0])));
  if (context.json) return print_json(service), 0;
  if (context.quiet) return print_line(text(service, "id")), 0;
  Table about;
  about.row({"Service:", text(service, "name") + " (" + short_id(text(service, "id")) + ")"});
  about.row({"Network:", text(service, "network")});
  about.row({"VIP:", or_dash(addresses(service, "vip4", "vip6"))});
  about.row({"Ports:", or_dash(ports_text(service.value("ports", Json::array())))});
  about.row({"Slots:", text(service, "slots")});
  print(about);
  print_line("");
  Table backends({"ENDPOINT", "TASK", "NODE", "ADDRESS", "STATE", "WEIGHT", "SHARE", "FLOWS"});
  for (const Json& backend : service.value("backends", Json::array())) {
    backends.row({short_id(text(backend, "endpoint_id")), or_dash(text(backend, "task")),
                  or_dash(text(backend, "node")),
                  or_dash(addresses(backend, "address4", "address6")), text(backend, "state"),
                  text(backend, "weight"), percent(backend), or_dash(text(backend, "flows"))});
  }
  print(backends);
  return 0;
}

}  // namespace

std::vector<Command> lb_commands() {
  return {
      {.noun = "lb",
       .verb = "ls",
       .summary = "List the services that this node balances",
       .examples = "weft lb ls",
       .run = list},
      {.noun = "lb",
       .verb = "inspect",
       .summary = "Show the backends of a service as this node picks them",
       .operands = "SERVICE",
       .operands_min = 1,
       .operands_max = 1,
       .text =
           "SHARE is the part of new flows that a backend gets, FLOWS the number it has now; only "
           "a backend's own node knows them.",
       .examples = "weft lb inspect web",
       .run = show},
  };
}

}  // namespace weft::cli
