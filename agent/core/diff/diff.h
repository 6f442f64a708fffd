// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/instant.h"
#include "core/diff/held.h"
#include "core/diff/operation.h"
#include "core/plan/desired_state.h"

namespace weft::diff {

// What the maps cannot hold about service tables. Losing it (a restart) costs nothing but that
// moving bits last for one more drain time.
struct Memory {
  struct Built {
    uint64_t signature = 0;  // of the backends the table was built from
    // lb::Table::moved_at; null if nothing moves. Shared by one diff after the other.
    std::shared_ptr<const std::vector<uint32_t>> moved_at;
    Instant expiry = Instant::never();
  };
  std::map<uint64_t, Built> services;  // by weft_service.id
};

struct Limits {
  uint32_t services = WEFT_MAX_SERVICES;
  uint32_t backends = WEFT_MAX_BACKENDS;
  uint32_t slots = WEFT_MAX_SLOTS;
};

struct Difference {
  std::vector<Operation> operations;
  Memory memory;  // for the next diff if all operations succeed; if one fails, an empty one
  Instant deadline = Instant::never();  // moving bits expire: diff again then
  std::vector<std::string> problems;    // services that do not fit; they stay as they are
};

// The steps from `held` to `desired`. What is referred to is there before what refers to it, and
// goes after it: published ports and VIPs come last and go first. A service keeps its index, its
// backends keep their offsets while they live, and a new slot table is written beside the old one
// and switched to by the store of weft_service.table. What a step frees is not used again before
// the next diff, so that a packet in flight never meets another service's data.
Difference diff(const plan::DesiredState& desired, const Held& held, const Memory& memory,
                Duration drain, Instant now, const Limits& limits = {});

}  // namespace weft::diff
