// SPDX-License-Identifier: Apache-2.0
#include <netdb.h>

#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>

#include "base/address.h"
#include "base/free_with.h"

#include "cli/actions.h"
#include "cli/syntax.h"

namespace weft::cli {
namespace {

Result<int> init(const Context& context) {
  const Arguments& arguments = context.arguments;
  const Json reply = TRY(
      context.client.post("/v1/cluster/init", {{"advertise_address", arguments.text("advertise")},
                                               {"default_pool4", arguments.text("pool")},
                                               {"ingress_subnet4", arguments.text("ingress")}}));
  if (context.json) return print_json(reply), 0;
  if (context.quiet) return print_line(text(reply, "cluster_id")), 0;
  const Json cluster = TRY(context.client.get("/v1/cluster"));
  const auto managers = cluster.value("managers", std::vector<std::string>());
  const std::string address = managers.empty() ? "THIS-HOST:2377" : managers[0];
  print_line("Cluster " + short_id(text(reply, "cluster_id")) +
             " is made; this node is its manager.\n\nTo add a worker, run on it:\n\n"
             "    weft cluster join " +
             text(reply, "worker_token") + " " + address +
             "\n\nFor a manager's token: weft cluster token show manager");
  return 0;
}

// weftd knows managers by address; people know them by name. IPv4 first: the underlay is.
Result<std::string> address_of(const std::string& host) {
  if (Address::parse(host)) return host;
  addrinfo wish{};
  wish.ai_socktype = SOCK_STREAM;
  for (const int family : {AF_INET, AF_INET6}) {
    wish.ai_family = family;
    addrinfo* raw = nullptr;
    if (::getaddrinfo(host.c_str(), nullptr, &wish, &raw) != 0) continue;
    const std::unique_ptr<addrinfo, FreeWith<::freeaddrinfo>> found(raw);
    char text[NI_MAXHOST];
    if (::getnameinfo(found->ai_addr, found->ai_addrlen, text, sizeof text, nullptr, 0,
                      NI_NUMERICHOST) == 0)
      return std::string(text);
  }
  return Error(ErrorCode::not_found,
               "cannot find the address of '" + host + "': give the manager's IP address");
}

Result<std::string> manager_address(const std::string& operand) {
  const std::string manager = TRY(parse_manager(operand));
  if (manager.starts_with('[')) return manager;
  const size_t colon = manager.rfind(':');
  const std::string address = TRY(address_of(manager.substr(0, colon)));
  const bool v6 = address.find(':') != std::string::npos;
  return (v6 ? "[" + address + "]" : address) + manager.substr(colon);
}

Result<int> show(const Context& context) {
  const Json cluster = TRY(context.client.get("/v1/cluster"));
  if (context.json) return print_json(cluster), 0;
  if (context.quiet) return print_line(text(cluster, "cluster_id")), 0;
  Table table;
  table.row({"State:", text(cluster, "state")});
  if (!text(cluster, "message").empty()) table.row({"Message:", text(cluster, "message")});
  if (!text(cluster, "cluster_id").empty()) {
    table.row({"Cluster:", short_id(text(cluster, "cluster_id"))});
    table.row({"Node:", text(cluster, "node_name") + " (" + short_id(text(cluster, "node_id")) +
                            "), " + word(text(cluster, "role"))});
    table.row({"Managers:", or_dash(joined(cluster, "managers"))});
    table.row({"Leader:", or_dash(text(cluster, "leader"))});
    table.row({"Nodes:",
               text(cluster, "nodes_alive") + " of " + text(cluster, "nodes_total") + " alive"});
  }
  print(table);
  return 0;
}

Result<int> join(const Context& context) {
  const Arguments& arguments = context.arguments;
  Json managers = Json::array();
  for (size_t i = 1; i < arguments.operands.size(); ++i) {
    managers.push_back(TRY(manager_address(arguments.operands[i])));
  }
  const Json cluster = TRY(context.client.post(
      "/v1/cluster/join", {{"token", arguments.operands[0]},
                           {"managers", managers},
                           {"advertise_address", arguments.text("advertise")}}));
  if (context.json) return print_json(cluster), 0;
  if (context.quiet) return print_line(text(cluster, "node_id")), 0;
  print_line("This node has joined cluster " + short_id(text(cluster, "cluster_id")) + " as " +
             word(text(cluster, "role")) + " " + text(cluster, "node_name") + ".");
  return 0;
}

Result<int> leave(const Context& context) {
  const Json reply =
      TRY(context.client.post("/v1/cluster/leave", {{"force", context.arguments.has("force")}}));
  if (context.json) return print_json(reply), 0;
  if (!context.quiet) print_line("This node has left the cluster.");
  return 0;
}

// The daemon opens the file: it must not depend on where the command is run.
std::string whole_path(const std::string& path) {
  return std::filesystem::absolute(path).lexically_normal();
}

Result<int> backup(const Context& context) {
  const std::string path = whole_path(context.arguments.operands[0]);
  const Json reply = TRY(context.client.post("/v1/cluster/backup", {{"path", path}}));
  if (context.json) return print_json(reply), 0;
  print_line(context.quiet ? path : "The managers' store is copied to " + path + ".");
  return 0;
}

Result<int> restore(const Context& context) {
  const Arguments& arguments = context.arguments;
  const Json cluster = TRY(context.client.post(
      "/v1/cluster/restore", {{"path", whole_path(arguments.operands[0])},
                              {"advertise_address", arguments.text("advertise")}}));
  if (context.json) return print_json(cluster), 0;
  if (context.quiet) return print_line(text(cluster, "node_id")), 0;
  print_line("Cluster " + short_id(text(cluster, "cluster_id")) +
             " is restored; this node is its manager.");
  return 0;
}

Result<int> recover(const Context& context) {
  const Json cluster =
      TRY(context.client.post("/v1/cluster/recover", {{"force", context.arguments.has("force")}}));
  if (context.json) return print_json(cluster), 0;
  if (!context.quiet)
    print_line("This node leads the cluster alone; the other managers join it anew.");
  return 0;
}

Result<int> token(const Context& context) {
  const std::string action = context.arguments.operands[0];
  const std::string role = context.arguments.operands[1];
  if (role != "worker" && role != "manager") {
    return usage("a token is for a worker or a manager, not for '" + role + "'");
  }
  if (action != "show" && action != "rotate") {
    return usage("a token is shown or rotated: 'weft cluster token show " + role + "'");
  }
  const Json reply =
      action == "show"
          ? TRY(context.client.get(path_of("cluster/tokens", role)))
          : TRY(context.client.post(path_of("cluster/tokens", role, "rotate"), Json::object()));
  if (context.json) return print_json(reply), 0;
  print_line(text(reply, "token"));
  return 0;
}

}  // namespace

std::vector<Command> cluster_commands() {
  const Option advertise{.name = "advertise",
                         .value = "ADDRESS",
                         .help =
                             "Address that other nodes reach this one at (default: the "
                             "uplink's)"};
  return {
      {.noun = "cluster",
       .verb = "init",
       .summary = "Make a cluster with this node as its first manager",
       .options = {advertise,
                   {.name = "pool",
                    .value = "SUBNET",
                    .help = "Block that networks take their subnets from (default: 10.0.0.0/8)"},
                   {.name = "ingress",
                    .value = "SUBNET",
                    .help = "Subnet of the routing mesh (default: the first of the pool)"}},
       .text = "Prints the command that adds a worker.",
       .examples = "weft cluster init\nweft cluster init --advertise 192.0.2.1 --pool 10.64.0.0/10",
       .run = init},
      {.noun = "cluster",
       .verb = "join",
       .summary = "Make this node part of a cluster",
       .operands = "TOKEN HOST[:PORT]...",
       .operands_min = 2,
       .operands_max = 16,
       .options = {advertise},
       .text = "HOST is a manager; several are tried in turn. The token decides whether this node "
               "becomes a worker or a manager: see 'weft cluster token'.",
       .examples = "weft cluster join WEFT-1-... 192.0.2.1",
       .run = join},
      {.noun = "cluster",
       .verb = "leave",
       .summary = "Take this node out of its cluster",
       .options = {{.name = "force", .help = "Leave even if the cluster loses its last manager"}},
       .text = "Its tasks stop and its endpoints are withdrawn.",
       .examples = "weft cluster leave",
       .run = leave},
      {.noun = "cluster",
       .verb = "backup",
       .summary = "Copy the managers' store into a new file on this node",
       .operands = "FILE",
       .operands_min = 1,
       .operands_max = 1,
       .text = "Asks the local weftd, which must be a manager's; the file holds the cluster's "
               "secrets and is readable by root only.",
       .examples = "weft cluster backup /root/weft-backup.db",
       .run = backup},
      {.noun = "cluster",
       .verb = "restore",
       .summary = "Make this node the first manager of a cluster from a backup",
       .operands = "FILE",
       .operands_min = 1,
       .operands_max = 1,
       .options = {advertise},
       .text = "For a node that is in no cluster. It takes the place of nodes with its name or "
               "address; nodes that knew a manager at this address come back by themselves.",
       .examples = "weft cluster restore /root/weft-backup.db",
       .run = restore},
      {.noun = "cluster",
       .verb = "recover",
       .summary = "Go on with this manager alone when the majority is lost for good",
       .options = {{.name = "force", .help = "Yes, give up what only the lost managers know"}},
       .text = "Run it on one surviving manager, best the one that was heard last. Managers that "
               "come back join it anew.",
       .examples = "weft cluster recover --force",
       .run = recover},
      {.noun = "cluster",
       .verb = "status",
       .summary = "Show the cluster as this node sees it",
       .examples = "weft cluster status\nweft cluster status -o json",
       .run = show},
      {.noun = "cluster",
       .verb = "token",
       .summary = "Show or replace the token that lets nodes join",
       .operands = "show|rotate worker|manager",
       .operands_min = 2,
       .operands_max = 2,
       .text = "After rotate the old token lets nobody join any more; nodes that have joined stay.",
       .examples = "weft cluster token show worker\nweft cluster token rotate manager",
       .run = token},
  };
}

}  // namespace weft::cli
