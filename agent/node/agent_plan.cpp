// SPDX-License-Identifier: Apache-2.0
// Planning: every change of what is known leads here, and one plan answers all that came together.
#include <algorithm>

#include "core/plan/plan.h"
#include "node/agent.h"
#include "node/log.h"

namespace weft::node {

namespace {

// After a restart the tables of gossip are empty, but the maps are not. Nothing is taken out of
// them until the other nodes have had their say.
constexpr auto settle_quiet = 500ms;
constexpr auto settle_at_most = 10s;
constexpr auto settle_poll = 200ms;
constexpr auto retry_delay = 1s;
constexpr auto refresh_every = 5s;

}  // namespace

void Agent::plan_soon() {
  if (plan_pending_) return;
  plan_pending_ = true;
  loop_.post([this] {
    plan_pending_ = false;
    plan_now();
  });
}

// Everybody has been heard, and nothing that the maps hold of others is missing from the plan.
bool Agent::settled() {
  if (settled_) return true;
  const Instant now = loop_.now();
  bool all_heard_of = true;
  const auto members = gossip_->core().members();
  for (const auto& [id, node] : known_.nodes)
    all_heard_of &= std::any_of(members.begin(), members.end(), [&](const auto& m) {
      return m.id.to_string() == id && m.state != cluster::MemberState::suspect;
    });
  const bool quiet = now - last_gossip_event_ >= settle_quiet;
  settled_ =
      (all_heard_of && quiet && !forgets_endpoints()) || now - online_since_ >= settle_at_most;
  return settled_;
}

// An endpoint of another node that the maps hold and gossip has not spoken of (yet).
bool Agent::forgets_endpoints() const {
  const auto& planned = desired_.endpoints;
  for (const auto& [key, held] : kernel_->held().endpoints) {
    if (held.kind != WEFT_ENDPOINT_REMOTE) continue;
    const auto found = std::lower_bound(
        planned.begin(), planned.end(), key,
        [](const auto& entry, const auto& k) { return plan::KeyLess()(entry.first, k); });
    if (found == planned.end() || plan::KeyLess()(key, found->first)) return true;
  }
  return false;
}

void Agent::plan_now() {
  if (!kernel_ || !gossip_) return;
  refresh_surroundings();
  publish();
  const plan::NodeView view = view_.build(known_, around_, attachments_->all());
  desired_ = plan::plan(view);
  rebuild_names(view);
  if (!settled()) {
    kernel_->sync_ports(desired_);
    plan_timer_ = loop_.after(settle_poll, [this] { plan_now(); });
    return;
  }
  const auto deadline = kernel_->apply(desired_, loop_.now());
  if (!deadline) {
    if (last_failure_ != deadline.error().message())
      log_error("apply the plan: " + deadline.error().message());
    last_failure_ = deadline.error().message();
    plan_timer_ = loop_.after(retry_delay, [this] { plan_now(); });
    return;
  }
  last_failure_.clear();
  tell_problems();
  // Held ports may become free and neighbours may move without a word.
  const Instant next = std::min(*deadline, loop_.now() + refresh_every);
  plan_timer_ = loop_.at(next, [this] { plan_now(); });
}

// Each once when it comes, and once when it goes.
void Agent::tell_problems() {
  const std::set<std::string> now(kernel_->problems().begin(), kernel_->problems().end());
  for (const std::string& problem : now)
    if (!told_problems_.contains(problem)) log_warning(problem);
  for (const std::string& problem : told_problems_)
    if (!now.contains(problem)) log_info("no longer so: " + problem);
  told_problems_ = now;
}

// Addresses of this node and the ways to the others.
void Agent::refresh_surroundings() {
  around_.addresses.clear();
  if (auto addresses = links_->addresses())
    for (const link::InterfaceAddress& a : *addresses) {
      if (a.prefix.address.is_loopback() || a.prefix.address.is_link_local()) continue;
      if (a.prefix.address == around_.host.address4 || a.prefix.address == around_.host.address6)
        continue;
      around_.addresses.push_back({a.prefix.address, a.ifindex});
    }
  std::map<Address, link::NextHop> hops;
  for (const auto& [id, node] : known_.nodes) {
    if (id == known_.self.id()) continue;
    auto address = Address::parse(node.address());
    if (!address) continue;
    auto hop = link::next_hop(*links_, *address);
    if (!hop) continue;
    const auto before = around_.next_hops.find(*address);
    if (before == around_.next_hops.end() || before->second.neighbour != hop->neighbour)
      if (auto kept = link::keep_neighbour(*links_, hop->ifindex, hop->neighbour); !kept)
        log_debug("neighbour " + hop->neighbour.to_string() + ": " + kept.error().message());
    hops[*address] = *hop;
  }
  for (const auto& [address, hop] : around_.next_hops)
    if (!hops.contains(address))
      if (auto dropped = link::drop_neighbour(*links_, hop.ifindex, hop.neighbour); !dropped)
        log_debug("neighbour " + hop.neighbour.to_string() + ": " + dropped.error().message());
  around_.next_hops = std::move(hops);
}

codec::EndpointRecord Agent::record_of(const Attachment& attachment) const {
  codec::EndpointRecord record;
  record.address4 = attachment.address4;
  record.address6 = attachment.address6;
  record.mac = attachment.mac;
  record.state = codec::EndpointState::ready;
  if (!attachment.task_id.empty()) {
    record.state = tasks_->endpoint_state(attachment.task_id);
    if (const auto task = known_.tasks.find(attachment.task_id); task != known_.tasks.end()) {
      record.service_id = task->second.service_id();
      record.slot = task->second.slot();
      record.name = task->second.name();
      record.hostname = task->second.spec().hostname();
    }
    record.task_id = attachment.task_id;
  } else if (const auto endpoint = known_.endpoints.find(attachment.endpoint_id);
             endpoint != known_.endpoints.end()) {
    record.service_id = endpoint->second.service_id();
    record.name = endpoint->second.name();
    record.aliases.assign(endpoint->second.aliases().begin(), endpoint->second.aliases().end());
  }
  return record;
}

// Says in gossip what this node has; only what changed travels.
void Agent::publish() {
  std::map<uint32_t, std::set<std::string>> now;
  for (const auto& [id, attachment] : attachments_->all()) {
    const auto network = known_.networks.find(attachment.network_id);
    if (network == known_.networks.end() || attachment.ifindex == 0) continue;
    if (!attachment.task_id.empty() && !known_.tasks.contains(attachment.task_id)) continue;
    const uint32_t vni = network->second.vni();
    const std::string bytes = codec::encode(record_of(attachment));
    now[vni].insert(id);
    if (published_bytes_[id] == bytes) continue;
    if (auto done = gossip_->core().set(gossip_->now(), vni, id, bytes); !done)
      log_error("announce endpoint " + id + ": " + done.error().message());
    else
      published_bytes_[id] = bytes;
  }
  for (auto& [vni, ids] : published_) {
    for (const std::string& id : ids) {
      if (now[vni].contains(id)) continue;
      published_bytes_.erase(id);
      if (auto done = gossip_->core().erase(gossip_->now(), vni, id); !done)
        log_debug("withdraw endpoint " + id + ": " + done.error().message());
    }
    ids = std::move(now[vni]);
  }
  gossip_->flush();
}

void Agent::rebuild_names(const plan::NodeView& view) {
  dns::ViewInput input;
  for (const dns::NetworkInput& network : plan::plan_names(view))
    input.networks.push_back(dns::NetworkNames::build(network));
  input.known_names = known_.known_names;
  for (const auto& [id, network] : known_.networks) {
    const auto shared = network.options().find("forward_unknown");
    if (shared == network.options().end() || shared->second != "true")
      input.known_networks.push_back(network.name());
    for (const std::string& text : {network.subnet4(), network.subnet6()})
      if (auto prefix = Prefix::parse(text)) input.known_subnets.push_back(*prefix);
  }
  input.serial = ++dns_serial_;
  names_.put(std::make_shared<const dns::DnsView>(std::move(input)));
}

}  // namespace weft::node
