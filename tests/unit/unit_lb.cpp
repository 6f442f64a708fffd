// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>
#include <rapidcheck.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <map>
#include <numeric>

#include "base/rng.h"
#include "core/lb/slot_table.h"

using namespace weft;
using namespace weft::lb;

namespace {

constexpr Duration drain = 30s;
constexpr Instant start{1000s};

std::vector<Backend> backends_of(size_t count, uint64_t seed = 1, uint32_t weight = 1) {
  Rng rng(seed);
  std::vector<Backend> out;
  for (size_t i = 0; i < count; ++i)
    out.push_back({.id = rng(), .weight = weight, .offset = uint16_t(i)});
  return out;
}

Table fresh(const std::vector<Backend>& backends) { return build(backends, {}, drain, start); }

uint64_t id_at(const std::vector<Backend>& backends, uint16_t offset) {
  for (const Backend& b : backends)
    if (b.offset == offset) return b.id;
  return 0;
}

// Slots in names that mean the same on every node.
std::vector<std::pair<uint64_t, uint64_t>> named(const Table& table,
                                                 const std::vector<Backend>& backends) {
  std::vector<std::pair<uint64_t, uint64_t>> out;
  for (const Slot& s : table.slots)
    out.emplace_back(id_at(backends, s.primary), id_at(backends, s.secondary));
  return out;
}

std::map<uint16_t, double> shares(const Table& table) {
  std::map<uint16_t, double> out;
  for (const Slot& s : table.slots) out[s.primary] += 1.0 / double(table.slots.size());
  return out;
}

// A set of 2..24 backends with weights, some draining or dead, at least one ready.
std::vector<Backend> any_backends() {
  auto out = backends_of(*rc::gen::inRange<size_t>(2, 24), *rc::gen::arbitrary<uint64_t>());
  for (Backend& b : out) {
    b.weight = *rc::gen::inRange<uint32_t>(0, 5);
    b.state = *rc::gen::weightedElement<BackendState>(
        {{6, BackendState::ready}, {2, BackendState::draining}, {1, BackendState::dead}});
  }
  out[0].state = BackendState::ready;
  return out;
}

BackendState state_of(const std::vector<Backend>& backends, uint16_t offset) {
  for (const Backend& b : backends)
    if (b.offset == offset) return b.state;
  return BackendState::dead;
}

}  // namespace

TEST_CASE("tables are equal on all nodes, in whatever order and under whatever offsets") {
  CHECK(rc::check([] {
    const auto here = any_backends();
    auto there = here;
    Rng rng(*rc::gen::arbitrary<uint64_t>());
    std::shuffle(there.begin(), there.end(), rng);
    for (size_t i = 0; i < there.size(); ++i) there[i].offset = uint16_t(3 * i + 7);
    RC_ASSERT(named(fresh(here), here) == named(fresh(there), there));
  }));
}

TEST_CASE("a table never changes between builds of the same set, or a mixed cluster disagrees") {
  const auto backends = backends_of(5, 42);
  auto weighted = backends;
  weighted[2].weight = 3;
  const auto digest = [](const Table& table) {
    uint64_t sum = 0;
    for (const Slot& s : table.slots) sum = sum * 31 + s.primary * 7 + s.secondary;
    return sum;
  };
  CHECK(digest(fresh(backends)) == 15360332594413003833u);
  CHECK(digest(fresh(weighted)) == 8576351314737266231u);
  CHECK(stable_id("web.1.abc") == 2781714781237990112u);
}

TEST_CASE("primaries depend on the set alone, not on what happened before") {
  CHECK(rc::check([] {
    auto backends = any_backends();
    Table table = fresh(backends);
    Instant now = start;
    for (int step = 0; step < 6; ++step) {
      Backend& b = backends[*rc::gen::inRange<size_t>(1, backends.size())];
      b.state = *rc::gen::element(BackendState::ready, BackendState::draining, BackendState::dead);
      now = now + std::chrono::seconds(*rc::gen::inRange(0, 40));
      table = build(backends, table, drain, now);
      const Table direct = fresh(backends);
      RC_ASSERT(table.slots.size() == direct.slots.size());
      for (size_t s = 0; s < table.slots.size(); ++s)
        RC_ASSERT(table.slots[s].primary == direct.slots[s].primary);
    }
  }));
}

