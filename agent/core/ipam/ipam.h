// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/address.h"
#include "base/instant.h"
#include "base/result.h"

namespace weft::ipam {

// A released address is not handed out again for this long, unless nothing else is left: peers and
// clients still hold the old neighbour entry, DNS answer or connection.
constexpr auto rest_after_release = std::chrono::seconds(60);

// Where the addresses of one family of a network come from.
struct Pool {
  Prefix subnet;
  Prefix range;  // automatic choice stays inside; the subnet itself when none was asked for
};

// Checks sizes and nesting. `range` empty: the whole subnet. /31 and /32 (IPv6: /127 and /128)
// are refused: they cannot hold a gateway and an endpoint.
Result<Pool> make_pool(const Prefix& subnet, const std::optional<Prefix>& range);

// The network address, and the broadcast address of IPv4 (RFC 919); ::0 of IPv6, the
// subnet-router anycast address (RFC 4291 2.6.1).
bool is_reserved(const Prefix& subnet, const Address& address);

// First address of the subnet that is not reserved: the gateway when none was asked for.
Address first_usable(const Prefix& subnet);

// What is known of one address.
struct Use {
  bool taken = false;
  std::optional<WallTime> released;  // set: free since then
};
using Look = std::function<Use(const Address&)>;

// Next-fit: the first free address after `last` in the range, wrapping round. A resting address is
// taken only when no other is left, the one released longest ago first. Error: exhausted.
Result<Address> choose(const Pool& pool, const Address& last, const Look& look, WallTime now);

// A requested address must be in the subnet (it may lie outside the range), not reserved, and free.
Result<> check_requested(const Pool& pool, const Address& address, const Look& look);

// How many addresses the range can hand out at most.
uint64_t usable(const Pool& pool);

// The next block of `length` bits of the pool after `last` that overlaps none of `taken`, wrapping
// round. Error: exhausted.
Result<Prefix> choose_subnet(const Prefix& pool, uint8_t length, const std::optional<Prefix>& last,
                             std::span<const Prefix> taken);

// The cluster's own IPv6 block: fd00::/8 with 40 bits from a hash of the cluster id (RFC 4193 3.2),
// a /48 to be cut into a /64 per network.
Prefix unique_local_pool(std::string_view cluster_id);

}  // namespace weft::ipam
