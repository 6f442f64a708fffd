// SPDX-License-Identifier: Apache-2.0
#include <nlohmann/json.hpp>

#include "cli/actions.h"

namespace weft::cli {
namespace {

Result<int> query(const Context& context) {
  const Arguments& arguments = context.arguments;
  Parameters parameters;
  for (const char* name : {"type", "network", "endpoint"}) {
    if (arguments.has(name)) parameters.emplace_back(name, arguments.text(name));
  }
  const std::string name = arguments.operands[0];
  const Json answer = TRY(context.client.get(path_of("dns", name), parameters));
  const std::string status = text(answer, "status");
  const bool good = status == "NOERROR";
  if (context.json) return print_json(answer), good ? 0 : 1;
  Table table;
  for (const Json& record : answer.value("answers", Json::array())) {
    if (context.quiet) {
      print_line(text(record, "data"));
      continue;
    }
    table.row(
        {text(record, "name"), text(record, "ttl_s"), text(record, "type"), text(record, "data")});
  }
  print(table);
  if (!good) return Error(ErrorCode::not_found, name + ": " + status);
  if (answer.value("answers", Json::array()).empty()) {
    complain(name + " exists and has no record of this type");
  }
  return 0;
}

}  // namespace

std::vector<Command> dns_commands() {
  return {
      {.noun = "dns",
       .verb = "query",
       .summary = "Resolve a name as a container would",
       .operands = "NAME",
       .operands_min = 1,
       .operands_max = 1,
       .options = {{.name = "type",
                    .letter = 't',
                    .value = "TYPE",
                    .help = "A (default), AAAA, "
                            "SRV, PTR, ..."},
                   {.name = "network", .value = "NETWORK", .help = "As seen from one network"},
                   {.name = "endpoint", .value = "ENDPOINT", .help = "As one endpoint asks"}},
       .text = "Prints name, time to live in seconds, type and data of each record.",
       .examples = "weft dns query web --network app\nweft dns query tasks.web --type AAAA",
       .run = query},
  };
}

}  // namespace weft::cli
