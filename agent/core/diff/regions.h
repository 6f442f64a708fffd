// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <optional>

#include "core/diff/held.h"

namespace weft::diff {

// Free space of an array map, in aligned regions of a power of two. Nothing is given back: an
// allocator lives for one diff.
class Regions {
 public:
  explicit Regions(uint32_t limit) : limit_(limit) {}
  void occupy(const Range& range);
  // The first free region of this size.
  std::optional<Range> allocate(uint32_t size);

 private:
  uint64_t limit_;
  std::map<uint64_t, uint64_t> occupied_;   // start -> end
  std::array<uint64_t, 33> search_from_{};  // by log2 of the size: nothing is free below
};

}  // namespace weft::diff
