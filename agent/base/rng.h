// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

namespace weft {

// Deterministic generator handed to core code (xoshiro256**, Blackman & Vigna 2018). Not for keys:
// those come from OpenSSL's RAND_bytes. Satisfies UniformRandomBitGenerator.
class Rng {
 public:
  using result_type = uint64_t;
  explicit Rng(uint64_t seed);

  uint64_t operator()();
  // Uniform in [0, bound); bound > 0.
  uint64_t below(uint64_t bound);
  // Uniform in [0, 1).
  double unit();
  static constexpr uint64_t min() { return 0; }
  static constexpr uint64_t max() { return ~uint64_t(0); }

 private:
  uint64_t state_[4];
};

}  // namespace weft
