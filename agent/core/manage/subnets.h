// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/manage/draft.h"

namespace weft::manage {

// Bytes that VXLAN over IPv4 adds to a packet, and ESP with a 16-byte ICV on top.
constexpr uint32_t vxlan_overhead_bytes = 50, esp_overhead_bytes = 34;

// The subnets asked for, or free ones of the cluster's pools. Fills subnet, range, gateway and
// leases of gateway and aux addresses; `network` has its id and name already.
struct SubnetWish {
  std::vector<std::string> subnets, ip_ranges, gateways;
  std::map<std::string, std::string> aux_addresses;
  bool ipv6 = false;
  uint8_t default_length4 = 24;
};
Result<> give_subnets(Draft& draft, const SubnetWish& wish, api::Network& network);

// The largest MTU that fits through the uplink of every node, and the node that limits it.
struct LargestMtu {
  uint32_t bytes = 0;
  std::string node;
};
LargestMtu largest_mtu(const Draft& draft, bool encrypted);
// Networks without an mtu option follow the smallest uplink.
void lower_mtus(Draft& draft);

}  // namespace weft::manage
