// SPDX-License-Identifier: Apache-2.0
#include <cstdio>
#include <nlohmann/json.hpp>

#include "cli/actions.h"
#include "cli/help.h"

namespace weft::cli {
namespace {

void print_counters(const Json& answer, const char* field, const char* title) {
  Table table;
  bool any = false;
  const Json counters = answer.value(field, Json::object());
  for (const auto& [name, value] : counters.items()) {
    const std::string count = value.is_string() ? value.get<std::string>() : value.dump();
    if (count == "0") continue;
    table.row({"  " + name, count});
    any = true;
  }
  if (!any) return;
  print_line(title);
  print(table);
}

Result<int> status(const Context& context) {
  const Json answer = TRY(context.client.get("/v1/status"));
  if (context.json) return print_json(answer), 0;
  const Json cluster = answer.value("cluster", Json::object());
  if (context.quiet) return print_line(text(cluster, "node_id")), 0;
  Table table;
  table.row({"Version:", text(answer, "version") + ", started " + ago(answer, "started_at_ms")});
  table.row(
      {"Cluster:", or_dash(text(cluster, "state")) +
                       (text(cluster, "message").empty() ? "" : ": " + text(cluster, "message"))});
  if (!text(cluster, "cluster_id").empty()) {
    table.row({"Node:", text(cluster, "node_name") + " (" + short_id(text(cluster, "node_id")) +
                            "), " + word(text(cluster, "role"))});
    table.row({"Nodes:",
               text(cluster, "nodes_alive") + " of " + text(cluster, "nodes_total") + " alive"});
  }
  table.row({"Uplink:", or_dash(text(answer, "uplink")) + " " + text(answer, "underlay_address")});
  table.row({"Networks:", text(answer, "networks")});
  table.row({"Services:", text(answer, "services")});
  table.row({"Endpoints:", text(answer, "local_endpoints") + " here, " +
                               text(answer, "known_endpoints") + " known"});
  print(table);
  print_counters(answer, "counters", "Counters:");
  print_counters(answer, "drops", "Drops:");
  const Json problems = answer.value("problems", Json::array());
  if (!problems.empty()) print_line("Problems:");
  for (const Json& problem : problems) print_line("  " + problem.get<std::string>());
  return 0;
}

Result<int> doctor(const Context& context) {
  const Json answer = TRY(context.client.get("/v1/doctor"));
  const Json checks = answer.value("checks", Json::array());
  Table table({"CHECK", "RESULT", "DETAIL"});
  size_t failed = 0;
  for (const Json& check : checks) {
    if (text(check, "result") == "failed") ++failed;
    table.row({text(check, "name"), text(check, "result"), text(check, "detail")});
  }
  if (context.json) {
    print_json(answer);
  } else if (!context.quiet) {
    print(table);
  }
  if (failed == 0) return 0;
  return Error(std::to_string(failed) + " of " + std::to_string(checks.size()) + " checks failed");
}

Result<int> version(const Context& context) {
  auto answer = context.client.get("/v1/version");
  if (context.json) {
    Json both = {{"weft", WEFT_VERSION}, {"weftd", nullptr}};
    if (answer) both["weftd"] = *answer;
    print_json(both);
  } else if (context.quiet) {
    print_line(WEFT_VERSION);
  } else {
    Table table;
    table.row({"weft:", WEFT_VERSION});
    if (answer) {
      table.row({"weftd:", text(*answer, "version")});
      table.row({"map ABI:", text(*answer, "abi")});
      table.row({"kernel:", text(*answer, "kernel")});
    }
    print(table);
  }
  if (!answer) return std::move(answer).error();
  return 0;
}

Result<int> completion(const Context& context) {
  const std::string shell = context.arguments.operands[0];
  const std::string script = shell == "man" ? manual_page() : completion_script(shell);
  if (script.empty())
    return usage("there are completions for bash, zsh and fish, not '" + shell + "'");
  std::fputs(script.c_str(), stdout);
  return 0;
}

}  // namespace

std::vector<Command> agent_commands() {
  return {
      {.noun = "status",
       .summary = "Show how this node is: cluster, uplink, counters, problems",
       .examples = "weft status\nweft status -o json",
       .run = status},
      {.noun = "doctor",
       .summary = "Check what this node needs to do its work",
       .text = "The exit status is 1 if a check failed.",
       .examples = "weft doctor",
       .run = doctor},
      {.noun = "version",
       .summary = "Show the versions of weft, weftd, its maps and the kernel",
       .examples = "weft version",
       .run = version},
      {.noun = "completion",
       .summary = "Print the completions for a shell, or the manual page's source",
       .operands = "bash|zsh|fish|man",
       .operands_min = 1,
       .operands_max = 1,
       .examples = "source <(weft completion bash)\nweft completion fish | source\n"
                   "weft completion man > weft.1",
       .run = completion},
  };
}

}  // namespace weft::cli
