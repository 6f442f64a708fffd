// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <array>
#include <bit>

#include "core/cluster/engine.h"

namespace weft::cluster {

namespace {

constexpr size_t versions_per_packet = 40;
constexpr size_t message_bytes = 1100;    // of a message that should share a packet
constexpr size_t answer_bytes = 3 << 20;  // of one exchange; the rest is for the next
constexpr Duration pull_pause = 30ms;
// After 12, 30, 60, 110 and 220 ms. Each round finds 86 % of those that are still missing.
constexpr std::array<Duration, 5> lazy_pauses = {12ms, 18ms, 30ms, 50ms, 110ms};
constexpr size_t lazy_targets = 2;

}  // namespace

// --- what this node has ---

std::optional<wire::Version> Engine::version_of(ScopeId scope, const NodeId& origin) {
  if (scope == members_scope) {
    if (origin == id_) {
      if (left_at_) return std::nullopt;
      return wire::Version{id_, incarnation_.boot_epoch, incarnation_.counter};
    }
    const Member* member = find(origin);
    if (!member || !member->reachable()) return std::nullopt;
    return wire::Version{origin, member->incarnation.boot_epoch, member->incarnation.counter};
  }
  const auto place = scopes_.find(scope);
  if (place == scopes_.end()) return std::nullopt;
  const auto it = place->second.logs.find(origin);
  if (it == place->second.logs.end() || !it->second.shown) return std::nullopt;
  return wire::Version{origin, it->second.boot_epoch(), it->second.mark()};
}

std::vector<wire::Version> Engine::versions_of(ScopeId scope) {
  std::vector<wire::Version> out;
  if (scope == members_scope) {
    out.reserve(members_.reachable() + 1);
    if (auto self = version_of(scope, id_)) out.push_back(*self);
    members_.for_each_reachable([&](const Member& member) {
      out.push_back({member.id, member.incarnation.boot_epoch, member.incarnation.counter});
    });
    return out;
  }
  const auto place = scopes_.find(scope);
  if (place == scopes_.end()) return out;
  for (const auto& [origin, log] : place->second.logs) {
    if (log.shown && log.mark() > 0) out.push_back({origin, log.boot_epoch(), log.mark()});
  }
  return out;
}

// A sum, so that the order does not matter. Logs in which nothing is written do not count, nor are
// they told of.
uint64_t Engine::hash_of(ScopeId scope) {
  if (scope == members_scope) {
    const auto self = version_of(scope, id_);
    return members_.hash() + (self ? version_hash(*self) : 0);
  }
  const auto place = scopes_.find(scope);
  if (place == scopes_.end()) return 0;
  Scope& state = place->second;
  if (state.hash_valid) return state.hash;
  state.hash = 0;
  for (const auto& [origin, log] : state.logs) {
    if (log.shown && log.mark() > 0)
      state.hash += version_hash({origin, log.boot_epoch(), log.mark()});
  }
  state.hash_valid = true;
  return state.hash;
}

void Engine::begin_sync(ScopeId scope, Sink& sink) {
  std::vector<wire::Version> versions = versions_of(scope);
  if (versions.size() <= versions_per_packet) {
    sink.add(wire::Vector{scope, 0, {0}, std::move(versions)});
    return;
  }
  wire::Digest digest{scope, uint32_t(rng_()), 0, {}};
  digest.log2_buckets = uint8_t(std::min<size_t>(9, std::bit_width(versions.size() / 8)));
  digest.hashes.resize(size_t(1) << digest.log2_buckets);
  for (const wire::Version& version : versions) {
    digest.hashes[bucket_of(version.origin, digest.log2_buckets)] +=
        salted_hash(version, digest.salt);
  }
  sink.add(digest);
}

void Engine::on_digest(Instant, const wire::Digest& digest, Sink& sink) {
  if (left_at_ || (digest.scope != members_scope && !scopes_.contains(digest.scope))) return;
  const uint8_t log2 = digest.log2_buckets;
  std::vector<std::vector<wire::Version>> buckets(size_t(1) << log2);
  for (const wire::Version& version : versions_of(digest.scope)) {
    buckets[bucket_of(version.origin, log2)].push_back(version);
  }
  wire::Vector part{digest.scope, log2, {}, {}};
  auto emit = [&] {
    if (!part.buckets.empty()) sink.add(part);
    part.buckets.clear();
    part.versions.clear();
  };
  for (size_t i = 0; i < buckets.size(); ++i) {
    uint16_t hash = 0;
    for (const wire::Version& version : buckets[i]) hash += salted_hash(version, digest.salt);
    if (hash == digest.hashes[i]) continue;
    if (part.versions.size() + buckets[i].size() > versions_per_packet) emit();
    part.buckets.push_back(uint16_t(i));
    part.versions.insert(part.versions.end(), buckets[i].begin(), buckets[i].end());
  }
  emit();
}

void Engine::on_vector(Instant now, const wire::Vector& vector, Sink& sink) {
  const bool members = vector.scope == members_scope;
  if (left_at_ || (!members && !scopes_.contains(vector.scope))) return;
  const bool answer = !vector.buckets.empty();
  wire::Pull pull{vector.scope, {}};
  std::vector<NodeId> listed;
  for (const wire::Version& theirs : vector.versions) {
    listed.push_back(theirs.origin);
    if (members) {
      if (theirs.origin == id_ || revoked_.contains(theirs.origin)) {
        if (theirs.origin == id_ && answer) send_newer(vector.scope, theirs, sink);
        continue;
      }
      const Member* member = find(theirs.origin);
      const Incarnation incarnation{theirs.boot_epoch, theirs.mark};
      const auto forgotten = forgotten_.find(theirs.origin);
      if (!member && forgotten != forgotten_.end() && incarnation <= forgotten->second) continue;
      if (!member || incarnation > member->incarnation) {
        pull.versions.push_back({theirs.origin, 0, 0});
      } else if (answer || !member->reachable()) {
        send_newer(vector.scope, theirs, sink);
      }
      continue;
    }
    auto& logs = scopes_.at(vector.scope).logs;
    const auto it = logs.find(theirs.origin);
    wire::Version mine{theirs.origin, 0, 0};
    if (it != logs.end()) mine = {theirs.origin, it->second.boot_epoch(), it->second.mark()};
    const bool behind =
        std::pair(mine.boot_epoch, mine.mark) < std::pair(theirs.boot_epoch, theirs.mark);
    if (behind) {
      if (refuses(vector.scope, theirs.origin, theirs.boot_epoch)) continue;
      if (it != logs.end()) {
        Instant& pulled = it->second.pulled_at;
        if (pulled != Instant{} && now - pulled < pull_pause) continue;
        pulled = now;
      }
      pull.versions.push_back(mine);
    } else if (answer) {
      send_newer(vector.scope, theirs, sink);
    }
  }
  if (!pull.versions.empty()) sink.add(pull);
  if (!answer) return;
  // What they did not list in these buckets they do not have, or hide while they hold its owner for
  // dead. So records are offered, not sent: after a partition each side still has the other's.
  std::sort(listed.begin(), listed.end());
  wire::Vector offer{vector.scope, 0, {}, {}};
  for (const wire::Version& mine : versions_of(vector.scope)) {
    const uint16_t bucket = bucket_of(mine.origin, vector.log2_buckets);
    if (!std::binary_search(vector.buckets.begin(), vector.buckets.end(), bucket)) continue;
    if (std::binary_search(listed.begin(), listed.end(), mine.origin)) continue;
    if (members) {
      send_newer(vector.scope, {mine.origin, 0, 0}, sink);
      continue;
    }
    offer.versions.push_back(mine);
    if (offer.versions.size() < versions_per_packet) continue;
    sink.add(offer);
    offer.versions.clear();
  }
  if (!offer.versions.empty()) sink.add(offer);
}

void Engine::on_pull(const wire::Pull& pull, Sink& sink) {
  for (const wire::Version& theirs : pull.versions) send_newer(pull.scope, theirs, sink);
}

// Sends what this node has beyond `theirs`.
void Engine::send_newer(ScopeId scope, const wire::Version& theirs, Sink& sink) {
  if (sink.bytes > answer_bytes) return;
  if (scope == members_scope) {
    if (theirs.origin == id_) {
      if (std::pair(theirs.boot_epoch, theirs.mark) <
          std::pair(incarnation_.boot_epoch, incarnation_.counter)) {
        sink.add(news_of_self());
      }
      return;
    }
    const Member* member = find(theirs.origin);
    if (!member) return;
    const Incarnation incarnation{theirs.boot_epoch, theirs.mark};
    if (member->incarnation > incarnation ||
        (!member->reachable() && member->incarnation == incarnation)) {
      wire::Member news = news_of(*member);
      // Suspicion travels as a rumour; a stranger needs the address first.
      if (news.state == MemberState::suspect) {
        news.state = MemberState::alive;
        news.info = member->info;
      }
      sink.add(news);
    }
    return;
  }
  const auto place = scopes_.find(scope);
  if (place == scopes_.end()) return;
  const auto it = place->second.logs.find(theirs.origin);
  if (it == place->second.logs.end()) return;
  const OriginLog& log = it->second;
  if (theirs.boot_epoch > log.boot_epoch()) return;
  if (theirs.boot_epoch < log.boot_epoch()) {
    send_log(scope, theirs.origin, log, 0, sink);
  } else if (theirs.mark < log.mark()) {
    send_log(scope, theirs.origin, log, theirs.mark, sink);
  }
}

void Engine::send_log(ScopeId scope, const NodeId& origin, const OriginLog& log, uint64_t from,
                      Sink& sink) {
  const bool snapshot = from < log.floor();
  if (snapshot) from = 0;
  std::vector<wire::Record> records;
  for (const auto& [key, entry] : log.records()) {
    if (entry.sequence <= from || entry.sequence > log.mark()) continue;
    records.push_back({entry.sequence, entry.kind, key, entry.value});
  }
  std::sort(records.begin(), records.end(),
            [](const auto& a, const auto& b) { return a.sequence < b.sequence; });
  if (snapshot) {
    sink.add(wire::Delta{scope, origin, log.boot_epoch(), 0, log.mark(), log.floor(),
                         std::move(records)});
    return;
  }
  wire::Delta part{scope, origin, log.boot_epoch(), from, from, 0, {}};
  size_t bytes = 0;
  for (const wire::Record& record : records) {
    const size_t size = wire::record_size_bound(record);
    if (bytes > 0 && bytes + size > message_bytes) {
      part.through = part.records.back().sequence;
      sink.add(part);
      if (sink.bytes > answer_bytes) return;
      part.from = part.through;
      part.records.clear();
      bytes = 0;
    }
    part.records.push_back(record);
    bytes += size;
  }
  part.through = log.mark();
  sink.add(part);
}

// --- rounds ---

// Something of this origin is new here: others will be asked in a few rounds whether they have it.
void Engine::changed(Instant now, ScopeId scope, const NodeId& owner) {
  Lazy& lazy = lazy_[{scope, owner}];
  lazy.round = 0;
  // A burst does not push its own digest ahead of itself for ever.
  if (lazy.due == Instant{} || lazy.due > now + lazy_pauses[0]) lazy.due = now + lazy_pauses[0];
  lazy_due_ = std::min(lazy_due_, lazy.due);
}

void Engine::lazy_rounds(Instant now) {
  constexpr Duration together = 4ms;
  std::map<ScopeId, std::vector<NodeId>> due;
  lazy_due_ = Instant::never();
  for (auto it = lazy_.begin(); it != lazy_.end();) {
    Lazy& lazy = it->second;
    if (lazy.due <= now + together) {
      due[it->first.first].push_back(it->first.second);
      if (++lazy.round == lazy_pauses.size()) {
        it = lazy_.erase(it);
        continue;
      }
      lazy.due = now + jitter(lazy_pauses[lazy.round]);
    }
    lazy_due_ = std::min(lazy_due_, lazy.due);
    ++it;
  }
  for (const auto& [scope, origins] : due) {
    const std::vector<const Member*> targets = pick(scope, lazy_targets, {});
    if (targets.empty()) continue;
    wire::Vector vector{scope, 0, {}, {}};
    auto emit = [&] {
      if (vector.versions.empty()) return;
      const Bytes message = wire::encode(vector);
      for (const Member* member : targets) send(member->info.gossip, message);
      vector.versions.clear();
    };
    for (const NodeId& origin : origins) {
      const Member* member = scope == members_scope ? find(origin) : nullptr;
      if (member && member->state != MemberState::alive) {
        const Bytes message = wire::encode(news_of(*member));
        for (const Member* target : targets) send(target->info.gossip, message);
        continue;
      }
      if (auto version = version_of(scope, origin)) vector.versions.push_back(*version);
      if (vector.versions.size() == versions_per_packet) emit();
    }
    emit();
  }
}

}  // namespace weft::cluster
