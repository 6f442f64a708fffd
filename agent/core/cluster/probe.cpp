// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>

#include "core/cluster/engine.h"

namespace weft::cluster {

namespace {

constexpr size_t relayed_at_once = 256;
// Set in the number of a ping that repeats one: its answer says that the first was lost.
constexpr uint32_t repeated = uint32_t(1) << 31;

}  // namespace

uint8_t Engine::loss_byte() const { return uint8_t(std::lround(loss_.own() * 255)); }
uint32_t Engine::next_probe_number() { return probe_number_ = (probe_number_ + 1) & ~repeated; }

// --- answering ---

void Engine::on_ping(Instant now, const wire::Ping& ping, Sink& sink) {
  // A ping for a former owner of this address must fail.
  if (ping.target != 0 && ping.target != wire::tag_of(id_)) return;
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
  on_shared(now, ping.shared, sink);
  add_rumors(sink.to);
}

void Engine::on_relay(Instant now, const wire::Relay& relay, Sink& sink) {
  if (relay.target == id_ || relayed_.size() >= relayed_at_once) return;
  const Member* member = find(relay.target);
  const uint32_t number = next_probe_number();
  const Duration patience =
      std::clamp<Duration>(std::chrono::milliseconds(relay.timeout_ms), 10ms, 5s);
  relayed_[number] = {sink.to, relay.probe, relay.target, now + patience * 3 / 4,
                      now + patience * 2};
  send_ping(member ? member->info.gossip : relay.address, relay.target, number);
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
    if (Member* member = members_.edit(sender)) member->acked = now;
    loss_.report(double(ack->loss) / 255);
  }
  const bool first = ack && (number & repeated) == 0;
  const auto it = probes_.find(number & ~repeated);
  if (it == probes_.end()) return;
  const Probe probe = it->second;
  if (ack && probe.target != sender) return;
  probes_.erase(it);
  health_.add(-1);
  loss_.probe(first);
  Member* member = members_.edit(probe.target);
  if (!member) return;
  member->acked = now;
  if (first && !probe.escalated) member->rtt.sample(now - probe.sent);
}

void Engine::on_nack(uint32_t number) {
  if (const auto it = probes_.find(number); it != probes_.end()) ++it->second.nacks;
}

// --- probing ---

// Each interval one member is looked at: in turn the next in the circle of ids, and a random one.
//
// Random choice alone leaves a member unlooked at for a time that is exponentially distributed: one
// in a hundred waits for 4.6 intervals (SWIM's shuffled rounds bound it by N intervals only). All
// nodes know the same circle of ids, so each looks after the next in it, and every member is looked
// at once in two intervals. The random ones carry the hashes from everywhere to everywhere.
void Engine::start_round(Instant now) {
  next_probe_ = now + health_.scale(config_.probe_interval);
  ring_turn_ = !ring_turn_;
  if (ring_turn_) {
    probe_successor(now);
  } else {
    probe_random(now);
  }
}

// Members that are suspected already are skipped: of neighbours that die together none waits for
// the other's verdict.
void Engine::probe_successor(Instant now) {
  if (const Member* next = members_.successor(id_)) start_probe(now, *next);
}

// Every other time one that shares a network: its nodes may be few among many members.
void Engine::probe_random(Instant now) {
  if (members_.reachable() == 0) return;
  if (scopes_.size() > 1 && rng_.below(2) == 0) {
    const size_t networks = scopes_.size() - 1;
    const auto it = std::next(scopes_.begin(), ptrdiff_t(1 + rng_.below(networks)));
    const auto peers = pick(it->first, 1, {});
    if (!peers.empty()) return start_probe(now, *peers.front());
  }
  start_probe(now, members_.any_reachable(rng_));
}