TEST_CASE("only ready backends own slots, the dead appear in none, and no slot names one twice") {
  CHECK(rc::check([] {
    auto backends = any_backends();
    Table table = fresh(backends);
    for (int step = 0; step < 4; ++step) {
      for (const Slot& s : table.slots) {
        RC_ASSERT(state_of(backends, s.primary) == BackendState::ready);
        RC_ASSERT(s.primary != s.secondary);
        if (s.secondary != no_backend)
          RC_ASSERT(state_of(backends, s.secondary) != BackendState::dead);
      }
      Backend& b = backends[*rc::gen::inRange<size_t>(1, backends.size())];
      b.state = *rc::gen::element(BackendState::ready, BackendState::draining, BackendState::dead);
      table = build(backends, table, drain, start + std::chrono::seconds(step * 7));
    }
  }));
}

TEST_CASE("adding a backend moves slots to it only, and the former owner is their secondary") {
  CHECK(rc::check([] {
    auto backends = backends_of(*rc::gen::inRange<size_t>(1, 15), *rc::gen::arbitrary<uint64_t>());
    const Table before = fresh(backends);
    backends.push_back({.id = *rc::gen::nonZero<uint64_t>(), .offset = 100});
    const Table after = build(backends, before, drain, start);
    size_t moved = 0;
    for (size_t s = 0; s < after.slots.size(); ++s) {
      if (after.slots[s].primary == before.slots[s].primary) {
        if (before.slots[s].secondary != no_backend) RC_ASSERT((after.slots[s] == before.slots[s]));
        continue;
      }
      ++moved;
      RC_ASSERT(after.slots[s] == (Slot{100, before.slots[s].primary, true}));
    }
    // A node that did not see the change agrees: the runner-up is the former owner.
    const Table direct = fresh(backends);
    for (size_t s = 0; s < after.slots.size(); ++s)
      if (after.slots[s].moving) RC_ASSERT(direct.slots[s].secondary == after.slots[s].secondary);
    // Its ideal share, within five standard deviations of a fair draw.
    const double n = double(after.slots.size()), p = 1.0 / double(backends.size());
    RC_ASSERT(std::abs(double(moved) - n * p) < 5 * std::sqrt(n * p * (1 - p)) + 1);
  }));
}

TEST_CASE("a draining backend's slots move, it stays their secondary, and nothing else moves") {
  CHECK(rc::check([] {
    auto backends = backends_of(*rc::gen::inRange<size_t>(2, 16), *rc::gen::arbitrary<uint64_t>());
    const Table before = fresh(backends);
    backends[0].state = BackendState::draining;
    const Table after = build(backends, before, drain, start);
    for (size_t s = 0; s < after.slots.size(); ++s) {
      if (before.slots[s].primary == 0)
        RC_ASSERT((after.slots[s].primary != 0 && after.slots[s].secondary == 0 &&
                   after.slots[s].moving));
      else
        RC_ASSERT(after.slots[s] == before.slots[s]);
    }
    RC_ASSERT(named(fresh(backends), backends) == named(after, backends));
    // When it is gone, only its traces go.
    backends[0].state = BackendState::dead;
    const Table gone = build(backends, after, drain, start + 1s);
    for (size_t s = 0; s < gone.slots.size(); ++s) {
      RC_ASSERT(gone.slots[s].primary == after.slots[s].primary);
      RC_ASSERT(gone.slots[s].secondary != 0);
    }
  }));
}

TEST_CASE("flows from before several changes in a row stay reachable through the secondary") {
  auto backends = backends_of(2);
  const Table settled = fresh(backends);
  Table table = settled;
  for (int more = 0; more < 4; ++more) {
    backends.push_back({.id = uint64_t(1000 + more), .offset = uint16_t(2 + more)});
    table = build(backends, table, drain, start + std::chrono::seconds(more));
  }
  size_t moved = 0;
  for (size_t s = 0; s < table.slots.size(); ++s) {
    const uint16_t owner = settled.slots[s].primary;
    CHECK((table.slots[s].primary == owner || table.slots[s].secondary == owner));
    moved += table.slots[s].primary != owner;
  }
  CHECK(moved > table.slots.size() / 2);
}

