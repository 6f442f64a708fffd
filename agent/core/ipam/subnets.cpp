// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "core/ipam/ipam.h"

namespace weft::ipam {

namespace {

// The address `block` blocks of `length` bits into the pool.
Address block_start(const Prefix& pool, uint8_t length, uint64_t block) {
  if (pool.address.is_v4()) return pool.address.plus(block << (32 - length));
  // 128-bit addition of block << (128 - length), byte by byte from the right.
  const unsigned shift = 128 - length;
  Address::Bytes out = pool.address.bytes();
  unsigned carry = 0;
  for (int i = 15; i >= 0; i--) {
    const unsigned low_bit = unsigned(15 - i) * 8;
    uint64_t piece = 0;
    if (low_bit + 8 > shift) {
      const int by = int(low_bit) - int(shift);
      piece = by >= 0 ? (by < 64 ? block >> by : 0) : block << -by;
    }
    const unsigned sum = out[i] + unsigned(piece & 0xff) + carry;
    out[i] = uint8_t(sum);
    carry = sum >> 8;
  }
  return Address(out);
}

}  // namespace

Result<Prefix> choose_subnet(const Prefix& pool, uint8_t length, const std::optional<Prefix>& last,
                             std::span<const Prefix> taken) {
  if (length < pool.length)
    return Error(ErrorCode::invalid, "pool " + pool.to_string() + " is smaller than a /" +
                                         std::to_string(length) + " subnet");
  // More than 2^20 blocks are never walked: the cluster cannot hold that many networks.
  const unsigned bits = std::min(unsigned(length - pool.length), 20u);
  const uint64_t blocks = uint64_t(1) << bits;
  uint64_t start = 0;
  if (last) {
    for (uint64_t block = 0; block < blocks; block++) {
      if (last->contains(block_start(pool, length, block))) start = block + 1;
      // A larger last block covers several: go on behind all of them.
      else if (start != 0)
        break;
    }
  }
  for (uint64_t i = 0; i < blocks; i++) {
    const Prefix candidate{block_start(pool, length, (start + i) % blocks), length};
    const bool clash = std::any_of(taken.begin(), taken.end(),
                                   [&](const Prefix& p) { return p.overlaps(candidate); });
    if (!clash) return candidate;
  }
  return Error(ErrorCode::exhausted,
               "no free /" + std::to_string(length) + " subnet is left in the pool " +
                   pool.to_string() +
                   ": choose one with --subnet, or remove networks that are not used");
}

Prefix unique_local_pool(std::string_view cluster_id) {
  uint64_t hash = 0xcbf29ce484222325;  // FNV-1a
  for (const char c : cluster_id) hash = (hash ^ uint8_t(c)) * 0x100000001b3;
  Address::Bytes bytes{};
  bytes[0] = 0xfd;
  for (int i = 0; i < 5; i++) bytes[1 + i] = uint8_t(hash >> (56 - 8 * i));
  return Prefix{Address(bytes), 48};
}

}  // namespace weft::ipam
