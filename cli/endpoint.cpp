// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "base/address.h"
#include "cli/actions.h"

namespace weft::cli {
namespace {

Result<int> attach(const Context& context) {
  const Arguments& arguments = context.arguments;
  for (const char* needed : {"netns", "network"}) {
    if (!arguments.has(needed)) {
      return usage(std::string("--") + needed + " is missing: see 'weft endpoint attach --help'");
    }
  }
  Json body = {{"network", arguments.text("network")},
               {"service", arguments.text("service")},
               {"mac", arguments.text("mac")},
               {"aliases", arguments.all("alias")},
               {"name", arguments.text("name")},
               {"interface", arguments.text("interface")},
               {"container_id", arguments.text("container")}};
  // weftd has another working folder; a name alone is one of ip-netns(8).
  const std::string netns = arguments.text("netns");
  body["netns"] = netns.find('/') == std::string::npos
                      ? "/run/netns/" + netns
                      : std::filesystem::absolute(netns).lexically_normal().string();
  for (const std::string& ip : arguments.all("ip")) {
    const auto address = Address::parse(ip);
    if (!address) return usage("--ip takes an address, not '" + ip + "'");
    const char* field = address->is_v4() ? "address4" : "address6";
    if (body.contains(field)) return usage("--ip is given twice for one address family");
    body[field] = ip;
  }
  print_made(context, TRY(context.client.post("/v1/endpoints", body)));
  return 0;
}

Result<int> list(const Context& context) {
  const Arguments& arguments = context.arguments;
  Parameters query;
  if (arguments.has("network")) query.emplace_back("network", arguments.text("network"));
  if (arguments.has("local")) query.emplace_back("local", "true");
  const Json answer = TRY(context.client.get("/v1/endpoints", query));
  Table table({"ID", "NAME", "NETWORK", "ADDRESS", "NODE", "SERVICE", "STATE"});
  for (const Json& endpoint : answer.value("endpoints", Json::array())) {
    table.row({short_id(text(endpoint, "id")), or_dash(text(endpoint, "name")),
               or_dash(text(endpoint, "network")),
               or_dash(addresses(endpoint, "address4", "address6")),
               or_dash(text(endpoint, "node")), or_dash(text(endpoint, "service")),
               or_dash(text(endpoint, "state"))});
  }
  print_list(context, answer, "endpoints", table);
  return 0;
}

Result<int> inspect_endpoints(const Context& context) { return inspect(context, "endpoints"); }
Result<int> detach(const Context& context) { return remove_each(context, "endpoints"); }

std::vector<Option> attach_options() {
  return {
      {.name = "netns",
       .value = "PATH",
       .help = "The network namespace, a path or a name of ip-netns(8) (required)"},
      {.name = "network", .value = "NETWORK", .help = "The network to join (required)"},
      {.name = "service", .value = "SERVICE", .help = "Become a backend of a service"},
      {.name = "ip",
       .value = "ADDRESS",
       .help = "A fixed address, one for each address family",
       .many = true},
      {.name = "mac", .value = "MAC", .help = "A fixed hardware address"},
      {.name = "alias", .value = "NAME", .help = "Another name in DNS", .many = true},
      {.name = "name", .value = "NAME", .help = "Name of the container"},
      {.name = "interface",
       .value = "NAME",
       .help = "Name of the interface inside (default: the "
               "first free ethN)"},
      {.name = "container", .value = "ID", .help = "Id of the container, for the record"},
  };
}

}  // namespace

std::vector<Command> endpoint_commands() {
  return {
      {.noun = "endpoint",
       .verb = "attach",
       .summary = "Attach a network namespace of this node to a network",
       .options = attach_options(),
       .text = "Prints the endpoint's id.",
       .examples = "weft endpoint attach --netns /run/netns/box --network app --name box\n"
                   "weft endpoint attach --netns box --network app --service db --ip 10.1.0.9",
       .run = attach},
      {.noun = "endpoint",
       .verb = "detach",
       .summary = "Detach endpoints of this node",
       .operands = "ENDPOINT...",
       .operands_min = 1,
       .operands_max = 1000,
       .examples = "weft endpoint detach 3f2a",
       .run = detach},
      {.noun = "endpoint",
       .verb = "ls",
       .summary = "List the endpoints that this node knows",
       .options = {{.name = "network", .value = "NETWORK", .help = "Of one network only"},
                   {.name = "local", .help = "Of this node only"}},
       .examples = "weft endpoint ls --network app",
       .run = list},
      {.noun = "endpoint",
       .verb = "inspect",
       .summary = "Show all about endpoints, as JSON",
       .operands = "ENDPOINT...",
       .operands_min = 1,
       .operands_max = 1000,
       .examples = "weft endpoint inspect 3f2a",
       .run = inspect_endpoints},
  };
}

}  // namespace weft::cli
