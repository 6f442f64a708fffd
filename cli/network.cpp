// SPDX-License-Identifier: Apache-2.0
#include <nlohmann/json.hpp>

#include "cli/actions.h"
#include "cli/syntax.h"

namespace weft::cli {
namespace {

Result<int> create(const Context& context) {
  const Arguments& arguments = context.arguments;
  const Json body = {{"name", arguments.operands[0]},
                     {"driver", arguments.text("driver", "overlay")},
                     {"subnets", arguments.all("subnet")},
                     {"ip_ranges", arguments.all("ip-range")},
                     {"gateways", arguments.all("gateway")},
                     {"aux_addresses", TRY(parse_pairs(arguments.all("aux-address")))},
                     {"ipv6", arguments.has("ipv6")},
                     {"internal", arguments.has("internal")},
                     {"attachable", arguments.has("attachable")},
                     {"encrypted", arguments.has("encrypted")},
                     {"options", TRY(parse_pairs(arguments.all("opt")))},
                     {"labels", TRY(parse_pairs(arguments.all("label")))}};
  print_made(context, TRY(context.client.post("/v1/networks", body)));
  return 0;
}

std::string flags(const Json& network) {
  std::string out;
  for (const char* name : {"ingress", "internal", "attachable", "encrypted"}) {
    if (flag(network, name)) out += (out.empty() ? "" : ", ") + std::string(name);
  }
  return out;
}

Result<int> list(const Context& context) {
  const Json answer = TRY(context.client.get("/v1/networks"));
  Table table({"ID", "NAME", "DRIVER", "VNI", "SUBNETS", "FLAGS"});
  for (const Json& network : answer.value("networks", Json::array())) {
    table.row({short_id(text(network, "id")), text(network, "name"), text(network, "driver"),
               text(network, "vni"), or_dash(addresses(network, "subnet4", "subnet6")),
               or_dash(flags(network))});
  }
  print_list(context, answer, "networks", table);
  return 0;
}

Result<int> inspect_networks(const Context& context) { return inspect(context, "networks"); }
Result<int> remove(const Context& context) { return remove_each(context, "networks"); }

std::vector<Option> create_options() {
  return {
      {.name = "driver",
       .letter = 'd',
       .value = "DRIVER",
       .help = "Kind of network (default: "
               "overlay)"},
      {.name = "subnet",
       .value = "SUBNET",
       .help = "Addresses of the network, one IPv4 and one IPv6 block (default: chosen)",
       .many = true},
      {.name = "ip-range",
       .value = "RANGE",
       .help = "Part of a subnet that addresses are given from",
       .many = true},
      {.name = "gateway",
       .value = "IP",
       .help = "Gateway of a subnet (default: the first address)",
       .many = true},
      {.name = "aux-address",
       .value = "NAME=IP",
       .help = "Address that Weft must not give away",
       .many = true},
      {.name = "ipv6", .help = "Give the network IPv6 addresses too"},
      {.name = "internal", .help = "No way out of the cluster"},
      {.name = "attachable", .help = "Let endpoints attach by hand"},
      {.name = "encrypted", .help = "Encrypt what travels between nodes (not available yet)"},
      {.name = "opt",
       .value = "KEY=VALUE",
       .help = "Option of the driver: mtu=, vxlan_id=, and forward_unknown=true: names below the "
               "network's that nobody here has are asked of the node's resolvers, for a network "
               "that is named like a public domain",
       .many = true},
      {.name = "label", .value = "KEY=VALUE", .help = "Label of the network", .many = true},
  };
}

}  // namespace

std::vector<Command> network_commands() {
  return {
      {.noun = "network",
       .verb = "create",
       .summary = "Create a network",
       .operands = "NETWORK",
       .operands_min = 1,
       .operands_max = 1,
       .options = create_options(),
       .text = "Prints the network's id.",
       .examples = "weft network create app\n"
                   "weft network create --subnet 10.1.0.0/24 --ip-range 10.1.0.128/25 app\n"
                   "weft network create --attachable --ipv6 --opt mtu=1400 lab\n"
                   "weft network create --opt forward_unknown=true dev",
       .run = create},
      {.noun = "network",
       .verb = "ls",
       .summary = "List the networks",
       .examples = "weft network ls\nweft network ls -o json",
       .run = list},
      {.noun = "network",
       .verb = "inspect",
       .summary = "Show all about networks, as JSON",
       .operands = "NETWORK...",
       .operands_min = 1,
       .operands_max = 1000,
       .examples = "weft network inspect app",
       .run = inspect_networks},
      {.noun = "network",
       .verb = "rm",
       .summary = "Remove networks that nothing uses",
       .operands = "NETWORK...",
       .operands_min = 1,
       .operands_max = 1000,
       .examples = "weft network rm app",
       .run = remove},
  };
}

}  // namespace weft::cli
