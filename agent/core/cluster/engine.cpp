// SPDX-License-Identifier: Apache-2.0
#include "core/cluster/engine.h"

#include <algorithm>

namespace weft::cluster {

namespace {

constexpr size_t packet_exchange_bytes = 8192;  // a longer answer takes a stream
constexpr size_t streams_at_once = 32;
constexpr size_t eager_bytes = 128 << 10;  // to one member at once; the rest is pulled
constexpr Duration sweep_interval = 1s;
constexpr Duration expiry_interval = 5s;
constexpr Duration stall = 1s;  // a timer that late means that this process stood still

}  // namespace

Engine::Engine(const Config& config, Gossip::Self self, Rng rng, Instant now)
    : config_(config),
      id_(self.id),
      incarnation_{self.boot_epoch, 1},
      info_(std::move(self.info)),
      rng_(rng),
      started_(now),
      last_timer_(now),
      members_(std::move(self.known), self.id),
      probe_number_(uint32_t(rng_())) {
  info_.name.resize(std::min(info_.name.size(), Limits::name_bytes));
  info_.opaque.resize(std::min(info_.opaque.size(), Limits::opaque_bytes));
  OriginLog& own =
      scopes_[cluster_scope].logs.emplace(id_, OriginLog(self.boot_epoch)).first->second;
  own.shown = own.ever_shown = true;
  next_probe_ = now + Duration(int64_t(rng_.below(uint64_t(config_.probe_interval.count()))));
  next_reconnect_ = now + jitter(config_.reconnect_interval);
  next_sweep_ = now + jitter(sweep_interval);
  next_expiry_ = now + jitter(expiry_interval);
  next_join_ = next_compare_ = Instant::never();
}

// Between 0.75 and 1.25 of `d`: nodes that started together do not stay in step.
Duration Engine::jitter(Duration d) {
  return Duration(d.count() * 3 / 4 + int64_t(rng_.below(uint64_t(d.count() / 2 + 1))));
}

void Engine::event(Event::Kind kind, const NodeId& member, ScopeId scope, std::string_view key,
                   std::string_view value) {
  events_.push_back({kind, member, scope, std::string(key), std::string(value)});
}

// --- input ---

void Engine::on_packet(Instant now, const SocketAddress& from, const NodeId& sender,
                       ByteView plaintext) {
  ++counters_.packets_in;
  if (plaintext.size() > Limits::packet_bytes) {
    ++counters_.malformed;
    return;
  }
  Sink sink{from, sender};
  handle(now, plaintext, sink);
  flush(now, sink);
}

Bytes Engine::on_stream_request(Instant now, const SocketAddress& from, const NodeId& sender,
                                ByteView request) {
  ++counters_.streams_in;
  Bytes reply;
  wire::append_header(reply);
  if (request.size() > Limits::stream_bytes) {
    ++counters_.malformed;
    return reply;
  }
  Sink sink{from, sender};
  handle(now, request, sink);
  for (const Bytes& message : sink.messages) {
    if (reply.size() + message.size() > Limits::stream_bytes) break;
    reply.insert(reply.end(), message.begin(), message.end());
  }
  return reply;
}

void Engine::on_stream_reply(Instant now, uint64_t id, const NodeId& sender, ByteView reply) {
  const auto it = streams_.find(id);
  if (it == streams_.end()) return;
  Sink sink{it->second.to, sender};
  streams_.erase(it);
  if (reply.size() > Limits::stream_bytes) {
    ++counters_.malformed;
    return;
  }
  handle(now, reply, sink);
  flush(now, sink);
}

void Engine::on_stream_failed(uint64_t id) { streams_.erase(id); }

void Engine::handle(Instant now, ByteView content, Sink& sink) {
  auto reader = wire::Reader::open(content);
  if (!reader) {
    ++counters_.malformed;
    return;
  }
  if (sink.peer == id_) {
    ++counters_.identity_conflicts;
    return;
  }
  if (revoked_.contains(sink.peer)) {
    ++counters_.from_revoked;
    return;
  }
  while (auto message = reader->next()) dispatch(now, *message, sink);
  counters_.malformed += reader->malformed();
}

void Engine::dispatch(Instant now, const wire::Message& message, Sink& sink) {
  struct Visitor {
    Engine& e;
    Instant now;
    Sink& sink;
    void operator()(const wire::Ping& m) { e.on_ping(now, m, sink); }
    void operator()(const wire::Ack& m) { e.on_ack(now, m.probe, &m, sink.peer); }
    void operator()(const wire::Relay& m) { e.on_relay(now, m, sink); }
    void operator()(const wire::Relayed& m) { e.on_ack(now, m.probe, nullptr, sink.peer); }
    void operator()(const wire::Nack& m) { e.on_nack(m.probe); }
    void operator()(const wire::Member& m) { e.on_member(now, m, sink); }
    void operator()(const wire::Hashes& m) { e.on_hashes(now, m, sink); }
    void operator()(const wire::RecordNews& m) { e.on_record(now, m, sink.peer); }
    void operator()(const wire::Digest& m) { e.on_digest(now, m, sink); }
    void operator()(const wire::Vector& m) { e.on_vector(now, m, sink); }
    void operator()(const wire::Pull& m) { e.on_pull(m, sink); }
    void operator()(const wire::Delta& m) { e.on_delta(now, m); }
    void operator()(const wire::Compare& m) { e.on_compare(m, sink); }
  };
  std::visit(Visitor{*this, now, sink}, message);
}

// --- output ---

void Engine::flush(Instant now, Sink& sink) {
  constexpr size_t room = Limits::packet_bytes - wire::header_bytes;
  const bool large = sink.bytes > packet_exchange_bytes ||
                     std::any_of(sink.messages.begin(), sink.messages.end(),
                                 [](const Bytes& message) { return message.size() > room; });
  if (!large) {
    for (const Bytes& message : sink.messages) send(sink.to, message);
    return;
  }
  // Answers to probes do not wait for a connection.
  std::erase_if(sink.messages, [&](const Bytes& message) {
    const bool urgent = message[0] <= uint8_t(wire::Type::nack);
    if (urgent) send(sink.to, message);
    return urgent;
  });
  const Member* member = find(sink.peer);
  open_stream(now, member ? member->info.gossip : sink.to, sink.peer, sink.messages, 0);
}

// Appends to the packet that is being filled for `to`.
void Engine::send(const SocketAddress& to, const Bytes& message) {
  std::vector<Bytes>& packets = outbox_[to];
  if (packets.empty() || packets.back().size() + message.size() > Limits::packet_bytes) {
    packets.emplace_back();
    wire::append_header(packets.back());
  }
  packets.back().insert(packets.back().end(), message.begin(), message.end());
}

void Engine::open_stream(Instant now, const SocketAddress& to, const NodeId& member,
                         const std::vector<Bytes>& messages, uint32_t probe) {
  if (streams_.size() >= streams_at_once) return;
  // One exchange with a member at a time: what it leaves out, the next one finds.
  for (const auto& [id, stream] : streams_) {
    if (stream.to == to && (probe != 0) == (stream.probe != 0)) return;
  }
  StreamRequest request{++stream_number_, to, member, {}};
  wire::append_header(request.request);
  for (const Bytes& message : messages) {
    if (request.request.size() + message.size() > Limits::stream_bytes) break;
    request.request.insert(request.request.end(), message.begin(), message.end());
  }
  streams_[request.id] = {member, to, now, probe};
  stream_requests_.push_back(std::move(request));
  ++counters_.streams_out;
}

// First receipt: to `fan_out` others at once. Messages of one batch that came from one place go to
// the same targets, so that they share packets.
void Engine::send_eager() {
  struct Targets {
    std::vector<const Member*> members;
    size_t bytes = 0;
  };
  std::map<std::pair<ScopeId, NodeId>, Targets> chosen;
  for (const Eager& item : eager_) {
    auto [it, fresh] = chosen.try_emplace({item.scope, item.source});
    if (fresh) it->second.members = pick(item.scope, config_.fan_out, item.source);
    it->second.bytes += item.message.size();
    if (it->second.bytes > eager_bytes) continue;
    for (const Member* member : it->second.members) send(member->info.gossip, item.message);
  }
  eager_.clear();
}

// A process that is gone shows at once to who holds a connection to it: its kernel closes it. So
// each node keeps one to the next in the circle of ids.
std::optional<WatchRequest> Engine::next_watch(Instant now) {
  if (watch_again_ <= now) {
    watch_again_ = Instant::never();
    watch_lost_ = {};
    ring_changed_ = true;
  }
  if (!ring_changed_) return std::nullopt;
  ring_changed_ = false;
  const Member* next = left_at_ ? nullptr : members_.successor(id_);
  if (next && next->id == watch_lost_) return std::nullopt;  // in a while
  WatchRequest wanted;
  if (next) wanted = {next->id, next->info.gossip};
  if (watch_ == wanted || (!watch_ && !next)) return std::nullopt;
  watch_ = wanted;
  return watch_;
}

void Engine::on_watch_lost(Instant now, const NodeId& id) {
  if (!watch_ || watch_->member != id) return;
  ++counters_.watches_lost;
  watch_.reset();
  watch_lost_ = id;
  watch_again_ = now + config_.watch_pause;
  ring_changed_ = true;
  // Its port says what has happened: it is refused, or somebody answers.
  const Member* member = find(id);
  if (member && member->reachable()) send_ping(member->info.gossip, id, next_probe_number());
}

Effects Engine::take(Instant now) {
  send_eager();
  tell_keys();
  Effects effects;
  effects.watch = next_watch(now);
  for (auto& [to, packets] : outbox_) {
    for (Bytes& bytes : packets) effects.packets.push_back({to, std::move(bytes)});
  }
  outbox_.clear();
  counters_.packets_out += effects.packets.size();
  effects.streams = std::move(stream_requests_);
  effects.events = std::move(events_);
  stream_requests_.clear();
  events_.clear();
  return effects;
}

// --- time ---

void Engine::on_timer(Instant now) {
  const Instant due = next_timer();
  if (due < now - stall) {
    // This process stood still. What it missed proves nothing about others.
    const Duration lost = now - due;
    for (const NodeId& id : suspects_) members_.edit(id)->suspicion->started = now;
    for (auto& [number, probe] : probes_) {
      probe.direct_deadline = probe.direct_deadline + lost;
      probe.deadline = probe.deadline + lost;
    }
    health_.add(1);
  }
  last_timer_ = now;
  probe_timers(now);
  check_suspicions(now);
  if (lazy_due_ <= now) lazy_rounds(now);
  if (next_sweep_ <= now) sweep(now);
  if (left_at_) return;
  if (next_probe_ <= now) start_round(now);
  if (next_join_ <= now) contact_seeds(now);
  if (next_reconnect_ <= now) reconnect(now);
  if (next_compare_ <= now) compare(now);
}

Instant Engine::next_timer() const {
  Instant next = std::min({next_sweep_, lazy_due_, probe_timer()});
  if (!suspects_.empty()) {
    const SuspicionTimes times = suspicion_now();
    for (const NodeId& id : suspects_) {
      next = std::min(next, death_of(*find(id), times));
    }
  }
  if (left_at_) return next;
  return std::min({next, next_probe_, next_join_, next_reconnect_, next_compare_, watch_again_});
}

void Engine::sweep(Instant now) {
  next_sweep_ = now + jitter(sweep_interval);
  std::erase_if(streams_, [&](const auto& item) {
    return now - item.second.started > config_.stream_timeout;
  });
  if (!baseline_done_ && now - started_ > config_.baseline_grace) baseline_complete(now);
  if (next_expiry_ > now) return;
  next_expiry_ = now + jitter(expiry_interval);
  expire_members(now);
  expire_records(now);
}

}  // namespace weft::cluster
