// SPDX-License-Identifier: Apache-2.0
// Planning: every change of what is known leads here, and one plan answers all that came together.
#include <malloc.h>

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
constexpr size_t trim_from_bytes = 1 << 20;

}  // namespace

void Agent::plan_soon() { plan_pace_.soon(); }

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
  if (surroundings_changed_) refresh_surroundings();
  const plan::NodeView view = view_.build(known_, around_, attachments_->all());
  desired_ = plan::plan(view);
  if (!settled()) {
    kernel_->sync_ports(desired_);
    rebuild_names(view);
    plan_timer_ = loop_.after(settle_poll, [this] { plan_now(); });
    return;
  }
  const auto deadline = kernel_->apply(desired_, loop_.now());
  rebuild_names(view);
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
  plan_timer_ = loop_.at(next, [this] {
    surroundings_changed_ = true;
    plan_now();
    trim_memory();
  });
}

// Plans and names leave the heap full of holes: after a quiet time they go back to the kernel.
void Agent::trim_memory() {
  const size_t free_bytes = ::mallinfo2().fordblks;
  if (free_bytes > trim_from_bytes) ::malloc_trim(0);
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
  surroundings_changed_ = false;
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

// Has gossip something to say of it?
bool Agent::is_announced(const Attachment& attachment, uint32_t& vni) const {
  const auto network = known_.networks.find(attachment.network_id);
  if (network == known_.networks.end() || attachment.ifindex == 0) return false;
  if (!attachment.task_id.empty() && !known_.tasks.contains(attachment.task_id)) return false;
  vni = network->second.vni();
  return true;
}

// Says in gossip what this node has; only what changed travels. The caller flushes.
void Agent::announce(const std::string& endpoint_id) {
  const Attachment* attachment = attachments_->find(endpoint_id);
  uint32_t vni = 0;
  if (!attachment || !is_announced(*attachment, vni)) return withdraw(endpoint_id);
  std::string record = codec::encode(record_of(*attachment));
  const auto known = announced_.find(endpoint_id);
  if (known != announced_.end() && known->second.vni == vni && known->second.record == record)
    return;
  if (known != announced_.end() && known->second.vni != vni) withdraw(endpoint_id);
  if (auto done = gossip_->core().set(gossip_->now(), vni, endpoint_id, record); !done)
    return log_error("announce endpoint " + endpoint_id + ": " + done.error().message());
  announced_[endpoint_id] = {vni, std::move(record)};
}

void Agent::withdraw(const std::string& endpoint_id) {
  const auto known = announced_.find(endpoint_id);
  if (known == announced_.end()) return;
  if (auto done = gossip_->core().erase(gossip_->now(), known->second.vni, endpoint_id); !done)
    log_debug("withdraw endpoint " + endpoint_id + ": " + done.error().message());
  announced_.erase(known);
}

// Services and names come with the assignment.
void Agent::announce_changed_by(const api::Assignment& assignment) {
  if (!gossip_) return;
  if (assignment.full() || assignment.networks_size() > 0) return announce_all();
  for (const api::Endpoint& endpoint : assignment.endpoints()) announce(endpoint.id());
  for (const api::Task& task : assignment.tasks())
    for (const api::TaskAttachment& in : task.attachments()) announce(in.endpoint_id());
  gossip_->flush();
}

void Agent::announce_all() {
  std::vector<std::string> gone;
  for (const auto& [id, announced] : announced_)
    if (!attachments_->find(id)) gone.push_back(id);
  for (const std::string& id : gone) withdraw(id);
  for (const auto& [id, attachment] : attachments_->all()) announce(id);
  gossip_->flush();
}

}  // namespace weft::node
