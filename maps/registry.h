/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Every map once: X(name, key, value, version, lifetime). The agent pins a map as
 * <bpffs>/<name>_v<version>. Lifetime `rebuilt`: the agent fills it from the plan, a fresh one
 * does; `state`: it holds what only the kernel knows, and a new version needs an upgrade. `events`
 * is a ring buffer and has neither key nor value.
 */
#ifndef WEFT_MAPS_REGISTRY_H
#define WEFT_MAPS_REGISTRY_H

#include "weft/abi/types.h"

/* clang-format off */
#define WEFT_MAPS(X) \
  X(ports, __u32, struct weft_port, 1, rebuilt)                                                    \
  X(local_macs, struct weft_mac_key, struct weft_port, 1, rebuilt)                                 \
  X(endpoints, struct weft_endpoint_key, struct weft_endpoint, 1, rebuilt)                         \
  X(networks, __u32, struct weft_network, 1, rebuilt)                                              \
  X(subnets, struct weft_subnet_key, struct weft_subnet, 1, rebuilt)                               \
  X(vteps, __u32, struct weft_vtep, 1, rebuilt)                                                    \
  X(vtep_traffic, __u32, struct weft_traffic, 1, state)                                            \
  X(peers, struct weft_peer_key, struct weft_peer, 1, rebuilt)                                     \
  X(services, __u32, struct weft_service, 1, rebuilt)                                              \
  X(service_slots, __u32, struct weft_slots, 1, rebuilt)                                           \
  X(backends, __u32, struct weft_backend, 1, rebuilt)                                              \
  X(published, struct weft_published_key, struct weft_published, 1, rebuilt)                       \
  X(node_addresses, struct weft_address, struct weft_node_address, 1, rebuilt)                     \
  X(flows, __u32, struct weft_flow_set, 1, state)                                                  \
  X(flow_cache, __u32, struct weft_cache_set, 1, state)                                            \
  X(fragments, struct weft_fragment_key, struct weft_fragment, 1, state)                           \
  X(host_calls, struct weft_host_call_key, struct weft_address, 1, state)                          \
  X(drops, __u32, __u64, 1, state)                                                                 \
  X(counters, __u32, __u64, 1, state)

#define WEFT_EVENTS_VERSION 1
/* clang-format on */

#ifdef __cplusplus
#include <array>
#include <string_view>

namespace weft {

enum class MapLifetime { rebuilt, state };

struct MapEntry {
  std::string_view name;
  unsigned key_size;
  unsigned value_size;
  unsigned version;
  MapLifetime lifetime;
};

#define WEFT_MAP_ENTRY(name, key, value, version, lifetime) \
  MapEntry{#name, sizeof(key), sizeof(value), version, MapLifetime::lifetime},
// clang-format off
inline constexpr auto map_registry = std::to_array<MapEntry>({
    WEFT_MAPS(WEFT_MAP_ENTRY)
    MapEntry{"events", 0, 0, WEFT_EVENTS_VERSION, MapLifetime::rebuilt},
});
// clang-format on
#undef WEFT_MAP_ENTRY

// The key and value types of a map by its name: MapTypes::flows::Value.
namespace map_types {
#define WEFT_MAP_TYPES(name, key, value, version, lifetime) \
  struct name {                                             \
    using Key = key;                                        \
    using Value = value;                                    \
  };
WEFT_MAPS(WEFT_MAP_TYPES)
#undef WEFT_MAP_TYPES
}  // namespace map_types

}  // namespace weft
#endif
#endif
