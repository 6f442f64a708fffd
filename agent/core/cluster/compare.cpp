// SPDX-License-Identifier: Apache-2.0
// Comparing what two nodes keep: one hash over everything in each ping; single hashes where that
// differs; and a node that has just started asks until it has once equalled a peer in every scope.
#include <algorithm>

#include "core/cluster/engine.h"

namespace weft::cluster {

namespace {

constexpr size_t hashes_per_message = 66;
constexpr Duration sync_pause = 50ms;
constexpr Duration compare_pause = 40ms;  // doubles up to 64 times as much
constexpr uint32_t compare_doublings = 6;
constexpr size_t compared_at_once = 8;

}  // namespace

// Of the member list, the cluster scope and every network that both take part in.
uint64_t Engine::shared_hash(const NodeId& peer) {
  auto share = [&](ScopeId scope) { return version_hash({NodeId{}, scope, hash_of(scope)}); };
  uint64_t sum = share(members_scope) + share(cluster_scope);
  for (const auto& [scope, state] : scopes_) {
    const auto attached = attachments_.find(scope);
    if (attached != attachments_.end() && attached->second.contains(peer)) sum += share(scope);
  }
  return sum == 0 ? 1 : sum;
}

// A peer's ping told its hash over all that we share.
void Engine::on_shared(Instant now, uint64_t theirs, Sink& sink) {
  if (theirs == 0) return;
  if (theirs != shared_hash(sink.peer)) {
    sink.add(hashes_for(sink.peer, hashes_per_message));
    return;
  }
  equal(now, cluster_scope, sink.peer);
  for (const auto& [scope, state] : scopes_) {
    const auto attached = attachments_.find(scope);
    if (attached != attachments_.end() && attached->second.contains(sink.peer)) {
      equal(now, scope, sink.peer);
    }
  }
}

// The hashes of the member list, the cluster scope and, in turn, of shared networks.
wire::Hashes Engine::hashes_for(const NodeId& peer, size_t limit) {
  wire::Hashes hashes;
  hashes.scopes.push_back({members_scope, hash_of(members_scope)});
  hashes.scopes.push_back({cluster_scope, hash_of(cluster_scope)});
  if (scopes_.size() < 2) return hashes;
  const size_t networks = scopes_.size() - 1;
  auto it = std::next(scopes_.begin(), ptrdiff_t(1 + rotation_ % networks));
  size_t seen = 0;
  for (; seen < networks && hashes.scopes.size() < limit; ++seen) {
    const auto attached = attachments_.find(it->first);
    if (attached != attachments_.end() && attached->second.contains(peer)) {
      hashes.scopes.push_back({it->first, hash_of(it->first)});
    }
    if (++it == scopes_.end()) it = std::next(scopes_.begin());
  }
  rotation_ += seen;
  return hashes;
}

void Engine::on_hashes(Instant now, const wire::Hashes& hashes, Sink& sink) {
  if (left_at_) return;
  bool members_equal = false;
  for (const wire::ScopeHash& theirs : hashes.scopes) {
    const auto place = scopes_.find(theirs.scope);
    const bool members = theirs.scope == members_scope;
    if (!members && place == scopes_.end()) continue;
    if (hash_of(theirs.scope) == theirs.hash) {
      members_equal |= members;
      // The records of members that one of us does not know yet count for neither.
      if (!members && (theirs.scope != cluster_scope || members_equal)) {
        equal(now, theirs.scope, sink.peer);
      }
      continue;
    }
    Instant& synced = members ? members_synced_ : place->second.synced;
    if (synced != Instant{} && now - synced < sync_pause) continue;
    synced = now;
    ++counters_.syncs;
    begin_sync(theirs.scope, sink);
  }
}

void Engine::on_compare(const wire::Compare& compare, Sink& sink) {
  if (left_at_) return;
  wire::Hashes answer;
  for (const wire::ScopeHash& theirs : compare.scopes) {
    if (answer.scopes.size() == hashes_per_message) break;
    if (theirs.scope != members_scope && !scopes_.contains(theirs.scope)) continue;
    answer.scopes.push_back({theirs.scope, hash_of(theirs.scope)});
  }
  if (!answer.scopes.empty()) sink.add(answer);
}

// --- complete, as far as anybody knows ---

void Engine::equal(Instant now, ScopeId scope, const NodeId& peer) {
  const auto place = scopes_.find(scope);
  if (place == scopes_.end()) return;
  Scope& state = place->second;
  if (state.tombstones && !peer.is_none()) state.agreed[peer] = now;
  // Who takes part in a network is known from the cluster's records.
  if (state.compared || (scope != cluster_scope && !synced(cluster_scope))) return;
  state.compared = true;
  event(Event::Kind::scope_synced, peer, scope);
  if (scope == cluster_scope) compare_soon(now);
}

bool Engine::synced(ScopeId scope) const {
  const auto place = scopes_.find(scope);
  return place != scopes_.end() && place->second.compared;
}

void Engine::compare_soon(Instant now) {
  comparisons_ = 0;
  next_compare_ = std::min(next_compare_, now);
}

void Engine::compare(Instant now) {
  next_compare_ = Instant::never();
  size_t open = 0;
  auto ask = [&](const NodeId& peer, std::vector<ScopeId> scopes) {
    wire::Compare question;
    for (ScopeId scope : scopes) question.scopes.push_back({scope, hash_of(scope)});
    send(find(peer)->info.gossip, wire::encode(question));
    ++open;
  };
  if (!synced(cluster_scope)) {
    for (const Member* peer : pick(cluster_scope, 1, {})) {
      ask(peer->id, {members_scope, cluster_scope});
    }
  } else {
    for (auto& [scope, state] : scopes_) {
      if (state.compared) continue;
      const auto peers = pick(scope, 1, {});
      if (peers.empty()) {
        equal(now, scope, {});  // nobody else is there
      } else if (open < compared_at_once) {
        ask(peers.front()->id, {scope});
      }
    }
  }
  if (open == 0) return;
  next_compare_ = now + compare_pause * (1 << std::min(comparisons_, compare_doublings));
  ++comparisons_;
}

}  // namespace weft::cluster
