// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "base/address.h"
#include "core/lb/slot_table.h"
#include "weft/abi/types.h"

namespace weft::plan {

// Order of map keys: numbers by value, structures by bytes.
struct KeyLess {
  template <typename K>
  bool operator()(const K& a, const K& b) const {
    if constexpr (std::is_integral_v<K>)
      return a < b;
    else
      return std::memcmp(&a, &b, sizeof(K)) < 0;
  }
};

// The wanted contents of a map: sorted by KeyLess, keys unique.
template <typename K, typename V>
using MapContents = std::vector<std::pair<K, V>>;

struct PlannedBackend {
  uint64_t id = 0;  // lb::stable_id of the endpoint's id
  uint32_t weight = 1;
  lb::BackendState state = lb::BackendState::ready;  // never dead
  weft_backend value{};                              // also its identity: {node, mac}
};

struct PlannedPort {
  weft_published_key key{};
  __be16 target_port = 0;
  uint16_t flags = 0;  // WEFT_PUBLISHED_*
};

// A service in one network: one entry of `services`. A service has one per network it has a VIP in,
// one in the ingress network for the routing mesh, and one for mode=host with local backends only.
struct PlannedService {
  uint64_t id = 0;  // weft_service.id: of service id, VNI and kind
  std::string service_id;
  uint32_t vni = 0;
  uint32_t flags = 0;  // WEFT_SERVICE_*
  Address vip4;
  Address vip6;
  std::vector<PlannedBackend> backends;  // sorted by {node, mac}, unique
  std::vector<PlannedPort> published;    // sorted by key
};

struct Route {
  Prefix subnet;
  uint32_t vni = 0;
  auto operator<=>(const Route&) const = default;
};

// A port of the host namespace that must be held, so that nothing else is bound and then shadowed.
struct HeldPort {
  Address address;  // none: every address
  uint16_t port = 0;
  uint8_t protocol = 0;
  auto operator<=>(const HeldPort&) const = default;
};

// What this node's kernel should hold. A function of the NodeView alone.
struct DesiredState {
  MapContents<__u32, weft_port> ports;
  MapContents<weft_mac_key, weft_port> local_macs;
  MapContents<weft_endpoint_key, weft_endpoint> endpoints;  // without VIPs: services have those
  MapContents<__u32, weft_network> networks;
  MapContents<weft_subnet_key, weft_subnet> subnets;
  MapContents<__u32, weft_vtep> vteps;
  MapContents<weft_peer_key, weft_peer> peers;
  MapContents<weft_address, weft_node_address> node_addresses;
  std::vector<PlannedService> services;  // sorted by id, unique
  std::vector<Route> routes;             // subnets that lead to the node's overlay device; sorted
  std::vector<Prefix> masqueraded;       // subnets with a way outside; sorted
  std::vector<HeldPort> held_ports;      // sorted
};

}  // namespace weft::plan
