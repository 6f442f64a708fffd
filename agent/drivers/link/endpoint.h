// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include "base/address.h"
#include "base/mac.h"
#include "base/result.h"
#include "drivers/link/link.h"

namespace weft::link {

// Routing tables of containers with several networks: this plus the link's index inside.
inline constexpr uint32_t first_source_table = 5700;
inline constexpr uint32_t source_rule_priority = 5700;

// A container's attachment: a veth pair, its host side in the node's namespace.
struct EndpointSpec {
  std::string endpoint_id;
  int netns = -1;         // the container's
  std::string interface;  // inside: "eth0"
  Mac mac;
  Mac host_mac;
  uint32_t mtu_bytes = 1450;
  std::vector<Prefix> addresses;  // host bits kept, one per family
  std::vector<Address> gateways;  // one per family; empty: internal network
  // Takes the container's default route. Every endpoint with a gateway also routes what leaves from
  // its own addresses through itself, so that replies of a container with several networks leave
  // where the request came in.
  bool default_route = true;
};
struct EndpointLinks {
  Link host;
  Link inside;
};
// Idempotent; also repairs what somebody changed.
Result<EndpointLinks> ensure_endpoint(Links& node, int node_netns, const EndpointSpec& spec);
// Removes both ends. `netns` -1: the container has gone or does not matter.
Result<> remove_endpoint(Links& node, const std::string& endpoint_id, int netns = -1);

// The node's own endpoint: weft0 with its addresses, and weft0h whose ingress hook is from_host.
struct NodeEndpointSpec {
  Mac mac;
  Mac host_mac;
  uint32_t mtu_bytes = 1450;
  std::vector<Address> addresses;
};
Result<EndpointLinks> ensure_node_endpoint(Links& node, int node_netns,
                                           const NodeEndpointSpec& spec);
// Makes the routes over weft0 exactly `subnets`, with the node's own address of the family as
// source.
Result<> sync_node_routes(Links& node, uint32_t index, const std::set<Prefix>& subnets,
                          const std::vector<Address>& sources);

// Forwarding on; a node that takes its IPv6 routes from router advertisements keeps doing so.
Result<> prepare_node(int node_netns, const std::string& uplink);

// Names of our links in the node's namespace that are not wanted.
Result<std::vector<std::string>> leftover_links(Links& node, const std::set<std::string>& wanted);
// Removes every link, route and rule of ours but the wanted links. Returns what was removed.
Result<std::vector<std::string>> sweep_links(Links& node, const std::set<std::string>& wanted);

}  // namespace weft::link
