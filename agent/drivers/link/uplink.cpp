// SPDX-License-Identifier: Apache-2.0
#include "drivers/link/uplink.h"

#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <net/if_arp.h>
#include <sys/socket.h>

#include <algorithm>

namespace weft::link {
namespace {

uint8_t family_of(const Address& address) { return address.is_v4() ? AF_INET : AF_INET6; }

constexpr uint16_t usable_states =
    NUD_REACHABLE | NUD_STALE | NUD_DELAY | NUD_PROBE | NUD_PERMANENT | NUD_NOARP;

struct RouteAnswer {
  uint32_t ifindex = 0;
  Address gateway;
  uint32_t mtu_bytes = 0;
  uint8_t type = 0;
};

Result<RouteAnswer> ask_route(Links& links, const Address& address) {
  NetlinkMessage message(RTM_GETROUTE, 0);
  rtmsg info{};
  info.rtm_family = family_of(address);
  info.rtm_dst_len = address.is_v4() ? 32 : 128;
  message.fixed(info);
  message.put_address(RTA_DST, address);
  RouteAnswer answer;
  auto asked = links.socket().request(message, [&](uint16_t type, ByteView payload) {
    const auto reply = netlink_reply<rtmsg>(type, payload);
    if (!reply) return;
    answer.type = reply->fixed.rtm_type;
    answer.ifindex = reply->attributes.u32(RTA_OIF).value_or(0);
    answer.gateway = reply->attributes.address(RTA_GATEWAY);
    answer.mtu_bytes = reply->attributes.nested(RTA_METRICS).u32(RTAX_MTU).value_or(0);
  });
  if (!asked)
    return Error(ErrorCode::not_found, "no route to " + address.to_string())
        .with_errno(asked.error().system_error());
  return answer;
}

// The neighbour's Ethernet address, if the kernel may use it now.
Result<std::optional<Mac>> ask_neighbour(Links& links, uint32_t ifindex, const Address& address) {
  NetlinkMessage message(RTM_GETNEIGH, 0);
  ndmsg info{};
  info.ndm_family = family_of(address);
  info.ndm_ifindex = int(ifindex);
  message.fixed(info);
  message.put_address(NDA_DST, address);
  std::optional<Mac> mac;
  auto asked = links.socket().request(message, [&](uint16_t type, ByteView payload) {
    const auto reply = netlink_reply<ndmsg>(type, payload);
    if (reply && (reply->fixed.ndm_state & usable_states)) mac = reply->attributes.mac(NDA_LLADDR);
  });
  if (!asked && asked.error().system_error() != ENOENT)
    return std::move(asked).error().in("find neighbour " + address.to_string());
  return mac;
}

NetlinkMessage neighbour_message(uint16_t type, uint16_t flags, uint32_t ifindex,
                                 const Address& address) {
  NetlinkMessage message(type, flags);
  ndmsg info{};
  info.ndm_family = family_of(address);
  info.ndm_ifindex = int(ifindex);
  info.ndm_flags = type == RTM_NEWNEIGH ? NTF_USE : 0;
  message.fixed(info);
  message.put_address(NDA_DST, address);
  return message;
}

}  // namespace

Result<Uplink> find_uplink(Links& links, const Address& address) {
  const auto addresses = TRY(links.addresses());
  if (!address.is_none()) {
    for (const InterfaceAddress& candidate : addresses)
      if (candidate.prefix.address == address) {
        const auto link = TRY(links.find(candidate.ifindex));
        if (link) return Uplink{*link, candidate.prefix};
      }
    return Error(ErrorCode::not_found,
                 "no link of this node has the address " + address.to_string() +
                     "; --advertise-address must be one of its own addresses");
  }
  for (const bool v4 : {true, false}) {
    std::optional<Route> best;
    for (const Route& route : TRY(links.routes()))
      if (route.destination.length == 0 && route.destination.address.is_v4() == v4 &&
          route.table == RT_TABLE_MAIN && route.type == RTN_UNICAST && route.ifindex != 0 &&
          (!best || route.metric < best->metric))
        best = route;
    if (!best) continue;
    const auto link = TRY(links.find(best->ifindex));
    if (!link) continue;
    for (const InterfaceAddress& candidate : addresses)
      if (candidate.ifindex == best->ifindex && candidate.prefix.address.is_v4() == v4 &&
          candidate.scope == RT_SCOPE_UNIVERSE)
        return Uplink{*link, candidate.prefix};
  }
  return Error(ErrorCode::not_found,
               "this node has no default route to tell its underlay address from; "
               "give --advertise-address");
}

Result<NextHop> next_hop(Links& links, const Address& address) {
  const RouteAnswer route = TRY(ask_route(links, address));
  NextHop hop;
  hop.ifindex = route.ifindex;
  hop.neighbour = route.gateway.is_none() ? address : route.gateway;
  hop.local = route.type == RTN_LOCAL;
  const auto link = TRY(links.find(route.ifindex));
  if (!link) return Error(ErrorCode::not_found, "no route to " + address.to_string());
  hop.source = link->mac;
  hop.mtu_bytes =
      route.mtu_bytes != 0 ? std::min(route.mtu_bytes, link->mtu_bytes) : link->mtu_bytes;
  if (hop.local || link->type != ARPHRD_ETHER || !link->running()) return hop;
  if (const auto mac = TRY(ask_neighbour(links, hop.ifindex, hop.neighbour))) {
    hop.destination = *mac;
    hop.resolved = true;
  }
  return hop;
}

Result<> keep_neighbour(Links& links, uint32_t ifindex, const Address& neighbour) {
  // NTF_USE asks for it now, NTF_EXT_MANAGED again and again.
  NetlinkMessage managed =
      neighbour_message(RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE, ifindex, neighbour);
  managed.put_u8(NDA_PROTOCOL, route_protocol);
  managed.put_u32(NDA_FLAGS_EXT, NTF_EXT_MANAGED);
  if (auto done = links.socket().request(managed); !done)
    return std::move(done).error().in("resolve neighbour " + neighbour.to_string());
  return Ok;
}

Result<> drop_neighbour(Links& links, uint32_t ifindex, const Address& neighbour) {
  NetlinkMessage message = neighbour_message(RTM_DELNEIGH, 0, ifindex, neighbour);
  auto done = links.socket().request(message);
  if (!done && done.error().system_error() != ENOENT && done.error().system_error() != ENODEV)
    return std::move(done).error().in("forget neighbour " + neighbour.to_string());
  return Ok;
}

}  // namespace weft::link
