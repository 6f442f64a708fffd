// SPDX-License-Identifier: Apache-2.0
// Containers of this node: tasks, and namespaces attached by hand.
#include <algorithm>

#include "drivers/netns/netns.h"
#include "node/agent.h"
#include "node/log.h"

namespace weft::node {

namespace {

constexpr auto network_wait = 5s;
constexpr int max_interfaces = 10'000;  // of one namespace

template <typename T>
bool parse_into(const std::string& text, T& out) {
  if (text.empty()) return false;
  auto parsed = T::parse(text);
  if (parsed) out = *parsed;
  return parsed.has_value();
}

Prefix subnet_from(const std::string& text) {
  auto parsed = Prefix::parse(text, true);
  return parsed ? *parsed : Prefix();
}

// The first ethN that the namespace does not have; `taken` is what is known of it already.
Result<std::string> free_interface(link::Links& inside, const std::set<std::string>& taken) {
  for (int i = 0; i < max_interfaces; i++) {
    const std::string name = "eth" + std::to_string(i);
    if (!taken.contains(name) && !TRY(inside.find(name))) return name;
  }
  return Error(ErrorCode::exhausted, "the namespace has too many interfaces");
}

Result<> raise_loopback(link::Links& inside) {
  const auto lo = TRY(inside.find("lo"));
  if (lo && !lo->up()) TRY(inside.set_up(lo->index));
  return Ok;
}

}  // namespace

AttachmentNetwork Agent::network_of(const Attachment& wanted) const {
  AttachmentNetwork out;
  const auto network = known_.networks.find(wanted.network_id);
  if (network == known_.networks.end()) return out;
  out.subnet4 = subnet_from(network->second.subnet4());
  out.subnet6 = subnet_from(network->second.subnet6());
  // Tasks of an internal network still answer callers of their published ports.
  bool published = false;
  if (const auto task = known_.tasks.find(wanted.task_id); task != known_.tasks.end())
    published = task->second.spec().ports_size() > 0;
  if (!network->second.internal() || published) {
    if (!wanted.address4.is_none()) parse_into(network->second.gateway4(), out.gateway4);
    if (!wanted.address6.is_none()) parse_into(network->second.gateway6(), out.gateway6);
  }
  // The first network with a way outside gets the default route.
  for (const std::string& id : attachments_->in_netns(wanted.netns))
    if (id != wanted.endpoint_id) out.default_route = false;
  return out;
}

Result<Attachment> Agent::attach(Attachment wanted) {
  {
    const Fd netns = TRY(netns::open_netns(wanted.netns));
    if (TRY(netns::netns_id(netns.get())) == TRY(netns::netns_id(kernel_->netns())))
      return Error(ErrorCode::invalid, "'" + wanted.netns +
                                           "' is the node's own network namespace: attach a "
                                           "container's");
    link::Links inside = TRY(link::Links::open(netns.get()));
    TRY(raise_loopback(inside));
    if (const Attachment* known = attachments_->find(wanted.endpoint_id))
      wanted.interface = known->interface;
    if (wanted.interface.empty()) {
      std::set<std::string> taken;
      for (const std::string& id : attachments_->in_netns(wanted.netns))
        taken.insert(attachments_->find(id)->interface);
      wanted.interface = TRY(free_interface(inside, taken));
    }
  }
  const Attachment done = TRY(attachments_->attach(wanted, network_of(wanted)));
  TRY(kernel_->guard(done.ifindex));
  sync_resolver(done.netns);
  if (gossip_) {
    announce(done.endpoint_id);
    gossip_->flush();
  }
  names_changed(done.network_id);
  plan_soon();
  return done;
}

Result<> Agent::detach(const std::string& endpoint_id) {
  const Attachment* known = attachments_->find(endpoint_id);
  if (!known) return Ok;
  const Attachment before = *known;
  if (gossip_) {
    withdraw(before.endpoint_id);
    gossip_->flush();
  }
  if (auto gone = attachments_->detach(before.endpoint_id); !gone) {
    if (gossip_) announce(before.endpoint_id);
    return gone;
  }
  sync_resolver(before.netns);
  names_changed(before.network_id);
  plan_soon();
  return Ok;
}

// One name server per namespace, whatever the number of its networks.
void Agent::sync_resolver(const std::string& netns) {
  dns::Asker asker;
  asker.internal_only = true;
  std::set<std::string> networks;
  for (const std::string& id : attachments_->in_netns(netns))
    networks.insert(attachments_->find(id)->network_id);
  for (const std::string& id : networks) {
    const auto network = known_.networks.find(id);
    // The ingress network is the routing mesh's own: it has no names.
    if (network == known_.networks.end() || !network->second.ingress())
      asker.networks.push_back(id);
    if (network != known_.networks.end() && !network->second.internal())
      asker.internal_only = false;
  }
  if (networks.empty()) {
    if (resolvers_.erase(netns)) dns_->remove(netns);
    return;
  }
  if (const auto known = resolvers_.find(netns); known != resolvers_.end()) {
    if (known->second == asker) return;
    known->second = asker;
    return dns_->update(netns, std::move(asker));
  }
  auto opened = [&]() -> Result<dns::DnsSockets> {
    const Fd fd = TRY(netns::open_netns(netns));
    return dns::open_dns_sockets(fd.get());
  }();
  if (!opened) {
    log_warning("no name server in " + netns + ": " + opened.error().message());
    return;
  }
  resolvers_[netns] = asker;
  dns_->add(netns, std::move(*opened), std::move(asker));
}

// Brings up what is assigned, ends what is not, step by step; every step that ends leads here
// again.
void Agent::sync_tasks() {
  if (!tasks_ || !attachments_) return;
  for (const std::string& id : tasks_->known())
    if (!known_.tasks.contains(id)) {
      for (const auto& [endpoint, attachment] : std::map(attachments_->all()))
        if (attachment.task_id == id)
          if (auto gone = detach(endpoint); !gone)
            log_error("detach " + endpoint + ": " + gone.error().message());
      tasks_->remove(id);
    }
  for (const auto& [id, task] : known_.tasks) on_task_change(id);
}

void Agent::on_task_change(const std::string& task_id) {
  plan_soon();
  const auto found = known_.tasks.find(task_id);
  if (found == known_.tasks.end() || !tasks_) return;
  const api::Task& task = found->second;
  if (gossip_) {
    for (const api::TaskAttachment& in : task.attachments()) announce(in.endpoint_id());
    gossip_->flush();
  }
  if (task.desired() == api::TASK_SHUTDOWN ||
      tasks_->endpoint_state(task_id) == codec::EndpointState::draining) {
    // Also one that never ran here: the managers wait for the word of its end.
    tasks_->shut_down(task);
    if (!tasks_->ended(task_id)) return;
    for (const auto& [id, attachment] : std::map(attachments_->all()))
      if (attachment.task_id == task_id)
        if (auto gone = detach(id); !gone)
          log_error("detach " + id + ": " + gone.error().message());
    return;
  }
  if (task.desired() != api::TASK_RUNNING) return;
  if (task.spec().runtime() != "netns" && !tasks_->known().contains(task_id))
    return tasks_->fail(task_id, "this node has no runtime " + task.spec().runtime());
  if (tasks_->known().contains(task_id) && tasks_->ended(task_id)) return;
  auto brought_up = [&]() -> Result<> {
    const std::string netns = TRY(tasks_->prepare(task));
    for (const api::TaskAttachment& in : task.attachments()) {
      if (const Attachment* known = attachments_->find(in.endpoint_id());
          known && known->ifindex != 0)
        continue;
      Attachment wanted;
      wanted.endpoint_id = in.endpoint_id();
      wanted.network_id = in.network_id();
      wanted.task_id = task_id;
      wanted.netns = netns;
      parse_into(in.address4(), wanted.address4);
      parse_into(in.address6(), wanted.address6);
      parse_into(in.mac(), wanted.mac);
      const auto network = known_.networks.find(in.network_id());
      if (network == known_.networks.end()) return Error("its network is not known yet");
      wanted.mtu_bytes = network->second.mtu_bytes();
      TRY(attach(std::move(wanted)));
    }
    return tasks_->run(task);
  }();
  if (!brought_up) {
    log_error("task " + task.name() + ": " + brought_up.error().message());
    tasks_->fail(task_id, brought_up.error().message());
  }
}

// Containers that ended without saying so: their namespaces have gone, and the links with them.
void Agent::forget_gone_containers() {
  auto gone = attachments_->adopt();
  if (!gone) {
    log_error("looking for containers: " + gone.error().message());
    return;
  }
  for (const std::string& id : *gone) {
    log_info("endpoint " + id + " went with its container");
    if (gossip_) withdraw(id);
    if (!known_.endpoints.contains(id) || !session_) continue;
    api::ReleaseEndpointRequest release;
    release.set_endpoint_id(id);
    session_->call("ReleaseEndpoint", release.SerializeAsString(), [](Result<std::string>) {});
  }
  if (gossip_) gossip_->flush();
  std::vector<std::string> without;
  for (const auto& [netns, asker] : resolvers_)
    if (attachments_->in_netns(netns).empty()) without.push_back(netns);
  for (const std::string& netns : without) sync_resolver(netns);
}

void Agent::attach_by_request(const api::EndpointAttachRequest& request, Reply reply) {
  auto netns = netns::open_netns(request.netns());
  if (!netns) return reply(std::move(netns).error());
  if (!kernel_)
    return reply(
        Error(ErrorCode::unavailable,
              "this node is in no cluster yet: `weft cluster init` or `weft cluster join`"));
  api::AllocateEndpointRequest allocate;
  *allocate.mutable_attach() = request;
  session_->call("AllocateEndpoint", allocate.SerializeAsString(),
                 [this, request, reply](Result<std::string> answer) {
                   if (!answer) return reply(std::move(answer));
                   Waiting waiting;
                   if (!waiting.endpoint.ParseFromString(*answer))
                     return reply(Error("the manager's answer is damaged"));
                   waiting.request = request;
                   waiting.reply = reply;
                   waiting.until = loop_.now() + network_wait;
                   settle_attachment(std::move(waiting));
                 });
}

// The address is ours; the description of the network may come a moment later, with an assignment.
void Agent::settle_attachment(Waiting waiting) {
  if (!known_.networks.contains(waiting.endpoint.network_id()) && loop_.now() < waiting.until) {
    waiting_.push_back(std::move(waiting));
    waiting_timer_ = loop_.after(network_wait, [this] {
      for (Waiting& late : std::exchange(waiting_, {})) settle_attachment(std::move(late));
    });
    return;
  }
  api::Endpoint& endpoint = waiting.endpoint;
  if (auto attached = attach_allocated(endpoint, waiting.request); !attached) {
    api::ReleaseEndpointRequest release;
    release.set_endpoint_id(endpoint.id());
    known_.endpoints.erase(endpoint.id());
    session_->call("ReleaseEndpoint", release.SerializeAsString(), [](Result<std::string>) {});
    return waiting.reply(std::move(attached).error());
  }
  waiting.reply(endpoint.SerializeAsString());
}

Result<> Agent::attach_allocated(api::Endpoint& endpoint,
                                 const api::EndpointAttachRequest& request) {
  const auto network = known_.networks.find(endpoint.network_id());
  if (network == known_.networks.end())
    return Error(ErrorCode::unavailable,
                 "the manager has not told this node of the network: try again");
  Attachment wanted;
  wanted.endpoint_id = endpoint.id();
  wanted.network_id = endpoint.network_id();
  wanted.netns = request.netns();
  wanted.interface = request.interface();
  parse_into(endpoint.address4(), wanted.address4);
  parse_into(endpoint.address6(), wanted.address6);
  wanted.mac = TRY(Mac::parse(endpoint.mac()));
  wanted.mtu_bytes = network->second.mtu_bytes();
  known_.endpoints[endpoint.id()] = endpoint;
  endpoint.set_interface(TRY(attach(std::move(wanted))).interface);
  known_.endpoints[endpoint.id()] = endpoint;
  return Ok;
}

Result<api::Endpoint> Agent::find_endpoint(const std::string& name) const {
  const api::EndpointList all = list_endpoints({});
  for (const api::Endpoint& endpoint : all.endpoints())
    if (endpoint.id() == name || endpoint.name() == name) return endpoint;
  const api::Endpoint* found = nullptr;
  for (const api::Endpoint& endpoint : all.endpoints()) {
    if (name.empty() || !endpoint.id().starts_with(name)) continue;
    if (found)
      return Error(ErrorCode::invalid, "'" + name + "' is the start of several endpoints' ids");
    found = &endpoint;
  }
  if (!found)
    return Error(ErrorCode::not_found,
                 "there is no endpoint '" + name + "': see `weft endpoint ls`");
  return *found;
}

void Agent::detach_by_request(const std::string& name, Reply reply) {
  auto found = attachments_ ? find_endpoint(name)
                            : Result<api::Endpoint>(Error(ErrorCode::not_found,
                                                          "there is no endpoint '" + name + "'"));
  if (!found) return reply(std::move(found).error());
  const Attachment* local = attachments_->find(found->id());
  if (!local)
    return reply(Error(ErrorCode::conflict, "endpoint '" + name + "' is on node " + found->node() +
                                                ": detach it there"));
  if (!local->task_id.empty())
    return reply(Error(ErrorCode::conflict,
                       "endpoint '" + name + "' belongs to a task: remove or scale its service"));
  const std::string id = found->id();
  if (auto gone = detach(id); !gone) return reply(std::move(gone).error());
  known_.endpoints.erase(id);
  api::ReleaseEndpointRequest release;
  release.set_endpoint_id(id);
  session_->call("ReleaseEndpoint", release.SerializeAsString(),
                 [reply](Result<std::string> released) {
                   // Without a manager the address is freed when the next session begins.
                   if (!released && released.error().code() != ErrorCode::unavailable)
                     return reply(std::move(released));
                   reply(api::Empty().SerializeAsString());
                 });
}

api::EndpointList Agent::list_endpoints(const api::EndpointListRequest& request) const {
  api::EndpointList out;
  std::map<uint32_t, const api::Network*> networks;
  for (const auto& [id, network] : known_.networks) networks[network.vni()] = &network;
  for (const auto& [key, endpoint] : view_.endpoints()) {
    const auto network = networks.find(std::get<0>(key));
    const bool local = endpoint.node_id == known_.self.id();
    if (network == networks.end() || (request.local() && !local)) continue;
    if (!request.network().empty() && network->second->name() != request.network() &&
        network->second->id() != request.network())
      continue;
    api::Endpoint& one = *out.add_endpoints();
    one.set_id(std::string(endpoint.id));
    one.set_network_id(network->second->id());
    one.set_network(network->second->name());
    one.set_node_id(std::string(endpoint.node_id));
    if (const auto node = known_.nodes.find(one.node_id()); node != known_.nodes.end())
      one.set_node(node->second.name());
    const codec::EndpointRecord& record = endpoint.record;
    one.set_name(record.name);
    if (!record.address4.is_none()) one.set_address4(record.address4.to_string());
    if (!record.address6.is_none()) one.set_address6(record.address6.to_string());
    one.set_mac(record.mac.to_string());
    one.set_service_id(record.service_id);
    if (const auto service = known_.services.find(record.service_id);
        service != known_.services.end())
      one.set_service(service->second.spec().name());
    one.set_task_id(record.task_id);
    for (const std::string& alias : record.aliases) one.add_aliases(alias);
    one.set_state(record.state == codec::EndpointState::ready      ? "ready"
                  : record.state == codec::EndpointState::draining ? "draining"
                                                                   : "starting");
    if (const Attachment* attachment = attachments_ ? attachments_->find(one.id()) : nullptr) {
      one.set_netns(attachment->netns);
      one.set_interface(attachment->interface);
    }
  }
  return out;
}

}  // namespace weft::node
