// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <limits>

#include "core/ipam/ipam.h"

namespace weft::ipam {

namespace {

uint64_t low_bits(const Address& a) {
  uint64_t v = 0;
  for (int i = 8; i < 16; i++) v = v << 8 | a.bytes()[i];
  return a.is_v4() ? v & 0xffffffff : v;
}

// The addresses that automatic choice walks over: `count` from `first` on.
struct Span {
  Address first;
  uint64_t count = 0;
};

Span walkable(const Pool& pool) {
  Span span{pool.range.address, pool.range.size()};
  if (span.count != 0 && is_reserved(pool.subnet, span.first)) {
    span.first = span.first.plus(1);
    span.count--;
  }
  if (span.count != 0 && is_reserved(pool.subnet, pool.range.last())) span.count--;
  return span;
}

}  // namespace

bool is_reserved(const Prefix& subnet, const Address& address) {
  if (address == subnet.address) return true;
  return address.is_v4() && address == subnet.last();
}

Address first_usable(const Prefix& subnet) { return subnet.address.plus(1); }

uint64_t usable(const Pool& pool) { return walkable(pool).count; }

Result<Pool> make_pool(const Prefix& subnet, const std::optional<Prefix>& range) {
  const bool v4 = subnet.address.is_v4();
  const unsigned longest = v4 ? 30 : 126;
  if (subnet.length > longest)
    return Error(ErrorCode::invalid, "subnet " + subnet.to_string() +
                                         " is too small for a gateway and an endpoint: use /" +
                                         std::to_string(longest) + " or larger");
  const unsigned shortest = v4 ? 8 : 16;
  if (subnet.length < shortest)
    return Error(ErrorCode::invalid, "subnet " + subnet.to_string() + " is too large: use /" +
                                         std::to_string(shortest) + " or smaller");
  if (subnet.address.is_multicast() || subnet.address.is_loopback() ||
      subnet.address.is_link_local() || (v4 && subnet.address.to_v4() >> 24 == 0) ||
      (v4 && subnet.address.to_v4() >> 28 == 0xf))
    return Error(ErrorCode::invalid, "subnet " + subnet.to_string() +
                                         " is not for unicast use between hosts: use a private "
                                         "one such as " +
                                         (v4 ? "10.20.0.0/24" : "fd00:20::/64"));
  Pool pool{subnet, range.value_or(subnet)};
  if (!subnet.contains(pool.range))
    return Error(ErrorCode::invalid, "ip range " + pool.range.to_string() +
                                         " is not inside subnet " + subnet.to_string());
  if (usable(pool) == 0)
    return Error(ErrorCode::invalid, "ip range " + pool.range.to_string() +
                                         " is too small: it holds only reserved addresses of "
                                         "subnet " +
                                         subnet.to_string());
  return pool;
}

Result<Address> choose(const Pool& pool, const Address& last, const Look& look, WallTime now) {
  const Span span = walkable(pool);
  if (span.count == 0)
    return Error(ErrorCode::exhausted, "no usable address in " + pool.range.to_string());
  // Offset of the first candidate.
  uint64_t offset = 0;
  if (pool.range.contains(last) && low_bits(last) >= low_bits(span.first)) {
    const uint64_t at = low_bits(last) - low_bits(span.first);
    offset = at + 1 < span.count && at != std::numeric_limits<uint64_t>::max() ? at + 1 : 0;
  }
  std::optional<Address> resting;
  WallTime oldest{};
  const int64_t rest_ms =
      std::chrono::duration_cast<std::chrono::milliseconds>(rest_after_release).count();
  for (uint64_t i = 0; i < span.count; i++) {
    const Address candidate = span.first.plus(offset);
    offset = offset + 1 == span.count ? 0 : offset + 1;
    const Use use = look(candidate);
    if (use.taken) continue;
    if (!use.released || now.milliseconds - use.released->milliseconds >= rest_ms) return candidate;
    if (!resting || use.released->milliseconds < oldest.milliseconds) {
      resting = candidate;
      oldest = *use.released;
    }
  }
  if (resting) return *resting;
  return Error(ErrorCode::exhausted, "all " + std::to_string(span.count) + " addresses of " +
                                         pool.range.to_string() + " are in use");
}

Result<> check_requested(const Pool& pool, const Address& address, const Look& look) {
  if (!pool.subnet.contains(address))
    return Error(ErrorCode::invalid, "address " + address.to_string() + " is outside subnet " +
                                         pool.subnet.to_string());
  if (is_reserved(pool.subnet, address))
    return Error(ErrorCode::invalid,
                 "address " + address.to_string() + " is reserved: it is the " +
                     (address == pool.subnet.address ? "network" : "broadcast") +
                     " address of subnet " + pool.subnet.to_string());
  if (look(address).taken)
    return Error(ErrorCode::conflict, "address " + address.to_string() +
                                          " is already in use: choose another, or leave it out to "
                                          "get a free one");
  return Ok;
}

}  // namespace weft::ipam
