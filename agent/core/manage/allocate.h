// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/ipam/ipam.h"
#include "core/manage/draft.h"

namespace weft::manage {

constexpr uint32_t first_vni = 4096, last_vni = (1u << 24) - 1;
constexpr uint32_t first_dynamic_port = 30000, last_dynamic_port = 32767;
constexpr uint32_t last_node_index = 4095;
// An index of a removed node stays unused this long: its packets may still be under way, and its
// maps' entries may still be around on a node that was cut off.
constexpr auto index_rest = std::chrono::hours(24);

enum class Family { v4, v6 };

// Leases an address of the network. `requested` empty: next-fit. Errors: invalid, conflict,
// exhausted.
Result<std::string> lease_address(Draft& draft, const api::Network& network, Family family,
                                  const std::string& owner, const std::string& requested = "");
// Idempotent; the address rests before it is handed out again. Empty address: nothing to do.
void release_address(Draft& draft, const std::string& network_id, const std::string& address);
// Forgets addresses that have rested. Gives the time at which the next one will have, if any.
std::optional<WallTime> expire_leases(Draft& draft);

// An attachment of a task or a VIP: addresses of both families that the network has.
struct Addresses {
  std::string address4, address6;
};
Result<Addresses> lease_addresses(Draft& draft, const api::Network& network,
                                  const std::string& owner, const std::string& requested4 = "",
                                  const std::string& requested6 = "");
// 02:42 and the bytes of the IPv4 address.
std::string mac_of(const std::string& address4);

Result<uint32_t> allocate_vni(Draft& draft, const std::string& requested);
Result<uint32_t> allocate_index(Draft& draft);
// Fills in published ports of 0 and checks the others against all services but `self`. `old`: the
// ports the service has so far, whose dynamic numbers are kept.
Result<> allocate_ports(Draft& draft, const std::string& self, const api::ServiceSpec* old,
                        api::ServiceSpec& spec);

}  // namespace weft::manage
