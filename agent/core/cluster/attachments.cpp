// SPDX-License-Identifier: Apache-2.0
#include "core/cluster/attachments.h"

#include <algorithm>

#include "core/cluster/engine.h"

namespace weft::cluster {

std::string attachment_key(ScopeId scope) {
  Bytes key;
  ByteWriter w(key);
  w.u8(uint8_t(reserved));
  w.u32(scope);
  return std::string(text_of(key));
}

ScopeId scope_of(std::string_view attachment) {
  ByteReader in(view_of(attachment));
  in.u8();
  const ScopeId scope = in.u32();
  return in.done() ? scope : cluster_scope;
}

bool is_reserved(ScopeId scope, std::string_view key) {
  return scope == cluster_scope && (key.empty() || key.front() == reserved);
}

// --- what is visible ---

bool Engine::owner_reachable(const NodeId& owner) const {
  if (owner == id_) return true;
  const Member* member = find(owner);
  return member && member->reachable();
}

// Records are visible while their owner is reachable and takes part in the scope. Only such logs
// count in hashes and version vectors: where nodes disagree on it, the member list or the cluster
// scope differ too, and are repaired first.
bool Engine::active(ScopeId scope, const NodeId& owner) const {
  if (!owner_reachable(owner)) return false;
  if (scope == cluster_scope) return true;
  const auto it = attachments_.find(scope);
  return it != attachments_.end() && it->second.contains(owner);
}

void Engine::refresh(Instant now, ScopeId scope, const NodeId& owner) {
  const auto place = scopes_.find(scope);
  if (place == scopes_.end()) return;
  Scope& state = place->second;
  state.hash_valid = state.peers_valid = false;
  const auto it = state.logs.find(owner);
  if (it == state.logs.end()) return;
  OriginLog& log = it->second;
  const bool visible = active(scope, owner);
  if (visible == log.shown) return;
  log.shown = visible;
  if (visible) log.ever_shown = true;
  if (!visible) log.inactive_since = now;
  const auto kind = visible ? Event::Kind::record_restored : Event::Kind::record_hidden;
  log.for_each_effective([&](const std::string& key, const OriginLog::Entry& entry) {
    if (is_reserved(scope, key)) return;
    event(kind, owner, scope, key, visible ? std::string_view(entry.value) : std::string_view());
  });
}

void Engine::refresh_owner(Instant now, const NodeId& owner) {
  for (auto& [scope, state] : scopes_) refresh(now, scope, owner);
}

// --- who takes part ---

void Engine::detach(Instant now, ScopeId scope, const NodeId& owner, StayEnd end) {
  const auto it = attachments_.find(scope);
  if (it == attachments_.end() || it->second.erase(owner) == 0) return;
  if (it->second.empty()) attachments_.erase(it);
  event(Event::Kind::scope_left, owner, scope);
  if (const auto place = scopes_.find(scope); place != scopes_.end()) {
    place->second.agreed.erase(owner);
    const auto log = place->second.logs.find(owner);
    if (log != place->second.logs.end()) end_stay(now, scope, owner, log->second, end);
  }
  refresh(now, scope, owner);
}

// What the owner wrote after the end of the stay says that it has entered again, though we have not
// heard of it: that is kept, hidden. Or else a valid record would be told of as gone for good.
void Engine::end_stay(Instant now, ScopeId scope, const NodeId& owner, OriginLog& log,
                      StayEnd end) {
  if (std::pair(log.boot_epoch(), log.last()) <= std::pair(end.boot_epoch, end.sequence)) {
    drop_log(now, scope, owner);
    return;
  }
  const bool same_boot = log.boot_epoch() == end.boot_epoch;
  void_writes(scope, owner, log, same_boot ? end.sequence + 1 : 0);
}

// Of former boots, and those of this boot below `base`.
void Engine::void_writes(ScopeId scope, const NodeId& owner, OriginLog& log, uint64_t base) {
  Metered metered(stored_bytes_, log);
  std::vector<std::string> gone = log.discard_previous();
  for (std::string& key : log.void_below(base)) gone.push_back(std::move(key));
  if (!log.ever_shown) return;
  for (const std::string& key : gone) event(Event::Kind::record_erased, owner, scope, key);
}

void Engine::attachment_changed(Instant now, const NodeId& owner, const wire::Record& record,
                                uint64_t boot_epoch) {
  const ScopeId scope = scope_of(record.key);
  if (scope == cluster_scope || scope == members_scope) return;
  ByteReader number_reader(view_of(record.value));
  const uint64_t number = number_reader.varint();
  if (record.kind == wire::RecordKind::tombstone) {
    detach(now, scope, owner, {boot_epoch, number_reader.done() ? number : UINT64_MAX});
    return;
  }
  if (!number_reader.ok() || number == 0) return;
  const Attachment stay{boot_epoch, number};
  const bool fresh = attachments_[scope].insert_or_assign(owner, stay).second;
  if (fresh) event(Event::Kind::scope_entered, owner, scope);
  if (const auto place = scopes_.find(scope); place != scopes_.end() && owner != id_) {
    const auto it = place->second.logs.find(owner);
    if (it != place->second.logs.end()) {
      begin_stay(now, scope, owner, it->second, stay, fresh);
    }
  }
  refresh(now, scope, owner);
}

void Engine::begin_stay(Instant now, ScopeId scope, const NodeId& owner, OriginLog& log,
                        const Attachment& stay, bool fresh) {
  if (log.boot_epoch() < stay.boot_epoch) {
    if (fresh) drop_log(now, scope, owner);  // of a stay that has ended, come late
    return;
  }
  if (log.boot_epoch() > stay.boot_epoch) return;
  if (fresh) {
    void_writes(scope, owner, log, stay.base);
  } else {
    Metered metered(stored_bytes_, log);
    for (const std::string& gone : log.void_below(stay.base)) vanish(now, scope, owner, log, gone);
  }
  settle(now, scope, owner, log);
}

Result<> Engine::enter_scope(Instant now, ScopeId scope) {
  if (scope == cluster_scope || scopes_.contains(scope)) return Ok;
  if (scope == members_scope) return Error(ErrorCode::invalid, "this network number is reserved");
  if (scopes_.size() >= Limits::scopes) {
    return Error(ErrorCode::exhausted, "this node takes part in too many networks");
  }
  const auto before = left_sequences_.find(scope);
  const uint64_t base = before == left_sequences_.end() ? 1 : before->second + 1;
  OriginLog& log =
      scopes_[scope].logs.emplace(id_, OriginLog(incarnation_.boot_epoch)).first->second;
  log.void_below(base);
  log.shown = log.ever_shown = true;
  Bytes value;
  ByteWriter(value).varint(base);
  write_own(now, cluster_scope, wire::RecordKind::value, attachment_key(scope), text_of(value));
  if (baseline_done_) write_own(now, scope, wire::RecordKind::baseline, {}, {});
  scopes_.at(scope).peers_valid = false;
  compare_soon(now);
  // Learn what is there without waiting for a ping.
  for (const Member* member : pick(scope, 3, {})) {
    Sink sink{member->info.gossip, member->id};
    begin_sync(scope, sink);
    flush(now, sink);
  }
  return Ok;
}

void Engine::leave_scope(Instant now, ScopeId scope) {
  const auto it = scopes_.find(scope);
  if (scope == cluster_scope || it == scopes_.end()) return;
  const uint64_t last = it->second.logs.at(id_).mark();
  left_sequences_[scope] = last;
  std::erase_if(eager_, [&](const Eager& item) { return item.scope == scope; });
  std::vector<NodeId> owners;
  for (const auto& [owner, log] : it->second.logs) owners.push_back(owner);
  for (const NodeId& owner : owners) drop_log(now, scope, owner);
  scopes_.erase(it);
  Bytes value;
  ByteWriter(value).varint(last);
  write_own(now, cluster_scope, wire::RecordKind::tombstone, attachment_key(scope), text_of(value));
}

// Of a network; the cluster's are in members_.
const std::vector<NodeId>& Engine::peers_of(ScopeId scope) {
  static const std::vector<NodeId> none;
  const auto place = scopes_.find(scope);
  if (place == scopes_.end()) return none;
  Scope& state = place->second;
  if (!state.peers_valid) {
    state.peers.clear();
    if (const auto it = attachments_.find(scope); it != attachments_.end()) {
      for (const auto& [owner, attachment] : it->second) {
        const Member* member = find(owner);
        if (member && member->reachable()) state.peers.push_back(owner);
      }
    }
    state.peers_valid = true;
  }
  return state.peers;
}

// `count` different reachable members of the scope, or as many as there are.
std::vector<const Member*> Engine::pick(ScopeId scope, size_t count, const NodeId& except) {
  const bool all = scope == members_scope || scope == cluster_scope;
  static const std::vector<NodeId> unused;
  const std::vector<NodeId>& peers = all ? unused : peers_of(scope);
  const size_t candidates = all ? members_.reachable() : peers.size();
  std::vector<const Member*> out;
  if (candidates <= count + 1) {
    auto take = [&](const Member& member) {
      if (member.id != except) out.push_back(&member);
    };
    if (all) members_.for_each_reachable(take);
    for (const NodeId& id : peers) take(*find(id));
    while (out.size() > count) out.erase(out.begin() + ptrdiff_t(rng_.below(out.size())));
    return out;
  }
  while (out.size() < count) {
    const Member* member =
        all ? &members_.any_reachable(rng_) : find(peers[rng_.below(peers.size())]);
    if (member->id == except) continue;
    if (std::find(out.begin(), out.end(), member) == out.end()) out.push_back(member);
  }
  return out;
}

std::vector<NodeId> Engine::scope_members(ScopeId scope) const {
  std::vector<NodeId> out;
  if (scope == cluster_scope) {
    for (const MemberView& member : members()) out.push_back(member.id);
  } else if (const auto it = attachments_.find(scope); it != attachments_.end()) {
    for (const auto& [owner, attachment] : it->second) out.push_back(owner);
  }
  return out;
}

}  // namespace weft::cluster