TEST_CASE("moving bits last for the drain time, and the deadline says when to build again") {
  auto backends = backends_of(3);
  Table table = fresh(backends);
  CHECK(next_expiry(table, drain) == Instant::never());
  backends.push_back({.id = 7, .offset = 3});
  table = build(backends, table, drain, start);
  CHECK(next_expiry(table, drain) == start + drain);
  backends.push_back({.id = 8, .offset = 4});
  table = build(backends, table, drain, start + 10s);
  CHECK(next_expiry(table, drain) == start + drain);
  table = build(backends, table, drain, start + drain);
  CHECK(next_expiry(table, drain) == start + drain + 10s);
  for (const Slot& s : table.slots) CHECK(s.moving == (s.primary == 4));
  const Table quiet = build(backends, table, drain, start + drain + 10s);
  CHECK(next_expiry(quiet, drain) == Instant::never());
  CHECK(quiet.moved_at.empty());
  for (size_t s = 0; s < quiet.slots.size(); ++s) {
    CHECK(!quiet.slots[s].moving);
    CHECK(quiet.slots[s].secondary == table.slots[s].secondary);
  }
}

TEST_CASE("moving bits of a table read back after a restart start their drain time anew") {
  auto backends = backends_of(3);
  Table table = fresh(backends);
  backends.push_back({.id = 7, .offset = 3});
  table = build(backends, table, drain, start);
  table.moved_at.clear();
  table = build(backends, table, drain, start + 5s);
  CHECK(next_expiry(table, drain) == start + 5s + drain);
}

TEST_CASE("a service whose backends all drain gives no new flow and keeps the old ones") {
  auto backends = backends_of(3);
  const Table before = fresh(backends);
  for (Backend& b : backends) b.state = BackendState::draining;
  const Table after = build(backends, before, drain, start);
  for (size_t s = 0; s < after.slots.size(); ++s)
    CHECK(after.slots[s] == Slot{no_backend, before.slots[s].primary, true});
  for (Backend& b : backends) b.state = BackendState::dead;
  CHECK(build(backends, after, drain, start).slots.empty());
}

TEST_CASE("weights are respected, and changing one moves slots to or from that backend only") {
  for (const uint32_t weight : {1u, 2u, 5u, 20u}) {
    auto backends = backends_of(20);  // 8,192 slots
    const Table before = fresh(backends);
    backends[4].weight = weight;
    const Table after = build(backends, before, drain, start);
    const double p = weight / (19.0 + weight);
    CHECK(shares(after)[4] == doctest::Approx(p).epsilon(5 * std::sqrt((1 - p) / (p * 8192))));
    for (size_t s = 0; s < after.slots.size(); ++s)
      if (after.slots[s].primary != before.slots[s].primary) CHECK(after.slots[s].primary == 4);
    backends[4].weight = 1;
    const Table back = build(backends, after, drain, start + drain);
    for (size_t s = 0; s < back.slots.size(); ++s)
      if (back.slots[s].primary != after.slots[s].primary) CHECK(after.slots[s].primary == 4);
  }
}

TEST_CASE("load is even: the fullest backend has little more than the mean") {
  for (const auto& [count, bound] : std::map<size_t, double>{
           {2, 1.10}, {4, 1.15}, {10, 1.30}, {16, 1.40}, {100, 1.40}, {500, 1.40}}) {
    double worst = 0;
    for (uint64_t seed = 1; seed <= (count > 100 ? 1 : 10); ++seed) {
      const Table table = fresh(backends_of(count, seed));
      for (const auto& [offset, share] : shares(table)) worst = std::max(worst, share * count);
    }
    MESSAGE(count << " backends, " << slots_for(count) << " slots: max/mean " << worst);
    CHECK(worst < bound);
  }
}

TEST_CASE("a thousand services of ten backends are built in no time that matters") {
  const auto begin = std::chrono::steady_clock::now();
  size_t slots = 0;
  for (uint64_t service = 0; service < 1000; ++service)
    slots += fresh(backends_of(10, service)).slots.size();
  const auto took = std::chrono::steady_clock::now() - begin;
  MESSAGE(slots << " slots in "
                << std::chrono::duration_cast<std::chrono::milliseconds>(took).count() << " ms");
  CHECK(slots == 1024000);
  CHECK(took < 60s);  // for a loaded machine under sanitizers; else it is a fraction of a second
}
