// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>

#include "core/cluster/engine.h"

namespace weft::cluster {

namespace {

constexpr size_t relayed_at_once = 256;
constexpr size_t scopes_per_ping = 8;

}  // namespace

uint8_t Engine::loss_byte() const { return uint8_t(std::lround(loss_.own() * 255)); }

// --- answering ---

void Engine::on_ping(Instant, const wire::Ping& ping, Sink& sink) {
  // A ping for a former owner of this address must fail.
  if (!ping.target.is_none() && ping.target != id_) return;
  if (left_at_) return;
  loss_.report(double(ping.loss) / 255);
  sink.add(wire::Ack{ping.probe, loss_byte()});
  const Member* member = find(sink.peer);
  if (!member) {
    sink.add(wire::Pull{members_scope, {{sink.peer, 0, 0}}});
    const auto forgotten = forgotten_.find(sink.peer);
    if (forgotten != forgotten_.end()) {
      sink.add(wire::Member{MemberState::dead, sink.peer, forgotten->second, id_, {}});
    }
  } else if (member->state != MemberState::alive) {
    sink.add(news_of(*member));  // it may refute
  }
  add_rumors(sink.to);
}

void Engine::on_relay(Instant now, const wire::Relay& relay, Sink& sink) {
  if (relay.target == id_ || relayed_.size() >= relayed_at_once) return;
  const Member* member = find(relay.target);
  const uint32_t number = ++probe_number_;
  const Duration patience =
      std::clamp<Duration>(std::chrono::milliseconds(relay.timeout_ms), 10ms, 5s);
  relayed_[number] = {sink.to, relay.probe, relay.target, now + patience * 3 / 4,
                      now + patience * 2};
  send_ping(now, member ? member->info.gossip : relay.address, relay.target, number);
}

// --- answers ---

// `ack` is null if a relay passed it on.
void Engine::on_ack(Instant now, uint32_t number, const wire::Ack* ack, const NodeId& sender) {
  contacted_ = true;
  if (ack) {
    if (const auto it = relayed_.find(number); it != relayed_.end()) {
      if (it->second.target != sender) return;
      send(it->second.requester, wire::encode(wire::Relayed{it->second.requester_probe}));
      relayed_.erase(it);
    }
    if (Member* member = find(sender)) member->acked = now;
    loss_.report(double(ack->loss) / 255);
  }
  const auto it = probes_.find(number);
  if (it == probes_.end()) return;
  const Probe probe = it->second;
  if (ack && probe.target != sender) return;
  probes_.erase(it);
  health_.add(-1);
  loss_.probe(ack != nullptr);
  Member* member = find(probe.target);
  if (!member) return;
  member->acked = now;
  if (ack && !probe.escalated) member->rtt.sample(now - probe.sent);
}

void Engine::on_nack(uint32_t number) {
  if (const auto it = probes_.find(number); it != probes_.end()) ++it->second.nacks;
}

// --- probing ---

void Engine::start_round(Instant now) {
  next_probe_ = now + health_.scale(config_.probe_interval);
  probe_successor(now);
  for (size_t tries = 0; tries <= round_.size() + 1; ++tries) {
    if (round_next_ >= round_.size()) {
      round_.clear();
      for (const Member* member : alive_) round_.push_back(member->id);
      for (size_t i = round_.size(); i > 1; --i) std::swap(round_[i - 1], round_[rng_.below(i)]);
      round_next_ = 0;
      if (round_.empty()) return;
    }
    Member* member = find(round_[round_next_++]);
    if (!member || !member->reachable()) continue;
    start_probe(now, *member);
    return;
  }
}

// Random rounds alone leave a member unlooked at for a time that is exponentially distributed: one
// in a hundred waits for 4.6 intervals. All nodes know the same circle of ids, so each looks after
// the next in it too, and every member is looked at once in an interval. Members that are suspected
// already are skipped: of neighbours that die together none waits for the other's verdict.
void Engine::probe_successor(Instant now) {
  auto it = members_.upper_bound(id_);
  for (size_t i = 0; i < members_.size(); ++i, ++it) {
    if (it == members_.end()) it = members_.begin();
    if (it->second.state != MemberState::alive) continue;
    start_probe(now, it->second);
    return;
  }
}

void Engine::start_probe(Instant now, Member& member) {
  for (const auto& [number, probe] : probes_) {
    if (probe.target == member.id) return;
  }
  ++counters_.probes;
  const uint32_t number = ++probe_number_;
  Probe& probe = probes_[number];
  probe.target = member.id;
  probe.boot_epoch = member.incarnation.boot_epoch;
  probe.sent = now;
  probe.direct_deadline =
      now + health_.scale(member.rtt.timeout(config_.probe_timeout_min, config_.probe_timeout_max));
  probe.deadline = now + health_.scale(config_.probe_deadline);
  send_ping(now, member.info.gossip, member.id, number);
}

// A ping tells hashes of what both keep, the freshest news, and a suspect that it is one.
void Engine::send_ping(Instant now, const SocketAddress& to, const NodeId& target,
                       uint32_t number) {
  (void)now;
  send(to, wire::encode(wire::Ping{number, target, loss_byte()}));
  if (const Member* member = find(target); member && member->state != MemberState::alive) {
    send(to, wire::encode(news_of(*member)));
  }
  send(to, wire::encode(hashes_for(target, scopes_per_ping)));
  add_rumors(to);
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
  for (; seen < networks && hashes.scopes.size() < limit + 2; ++seen) {
    const auto attached = attachments_.find(it->first);
    if (attached != attachments_.end() && attached->second.contains(peer)) {
      hashes.scopes.push_back({it->first, hash_of(it->first)});
    }
    if (++it == scopes_.end()) it = std::next(scopes_.begin());
  }
  rotation_ += seen;
  return hashes;
}

void Engine::escalate(Instant now, uint32_t number, Probe& probe) {
  probe.escalated = true;
  Member* target = find(probe.target);
  if (!target) return;
  const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(probe.deadline - now);
  const Bytes relay =
      wire::encode(wire::Relay{number, probe.target, target->info.gossip,
                               uint16_t(std::clamp<int64_t>(left.count(), 10, 5000))});
  for (Member* member : pick(members_scope, config_.relays, probe.target)) {
    send(member->info.gossip, relay);
    ++probe.nacks_expected;
  }
  std::vector<Bytes> messages{wire::encode(wire::Ping{number, probe.target, loss_byte()})};
  if (target->state != MemberState::alive) messages.push_back(wire::encode(news_of(*target)));
  open_stream(now, target->info.gossip, target->id, messages, number);
}

void Engine::finish_failed(Instant now, const Probe& probe) {
  Member* member = find(probe.target);
  if (!member || member->incarnation.boot_epoch != probe.boot_epoch) return;
  ++counters_.probes_failed;
  // Relays that said nack prove that this node's own network works.
  if (probe.nacks_expected == 0) {
    health_.add(1);
  } else if (probe.nacks < probe.nacks_expected) {
    health_.add(int(probe.nacks_expected - probe.nacks));
  }
  suspect(now, *member, false);
  if (!left_at_) probe_successor(now);  // the next one, if that was it
}

void Engine::probe_timers(Instant now) {
  std::vector<Probe> failed;
  for (auto it = probes_.begin(); it != probes_.end();) {
    Probe& probe = it->second;
    if (probe.deadline <= now) {
      failed.push_back(probe);
      it = probes_.erase(it);
      continue;
    }
    if (!probe.escalated && probe.direct_deadline <= now) escalate(now, it->first, probe);
    ++it;
  }
  for (const Probe& probe : failed) finish_failed(now, probe);
  for (auto it = relayed_.begin(); it != relayed_.end();) {
    RelayedProbe& relayed = it->second;
    if (!relayed.nacked && relayed.nack_at <= now) {
      relayed.nacked = true;
      send(relayed.requester, wire::encode(wire::Nack{relayed.requester_probe}));
    }
    it = relayed.expires <= now ? relayed_.erase(it) : std::next(it);
  }
}

Instant Engine::probe_timer() const {
  Instant next = Instant::never();
  for (const auto& [number, probe] : probes_) {
    next = std::min(
        next, probe.escalated ? probe.deadline : std::min(probe.direct_deadline, probe.deadline));
  }
  for (const auto& [number, relayed] : relayed_) {
    next = std::min(next, relayed.nacked ? relayed.expires : relayed.nack_at);
  }
  return next;
}

// --- finding those that are lost ---

// Tries one dead member: after a partition both sides hold each other for dead.
void Engine::reconnect(Instant now) {
  next_reconnect_ = now + jitter(config_.reconnect_interval);
  std::vector<const Member*> dead;
  for (const auto& [id, member] : members_) {
    if (member.state == MemberState::dead) dead.push_back(&member);
  }
  if (dead.empty()) return;
  const Member& member = *dead[rng_.below(dead.size())];
  send_ping(now, member.info.gossip, member.id, ++probe_number_);
}

void Engine::join(Instant now, std::span<const SocketAddress> seeds) {
  for (const SocketAddress& seed : seeds) {
    if (seed != info_.gossip && std::find(seeds_.begin(), seeds_.end(), seed) == seeds_.end()) {
      seeds_.push_back(seed);
    }
  }
  contacted_ = contacted_ && !alive_.empty();
  join_attempts_ = 0;
  if (!seeds_.empty()) contact_seeds(now);
}

void Engine::contact_seeds(Instant now) {
  const bool lonely = !contacted_ || alive_.empty();
  next_join_ = now + jitter(lonely ? 1s : config_.rejoin_interval);
  std::vector<SocketAddress> targets;
  for (const SocketAddress& seed : seeds_) {
    const bool known = std::any_of(alive_.begin(), alive_.end(), [&](const Member* member) {
      return member->info.gossip == seed;
    });
    if (!known) targets.push_back(seed);
  }
  if (targets.empty()) return;
  if (!lonely) targets = {targets[rng_.below(targets.size())]};
  const std::vector<Bytes> messages{wire::encode(wire::Ping{++probe_number_, {}, loss_byte()}),
                                    wire::encode(news_of_self()), wire::encode(hashes_for({}, 0))};
  // Datagrams may be filtered where streams are not.
  const bool stream = lonely && ++join_attempts_ > 2;
  for (const SocketAddress& to : targets) {
    for (const Bytes& message : messages) send(to, message);
    if (stream) open_stream(now, to, {}, messages, 0);
  }
}

}  // namespace weft::cluster
