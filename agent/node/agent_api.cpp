// SPDX-License-Identifier: Apache-2.0
// The control API: what this node answers itself, and the ways into and out of a cluster.
#include <sys/utsname.h>

#include <algorithm>

#include "drivers/bpf/features.h"
#include "io/sockets.h"
#include "node/agent.h"
#include "node/inspect.h"
#include "node/log.h"
#include "registry.h"
#include "weft/api/version.h"

namespace weft::node {

namespace {

constexpr auto join_timeout = 10s;

template <typename Message>
Result<Message> parse(const std::string& payload) {
  Message out;
  if (!out.ParseFromString(payload))
    return Error(ErrorCode::invalid, "request that does not decode");
  return out;
}

template <typename Message>
Result<std::string> bytes(Result<Message> message) {
  if (!message) return std::move(message).error();
  return message->SerializeAsString();
}

Error no_cluster() {
  return Error(ErrorCode::unavailable,
               "this node is in no cluster yet: `weft cluster init` or `weft cluster join`");
}

// A port that is taken is refused before anything is made; nobody of this node's own holds it yet.
Result<> check_gossip_port(const std::string& address, uint16_t port) {
  const SocketAddress local{TRY(Address::parse(address)), port};
  TRY(io::bind_socket(local, SOCK_DGRAM));
  TRY(io::bind_socket(local, SOCK_STREAM));
  return Ok;
}

std::string kernel_release() {
  utsname name{};
  return ::uname(&name) == 0 ? name.release : "";
}

}  // namespace

struct JoinAttempt {
  io::JoinToken token;
  std::vector<SocketAddress> managers;
  size_t next = 0;
  Identity identity;
  api::JoinRequest request;
  std::string last_error;
  io::RpcConnectionHandle connection;
  Reply reply;
};

void Agent::handle(const std::string& method, bool leader, const std::string& payload,
                   Reply reply) {
  if (leader) {
    if (!session_) return reply(no_cluster());
    return session_->call(method, payload, std::move(reply));
  }
  bool later = false;
  auto answered = answer(method, payload, later, reply);
  if (!later) reply(std::move(answered));
}

// `later`: the reply was taken and will be given by whoever has it.
Result<std::string> Agent::answer(const std::string& method, const std::string& payload,
                                  bool& later, Reply& reply) {
  if (method == "Version") {
    api::VersionReply out;
    out.set_version(version);
    out.set_kernel(kernel_release());
    std::string abi;
    for (const MapEntry& map : map_registry)
      abi += (abi.empty() ? "" : " ") + std::string(map.name) + "_v" + std::to_string(map.version);
    out.set_abi(abi);
    return out.SerializeAsString();
  }
  if (method == "Status") return status().SerializeAsString();
  if (method == "Doctor") return doctor().SerializeAsString();
  if (method == "ClusterShow") return cluster_status().SerializeAsString();
  if (method == "ClusterInit")
    return bytes(init_cluster(TRY(parse<api::ClusterInitRequest>(payload))));
  if (method == "ClusterRestore")
    return bytes(restore_cluster(TRY(parse<api::ClusterRestoreRequest>(payload))));
  if (method == "ClusterJoin") {
    const auto request = TRY(parse<api::ClusterJoinRequest>(payload));
    later = true;
    join_cluster(request, std::move(reply));
    return std::string();
  }
  if (!identity_) return no_cluster();
  if (method == "ClusterBackup") {
    const auto request = TRY(parse<api::ClusterBackupRequest>(payload));
    later = true;
    backup_cluster(request, std::move(reply));
    return std::string();
  }
  if (method == "ClusterRecover") {
    const auto request = TRY(parse<api::ClusterRecoverRequest>(payload));
    later = true;
    recover_cluster(request, std::move(reply));
    return std::string();
  }
  if (method == "ClusterLeave") {
    const auto request = TRY(parse<api::ClusterLeaveRequest>(payload));
    later = true;
    leave_by_request(request, std::move(reply));
    return std::string();
  }
  if (method == "EndpointAttach") {
    const auto request = TRY(parse<api::EndpointAttachRequest>(payload));
    later = true;
    attach_by_request(request, std::move(reply));
    return std::string();
  }
  if (!kernel_)
    return Error(ErrorCode::unavailable,
                 "this node waits for its first assignment: see `weft cluster status`");
  if (method == "EndpointDetach") {
    const auto request = TRY(parse<api::EndpointDetachRequest>(payload));
    later = true;
    detach_by_request(request.name(), std::move(reply));
    return std::string();
  }
  if (method == "EndpointList")
    return list_endpoints(TRY(parse<api::EndpointListRequest>(payload))).SerializeAsString();
  if (method == "EndpointShow")
    return bytes(find_endpoint(TRY(parse<api::NameRequest>(payload)).name()));
  if (method == "MapList") return bytes(list_maps(*kernel_, config_.bpffs));
  if (method == "MapDump")
    return bytes(dump_map(*kernel_, TRY(parse<api::MapDumpRequest>(payload))));
  if (method == "LbList")
    return list_services(*kernel_, desired_, known_, view_).SerializeAsString();
  if (method == "LbShow") {
    const std::string name = TRY(parse<api::NameRequest>(payload)).name();
    const api::LbList all = list_services(*kernel_, desired_, known_, view_);
    // A published service has an entry of the routing mesh besides that of its VIP: the VIP's is
    // shown.
    const api::LbService* found = nullptr;
    for (const api::LbService& service : all.services())
      if ((service.name() == name || service.id() == name) &&
          (!found || !service.vip4().empty() || !service.vip6().empty()))
        found = &service;
    if (!found)
      return Error(ErrorCode::not_found,
                   "this node balances no service '" + name + "': see `weft lb ls`");
    api::LbService shown = *found;
    TRY(add_flows(*kernel_, attachments_->all(), shown));
    return shown.SerializeAsString();
  }
  if (method == "DnsQuery") {
    const auto request = TRY(parse<api::DnsQueryRequest>(payload));
    const dns::Asker asker = TRY(asker_for(request));
    const auto names = names_.get();
    if (!names) return Error(ErrorCode::unavailable, "no names are known yet: try again");
    return bytes(query_dns(*names, asker, request, rng_));
  }
  return Error(ErrorCode::invalid, "no such method: " + method);
}

Result<dns::Asker> Agent::asker_for(const api::DnsQueryRequest& request) const {
  dns::Asker asker;
  if (!request.endpoint().empty()) {
    const api::Endpoint endpoint = TRY(find_endpoint(request.endpoint()));
    asker.networks.push_back(endpoint.network_id());
  } else if (!request.network().empty()) {
    const api::Network* network = known_.network(request.network());
    if (!network)
      return Error(ErrorCode::not_found,
                   "network '" + request.network() +
                       "' is not on this node: ask a node that has an endpoint of it");
    asker.networks.push_back(network->id());
  } else {
    for (const auto& [id, network] : known_.networks)
      if (!network.ingress()) asker.networks.push_back(id);
  }
  return asker;
}

Result<api::JoinRequest> Agent::introduce(const std::string& advertise_address) {
  link::Links links = TRY(link::Links::open(-1));
  const std::string text =
      advertise_address.empty() ? config_.advertise_address : advertise_address;
  Address wanted;
  if (!text.empty()) {
    wanted = TRY(Address::parse(text));
  } else if (!config_.uplink.empty()) {
    const auto device = TRY(links.find(config_.uplink));
    if (!device)
      return Error(ErrorCode::not_found,
                   "there is no device '" + config_.uplink + "': see --uplink");
    for (const auto& a : TRY(links.addresses(device->index)))
      if (a.prefix.address.is_v4() && wanted.is_none()) wanted = a.prefix.address;
    if (wanted.is_none()) return Error("device '" + config_.uplink + "' has no IPv4 address");
  }
  const link::Uplink uplink = TRY(link::find_uplink(links, wanted));
  api::JoinRequest out;
  out.set_name(config_.name);
  out.set_address(uplink.address.address.to_string());
  out.set_gossip_port(config_.gossip_port);
  out.set_manager_port(config_.manager_port);
  out.set_version(version);
  out.set_uplink_mtu_bytes(uplink.link.mtu_bytes);
  for (const link::Route& route : TRY(links.routes()))
    if (route.destination.length > 0 && route.table == 254 &&
        route.protocol != link::route_protocol && !route.destination.address.is_link_local() &&
        !route.destination.address.is_multicast())
      out.add_routes(route.destination.to_string());
  return out;
}

Result<api::ClusterInitReply> Agent::init_cluster(const api::ClusterInitRequest& request) {
  if (identity_)
    return Error(ErrorCode::conflict,
                 "this node is in a cluster already: `weft cluster leave` first");
  Identity identity;
  identity.node_id = new_id();
  identity.cluster_id = new_id();
  identity.role = "manager";
  api::JoinRequest self = TRY(introduce(request.advertise_address()));
  self.set_node_id(identity.node_id);
  TRY(check_gossip_port(self.address(), config_.gossip_port));
  identity.advertise_address = self.address();
  identity.managers = {
      SocketAddress{TRY(Address::parse(self.address())), config_.manager_port}.to_string()};
  const io::CertifiedKey ca = TRY(io::create_cluster_ca(identity.cluster_id, loop_.wall_now()));
  identity.ca_pem = ca.certificate_pem;
  identity.key_pem = TRY(io::create_key());
  self.set_csr_pem(TRY(io::create_signing_request(identity.key_pem)));
  api::ClusterInitReply reply;
  auto made = ManagerHost::init(config_, identity, ca.key_pem, request, self, reply);
  if (made) {
    if (auto saved = identities_.save(identity); saved) {
      manager_ = std::move(*made);
      identity_ = std::move(identity);
      TRY(go_online());
      return reply;
    } else {
      made = std::move(saved).error();
    }
  }
  // A cluster that nobody can be a member of must not stay behind.
  const Error reason = std::move(made).error();
  TRY(identities_.erase());
  return reason;
}

void Agent::join_cluster(const api::ClusterJoinRequest& request, Reply reply) {
  auto attempt = std::make_shared<JoinAttempt>();
  attempt->reply = std::move(reply);
  auto prepared = [&]() -> Result<> {
    if (identity_)
      return Error(ErrorCode::conflict,
                   "this node is in a cluster already: `weft cluster leave` first");
    attempt->token = TRY(io::JoinToken::parse(request.token()));
    for (const std::string& text : request.managers())
      attempt->managers.push_back(TRY(SocketAddress::parse(text, config_.manager_port)));
    if (attempt->managers.empty())
      return Error(ErrorCode::invalid, "name at least one manager: HOST[:PORT]");
    attempt->request = TRY(introduce(request.advertise_address()));
    TRY(check_gossip_port(attempt->request.address(), config_.gossip_port));
    attempt->identity.node_id = new_id();
    attempt->identity.advertise_address = attempt->request.address();
    attempt->identity.key_pem = TRY(io::create_key());
    attempt->request.set_csr_pem(TRY(io::create_signing_request(attempt->identity.key_pem)));
    attempt->request.set_node_id(attempt->identity.node_id);
    attempt->request.set_secret(attempt->token.secret);
    return Ok;
  }();
  if (!prepared) return attempt->reply(std::move(prepared).error());
  try_join(attempt);
}

void Agent::try_join(std::shared_ptr<JoinAttempt> attempt) {
  if (attempt->next == attempt->managers.size())
    return attempt->reply(Error(ErrorCode::unavailable, "cannot join: " + attempt->last_error));
  const SocketAddress manager = attempt->managers[attempt->next++];
  io::RpcConnectOptions options;
  options.trust = attempt->token.ca_digest;
  io::rpc_connect(loop_, manager, std::move(options),
                  [this, attempt, manager](Result<io::RpcConnectionHandle> connection) {
                    if (!connection) {
                      const Error& error = connection.error();
                      attempt->last_error = error.message();
                      if (error.code() == ErrorCode::unavailable)
                        attempt->last_error += "; give the address of a manager that runs";
                      return try_join(attempt);
                    }
                    attempt->connection = std::move(*connection);
                    attempt->connection->call(
                        "Join", attempt->request.SerializeAsString(), join_timeout,
                        [this, attempt, manager](Result<std::string> answer) {
                          attempt->connection->close();
                          attempt->identity.managers = {manager.to_string()};
                          if (!answer)
                            return attempt->reply(std::move(answer).error().in("cannot join"));
                          joined(*attempt, *answer);
                        });
                  });
}

void Agent::joined(const JoinAttempt& attempt, const std::string& payload) {
  auto done = [&]() -> Result<> {
    const auto answer = TRY(parse<api::JoinReply>(payload));
    Identity identity = attempt.identity;
    identity.node_id = answer.node().id();
    identity.cluster_id = answer.cluster_id();
    identity.role = answer.node().role() == api::MANAGER ? "manager" : "worker";
    identity.ca_pem = answer.ca_pem();
    identity.certificate_pem = answer.certificate_pem();
    TRY(identities_.save(identity));
    identity_ = std::move(identity);
    return go_online();
  }();
  if (!done) return attempt.reply(std::move(done).error());
  attempt.reply(cluster_status().SerializeAsString());
}

void Agent::leave_by_request(const api::ClusterLeaveRequest& request, Reply reply) {
  const bool manager = identity_->role == "manager";
  bool others_manage = false;
  for (const auto& [id, node] : known_.nodes)
    others_manage |= id != identity_->node_id && node.role() == api::MANAGER;
  if (manager && others_manage && !request.force())
    return reply(Error(ErrorCode::conflict, "this node is a manager: `weft node demote " +
                                                known_.self.name() + "` first, or use --force"));
  const auto leave_now = [this, reply] {
    auto left = leave_cluster();
    if (!left) return reply(std::move(left).error());
    reply(api::Empty().SerializeAsString());
  };
  if (manager && !request.force() && known_.nodes.size() > 1)
    return reply(Error(ErrorCode::conflict,
                       "this node is the cluster's only manager: have the other nodes leave first, "
                       "or use --force"));
  if (manager || request.force()) return loop_.post(leave_now);
  api::LeaveRequest leave;
  session_->call("Leave", leave.SerializeAsString(),
                 [leave_now, reply](Result<std::string> answer) {
                   if (!answer)
                     return reply(std::move(answer).error().in(
                         "cannot leave (--force leaves without the managers' word)"));
                   leave_now();
                 });
}

api::SessionRequest Agent::hello() {
  api::SessionRequest out;
  out.set_name(config_.name);
  out.set_address(identity_->advertise_address);
  out.set_gossip_port(config_.gossip_port);
  out.set_version(version);
  if (auto self = introduce(identity_->advertise_address)) {
    out.set_uplink_mtu_bytes(self->uplink_mtu_bytes());
    *out.mutable_routes() = self->routes();
  }
  if (tasks_)
    for (const std::string& id : tasks_->known()) *out.add_tasks() = tasks_->status(id);
  if (attachments_)
    for (const auto& [id, attachment] : attachments_->all())
      if (const auto endpoint = known_.endpoints.find(id);
          attachment.task_id.empty() && endpoint != known_.endpoints.end())
        *out.add_endpoints() = endpoint->second;
  return out;
}

api::ClusterStatus Agent::cluster_status() const {
  api::ClusterStatus out;
  if (!identity_) {
    out.set_state("none");
    out.set_message("`weft cluster init` makes a cluster, `weft cluster join` joins one");
    return out;
  }
  out.set_cluster_id(identity_->cluster_id);
  out.set_node_id(identity_->node_id);
  out.set_node_name(config_.name);
  out.set_role(identity_->role == "manager" ? api::MANAGER : api::WORKER);
  for (const std::string& manager : identity_->managers) out.add_managers(manager);
  out.set_leader(manager_   ? manager_->leader()
                 : session_ ? session_->connected_to()
                            : std::string());
  const bool connected = session_ && session_->connected();
  out.set_state(!kernel_ ? "joining" : connected ? "ready" : "no manager");
  out.set_message(connected ? last_failure_ : session_problem_);
  out.set_nodes_total(uint32_t(known_.nodes.size()));
  uint32_t alive = 0;
  for (const auto& [id, node] : known_.nodes)
    alive += id == known_.self.id() || view_.member_state(id) == plan::MemberState::alive;
  out.set_nodes_alive(alive);
  return out;
}

api::StatusReply Agent::status() {
  api::StatusReply out;
  *out.mutable_cluster() = cluster_status();
  out.set_version(version);
  out.set_started_at_ms(started_at_.milliseconds);
  if (!kernel_) return out;
  out.set_uplink(around_.uplink.link.name);
  out.set_underlay_address(known_.self.address());
  out.set_networks(uint32_t(known_.networks.size()));
  out.set_services(uint32_t(known_.services.size()));
  out.set_local_endpoints(uint32_t(attachments_->all().size()));
  out.set_known_endpoints(uint32_t(view_.endpoints().size()));
  if (auto counters = sums_by_name(*kernel_, "counters"))
    for (const auto& [name, value] : *counters) (*out.mutable_counters())[name] = value;
  if (auto drops = sums_by_name(*kernel_, "drops"))
    for (const auto& [name, value] : *drops) (*out.mutable_drops())[name] = value;
  for (const std::string& problem : kernel_->problems()) out.add_problems(problem);
  for (const std::string& problem : {last_failure_, save_problem_})
    if (!problem.empty()) out.add_problems(problem);
  return out;
}

api::DoctorReply Agent::doctor() {
  api::DoctorReply out;
  const auto add = [&](const std::string& name, const std::string& result,
                       const std::string& detail) {
    api::DoctorCheck& check = *out.add_checks();
    check.set_name(name);
    check.set_result(result);
    check.set_detail(detail);
  };
  for (const bpf::Feature& feature : bpf::feature_check())
    add(feature.name,
        feature.result == bpf::FeatureResult::ok        ? "ok"
        : feature.result == bpf::FeatureResult::warning ? "warning"
                                                        : "failed",
        feature.detail);
  if (!identity_) {
    add("cluster", "warning", "this node is in no cluster yet");
    return out;
  }
  const api::ClusterStatus cluster = cluster_status();
  add("manager", cluster.state() == "ready" ? "ok" : "failed", cluster.message());
  add("members", cluster.nodes_alive() == cluster.nodes_total() ? "ok" : "warning",
      std::to_string(cluster.nodes_alive()) + " of " + std::to_string(cluster.nodes_total()) +
          " nodes are alive");
  if (!kernel_) return out;
  for (const auto& [id, node] : known_.nodes) {
    auto address = Address::parse(node.address());
    if (!address || id == known_.self.id()) continue;
    const auto hop = around_.next_hops.find(*address);
    const bool resolved = hop != around_.next_hops.end() && hop->second.resolved;
    add("way to " + node.name(), resolved ? "ok" : "warning",
        resolved ? "" : "next hop not resolved: its traffic takes the kernel's way");
    if (hop != around_.next_hops.end() && hop->second.mtu_bytes < around_.uplink.link.mtu_bytes)
      add("MTU to " + node.name(), "warning",
          "the path carries " + std::to_string(hop->second.mtu_bytes) + " bytes, the uplink " +
              std::to_string(around_.uplink.link.mtu_bytes));
  }
  const auto bare = kernel_->links_without_program(attachments_->all());
  add("programs are attached", bare && bare->empty() ? "ok" : "failed",
      !bare           ? bare.error().message()
      : bare->empty() ? ""
                      : "none on " + bare->front() + ": restart weftd, which attaches them again");
  diff::Held actual;
  auto read = kernel_->maps().read_back(actual);
  const diff::Difference difference =
      diff::diff(kernel_->without_taken(desired_), actual, {}, drain_time, loop_.now());
  add("maps equal the plan",
      !read                           ? "failed"
      : difference.operations.empty() ? "ok"
                                      : "warning",
      !read ? read.error().message()
      : difference.operations.empty()
          ? ""
          : std::to_string(difference.operations.size()) + " entries differ");
  for (const std::string& problem : kernel_->problems()) add("kernel", "warning", problem);
  if (!save_problem_.empty()) add("state folder", "failed", save_problem_);
  return out;
}

}  // namespace weft::node
