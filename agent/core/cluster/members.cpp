// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <bit>

#include "core/cluster/engine.h"

namespace weft::cluster {

namespace {

constexpr size_t rumors_kept = 64;
constexpr size_t rumors_per_packet = 6;
constexpr size_t confirming_members = 6;

}  // namespace

wire::Member Engine::news_of(const Member& member) const {
  wire::Member news{member.state, member.id, member.incarnation, id_, {}};
  if (member.state == MemberState::alive) news.info = member.info;
  if (member.suspicion && !member.suspicion->accusers.empty()) {
    news.accuser = member.suspicion->accusers.front();
  }
  return news;
}

wire::Member Engine::news_of_self() const {
  return {left_at_ ? MemberState::left : MemberState::alive, id_, incarnation_, id_, info_};
}

// --- news from others ---

void Engine::on_member(Instant now, const wire::Member& news, Sink& sink) {
  if (news.id == id_) return on_news_of_self(now, news);
  if (revoked_.contains(news.id)) {
    ++counters_.from_revoked;
    return;
  }
  const Member* member = find(news.id);
  if (!member) {
    if (news.state != MemberState::alive) return;
    const auto forgotten = forgotten_.find(news.id);
    if (forgotten != forgotten_.end() && news.incarnation <= forgotten->second) {
      // It is back from a very long absence: it must refute its death before it counts.
      if (sink.peer == news.id) {
        sink.add(wire::Member{MemberState::dead, news.id, forgotten->second, id_, {}});
      }
      return;
    }
    if (!add_member(now, news)) return;
    spread_member(now, news, sink.peer);
    return;
  }
  switch (news.state) {
    case MemberState::alive:
      return on_alive(now, *member, news, sink);
    case MemberState::suspect:
      return on_suspect(now, *member, news);
    case MemberState::dead:
    case MemberState::left:
      return on_gone(now, *member, news);
  }
}

// Somebody doubts us: raise the incarnation above theirs, and be less sure of our own judgement.
void Engine::on_news_of_self(Instant now, const wire::Member& news) {
  if (left_at_ || news.incarnation < incarnation_) return;
  if (news.incarnation.boot_epoch > incarnation_.boot_epoch || news.state == MemberState::alive) {
    if (news.incarnation > incarnation_) ++counters_.identity_conflicts;
    return;
  }
  incarnation_.counter = news.incarnation.counter + 1;
  ++counters_.refutations;
  health_.add(1);
  announce_self(now);
}

void Engine::on_alive(Instant now, const Member& known, const wire::Member& news, Sink& sink) {
  if (news.incarnation <= known.incarnation) {
    // The sender has not heard that it is gone.
    if (!known.reachable()) sink.add(news_of(known));
    return;
  }
  Member& member = members_.edit(known);
  if (member.suspicion && news.incarnation.boot_epoch == member.incarnation.boot_epoch) {
    const auto& accusers = member.suspicion->accusers;
    // We accused it wrongly: our probe was lost.
    if (std::find(accusers.begin(), accusers.end(), id_) != accusers.end()) loss_.probe(false);
  }
  const bool metadata = member.info != news.info;
  ring_changed_ |= member.info.gossip != news.info.gossip;
  keys_changed_ |= member.info.keys != news.info.keys;
  member.incarnation = news.incarnation;
  member.info = news.info;
  members_.touch();
  if (member.state != MemberState::alive) {
    set_state(now, member, MemberState::alive);
  }
  if (metadata) event(Event::Kind::member_metadata, member.id);
  spread_member(now, news, sink.peer);
}

void Engine::on_suspect(Instant now, const Member& known, const wire::Member& news) {
  if (news.incarnation < known.incarnation || !known.reachable()) return;
  Member& member = members_.edit(known);
  const bool running = member.suspicion && news.incarnation == member.incarnation;
  if (running) {
    if (!member.suspicion->confirm(news.accuser, suspicion_now().expected)) return;
    spread_member(now, news, {});
    return;
  }
  members_.touch();
  member.incarnation = news.incarnation;
  member.suspicion = std::make_unique<Suspicion>(Suspicion{now, {news.accuser}});
  if (member.state != MemberState::suspect) set_state(now, member, MemberState::suspect);
  spread_member(now, news, {});
  // A few look for themselves at once: either they confirm, or their ping tells the suspect.
  if (rng_.below(std::max<uint64_t>(members_.reachable(), 1)) < confirming_members) {
    start_probe(now, member);
  }
}

void Engine::on_gone(Instant now, const Member& known, const wire::Member& news) {
  if (news.incarnation < known.incarnation || known.state == MemberState::left) return;
  if (known.state == news.state && news.incarnation == known.incarnation) return;
  Member& member = members_.edit(known);
  const bool newer = news.incarnation > member.incarnation;
  member.incarnation = news.incarnation;
  if (member.state != news.state) set_state(now, member, news.state);
  if (newer || !member.reachable()) spread_member(now, news, {});
}

Member* Engine::add_member(Instant now, const wire::Member& news) {
  if (members_.size() >= Limits::members) {
    ++counters_.over_limit;
    return nullptr;
  }
  Member& member = members_.add(news.id);
  member.incarnation = news.incarnation;
  member.info = news.info;
  forgotten_.erase(news.id);
  set_state(now, member, MemberState::alive);
  compare_soon(now);
  return &member;
}

// --- state ---

void Engine::set_state(Instant now, Member& member, MemberState state) {
  const bool was = member.reachable();
  members_.set_state(member, state);
  member.changed = now;
  ring_changed_ = true;
  const bool is = member.reachable();
  if (state == MemberState::suspect) {
    suspects_.insert(member.id);
  } else {
    member.suspicion.reset();
    suspects_.erase(member.id);
  }
  static constexpr Event::Kind kinds[] = {Event::Kind::member_alive, Event::Kind::member_suspect,
                                          Event::Kind::member_dead, Event::Kind::member_left};
  event(kinds[size_t(state)], member.id);
  if (is == was) return;
  keys_changed_ = true;
  refresh_owner(now, member.id);
}

// This node's own verdict.
void Engine::suspect(Instant now, const Member& known, bool refused) {
  if (!known.reachable()) return;
  Member& member = members_.edit(known);
  const uint32_t expected = suspicion_now().expected;
  if (!member.suspicion) {
    member.suspicion = std::make_unique<Suspicion>(Suspicion{now, {}});
    set_state(now, member, MemberState::suspect);
  }
  const bool counts = member.suspicion->confirm(id_, expected);
  if (refused) member.suspicion->refused = true;
  if (!counts) return;
  wire::Member news = news_of(member);
  news.accuser = id_;
  send(member.info.gossip, wire::encode(news));
  spread_member(now, news, {});
}

void Engine::on_port_refused(Instant now, const SocketAddress& address) {
  if (const Member* member = members_.at_address(address)) suspect(now, *member, true);
}

SuspicionTimes Engine::suspicion_now() const {
  return suspicion_times(config_, members_.reachable() + 1, loss_.estimate());
}

// It answered us while it was suspected? Its refutation may only be late.
Instant Engine::death_of(const Member& member, const SuspicionTimes& times) {
  const Duration patience = member.suspicion->refused ? times.refused : times.minimum;
  return std::max(member.suspicion->deadline(times), member.acked + patience);
}

void Engine::check_suspicions(Instant now) {
  if (suspects_.empty()) return;
  const SuspicionTimes times = suspicion_now();
  std::vector<NodeId> expired;
  for (const NodeId& id : suspects_) {
    if (death_of(*find(id), times) <= now) expired.push_back(id);
  }
  for (const NodeId& id : expired) {
    Member& member = *members_.edit(id);
    set_state(now, member, MemberState::dead);
    ++counters_.deaths_declared;
    spread_member(now, news_of(member), {});
  }
}

void Engine::expire_members(Instant now) {
  std::vector<NodeId> gone;
  members_.for_each_unreachable([&](const Member& member) {
    const Duration keep =
        member.state == MemberState::left ? config_.forget_left_after : config_.forget_dead_after;
    if (now - member.changed > keep) gone.push_back(member.id);
  });
  for (const NodeId& id : gone) forget(now, id);
}

void Engine::forget(Instant now, const NodeId& id) {
  Member* member = members_.edit(id);
  if (!member) return;
  if (member->reachable()) set_state(now, *member, MemberState::left);
  for (auto& [scope, state] : scopes_) {
    drop_log(now, scope, id);
    state.agreed.erase(id);
  }
  if (forgotten_.size() < Limits::members) forgotten_[id] = member->incarnation;
  event(Event::Kind::member_forgotten, id);
  members_.erase(id);
}

void Engine::revoke(Instant now, std::set<NodeId> removed) {
  revoked_ = std::move(removed);
  for (const NodeId& id : revoked_) forget(now, id);
}

// --- spreading ---

void Engine::spread_member(Instant now, const wire::Member& news, const NodeId& source) {
  Bytes message = wire::encode(news);
  std::erase_if(rumors_, [&](const Rumor& rumor) { return rumor.member == news.id; });
  // SWIM section 4.1 asks for a few times log n; the eager push has told nearly all already.
  const auto copies = uint32_t(std::bit_width(members_.reachable() + 1));
  rumors_.push_front({news.id, message, copies});
  if (rumors_.size() > rumors_kept) rumors_.pop_back();
  eager_.push_back({members_scope, source, std::move(message)});
  changed(now, members_scope, news.id);
}

// Piggybacks the news that was told least, as SWIM does, on a packet that is sent anyway.
void Engine::add_rumors(const SocketAddress& to) {
  size_t count = 0;
  for (Rumor& rumor : rumors_) {
    if (count++ == rumors_per_packet) break;
    send(to, rumor.message);
    --rumor.remaining;
  }
  std::erase_if(rumors_, [](const Rumor& rumor) { return rumor.remaining == 0; });
  std::stable_sort(rumors_.begin(), rumors_.end(),
                   [](const Rumor& a, const Rumor& b) { return a.remaining > b.remaining; });
}

void Engine::announce_self(Instant now) { spread_member(now, news_of_self(), {}); }

void Engine::update_self(Instant now, MemberInfo info) {
  info.name.resize(std::min(info.name.size(), Limits::name_bytes));
  info.opaque.resize(std::min(info.opaque.size(), Limits::opaque_bytes));
  info.keys = info_.keys;
  if (info == info_) return;
  info_ = std::move(info);
  ++incarnation_.counter;
  announce_self(now);
}

void Engine::leave(Instant now) {
  if (left_at_) return;
  ++incarnation_.counter;
  left_at_ = now;
  const Bytes news = wire::encode(news_of_self());
  // Once more than a rumor needs: nobody will ask us again.
  for (const Member* member : pick(members_scope, config_.fan_out * 2, {})) {
    send(member->info.gossip, news);
  }
}

bool Engine::has_left(Instant now) const {
  return left_at_ && now - *left_at_ >= config_.leave_linger;
}

std::vector<MemberView> Engine::members() const {
  std::vector<MemberView> out;
  out.reserve(members_.size() + 1);
  members_.for_each([&](const Member& member) {
    out.push_back({member.id, member.state, member.incarnation, member.info});
  });
  const MemberView self{id_, left_at_ ? MemberState::left : MemberState::alive, incarnation_,
                        info_};
  out.push_back(self);
  std::sort(out.begin(), out.end(),
            [](const MemberView& a, const MemberView& b) { return a.id < b.id; });
  return out;
}

// --- key rings ---

void Engine::set_keys(Instant now, KeyRingState keys) {
  if (keys == info_.keys) return;
  info_.keys = keys;
  ++incarnation_.counter;
  keys_changed_ = true;
  announce_self(now);
}

// A member that has said nothing of its keys holds the others' progress up, not their news.
void Engine::tell_keys() {
  if (!keys_changed_ || info_.keys == KeyRingState{}) return;
  keys_changed_ = false;
  KeyRingState all = info_.keys;
  members_.for_each_reachable([&](const Member& member) {
    all.newest = std::min(all.newest, member.info.keys.newest);
    all.sealing = std::min(all.sealing, member.info.keys.sealing);
  });
  if (all.newest > keys_told_.newest) {
    events_.push_back({Event::Kind::keys_staged, {}, cluster_scope, {}, {}, all.newest});
  }
  if (all.sealing > keys_told_.sealing) {
    events_.push_back({Event::Kind::keys_sealing, {}, cluster_scope, {}, {}, all.sealing});
  }
  keys_told_ = all;  // also down again: who comes back with old keys is told of anew
}

KeyProgress Engine::key_progress(uint32_t epoch) const {
  constexpr size_t listed_at_most = 100;
  KeyProgress progress;
  auto count = [&](const NodeId& id, const KeyRingState& keys) {
    ++progress.members;
    if (keys.newest >= epoch) ++progress.staged;
    if (keys.sealing >= epoch) ++progress.sealing;
    if (keys.newest < epoch) progress.behind.push_back(id);
  };
  if (!left_at_) count(id_, info_.keys);
  members_.for_each_reachable([&](const Member& member) { count(member.id, member.info.keys); });
  std::sort(progress.behind.begin(), progress.behind.end());
  progress.behind.resize(std::min(progress.behind.size(), listed_at_most));
  return progress;
}

}  // namespace weft::cluster
