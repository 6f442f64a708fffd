// SPDX-License-Identifier: Apache-2.0
#include <nlohmann/json.hpp>

#include "cli/actions.h"
#include "cli/service_spec.h"
#include "cli/service_wait.h"
#include "cli/syntax.h"
#include "cli/task_table.h"

namespace weft::cli {
namespace {

constexpr uint64_t tail_max = 100'000;

Result<> wait_unless_detached(const Context& context, const Json& service) {
  const Arguments& arguments = context.arguments;
  const auto patience = TRY(parse_duration(arguments.text("wait", "60s")));
  if (arguments.has("detach")) return Ok;
  return wait_for_tasks(context, service, patience);
}

// By what is given: an image, a command, or neither, which must be meant.
Result<std::string> runtime_of(const Arguments& arguments) {
  if (arguments.has("runtime")) return arguments.text("runtime");
  if (arguments.has("image")) return std::string("docker");
  if (!arguments.command.empty()) return std::string("netns");
  return usage(
      "the service has nothing to run: add -- COMMAND, or --runtime none if endpoints will be "
      "attached to it");
}

Result<int> create(const Context& context) {
  const Arguments& arguments = context.arguments;
  const std::string operand = arguments.operands.empty() ? "" : arguments.operands[0];
  const std::string name = arguments.text("name", operand);
  if (!operand.empty() && operand != name) {
    return usage("the service has two names, '" + name + "' and '" + operand +
                 "': a command comes after --");
  }
  TRY(parse_duration(arguments.text("wait", "60s")));
  const bool no_count = arguments.text("runtime") == "none" || arguments.text("mode") == "global";
  Json spec = {{"name", name}, {"replicas", no_count ? 0 : 1}};
  std::vector<std::string> fields;
  TRY(read_spec(arguments, spec, fields));
  spec["runtime"] = TRY(runtime_of(arguments));
  const Json service = TRY(context.client.post("/v1/services", {{"spec", spec}}));
  // The id first: it is good even if the tasks do not come up.
  print_made(context, service);
  TRY(wait_unless_detached(context, service));
  return 0;
}

Result<int> update(const Context& context) {
  const Arguments& arguments = context.arguments;
  Json spec = Json::object();
  std::vector<std::string> fields;
  TRY(read_spec(arguments, spec, fields));
  if (fields.empty()) {
    return usage("nothing to change was given: see 'weft service update --help'");
  }
  const Json body = {{"spec", spec}, {"fields", fields}};
  print_made(context, TRY(context.client.put(path_of("services", arguments.operands[0]), body)));
  return 0;
}

Result<int> scale(const Context& context) {
  const std::string pair = context.arguments.operands[0];
  const size_t equals = pair.find('=');
  if (equals == std::string::npos || equals == 0) return usage("'" + pair + "' is not SERVICE=N");
  const uint64_t replicas = TRY(parse_number(pair.substr(equals + 1), 0, 100'000));
  TRY(parse_duration(context.arguments.text("wait", "60s")));
  const Json service = TRY(context.client.post(path_of("services", pair.substr(0, equals), "scale"),
                                               {{"replicas", replicas}}));
  print_made(context, service);
  TRY(wait_unless_detached(context, service));
  return 0;
}

std::string mode_text(const Json& spec) {
  return flag(spec, "global") ? "global" : "replicated " + text(spec, "replicas");
}

Result<int> list(const Context& context) {
  const Json answer = TRY(context.client.get("/v1/services"));
  Table table({"ID", "NAME", "MODE", "ENDPOINT", "VIP", "PORTS"});
  for (const Json& service : answer.value("services", Json::array())) {
    const Json spec = service.value("spec", Json::object());
    std::string vips;
    for (const Json& vip : service.value("vips", Json::array())) {
      vips += (vips.empty() ? "" : ", ") + addresses(vip, "address4", "address6");
    }
    table.row({short_id(text(service, "id")), text(spec, "name"),
               mode_text(spec) + (flag(service, "removing") ? " (removing)" : ""),
               word(text(spec, "endpoint_mode")), or_dash(vips),
               or_dash(ports_text(spec.value("ports", Json::array())))});
  }
  print_list(context, answer, "services", table);
  return 0;
}

Result<int> tasks_of(const Context& context) {
  // Asked for first, so that a name that does not exist is an error and not an empty table.
  const Json service = TRY(context.client.get(path_of("services", context.arguments.operands[0])));
  return list_tasks(context, text(service, "id"), "", context.arguments.has("all"));
}

Result<int> logs(const Context& context) {
  const Arguments& arguments = context.arguments;
  Parameters query;
  if (arguments.has("tail")) {
    query.emplace_back("tail",
                       std::to_string(TRY(parse_number(arguments.text("tail"), 1, tail_max))));
  }
  if (arguments.has("task")) query.emplace_back("task", arguments.text("task"));
  const Json answer =
      TRY(context.client.get(path_of("services", arguments.operands[0], "logs"), query));
  if (context.json) return print_json(answer), 0;
  for (const Json& line : answer.value("lines", Json::array())) {
    const std::string from = text(line, "task") + "@" + text(line, "node") + " | ";
    print_line((context.quiet ? "" : from) + text(line, "text"));
  }
  for (const Json& warning : answer.value("warnings", Json::array())) {
    complain(warning.get<std::string>());
  }
  return 0;
}

Result<int> inspect_services(const Context& context) { return inspect(context, "services"); }
Result<int> remove(const Context& context) { return remove_each(context, "services"); }

std::vector<Option> with_wait(std::vector<Option> options) {
  options.push_back({.name = "detach", .letter = 'd', .help = "Do not wait until the tasks run"});
  options.push_back({.name = "wait", .value = "TIME", .help = "How long to wait (default: 60s)"});
  return options;
}

Command create_command() {
  std::vector<Option> options = {{.name = "name", .value = "NAME", .help = "Name of the service"}};
  for (const Option& option : spec_options()) options.push_back(option);
  return {.noun = "service",
          .verb = "create",
          .summary = "Create a service and wait until its tasks run",
          .operands = "[NAME]",
          .operands_max = 1,
          .options = with_wait(options),
          .takes_command = true,
          .text = "Prints the service's id. Everything after -- is the command of the tasks.",
          .examples =
              "weft service create --name web --network app --replicas 3 -p 8080:80 -- "
              "/usr/bin/my-server\n"
              "weft service create web --publish 30100-30102:80-82 --publish 53:53/udp -- "
              "./serve\n"
              "weft service create --name db --network app --runtime none",
          .run = create};
}

Command update_command() {
  return {.noun = "service",
          .verb = "update",
          .summary = "Change a service; its tasks are replaced step by step where needed",
          .operands = "SERVICE",
          .operands_min = 1,
          .operands_max = 1,
          .options = spec_options(),
          .takes_command = true,
          .text = "Only what is given changes; a list that is given replaces the old one.",
          .examples = "weft service update web --replicas 5 --publish 8081:80",
          .run = update};
}

}  // namespace

std::vector<Command> service_commands() {
  const auto named = [](std::string_view verb, std::string_view summary, size_t most,
                        std::string_view examples, Result<int> (*run)(const Context&)) {
    return Command{.noun = "service",
                   .verb = verb,
                   .summary = summary,
                   .operands = most > 1 ? "SERVICE..." : "SERVICE",
                   .operands_min = 1,
                   .operands_max = most,
                   .examples = examples,
                   .run = run};
  };
  Command ps = named("ps", "List the tasks of a service", 1,
                     "weft service ps web\nweft service ps --all web", tasks_of);
  ps.options = {{.name = "all", .letter = 'a', .help = "Show tasks that have ended, too"}};
  Command show_logs = named("logs", "Print what the tasks of a service wrote", 1,
                            "weft service logs --tail 20 web", logs);
  show_logs.options = {
      {.name = "tail", .letter = 'n', .value = "N", .help = "Last lines of each task only"},
      {.name = "task", .value = "TASK", .help = "One task only"}};
  Command scaled = named("scale", "Set how many tasks a service has, and wait until they run", 1,
                         "weft service scale web=5", scale);
  scaled.operands = "SERVICE=N";
  scaled.options = with_wait({});
  return {
      create_command(),
      {.noun = "service",
       .verb = "ls",
       .summary = "List the services",
       .examples = "weft service ls",
       .run = list},
      named("inspect", "Show all about services, as JSON", 1000, "weft service inspect web",
            inspect_services),
      ps,
      update_command(),
      scaled,
      show_logs,
      named("rm", "Remove services and their tasks", 1000, "weft service rm web", remove),
  };
}

}  // namespace weft::cli
