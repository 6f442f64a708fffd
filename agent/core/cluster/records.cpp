// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "core/cluster/attachments.h"
#include "core/cluster/engine.h"

namespace weft::cluster {

// --- logs ---

// Records of a boot before the one in which the owner entered the network (or, if it has not,
// before its present one). Who had them in time still shows them until the new log is complete; but
// late arrivals may be what had been erased long ago.
bool Engine::refuses(ScopeId scope, const NodeId& owner, uint64_t boot_epoch) const {
  if (revoked_.contains(owner) || owner == id_) return true;
  if (scope == cluster_scope) return false;
  const auto& logs = scopes_.at(scope).logs;
  const auto held = logs.find(owner);
  if (held != logs.end() && held->second.boot_epoch() == boot_epoch) return false;
  if (const auto it = attachments_.find(scope); it != attachments_.end()) {
    const auto stay = it->second.find(owner);
    if (stay != it->second.end()) return boot_epoch < stay->second.boot_epoch;
  }
  const auto& cluster_logs = scopes_.at(cluster_scope).logs;
  const auto it = cluster_logs.find(owner);
  return it != cluster_logs.end() && boot_epoch < it->second.boot_epoch();
}

// The log to apply news of that boot epoch to; null if they are not wanted.
OriginLog* Engine::log_for(Instant now, ScopeId scope, const NodeId& owner, uint64_t boot_epoch) {
  const auto place = scopes_.find(scope);
  if (place == scopes_.end()) return nullptr;
  if (owner == id_ && boot_epoch > incarnation_.boot_epoch) ++counters_.identity_conflicts;
  if (refuses(scope, owner, boot_epoch)) return nullptr;
  auto& logs = place->second.logs;
  auto it = logs.find(owner);
  if (it != logs.end() && boot_epoch < it->second.boot_epoch()) return nullptr;
  const bool fresh = it == logs.end();
  if (fresh) {
    if (!find(owner) && logs.size() > members_.size() + Limits::unknown_owners) {
      ++counters_.over_limit;
      return nullptr;
    }
    it = logs.emplace(owner, OriginLog(boot_epoch)).first;
    it->second.inactive_since = now;
    it->second.shown = it->second.ever_shown = active(scope, owner);
  } else if (boot_epoch == it->second.boot_epoch()) {
    return &it->second;
  } else {
    Metered metered(stored_bytes_, it->second);
    it->second.begin_epoch(boot_epoch);
  }
  if (const auto attached = attachments_.find(scope); attached != attachments_.end()) {
    const auto stay = attached->second.find(owner);
    if (stay != attached->second.end() && stay->second.boot_epoch == boot_epoch) {
      it->second.void_below(stay->second.base);
    }
  }
  place->second.hash_valid = false;
  return &it->second;
}

bool Engine::apply(Instant now, ScopeId scope, const NodeId& owner, OriginLog& log,
                   const wire::Record& record) {
  const OriginLog::Entry* before = log.effective(record.key);
  const bool had = before != nullptr;
  const bool same = had && before->value == record.value;
  const bool fresh_key = !log.records().contains(record.key);
  if (owner != id_ && ((fresh_key && log.size() >= Limits::records_per_owner) ||
                       stored_bytes_ > Limits::stored_bytes)) {
    ++counters_.over_limit;
    return false;
  }
  if (Metered metered(stored_bytes_, log); !log.apply(now, record)) return false;
  if (record.kind == wire::RecordKind::baseline) return true;
  if (record.kind == wire::RecordKind::tombstone) scopes_.at(scope).tombstones = true;
  const bool visible = record.kind == wire::RecordKind::value;
  if (is_reserved(scope, record.key)) {
    attachment_changed(now, owner, record, log.boot_epoch());
  } else if (visible && log.shown && !same) {
    event(Event::Kind::record_set, owner, scope, record.key, record.value);
  } else if (!visible && had && log.ever_shown) {
    event(Event::Kind::record_erased, owner, scope, record.key);
  }
  return true;
}

// A visible key of the log is gone without a tombstone of its own.
void Engine::vanish(Instant now, ScopeId scope, const NodeId& owner, const OriginLog& log,
                    const std::string& key) {
  if (is_reserved(scope, key)) {
    attachment_changed(now, owner, {0, wire::RecordKind::tombstone, key, {}}, log.boot_epoch());
  } else if (log.ever_shown) {
    event(Event::Kind::record_erased, owner, scope, key);
  }
}

// After the mark has moved: the former boot's records end when the new log is complete.
void Engine::settle(Instant now, ScopeId scope, const NodeId& owner, OriginLog& log) {
  scopes_.at(scope).hash_valid = false;
  std::unique_ptr<OriginLog::Records> superseded;
  {
    Metered metered(stored_bytes_, log);
    superseded = log.take_superseded();
  }
  if (superseded) {
    for (const auto& [key, entry] : *superseded) {
      if (is_reserved(scope, key)) {
        detach(now, scope_of(key), owner, {log.boot_epoch(), 0});
      } else {
        vanish(now, scope, owner, log, key);
      }
    }
  }
  if (scope != cluster_scope || !log.complete()) return;
  // Networks that it did not enter again may hold logs of former boots that were never attached
  // in our view.
  std::vector<ScopeId> stale;
  for (const auto& [id, state] : scopes_) {
    const auto it = state.logs.find(owner);
    if (id == cluster_scope || it == state.logs.end() || active(id, owner)) continue;
    if (it->second.boot_epoch() < log.boot_epoch()) stale.push_back(id);
  }
  for (ScopeId id : stale) drop_log(now, id, owner);
}

void Engine::drop_log(Instant now, ScopeId scope, const NodeId& owner) {
  const auto place = scopes_.find(scope);
  if (place == scopes_.end()) return;
  const auto it = place->second.logs.find(owner);
  if (it == place->second.logs.end()) return;
  const OriginLog& log = it->second;
  if (log.ever_shown) {
    log.for_each_effective([&](const std::string& key, const OriginLog::Entry&) {
      if (!is_reserved(scope, key)) event(Event::Kind::record_erased, owner, scope, key);
    });
  }
  stored_bytes_ -= log.stored_bytes();
  place->second.logs.erase(it);
  place->second.hash_valid = false;
  lazy_.erase({scope, owner});
  if (scope != cluster_scope) return;
  // Its attachments were part of this log.
  std::vector<ScopeId> networks;
  for (const auto& [network, owners] : attachments_) {
    if (owners.contains(owner)) networks.push_back(network);
  }
  for (ScopeId network : networks) detach(now, network, owner, StayEnd{});
}

// --- news ---

// A write on its way through the cluster: at first receipt it goes on at once.
void Engine::on_record(Instant now, const wire::RecordNews& news, const NodeId& sender) {
  OriginLog* log = log_for(now, news.scope, news.origin, news.boot_epoch);
  if (!log || log->covers(news.record.sequence)) return;
  const bool applied = apply(now, news.scope, news.origin, *log, news.record);
  log->cover(news.record.sequence - 1, news.record.sequence);
  settle(now, news.scope, news.origin, *log);
  if (!applied) return;
  eager_.push_back({news.scope, sender, wire::encode(news)});
  changed(now, news.scope, news.origin);
}

void Engine::on_delta(Instant now, const wire::Delta& delta) {
  OriginLog* log = log_for(now, delta.scope, delta.origin, delta.boot_epoch);
  if (!log) return;
  const uint64_t mark_before = log->mark();
  for (const wire::Record& record : delta.records) {
    apply(now, delta.scope, delta.origin, *log, record);
  }
  if (delta.floor > 0) {
    std::vector<uint64_t> listed;
    listed.reserve(delta.records.size());
    for (const wire::Record& record : delta.records) listed.push_back(record.sequence);
    Metered metered(stored_bytes_, *log);
    for (const std::string& key : log->unlisted(delta.through, listed)) {
      const bool visible = log->effective(key) != nullptr;
      log->drop(key);
      if (visible) vanish(now, delta.scope, delta.origin, *log, key);
    }
    log->raise_floor(delta.floor);
  }
  log->cover(delta.from, delta.through);
  settle(now, delta.scope, delta.origin, *log);
  if (log->mark() != mark_before) changed(now, delta.scope, delta.origin);
}

// --- this node's own ---

void Engine::write_own(Instant now, ScopeId scope, wire::RecordKind kind, std::string_view key,
                       std::string_view value) {
  OriginLog& log = scopes_.at(scope).logs.at(id_);
  const wire::Record record{log.mark() + 1, kind, key, value};
  const Bytes message = wire::encode(wire::RecordNews{scope, id_, incarnation_.boot_epoch, record});
  apply(now, scope, id_, log, record);
  log.cover(record.sequence - 1, record.sequence);
  settle(now, scope, id_, log);
  eager_.push_back({scope, id_, message});
  changed(now, scope, id_);
}

Result<> Engine::set(Instant now, ScopeId scope, std::string_view key, std::string_view value) {
  const auto it = scopes_.find(scope);
  if (it == scopes_.end()) {
    return Error(ErrorCode::not_found, "this node does not take part in the network");
  }
  if (key.empty() || key.front() == reserved || key.size() > Limits::key_bytes ||
      key.size() + value.size() > Limits::record_bytes) {
    return Error(ErrorCode::invalid, "the record's key or value has an impossible size");
  }
  const OriginLog& log = it->second.logs.at(id_);
  const OriginLog::Entry* entry = log.effective(key);
  if (entry && entry->value == value) return Ok;
  // Half, for tombstones count too where the record is kept.
  if (!log.records().contains(key) && log.records().size() >= Limits::records_per_owner / 2) {
    return Error(ErrorCode::exhausted, "this node has too many records in the network");
  }
  write_own(now, scope, wire::RecordKind::value, key, value);
  return Ok;
}

Result<> Engine::erase(Instant now, ScopeId scope, std::string_view key) {
  const auto it = scopes_.find(scope);
  if (it == scopes_.end() || key.empty() || key.front() == reserved ||
      !it->second.logs.at(id_).effective(key)) {
    return Error(ErrorCode::not_found, "there is no such record");
  }
  write_own(now, scope, wire::RecordKind::tombstone, key, {});
  return Ok;
}

void Engine::baseline_complete(Instant now) {
  if (baseline_done_) return;
  baseline_done_ = true;
  // The cluster scope last: it makes networks that were not entered again vanish.
  for (auto it = scopes_.rbegin(); it != scopes_.rend(); ++it) {
    write_own(now, it->first, wire::RecordKind::baseline, {}, {});
  }
}

// --- housekeeping ---

void Engine::expire_records(Instant now) {
  for (auto& [scope, state] : scopes_) {
    Instant cutoff = now - config_.tombstone_lifetime;
    Instant agreed_cutoff = cutoff;
    if (state.tombstones) {
      // When a peer last showed our hash, it had every tombstone that we had then.
      Instant agreed = now;
      bool anybody = false;
      auto look = [&, &seen = state.agreed](const NodeId& peer) {
        anybody = true;
        const auto it = seen.find(peer);
        agreed = std::min(agreed, it == seen.end() ? cutoff : it->second);
      };
      if (scope == cluster_scope) {
        members_.for_each_reachable([&](const Member& member) { look(member.id); });
      }
      for (const NodeId& peer : peers_of(scope)) look(peer);
      if (anybody) agreed_cutoff = agreed;
    }
    state.tombstones = false;
    std::vector<NodeId> orphans;
    for (auto& [owner, log] : state.logs) {
      {
        Metered metered(stored_bytes_, log);
        log.collect_tombstones(log.shown ? std::max(cutoff, agreed_cutoff) : cutoff);
      }
      state.tombstones |= log.has_tombstones();
      const bool gone = !log.shown && !(find(owner) && !owner_reachable(owner));
      if (gone && now - log.inactive_since > config_.orphan_lifetime) orphans.push_back(owner);
    }
    if (!state.tombstones) state.agreed.clear();
    for (const NodeId& owner : orphans) drop_log(now, scope, owner);
  }
}

std::vector<RecordView> Engine::records(ScopeId scope) const {
  std::vector<RecordView> out;
  const auto place = scopes_.find(scope);
  if (place == scopes_.end()) return out;
  for (const auto& item : place->second.logs) {
    const NodeId& owner = item.first;
    const OriginLog& log = item.second;
    if (!log.shown) continue;
    const size_t first = out.size();
    log.for_each_effective([&](const std::string& key, const OriginLog::Entry& entry) {
      if (!is_reserved(scope, key)) out.push_back({owner, key, entry.value});
    });
    std::sort(out.begin() + ptrdiff_t(first), out.end(),
              [](const RecordView& a, const RecordView& b) { return a.key < b.key; });
  }
  return out;
}

size_t Engine::stored_bytes() const { return stored_bytes_; }

}  // namespace weft::cluster
