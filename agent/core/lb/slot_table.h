// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "base/instant.h"

// Which backend a flow is given. A flow hashes to a slot, a slot names an owner (primary) and the
// backend that may still hold older flows of the slot (secondary).
namespace weft::lb {

enum class BackendState : uint8_t {
  ready,     // owns slots
  draining,  // keeps its flows as secondary, owns nothing
  dead,      // appears in no slot
};

struct Backend {
  uint64_t id = 0;      // stable_id of the endpoint: the same on every node
  uint32_t weight = 1;  // 0 counts as 1
  BackendState state = BackendState::ready;
  uint16_t offset = 0;  // this node's name for it; what the slots hold. Below no_backend, unique
};

inline constexpr uint16_t no_backend = 0x7fff;
// Offsets are 15 bits and 0x7fff means none.
inline constexpr size_t max_backends = 0x7fff;

struct Slot {
  uint16_t primary = no_backend;
  uint16_t secondary = no_backend;
  bool moving = false;  // the primary changed within the drain time and the former owner lives
  bool operator==(const Slot&) const = default;
};

// Slots and, while any slot is moving, when each of them last changed its owner.
struct Table {
  std::vector<Slot> slots;
  std::vector<uint32_t> moved_at;  // parallel to slots, or empty; tenths of seconds of Instant
  bool operator==(const Table&) const = default;
};

// Number of slots for so many live (ready or draining) backends: a power of two that every node
// computes alike. At least 64 slots a backend up to 1,024 backends. Steps are few on purpose:
// crossing one moves (n-1)/n of all slots at once.
size_t slots_for(size_t live_backends);

// 64-bit FNV-1a with a final mix; never 0.
uint64_t stable_id(std::string_view text);

// Weighted rendezvous hashing (Thaler & Ravishankar 1998; weights after Schindelhauer & Schomaker
// 2005): slot s belongs to the ready backend with the smallest -ln(u(s, id)) / weight. So a backend
// that joins or leaves moves its own share and nothing else, and primaries depend on the set alone:
// they are equal on every node whatever it has seen.
//
// `previous` is what the slots were (empty: unknown), in offsets that still name the same backends;
// it decides secondaries and moving bits only:
//  - a slot whose owner changes keeps as secondary the owner whose flows it has settled on, i.e.
//    the one before the first change within the drain time, as long as that one lives;
//  - otherwise the secondary stays while it lives, and without one it is the runner-up.
// For one change at a time the runner-up is the former owner, so a node without `previous` agrees.
// With backends, but none ready, primaries are no_backend and secondaries name draining ones. With
// no live backend the table is empty.
Table build(std::span<const Backend> backends, const Table& previous, Duration drain, Instant now);

// When the next moving bit expires: build again then. Instant::never() if nothing moves.
Instant next_expiry(const Table& table, Duration drain);

}  // namespace weft::lb
