// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <nlohmann/json.hpp>

#include "cli/actions.h"
#include "cli/syntax.h"

namespace weft::cli {
namespace {

Result<int> list(const Context& context) {
  const Json answer = TRY(context.client.get("/v1/maps"));
  Table table({"NAME", "TYPE", "VERSION", "ENTRIES", "MAXIMUM", "LIFETIME", "PIN"});
  for (const Json& map : answer.value("maps", Json::array())) {
    table.row({text(map, "name"), text(map, "type"), text(map, "version"), text(map, "entries"),
               text(map, "max_entries"), text(map, "lifetime"), text(map, "pin")});
  }
  print_list(context, answer, "maps", table, "name");
  return 0;
}

std::string upper(std::string name) {
  std::transform(name.begin(), name.end(), name.begin(),
                 [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
  return name;
}

// One column for each field of the key, then of the value.
Table entries_table(const Json& answer) {
  const auto keys = answer.value("key_fields", std::vector<std::string>());
  const auto values = answer.value("value_fields", std::vector<std::string>());
  std::vector<std::string> header;
  for (const auto* fields : {&keys, &values}) {
    for (const std::string& field : *fields) header.push_back(upper(field));
  }
  Table table(header);
  for (const Json& entry : answer.value("entries", Json::array())) {
    std::vector<std::string> cells;
    const Json key = entry.value("key", Json::object());
    const Json value = entry.value("value", Json::object());
    for (const std::string& field : keys) cells.push_back(text(key, field.c_str()));
    for (const std::string& field : values) cells.push_back(text(value, field.c_str()));
    table.row(std::move(cells));
  }
  return table;
}

Result<int> print_entries(const Context& context, const Parameters& query) {
  const Json answer =
      TRY(context.client.get(path_of("maps", context.arguments.operands[0]), query));
  if (context.json) {
    print_json(answer);
  } else {
    print(entries_table(answer));
  }
  if (flag(answer, "more")) complain("there are more entries: raise --limit");
  return 0;
}

Result<int> dump(const Context& context) {
  Parameters query;
  if (context.arguments.has("limit")) {
    const std::string limit = context.arguments.text("limit");
    query.emplace_back("limit", std::to_string(TRY(parse_number(limit, 1, 0xffffffff))));
  }
  return print_entries(context, query);
}

Result<int> get(const Context& context) {
  Parameters query;
  for (size_t i = 1; i < context.arguments.operands.size(); ++i) {
    query.emplace_back("key", context.arguments.operands[i]);
  }
  return print_entries(context, query);
}

}  // namespace

std::vector<Command> map_commands() {
  return {
      {.noun = "map",
       .verb = "ls",
       .summary = "List the maps of the data path",
       .examples = "weft map ls",
       .run = list},
      {.noun = "map",
       .verb = "dump",
       .summary = "Print the entries of a map, a column for each field",
       .operands = "MAP",
       .operands_min = 1,
       .operands_max = 1,
       .options = {{.name = "limit", .value = "N", .help = "Print at most so many entries"}},
       .examples = "weft map dump endpoints\nweft map dump flows --limit 20",
       .run = dump},
      {.noun = "map",
       .verb = "get",
       .summary = "Print one entry of a map",
       .operands = "MAP KEY...",
       .operands_min = 2,
       .operands_max = 17,
       .text = "KEY... are the fields of the key, in the order in which dump prints them.",
       .examples = "weft map get endpoints 4097 10.0.1.5",
       .run = get},
  };
}

}  // namespace weft::cli
