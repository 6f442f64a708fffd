// SPDX-License-Identifier: Apache-2.0
#include "sim/measure.h"

#include <malloc.h>

#include <algorithm>

#include "base/assert.h"
#include "core/cluster/wire.h"
#include "io/sealed/sealer.h"

namespace weft::sim {

using cluster::Event;
using cluster::MemberState;

namespace {

double milliseconds(Duration d) { return double(d.count()) / 1e6; }

cluster::Config config_of(const Setting& setting) {
  cluster::Config config;
  if (setting.at_once) config.baseline_grace = 24h;  // or all would write one record after 30 s
  return config;
}

void form(Cluster& c, const Setting& setting) {
  if (setting.at_once) {
    c.form_at_once();
  } else {
    c.form();
  }
  c.link().loss = setting.loss;
  c.run_for(setting.nodes > 2000 ? 2s : 5s);
}

Duration random_wait(Cluster& c) { return Duration(int64_t(c.rng().below(1'000'000'000))); }

}  // namespace

Spread spread(const Setting& setting, int updates) {
  Cluster c(setting.seed, setting.nodes, {}, config_of(setting));
  form(c, setting);
  Spread out;
  const uint64_t before = c.bytes();
  c.run_for(1s);
  const double idle = double(c.bytes() - before);
  double spent = 0;
  for (int update = 0; update < updates; ++update) {
    const std::string key = "endpoint-" + std::to_string(update);
    size_t missing = setting.nodes;
    const Instant start = c.now();
    const uint64_t bytes = c.bytes();
    double last = 0;
    c.on_event([&](size_t, const Event& event) {
      if (event.kind != Event::Kind::record_set || event.key != key) return;
      last = milliseconds(c.now() - start);
      out.each.push_back(last);
      --missing;
    });
    c.set(c.rng().below(setting.nodes), 0, key, 100);
    c.run_until([&] { return missing == 0; }, 20s, 1ms);
    out.all.push_back(last);
    out.missing += missing;
    if (c.now() < start + 1s) c.run_for(start + 1s - c.now());
    spent += double(c.bytes() - bytes) - idle * double((c.now() - start).count()) / 1e9;
  }
  out.bytes = spent / updates / double(setting.nodes);
  return out;
}

std::vector<double> ends(const Setting& setting, End how, int rounds) {
  Cluster c(setting.seed, setting.nodes, {}, config_of(setting));
  c.skew_clocks(200);
  form(c, setting);
  std::vector<double> samples;
  for (int round = 0; round < rounds; ++round) {
    c.run_for(random_wait(c));
    size_t victim = 0;
    do victim = c.rng().below(setting.nodes);
    while (!c.up(victim));
    const NodeId id = c.id(victim);
    // Nodes that still have to hear it.
    std::vector<bool> open(setting.nodes);
    size_t missing = 0;
    for (size_t i = 0; i < setting.nodes; ++i) {
      open[i] = i != victim && c.up(i);
      missing += open[i] ? 1 : 0;
    }
    const Instant start = c.now();
    double last = 0;
    c.on_event([&](size_t node, const Event& event) {
      if (event.member != id || !open[node]) return;
      const bool gone =
          event.kind == Event::Kind::member_dead || event.kind == Event::Kind::member_left;
      if (!gone && (how != End::process || event.kind != Event::Kind::member_suspect)) return;
      open[node] = false;
      --missing;
      last = milliseconds(c.now() - start);
    });
    if (how == End::leave) {
      c.leave(victim);
    } else {
      c.kill(victim, how == End::silent ? Death::silent : Death::refused);
    }
    const bool known = c.run_until([&] { return missing == 0; }, 60s, 1ms);
    samples.push_back(known ? last : 60e3);
    c.run_for(1s);
  }
  return samples;
}

Quiet quiet(const Setting& setting, Duration time) {
  Cluster c(setting.seed, setting.nodes, {}, config_of(setting));
  form(c, setting);
  const uint64_t bytes = c.bytes(), packets = c.packets();
  c.run_for(time);
  Quiet out;
  const double seconds = double(time.count()) / 1e9 * double(setting.nodes);
  out.bytes_per_second = double(c.bytes() - bytes) / seconds;
  out.packets_per_second = double(c.packets() - packets) / seconds;
  out.false_deaths = c.false_deaths();
  for (size_t i = 0; i < c.size(); ++i) out.refutations += c.gossip(i).counters().refutations;
  return out;
}

double burst(const Setting& setting, int records) {
  Cluster c(setting.seed, setting.nodes);
  c.form();
  c.link().loss = setting.loss;
  size_t missing = setting.nodes * setting.nodes * size_t(records);
  c.on_event([&](size_t, const Event& event) {
    if (event.kind == Event::Kind::record_set) --missing;
  });
  const Instant start = c.now();
  for (size_t i = 0; i < setting.nodes; ++i) {
    for (int k = 0; k < records; ++k) c.set(i, 0, "endpoint-" + std::to_string(k), 120);
  }
  const bool done = c.run_until([&] { return missing == 0; }, 30s, 1ms);
  return done ? milliseconds(c.now() - start) : 30e3;
}

Memory memory(size_t members, size_t endpoints) {
  auto used = [] { return double(mallinfo2().uordblks); };
  auto id_of = [](size_t n) {
    NodeId id;
    Rng rng(n + 1);
    for (uint8_t& byte : id.bytes) byte = uint8_t(rng());
    return id;
  };
  auto info_of = [](size_t n) {
    const Address address = Address::v4(0x0a000000 + uint32_t(n));
    return cluster::MemberInfo{
        "worker-" + std::to_string(n), uint32_t(n), {address, 7946}, address, ""};
  };
  const Instant now{1h};
  const double nothing = used();
  auto gossip = std::make_unique<cluster::Gossip>(
      cluster::Config{}, cluster::Gossip::Self{id_of(0), 1, info_of(0)}, Rng(1), now);
  auto receive = [&](size_t from, const cluster::wire::Message& message) {
    Bytes bytes;
    cluster::wire::append_header(bytes);
    const Bytes body = cluster::wire::encode(message);
    bytes.insert(bytes.end(), body.begin(), body.end());
    gossip->on_packet(now, info_of(from).gossip, id_of(from), bytes);
    (void)gossip->take(now);
  };
  Memory out;
  out.base = used() - nothing;
  // Lazy rounds end, rumours are told.
  auto settle = [&](Instant until) {
    for (Instant t = now; t < until; t = std::max(t + 1ms, gossip->next_timer())) {
      gossip->on_timer(t);
      (void)gossip->take(t);
    }
  };
  for (size_t n = 1; n <= members; ++n) {
    cluster::wire::Member news{MemberState::alive, id_of(n), {1, 1}, id_of(n), info_of(n)};
    receive(n, news);
    receive(n, cluster::wire::RecordNews{
                   0, id_of(n), 1, {1, cluster::wire::RecordKind::baseline, {}, {}}});
  }
  settle(now + 300ms);
  const double with_members = used();
  out.member = (with_members - nothing - out.base) / double(members);
  uint64_t sequence = 1;
  for (size_t k = 0; k < endpoints; ++k) {
    if (k % members == 0) ++sequence;
    std::string key = std::to_string(k), value(60, 'v');
    key.insert(0, 24 - key.size(), 'k');
    const size_t owner = 1 + k % members;
    receive(owner,
            cluster::wire::RecordNews{
                0, id_of(owner), 1, {sequence, cluster::wire::RecordKind::value, key, value}});
  }
  settle(now + 600ms);
  out.endpoint = (used() - with_members) / double(endpoints);
  return out;
}

// --- keys ---

namespace {

class SealedNodes : public Seal {
 public:
  explicit SealedNodes(Cluster& c) {
    for (size_t i = 0; i < c.size(); ++i) {
      sealers_.emplace_back(c.id(i).bytes, 1, io::Sealer::KeyRing{{}, key(1), {}});
    }
  }
  Bytes seal(size_t from, const Bytes& plaintext) override {
    auto sealed = sealers_[from].seal(plaintext);
    WEFT_ASSERT(sealed.has_value());
    return std::move(*sealed);
  }
  std::optional<Bytes> open(size_t to, const Bytes& sealed) override {
    auto outcome = sealers_[to].open(sealed);
    if (auto* good = std::get_if<io::Sealer::Opened>(&outcome)) return std::move(good->plaintext);
    return std::nullopt;
  }
  void stage(size_t i) { sealers_[i].set_keys({{}, key(1), key(2)}); }
  void promote(size_t i) { sealers_[i].set_keys({key(1), key(2), {}}); }
  void retire(size_t i) { sealers_[i].set_keys({{}, key(2), {}}); }
  uint64_t opened() const {
    uint64_t sum = 0;
    for (const io::Sealer& sealer : sealers_) sum += sealer.counters().opened;
    return sum;
  }
  uint64_t undecryptable() const {
    uint64_t sum = 0;
    for (const io::Sealer& sealer : sealers_) {
      sum += sealer.counters().dropped_for(io::Sealer::Drop::unknown_key);
      sum += sealer.counters().dropped_for(io::Sealer::Drop::forged);
    }
    return sum;
  }

 private:
  static io::Sealer::Key key(uint32_t epoch) {
    io::Sealer::Key out{epoch, {}};
    out.bytes.fill(uint8_t(epoch));
    return out;
  }
  std::vector<io::Sealer> sealers_;
};

}  // namespace

Rotation rotation(const Setting& setting) {
  constexpr auto dispatch = 50ms;  // a manager reaches each node within
  Cluster c(setting.seed, setting.nodes, {}, config_of(setting));
  SealedNodes seals(c);
  c.use(&seals);
  form(c, setting);
  for (size_t i = 0; i < c.size(); ++i) c.set_keys(i, {1, 1});
  c.run_for(5s);
  Rotation out;
  bool staged = false, sealing = false;
  c.on_event([&](size_t node, const Event& event) {
    if (node != 0 || event.epoch != 2) return;
    staged |= event.kind == Event::Kind::keys_staged;
    sealing |= event.kind == Event::Kind::keys_sealing;
  });
  const Instant start = c.now();
  auto to_all = [&](auto step) {
    for (size_t i = 0; i < c.size(); ++i) {
      c.after(Duration(int64_t(c.rng().below(uint64_t(Duration(dispatch).count())))),
              [&, step, i] { step(i); });
    }
  };
  to_all([&](size_t i) {
    seals.stage(i);
    c.set_keys(i, {1, 2});
  });
  if (!c.run_until([&] { return staged; }, 20s, 1ms)) return out;
  out.staged = milliseconds(c.now() - start);
  to_all([&](size_t i) {
    seals.promote(i);
    c.set_keys(i, {2, 2});
  });
  if (!c.run_until([&] { return sealing; }, 20s, 1ms)) return out;
  out.sealing = milliseconds(c.now() - start);
  to_all([&](size_t i) { seals.retire(i); });
  c.run_for(dispatch);
  out.milliseconds = milliseconds(c.now() - start);
  c.run_for(5s);
  out.undecryptable = seals.undecryptable();
  out.opened = seals.opened();
  out.done = true;
  return out;
}

}  // namespace weft::sim