void Engine::start_probe(Instant now, const Member& member) {
  for (const auto& [number, probe] : probes_) {
    if (probe.target == member.id) return;
  }
  ++counters_.probes;
  const uint32_t number = next_probe_number();
  Probe& probe = probes_[number];
  probe.target = member.id;
  probe.boot_epoch = member.incarnation.boot_epoch;
  probe.sent = now;
  probe.direct_deadline =
      now + health_.scale(member.rtt.timeout(config_.probe_timeout_min, config_.probe_timeout_max));
  // Where much is lost, suspicions are many and wrong: relays and the stream get time to try again.
  const double weight = loss_weight(loss_.estimate());
  const auto more = double((config_.probe_deadline_lossy - config_.probe_deadline).count());
  probe.deadline = now + health_.scale(config_.probe_deadline + Duration(int64_t(weight * more)));
  send_ping(member.info.gossip, member.id, number);
}

// A ping tells one hash over what both keep, the freshest news, and a suspect that it is one.
void Engine::send_ping(const SocketAddress& to, const NodeId& target, uint32_t number) {
  send(to,
       wire::encode(wire::Ping{number, wire::tag_of(target), loss_byte(), shared_hash(target)}));
  if (const Member* member = find(target); member && member->state != MemberState::alive) {
    send(to, wire::encode(news_of(*member)));
  }
  add_rumors(to);
}

void Engine::escalate(Instant now, uint32_t number, Probe& probe) {
  probe.escalated = true;
  const Member* target = find(probe.target);
  if (!target) return;
  send(target->info.gossip, wire::encode(wire::Ping{number | repeated, wire::tag_of(target->id),
                                                    loss_byte(), shared_hash(target->id)}));
  const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(probe.deadline - now);
  const Bytes relay =
      wire::encode(wire::Relay{number, probe.target, target->info.gossip,
                               uint16_t(std::clamp<int64_t>(left.count(), 10, 5000))});
  for (const Member* member : pick(members_scope, config_.relays, probe.target)) {
    send(member->info.gossip, relay);
    ++probe.nacks_expected;
  }
  std::vector<Bytes> messages{
      wire::encode(wire::Ping{number | repeated, wire::tag_of(target->id), loss_byte(), 0})};
  if (target->state != MemberState::alive) messages.push_back(wire::encode(news_of(*target)));
  open_stream(now, target->info.gossip, target->id, messages, number);
}

void Engine::finish_failed(Instant now, const Probe& probe) {
  const Member* member = find(probe.target);
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
  members_.for_each_unreachable([&](const Member& member) {
    if (member.state == MemberState::dead) dead.push_back(&member);
  });
  if (dead.empty()) return;
  const Member& member = *dead[rng_.below(dead.size())];
  send_ping(member.info.gossip, member.id, next_probe_number());
}

void Engine::join(Instant now, std::span<const SocketAddress> seeds) {
  for (const SocketAddress& seed : seeds) {
    if (seed != info_.gossip && std::find(seeds_.begin(), seeds_.end(), seed) == seeds_.end()) {
      seeds_.push_back(seed);
    }
  }
  contacted_ = contacted_ && members_.reachable() > 0;
  join_attempts_ = 0;
  if (!seeds_.empty()) return contact_seeds(now);
  // The first node of a cluster has nobody to learn from.
  if (members_.reachable() == 0) equal(now, cluster_scope, {});
}

void Engine::contact_seeds(Instant now) {
  const bool lonely = !contacted_ || members_.reachable() == 0;
  next_join_ = now + jitter(lonely ? 1s : config_.rejoin_interval);
  std::vector<SocketAddress> targets;
  for (const SocketAddress& seed : seeds_) {
    if (!members_.at_address(seed)) targets.push_back(seed);
  }
  if (targets.empty()) return;
  if (!lonely) targets = {targets[rng_.below(targets.size())]};
  const std::vector<Bytes> messages{
      wire::encode(wire::Ping{next_probe_number(), 0, loss_byte(), 0}),
      wire::encode(news_of_self()), wire::encode(hashes_for({}, 0))};
  // Datagrams may be filtered where streams are not.
  const bool stream = lonely && ++join_attempts_ > 2;
  for (const SocketAddress& to : targets) {
    for (const Bytes& message : messages) send(to, message);
    if (stream) open_stream(now, to, {}, messages, 0);
  }
}

}  // namespace weft::cluster
