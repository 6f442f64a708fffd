// SPDX-License-Identifier: Apache-2.0
#include "core/lb/slot_table.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>

#include "base/assert.h"

namespace weft::lb {
namespace {

constexpr Duration tick = 100ms;

// Finalizer of splitmix64 (Steele, Lea, Flood 2014).
uint64_t mix(uint64_t x) {
  x ^= x >> 30;
  x *= 0xbf58476d1ce4e5b9;
  x ^= x >> 27;
  x *= 0x94d049bb133111eb;
  x ^= x >> 31;
  return x;
}

// How much a backend wants a slot.
struct Bid {
  double cost = 0;    // smaller wins; only with unequal weights
  uint64_t draw = 0;  // larger wins
  const Backend* backend = nullptr;

  // A total order without equal elements, so that the order of the input never shows.
  bool beats(const Bid& other) const {
    if (other.backend == nullptr) return true;
    if (cost != other.cost) return cost < other.cost;
    if (draw != other.draw) return draw > other.draw;
    return backend->id < other.backend->id;
  }
};

// Ranks the live backends for one slot after another.
class Ranking {
 public:
  explicit Ranking(std::span<const Backend> backends) {
    for (const Backend& b : backends) {
      WEFT_ASSERT(b.offset < no_backend);
      if (b.state == BackendState::dead) continue;
      live_.push_back(&b);
      if (by_offset_.size() <= b.offset) by_offset_.resize(b.offset + 1);
      by_offset_[b.offset] = &b;
    }
    const auto weight = [](const Backend* b) { return std::max<uint32_t>(b->weight, 1); };
    for (const Backend* b : live_) {
      keys_.push_back(mix(b->id + 0x9e3779b97f4a7c15));
      inverse_weights_.push_back(1.0 / weight(b));
      weighted_ = weighted_ || weight(b) != weight(live_[0]);
    }
  }

  size_t live() const { return live_.size(); }
  bool lives(uint16_t offset) const {
    return offset < by_offset_.size() && by_offset_[offset] != nullptr;
  }

  // The best ready backend, or null.
  const Backend* owner(size_t slot) const {
    return best(slot, [](const Backend& b) { return b.state == BackendState::ready; });
  }
  // The best live backend other than `owner`, or no_backend.
  uint16_t runner_up(size_t slot, uint16_t owner) const {
    const Backend* b = best(slot, [owner](const Backend& b) { return b.offset != owner; });
    return b == nullptr ? no_backend : b->offset;
  }

 private:
  template <typename Eligible>
  const Backend* best(size_t slot, Eligible eligible) const {
    const uint64_t slot_key = mix((slot + 1) * 0x9e3779b97f4a7c15);
    Bid best;
    for (size_t i = 0; i < live_.size(); ++i) {
      if (!eligible(*live_[i])) continue;
      Bid bid{.draw = mix(slot_key ^ keys_[i]), .backend = live_[i]};
      // With equal weights the order of the costs is the order of the draws. The logarithm may
      // differ by one unit in the last place between machines; that shows only where two costs
      // agree to 52 bits.
      if (weighted_)
        bid.cost = -std::log((double(bid.draw >> 11) + 0.5) * 0x1p-53) * inverse_weights_[i];
      if (bid.beats(best)) best = bid;
    }
    return best.backend;
  }

  std::vector<const Backend*> live_;
  std::vector<uint64_t> keys_;
  std::vector<double> inverse_weights_;
  std::vector<const Backend*> by_offset_;
  bool weighted_ = false;
};

// The next state of a slot whose owner is `owner` now and that was `was` before.
Slot next_slot(const Ranking& ranking, size_t index, uint16_t owner, const Slot& was) {
  const auto usable = [&](uint16_t offset) { return offset != owner && ranking.lives(offset); };
  Slot slot{.primary = owner, .moving = was.moving};
  if (owner == was.primary) {
    // If the former owner died meanwhile, the runner-up is the likeliest holder of what is cached.
    slot.secondary = usable(was.secondary) ? was.secondary : ranking.runner_up(index, owner);
    return slot;
  }
  // Flows given to an owner in between are in the flow caches: the secondary serves those from
  // before the first change.
  const bool older = was.moving || was.primary == no_backend;
  const uint16_t settled = older && ranking.lives(was.secondary) ? was.secondary : was.primary;
  for (const uint16_t former : {settled, was.primary}) {
    if (!usable(former)) continue;
    slot.secondary = former;
    slot.moving = true;
    return slot;
  }
  // The former owner is dead, and its flows with it: nothing to remember.
  slot.secondary = ranking.runner_up(index, owner);
  slot.moving = false;
  return slot;
}

}  // namespace

size_t slots_for(size_t live_backends) {
  if (live_backends == 0) return 0;
  if (live_backends <= 16) return 1024;
  if (live_backends <= 128) return 8192;
  return 65536;
}

uint64_t stable_id(std::string_view text) {
  uint64_t hash = 0xcbf29ce484222325;
  for (const char c : text) hash = (hash ^ uint8_t(c)) * 0x100000001b3;
  hash = mix(hash);
  return hash == 0 ? 1 : hash;
}

Table build(std::span<const Backend> backends, const Table& previous, Duration drain, Instant now) {
  const Ranking ranking(backends);
  Table table;
  table.slots.resize(slots_for(ranking.live()));
  WEFT_ASSERT(previous.slots.empty() || std::has_single_bit(previous.slots.size()));
  const uint32_t now_ticks = uint32_t(now.since_start / tick);
  const uint32_t drain_ticks = uint32_t((drain + tick - Duration(1)) / tick);
  bool any_moving = false;
  std::vector<uint32_t> moved_at(table.slots.size());
  for (size_t s = 0; s < table.slots.size(); ++s) {
    const Backend* best = ranking.owner(s);
    const uint16_t owner = best == nullptr ? no_backend : best->offset;
    Slot& slot = table.slots[s];
    if (previous.slots.empty()) {
      slot = {.primary = owner, .secondary = ranking.runner_up(s, owner)};
      continue;
    }
    // A flow's slot is the low bits of its hash, so in a table of another size it came from here.
    const size_t from = s & (previous.slots.size() - 1);
    Slot was = previous.slots[from];
    const uint32_t was_at = previous.moved_at.empty() ? now_ticks : previous.moved_at[from];
    if (was.moving && now_ticks - was_at >= drain_ticks) was.moving = false;
    slot = next_slot(ranking, s, owner, was);
    moved_at[s] = slot.primary == was.primary ? was_at : now_ticks;
    any_moving = any_moving || slot.moving;
  }
  if (any_moving) table.moved_at = std::move(moved_at);
  return table;
}

Instant next_expiry(const Table& table, Duration drain) {
  if (table.moved_at.empty()) return Instant::never();
  uint32_t first = UINT32_MAX;
  for (size_t s = 0; s < table.slots.size(); ++s)
    if (table.slots[s].moving) first = std::min(first, table.moved_at[s]);
  if (first == UINT32_MAX) return Instant::never();
  const auto drain_ticks = (drain + tick - Duration(1)) / tick;
  return {tick * (int64_t(first) + drain_ticks)};
}

}  // namespace weft::lb
