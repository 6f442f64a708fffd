// SPDX-License-Identifier: Apache-2.0
#include "sim/cluster.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "base/assert.h"

namespace weft::sim {

using cluster::Effects;
using cluster::Event;
using cluster::Gossip;
using cluster::MemberState;

namespace {

constexpr uint16_t port = 7946;
constexpr uint32_t first_address = 0x0a000001;
// Around each packet: the seal (agent/io/sealed, counters of two or three bytes), UDP and IPv4.
constexpr size_t sealed_bytes = 39, datagram_bytes = 28;

}  // namespace

Cluster::Cluster(uint64_t seed, size_t nodes, Link link, cluster::Config config)
    : rng_(seed), link_(link), config_(config), nodes_(nodes) {
  for (size_t i = 0; i < nodes; ++i) {
    for (uint8_t& byte : nodes_[i].id.bytes) byte = uint8_t(rng_());
    nodes_[i].address = {Address::v4(first_address + uint32_t(i)), port};
    index_[nodes_[i].id] = i;
  }
}

void Cluster::skew_clocks(double ppm) { skew_ppm_ = ppm; }

// --- time ---

void Cluster::schedule(Instant at, std::function<void()> what) {
  queue_.push({at, order_++, std::move(what)});
}

void Cluster::run_for(Duration d) {
  const Instant end = now_ + d;
  while (!queue_.empty() && queue_.top().at <= end) {
    Happening next = std::move(const_cast<Happening&>(queue_.top()));
    queue_.pop();
    now_ = next.at;
    next.what();
  }
  now_ = end;
}

bool Cluster::run_until(const std::function<bool()>& done, Duration limit, Duration step) {
  for (const Instant end = now_ + limit; now_ < end;) {
    if (done()) return true;
    run_for(step);
  }
  return done();
}

Instant Cluster::local(const Node& node) const {
  return Instant{node.clock_offset +
                 Duration(int64_t(double(now_.since_start.count()) * node.clock_rate))};
}

void Cluster::form() {
  for (size_t i = 0; i < size(); ++i) {
    start(i);
    complete(i);
  }
  std::string why;
  const bool formed = run_until([&] { return converged(&why); }, 30s, 50ms);
  if (!formed) std::fprintf(stderr, "the cluster does not form: %s\n", why.c_str());
  WEFT_ASSERT(formed);
}

void Cluster::form_at_once() {
  std::vector<cluster::MemberView> members;
  for (size_t i = 0; i < size(); ++i) {
    ++nodes_[i].boot_epoch;
    members.push_back({nodes_[i].id, MemberState::alive, {nodes_[i].boot_epoch, 1}, info_of(i)});
  }
  usual_ = MemberState::alive;
  const auto known = cluster::make_member_list(std::move(members));
  for (size_t i = 0; i < size(); ++i) {
    boot(i, known);
    nodes_[i].gossip->join(local(nodes_[i]), {});
    collect(i);
  }
}

// --- processes ---

cluster::MemberInfo Cluster::info_of(size_t i) const {
  const SocketAddress& at = nodes_[i].address;
  return {"node-" + std::to_string(i), uint32_t(i + 1), at, at.address, "", nodes_[i].keys};
}

void Cluster::start(size_t i) {
  Node& node = nodes_[i];
  ++node.boot_epoch;
  if (usual_ == MemberState::left) node.states.clear();
  boot(i, nullptr);
  // Everybody knows two seeds.
  const SocketAddress seeds[] = {nodes_[0].address, nodes_[size() / 2].address};
  node.gossip->join(local(node), seeds);
  collect(i);
}

void Cluster::boot(size_t i, std::shared_ptr<const cluster::MemberList> known) {
  Node& node = nodes_[i];
  ++node.generation;
  node.leaving = false;
  node.view.clear();
  node.erased.clear();
  node.hidden.clear();
  node.truth.clear();
  node.watched.reset();
  node.truth[cluster::cluster_scope];
  node.clock_rate = 1 + (rng_.unit() * 2 - 1) * skew_ppm_ / 1e6;
  node.clock_offset = Duration(int64_t(rng_.below(uint64_t(Duration(1h).count()))));
  Gossip::Self self{node.id, node.boot_epoch, info_of(i), std::move(known)};
  node.gossip = std::make_unique<Gossip>(config_, std::move(self), Rng(rng_()), local(node));
  node.timer = Instant::never();
}

void Cluster::kill(size_t i, Death death) {
  nodes_[i].gossip.reset();
  nodes_[i].death = death;
  ++nodes_[i].generation;
  if (death == Death::silent) return;
  for (size_t watcher = 0; watcher < size(); ++watcher) {
    if (up(watcher) && nodes_[watcher].watched == i) lose_watch(watcher, i);
  }
}

// Its kernel closes the connection, if it can tell.
void Cluster::lose_watch(size_t watcher, size_t target) {
  nodes_[watcher].watched.reset();
  if (!connected(target, watcher)) return;
  schedule(now_ + delay(), [this, watcher, target, generation = nodes_[watcher].generation] {
    Node& node = nodes_[watcher];
    if (node.generation != generation || !node.gossip) return;
    node.gossip->on_watch_lost(local(node), nodes_[target].id);
    collect(watcher);
  });
}

void Cluster::watch_member(size_t i, const cluster::WatchRequest& request) {
  nodes_[i].watched.reset();
  if (request.member.is_none()) return;
  const size_t target = at(request.to);
  nodes_[i].watched = target;
  if (!up(target) && nodes_[target].death == Death::refused) lose_watch(i, target);
}

void Cluster::leave(size_t i) {
  nodes_[i].leaving = true;
  gossip(i).leave(local(nodes_[i]));
  collect(i);
  schedule(now_ + config_.leave_linger * 2, [this, i, generation = nodes_[i].generation] {
    if (nodes_[i].generation == generation) kill(i);
  });
}

// --- network ---

void Cluster::partition(const std::vector<int>& groups) {
  for (size_t i = 0; i < size(); ++i) nodes_[i].group = groups[i];
}
void Cluster::heal() {
  for (Node& node : nodes_) node.group = 0;
  cuts_.clear();
}
void Cluster::cut(size_t from, size_t to) { cuts_.insert({from, to}); }

bool Cluster::connected(size_t from, size_t to) const {
  return nodes_[from].group == nodes_[to].group && !cuts_.contains({from, to});
}

Duration Cluster::delay() {
  return link_.delay + Duration(int64_t(rng_.unit() * double(link_.jitter.count())));
}

size_t Cluster::at(const SocketAddress& address) const {
  return address.address.is_v4() ? address.address.to_v4() - first_address : size();
}

void Cluster::note(uint64_t value) { trace_ = (trace_ ^ value) * 1099511628211ull; }

void Cluster::note(ByteView bytes) {
  note(bytes.size());
  for (size_t i = 0; i < bytes.size(); i += sizeof(uint64_t)) {
    uint64_t word = 0;
    std::memcpy(&word, bytes.data() + i, std::min(sizeof word, bytes.size() - i));
    note(word);
  }
}

void Cluster::deliver(size_t from, const SocketAddress& address, Bytes bytes) {
  const size_t to = at(address);
  ++packets_;
  bytes_ += bytes.size() + sealed_bytes + datagram_bytes;
  WEFT_ASSERT(bytes.size() <= cluster::Limits::packet_bytes);
  if (to >= size() || !connected(from, to)) return;
  if (seal_) bytes = seal_->seal(from, bytes);
  if (link_.duplicates > 0 && rng_.unit() < link_.duplicates) {
    schedule(now_ + delay(), [this, from, to, bytes] { arrive(from, to, bytes); });
  }
  if (link_.loss > 0 && rng_.unit() < link_.loss) return;
  schedule(now_ + delay(), [this, from, to, bytes = std::move(bytes)] { arrive(from, to, bytes); });
}

// A stream is sealed in parts; the first stands for all.
bool Cluster::head_passes(size_t from, size_t to, const Bytes& stream) {
  if (!seal_) return true;
  const Bytes head(stream.begin(), stream.begin() + ptrdiff_t(std::min<size_t>(stream.size(), 64)));
  return seal_->open(to, seal_->seal(from, head)).has_value();
}

void Cluster::arrive(size_t from, size_t to, const Bytes& arrived) {
  Node& node = nodes_[to];
  note(uint64_t(now_.since_start.count()));
  note(arrived);
  if (node.gossip) {
    const auto opened = seal_ ? seal_->open(to, arrived) : std::optional<Bytes>();
    if (seal_ && !opened) return;
    const Bytes& bytes = seal_ ? *opened : arrived;
    node.gossip->on_packet(local(node), nodes_[from].address, nodes_[from].id, bytes);
    collect(to);
  } else if (node.death == Death::refused && connected(to, from)) {
    schedule(now_ + delay(), [this, from, to] {
      if (!nodes_[from].gossip) return;
      nodes_[from].gossip->on_port_refused(local(nodes_[from]), nodes_[to].address);
      collect(from);
    });
  }
}

// Reliable, and slow where packets are lost.
void Cluster::stream(size_t from, cluster::StreamRequest request) {
  const size_t to = at(request.to);
  const uint64_t generation = nodes_[from].generation;
  auto reply_to = [this, from, generation](auto what) {
    return [this, from, generation, what] {
      if (nodes_[from].generation != generation || !nodes_[from].gossip) return;
      what(*nodes_[from].gossip, local(nodes_[from]));
      collect(from);
    };
  };
  const uint64_t id = request.id;
  auto failed = reply_to([id](Gossip& g, Instant t) { g.on_stream_failed(t, id); });
  const bool works = to < size() && connected(from, to) && connected(to, from);
  if (!works || (!nodes_[to].gossip && nodes_[to].death == Death::silent)) {
    return schedule(now_ + 3s, failed);
  }
  Duration time = delay() * 4;
  while (rng_.unit() < link_.loss * 3) time += 200ms;
  schedule(now_ + time, [=, this, request = std::move(request)] {
    if (!nodes_[to].gossip || !connected(from, to) || !head_passes(from, to, request.request)) {
      return schedule(now_ + delay(), failed);
    }
    note(request.request);
    Bytes reply = nodes_[to].gossip->on_stream_request(local(nodes_[to]), nodes_[from].address,
                                                       nodes_[from].id, request.request);
    collect(to);
    bytes_ += request.request.size() + reply.size();
    schedule(now_ + delay(), reply_to([id, reply, sender = nodes_[to].id](Gossip& g, Instant t) {
               g.on_stream_reply(t, id, sender, reply);
             }));
  });
}

// Carries out what a node wants after anything happened to it.
void Cluster::collect(size_t i) {
  Node& node = nodes_[i];
  Effects effects = node.gossip->take(local(node));
  for (cluster::Packet& packet : effects.packets) deliver(i, packet.to, std::move(packet.bytes));
  for (cluster::StreamRequest& request : effects.streams) stream(i, std::move(request));
  if (effects.watch) watch_member(i, *effects.watch);
  for (const Event& event : effects.events) {
    watch(i, event);
    if (hook_) hook_(i, event);
  }
  const Instant due = node.gossip->next_timer();
  if (due == Instant::never()) return;
  const auto ahead = Duration(
      int64_t(std::ceil(double((due - node.clock_offset).since_start.count()) / node.clock_rate)));
  const Instant at = std::max(Instant{ahead} + 1us, now_);
  if (node.timer > now_ && node.timer <= at) return;  // a timer before that is on its way
  node.timer = at;
  schedule(at, [this, i, at, generation = node.generation] {
    Node& n = nodes_[i];
    if (n.generation != generation || n.timer != at || !n.gossip) return;
    n.timer = Instant::never();
    n.gossip->on_timer(local(n));
    collect(i);
  });
}

// --- truth and views ---

void Cluster::complete(size_t i) {
  gossip(i).baseline_complete(local(nodes_[i]));
  collect(i);
}

void Cluster::set_keys(size_t i, cluster::KeyRingState keys) {
  nodes_[i].keys = keys;
  gossip(i).set_keys(local(nodes_[i]), keys);
  collect(i);
}

void Cluster::enter(size_t i, ScopeId scope) {
  WEFT_ASSERT(gossip(i).enter_scope(local(nodes_[i]), scope).has_value());
  nodes_[i].truth[scope];
  collect(i);
}

void Cluster::leave_scope(size_t i, ScopeId scope) {
  gossip(i).leave_scope(local(nodes_[i]), scope);
  collect(i);
  nodes_[i].truth.erase(scope);
  // It may enter again and learn everything anew.
  std::erase_if(nodes_[i].erased,
                [&](const auto& item) { return std::get<0>(item.first) == scope; });
}

void Cluster::set(size_t i, ScopeId scope, const std::string& key, size_t value_bytes) {
  std::string value = std::to_string(++writes_);
  if (value.size() < value_bytes) value.append(value_bytes - value.size(), ' ');
  WEFT_ASSERT(gossip(i).set(local(nodes_[i]), scope, key, value).has_value());
  nodes_[i].truth[scope][key] = value;
  collect(i);
}

void Cluster::erase(size_t i, ScopeId scope, const std::string& key) {
  WEFT_ASSERT(gossip(i).erase(local(nodes_[i]), scope, key).has_value());
  nodes_[i].truth[scope].erase(key);
  collect(i);
}

std::vector<uint64_t> seeds(size_t count) {
  if (const char* one = std::getenv("WEFT_SEED")) return {std::strtoull(one, nullptr, 10)};
  if (const char* times = std::getenv("WEFT_SEEDS")) count *= std::strtoull(times, nullptr, 10);
  std::vector<uint64_t> out;
  for (size_t i = 1; i <= count; ++i) out.push_back(i);
  return out;
}

double percentile(std::vector<double>& samples, double p) {
  std::sort(samples.begin(), samples.end());
  if (samples.empty()) return 0;
  return samples[std::min(samples.size() - 1, size_t(p * double(samples.size())))];
}

}  // namespace weft::sim
