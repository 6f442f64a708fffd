// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/address.h"
#include "base/mac.h"

// Everything a node's plan depends on, as plain values. Texts are borrowed: what they point to must
// outlive the calls that are handed the view. Order never matters.
namespace weft::plan {

enum class MemberState : uint8_t {
  alive,
  suspect,
  dead,  // its agent does not answer; its containers may well go on
  gone,  // it left, or was removed
};

// The node's own endpoint in the ingress network: its overlay device and that device's far side.
struct HostEndpoint {
  Address address4;
  Address address6;
  Mac mac;
  Mac host_mac;
  uint32_t ifindex = 0;  // 0: not made yet
  uint16_t mtu_bytes = 0;
  uint32_t id = 0;  // weft_port.id
};

struct Self {
  uint16_t index = 0;
  std::string_view id;
  std::string_view name;
  Address underlay;
  uint32_t uplink_ifindex = 0;
  uint16_t uplink_mtu_bytes = 0;
  uint16_t vxlan_port = 4789;
  HostEndpoint host;
};

// The resolved way to a node: what an outer Ethernet header needs.
struct NextHop {
  Mac source;
  Mac destination;
  uint32_t ifindex = 0;
};

struct Member {
  uint16_t index = 0;  // from the manager; 0 is invalid and hides the member
  std::string_view id;
  std::string_view name;
  Address underlay;
  MemberState state = MemberState::alive;
  std::optional<NextHop> next_hop;  // none: the kernel's way is taken
  uint16_t path_mtu_bytes = 0;      // 0: unknown, the uplink's counts
  Mac host_mac;                     // of its own endpoint in the ingress network
  Address ingress_address4;
  Address ingress_address6;
};

struct Network {
  std::string_view id;
  std::string_view name;
  uint32_t vni = 0;
  std::optional<Prefix> subnet4;
  std::optional<Prefix> subnet6;
  Address gateway4;
  Address gateway6;
  uint16_t mtu_bytes = 0;
  bool internal = false;
  bool ingress = false;
  bool encrypted = false;
  bool multicast = false;
  bool forward_unknown = false;  // DNS: see dns::NetworkInput
};

enum class Protocol : uint8_t { tcp = 6, udp = 17, sctp = 132 };
enum class PublishMode : uint8_t { ingress, host };

struct PublishedPort {
  Address address;  // none: every address of the node
  uint16_t published = 0;
  uint16_t target = 0;
  Protocol protocol = Protocol::tcp;
  PublishMode mode = PublishMode::ingress;
};

struct Vip {
  std::string_view network_id;
  Address address4;
  Address address6;
};

struct Service {
  std::string_view id;
  std::string_view name;
  std::vector<std::string_view> network_ids;
  bool dnsrr = false;
  std::vector<Vip> vips;  // ignored with dnsrr
  std::vector<PublishedPort> ports;
  std::span<const std::string> aliases;
  bool affinity = false;
  bool direct_return = false;
};

enum class EndpointState : uint8_t { starting, ready, draining };

// A record of the endpoint tables, of this node or another.
struct Endpoint {
  std::string_view id;
  std::string_view network_id;
  std::string_view node_id;
  Address address4;
  Address address6;
  Mac mac;
  EndpointState state = EndpointState::ready;
  std::string_view service_id;  // empty: none
  std::string_view task_id;
  uint32_t slot = 0;  // 0: task of a global service, or no task
  std::string_view name;
  std::string_view hostname;
  std::span<const std::string> aliases;
  uint32_t weight = 1;
};

// An attachment that exists in this node's kernel. Its record is among the endpoints.
struct LocalEndpoint {
  std::string_view endpoint_id;
  uint32_t ifindex = 0;
  Mac host_mac;
  uint16_t mtu_bytes = 0;
  uint32_t id = 0;  // stable number, weft_port.id
};

struct NodeAddress {
  Address address;
  uint32_t ifindex = 0;
};

struct NodeView {
  Self self;
  std::vector<Member> members;  // may or may not contain this node
  std::vector<Network> networks;
  std::vector<Service> services;
  std::vector<Endpoint> endpoints;
  std::vector<LocalEndpoint> local_endpoints;
  std::vector<NodeAddress> addresses;  // of the host namespace
};

}  // namespace weft::plan
