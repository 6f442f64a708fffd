// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>

namespace weft::sim {

struct ChaosOutcome {
  std::string wrong;  // empty, or what is missing or came back
  uint64_t trace = 0;
  double heal_seconds = 0;
};

// A small cluster through restarts, partitions, one-way cuts, loss, reordering and writes; then
// everything is repaired, and all nodes must agree on the truth and go on agreeing.
ChaosOutcome chaos(uint64_t seed);

}  // namespace weft::sim
