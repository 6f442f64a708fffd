// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/address.h"
#include "base/mac.h"
#include "base/result.h"
#include "drivers/link/netlink.h"

namespace weft::link {

// How a fresh agent knows what an earlier one left behind.
inline constexpr std::string_view host_link_prefix = "wf";   // + 11 hex digits: endpoints
inline constexpr std::string_view node_link_name = "weft0";  // the node's own endpoint
inline constexpr std::string_view node_link_host_name = "weft0h";
inline constexpr std::string_view vxlan_link_name = "weft-vx";
inline constexpr uint8_t route_protocol = 87;

// "wf" and the first 11 digits of the endpoint's id (hex).
std::string host_link_name(std::string_view endpoint_id);
// Is it the name of one of our links in the node's namespace?
bool is_ours(std::string_view link_name);

struct VxlanInfo {
  uint16_t port = 0;
  bool collect_metadata = false;
};

struct Link {
  uint32_t index = 0;
  std::string name;
  std::string kind;   // "veth", "vxlan", ...; empty for hardware
  std::string alias;  // of ours: the endpoint's id
  Mac mac;
  uint32_t mtu_bytes = 0;
  uint16_t type = 0;        // ARPHRD_*: 1 is Ethernet
  uint32_t flags = 0;       // IFF_*
  uint32_t peer_index = 0;  // veth: index of the other end, in its own namespace
  std::optional<VxlanInfo> vxlan;

  bool up() const;
  bool running() const;  // up, and the carrier is there
};

// A veth pair: `name` in this namespace, `peer_name` in `peer_netns` (-1: here too).
struct VethSpec {
  std::string name;
  std::string alias;
  Mac mac;  // all zero: the kernel chooses
  std::string peer_name;
  int peer_netns = -1;
  Mac peer_mac;
  uint32_t mtu_bytes = 1500;
};

struct VxlanSpec {
  std::string name{vxlan_link_name};
  uint16_t port = 4789;
  uint32_t mtu_bytes = 1500;
};

struct InterfaceAddress {
  Prefix prefix;  // host bits kept
  uint32_t ifindex = 0;
  uint32_t flags = 0;  // IFA_F_*
  uint8_t scope = 0;
};

struct Route {
  Prefix destination;  // length 0: default route of the address's family
  Address gateway;     // none: directly on the link
  Address source;      // preferred source, none: the kernel chooses
  uint32_t ifindex = 0;
  uint32_t table = 254;
  uint32_t metric = 0;
  uint8_t protocol = route_protocol;
  uint8_t type = 1;      // RTN_UNICAST
  bool on_link = false;  // the gateway is not in a subnet of the link
};

// Packets from `from` use `table`.
struct Rule {
  Prefix from;
  uint32_t table = 0;
  uint32_t priority = 0;
  uint8_t protocol = route_protocol;
};

// Links, addresses, routes and rules of one network namespace. Every ensure_* is idempotent.
class Links {
 public:
  // netns -1: the caller's own.
  static Result<Links> open(int netns);

  Result<std::vector<Link>> list();
  Result<std::optional<Link>> find(std::string_view name);
  Result<std::optional<Link>> find(uint32_t index);
  // The same; not_found if there is none.
  Result<Link> get(std::string_view name);
  // Makes the pair, or makes an existing one equal to the spec. A link with our name whose peer is
  // somewhere else is a leftover and is replaced. conflict: the peer's name is taken, or `name` is
  // no veth.
  Result<Link> ensure_veth(const VethSpec& spec);
  // The one VXLAN device, in collect-metadata mode. conflict: the port is taken.
  Result<Link> ensure_vxlan(const VxlanSpec& spec);
  Result<> set_up(uint32_t index, bool up = true);
  // Without ARP and neighbour discovery.
  Result<> set_no_arp(uint32_t index);
  Result<> set_mtu(uint32_t index, uint32_t mtu_bytes);
  Result<> set_mac(uint32_t index, const Mac& mac);
  Result<> set_alias(uint32_t index, std::string_view alias);
  // No IPv6 link-local address of its own making.
  Result<> set_no_link_local(uint32_t index);
  // A missing link is fine.
  Result<> remove(std::string_view name);

  // IPv6 addresses are usable at once (no duplicate address detection: the manager hands them out).
  Result<> ensure_address(uint32_t index, const Prefix& address, bool prefix_route = true);
  Result<> remove_address(uint32_t index, const Prefix& address);
  Result<std::vector<InterfaceAddress>> addresses(uint32_t index = 0);

  Result<> ensure_route(const Route& route);
  Result<> remove_route(const Route& route);
  // `protocol` 0: all. Every table.
  Result<std::vector<Route>> routes(uint8_t protocol = 0);
  Result<> ensure_rule(const Rule& rule);
  Result<> remove_rule(const Rule& rule);
  Result<std::vector<Rule>> rules(uint8_t protocol = 0);

  NetlinkSocket& socket() { return socket_; }

 private:
  explicit Links(NetlinkSocket socket) : socket_(std::move(socket)) {}
  Result<> dump(NetlinkMessage& message, const NetlinkHandler& handler,
                const std::function<void()>& restart);
  Result<> change_flags(uint32_t index, uint32_t flags, uint32_t mask);
  Result<bool> is_pair(const Link& link, const VethSpec& spec);
  Result<> equalise(const Link& link, const VethSpec& spec);
  Error vxlan_error(Error error, const VxlanSpec& spec);

  NetlinkSocket socket_;
};

}  // namespace weft::link
