// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <nlohmann/json.hpp>

#include "cli/actions.h"
#include "cli/task_table.h"

namespace weft::cli {
namespace {

std::string addresses_of(const Json& task) {
  std::string out;
  for (const Json& attachment : task.value("attachments", Json::array())) {
    const std::string both = addresses(attachment, "address4", "address6");
    out += (out.empty() || both.empty() ? "" : ", ") + both;
  }
  return out;
}

std::string message_of(const Json& task) {
  const std::string message = text(task, "message");
  const std::string state = word(text(task, "state"));
  if (state != "failed" && state != "complete") return message;
  return (message.empty() ? "" : message + ", ") + "exit status " + text(task, "exit_code");
}

Result<int> list(const Context& context) {
  const Arguments& arguments = context.arguments;
  return list_tasks(context, arguments.text("service"), arguments.text("node"),
                    arguments.has("all"));
}

Result<int> inspect_tasks(const Context& context) { return inspect(context, "tasks"); }

}  // namespace

Result<int> list_tasks(const Context& context, const std::string& service, const std::string& node,
                       bool all) {
  Parameters query;
  if (!service.empty()) query.emplace_back("service", service);
  if (!node.empty()) query.emplace_back("node", node);
  if (all) query.emplace_back("all", "true");
  const Json answer = TRY(context.client.get("/v1/tasks", query));
  Table table({"ID", "NAME", "NODE", "STATE", "SINCE", "ADDRESS", "MESSAGE"});
  if (!context.json && !context.quiet) {
    const auto nodes = TRY(names_by_id(context, "nodes"));
    auto tasks = answer.value("tasks", Json::array());
    std::stable_sort(tasks.begin(), tasks.end(), [](const Json& a, const Json& b) {
      return std::make_pair(text(a, "service_id"), number(a, "slot")) <
             std::make_pair(text(b, "service_id"), number(b, "slot"));
    });
    for (const Json& task : tasks) {
      table.row({short_id(text(task, "id")), text(task, "name"),
                 or_dash(name_of(nodes, text(task, "node_id"))), word(text(task, "state")),
                 ago(task, "state_at_ms"), or_dash(addresses_of(task)), message_of(task)});
    }
  }
  print_list(context, answer, "tasks", table);
  return 0;
}

std::vector<Command> task_commands() {
  return {
      {.noun = "task",
       .verb = "ls",
       .summary = "List the tasks",
       .options = {{.name = "service", .value = "SERVICE", .help = "Of one service only"},
                   {.name = "node", .value = "NODE", .help = "Of one node only"},
                   {.name = "all", .letter = 'a', .help = "Show tasks that have ended, too"}},
       .examples = "weft task ls\nweft task ls --node n1",
       .run = list},
      {.noun = "task",
       .verb = "inspect",
       .summary = "Show all about tasks, as JSON",
       .operands = "TASK...",
       .operands_min = 1,
       .operands_max = 1000,
       .examples = "weft task inspect 3f2a",
       .run = inspect_tasks},
  };
}

}  // namespace weft::cli
