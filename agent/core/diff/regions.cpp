// SPDX-License-Identifier: Apache-2.0
#include "core/diff/regions.h"

#include <algorithm>
#include <bit>

#include "base/assert.h"

namespace weft::diff {

void Regions::occupy(const Range& range) {
  if (range.count == 0) return;
  uint64_t start = range.first;
  uint64_t end = start + range.count;
  // Pieces that touch become one, so that they are disjoint whatever was read back.
  auto next = occupied_.upper_bound(start);
  if (next != occupied_.begin() && std::prev(next)->second >= start) --next;
  while (next != occupied_.end() && next->first <= end) {
    start = std::min(start, next->first);
    end = std::max(end, next->second);
    next = occupied_.erase(next);
  }
  occupied_.emplace(start, end);
}

std::optional<Range> Regions::allocate(uint32_t size) {
  WEFT_ASSERT(std::has_single_bit(size));
  uint64_t& from = search_from_[std::countr_zero(size)];
  uint64_t at = from;
  while (at + size <= limit_) {
    auto piece = occupied_.lower_bound(at + size);
    uint64_t blocked_to = 0;
    // Pieces are disjoint: of those that begin before the candidate's end the last ends last.
    if (piece != occupied_.begin()) {
      --piece;
      if (piece->second > at) blocked_to = piece->second;
    }
    if (blocked_to == 0) {
      from = at + size;
      const Range range{uint32_t(at), size};
      occupy(range);
      return range;
    }
    at = (blocked_to + size - 1) / size * size;
  }
  from = at;
  return std::nullopt;
}

}  // namespace weft::diff
