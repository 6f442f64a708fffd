// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstdint>

namespace weft {

using namespace std::chrono_literals;
using Duration = std::chrono::nanoseconds;

// A point in time on one node's monotonic clock (or a simulator's virtual clock). Core code is
// handed it as `now` and never asks. Not comparable between nodes, not across reboots.
struct Instant {
  Duration since_start{};

  friend Instant operator+(Instant i, Duration d) { return {i.since_start + d}; }
  friend Instant operator-(Instant i, Duration d) { return {i.since_start - d}; }
  friend Duration operator-(Instant a, Instant b) { return a.since_start - b.since_start; }
  auto operator<=>(const Instant&) const = default;
  static constexpr Instant never() { return {Duration::max()}; }
};

// Wall-clock time: milliseconds since 1970-01-01T00:00:00Z. For people and certificates only; it
// may jump.
struct WallTime {
  int64_t milliseconds = 0;
  auto operator<=>(const WallTime&) const = default;
};

}  // namespace weft
