// SPDX-License-Identifier: Apache-2.0
#include <chrono>
#include <nlohmann/json.hpp>
#include <thread>

#include "cli/actions.h"
#include "cli/syntax.h"

namespace weft::cli {
namespace {

constexpr auto promote_patience = std::chrono::seconds(30);
constexpr auto poll_interval = std::chrono::milliseconds(50);

std::string role_of(const Json& node) {
  if (node.value("leader", false)) return "leader";
  const std::string role = word(text(node, "role"));
  return role == "manager" && !node.value("manager_ready", false) ? "joining" : role;
}

Result<int> list(const Context& context) {
  const Json answer = TRY(context.client.get("/v1/nodes"));
  Table table({"ID", "NAME", "ROLE", "STATE", "AVAILABILITY", "ADDRESS", "VERSION"});
  for (const Json& node : answer.value("nodes", Json::array())) {
    table.row({short_id(text(node, "id")), text(node, "name"), role_of(node),
               word(text(node, "state")), word(text(node, "availability")),
               or_dash(text(node, "address")), or_dash(text(node, "version"))});
  }
  print_list(context, answer, "nodes", table);
  return 0;
}

Result<int> change_each(const Context& context, const Json& change) {
  int status = 0;
  for (const std::string& name : context.arguments.operands) {
    const auto node = context.client.put(path_of("nodes", name), change);
    if (!node) {
      complain(node.error().message());
      status = 1;
    } else if (context.json) {
      print_json(*node);
    } else {
      print_line(context.quiet ? text(*node, "id") : name);
    }
  }
  return status;
}

Result<int> set_availability(const Context& context, const char* availability) {
  return change_each(context, {{"availability", availability}, {"set_availability", true}});
}

Result<int> drain(const Context& context) { return set_availability(context, "DRAIN"); }
Result<int> activate(const Context& context) { return set_availability(context, "ACTIVE"); }

// The node needs a moment: it gets a certificate as a manager, and the store's contents.
Result<int> promote(const Context& context) {
  int status = TRY(change_each(context, {{"role", "MANAGER"}, {"set_role", true}}));
  const auto until = std::chrono::steady_clock::now() + promote_patience;
  for (const std::string& name : context.arguments.operands) {
    for (;;) {
      const auto node = context.client.get(path_of("nodes", name));
      if (node && node->value("manager_ready", false)) break;
      if (std::chrono::steady_clock::now() > until) {
        complain("node '" + name + "' is not a manager yet: it goes on trying, see 'weft node ls'");
        status = 1;
        break;
      }
      std::this_thread::sleep_for(poll_interval);
    }
  }
  return status;
}
Result<int> demote(const Context& context) {
  return change_each(context, {{"role", "WORKER"}, {"set_role", true}});
}

Result<int> update(const Context& context) {
  const Arguments& arguments = context.arguments;
  if (!arguments.has("label-add") && !arguments.has("label-rm")) {
    return usage("nothing to change was given: see 'weft node update --help'");
  }
  const Json body = {{"labels_add", TRY(parse_pairs(arguments.all("label-add")))},
                     {"labels_rm", arguments.all("label-rm")}};
  print_made(context, TRY(context.client.put(path_of("nodes", arguments.operands[0]), body)));
  return 0;
}

Result<int> remove(const Context& context) {
  return remove_each(context, "nodes",
                     context.arguments.has("force") ? Parameters{{"force", "true"}} : Parameters{});
}

Result<int> inspect_nodes(const Context& context) { return inspect(context, "nodes"); }

}  // namespace

std::vector<Command> node_commands() {
  return {
      {.noun = "node",
       .verb = "ls",
       .summary = "List the nodes of the cluster",
       .examples = "weft node ls\nweft node ls --quiet",
       .run = list},
      {.noun = "node",
       .verb = "inspect",
       .summary = "Show all about nodes, as JSON",
       .operands = "NODE...",
       .operands_min = 1,
       .operands_max = 1000,
       .examples = "weft node inspect n1",
       .run = inspect_nodes},
      {.noun = "node",
       .verb = "promote",
       .summary = "Make nodes managers",
       .operands = "NODE...",
       .operands_min = 1,
       .operands_max = 16,
       .text = "Returns when they are. Managers keep the cluster's state together: 3 stand the "
               "loss of one, 5 of two. An "
               "even number stands no more than one less.",
       .examples = "weft node promote n2 n3",
       .run = promote},
      {.noun = "node",
       .verb = "demote",
       .summary = "Make managers workers",
       .operands = "NODE...",
       .operands_min = 1,
       .operands_max = 16,
       .examples = "weft node demote n3",
       .run = demote},
      {.noun = "node",
       .verb = "drain",
       .summary = "Move the tasks of nodes elsewhere and give them no new ones",
       .operands = "NODE...",
       .operands_min = 1,
       .operands_max = 1000,
       .text = "The nodes stay in the cluster and go on serving published ports.",
       .examples = "weft node drain n2",
       .run = drain},
      {.noun = "node",
       .verb = "activate",
       .summary = "Let nodes take tasks again",
       .operands = "NODE...",
       .operands_min = 1,
       .operands_max = 1000,
       .examples = "weft node activate n2",
       .run = activate},
      {.noun = "node",
       .verb = "update",
       .summary = "Change the labels of a node",
       .operands = "NODE",
       .operands_min = 1,
       .operands_max = 1,
       .options = {{.name = "label-add",
                    .value = "KEY=VALUE",
                    .help = "Set a label, for constraints like node.labels.KEY==VALUE",
                    .many = true},
                   {.name = "label-rm", .value = "KEY", .help = "Remove a label", .many = true}},
       .examples = "weft node update n1 --label-add zone=east --label-rm old",
       .run = update},
      {.noun = "node",
       .verb = "rm",
       .summary = "Remove nodes from the cluster for good",
       .operands = "NODE...",
       .operands_min = 1,
       .operands_max = 1000,
       .options = {{.name = "force", .help = "Remove even a node that is alive"}},
       .text = "A removed node is refused everywhere; it needs a new 'weft cluster join'.",
       .examples = "weft node rm n3",
       .run = remove},
  };
}

}  // namespace weft::cli
