// SPDX-License-Identifier: Apache-2.0
// Addresses, routes and rules of class Links.
#include <linux/fib_rules.h>
#include <linux/if_addr.h>
#include <linux/rtnetlink.h>
#include <sys/socket.h>

#include "drivers/link/link.h"

namespace weft::link {
namespace {

uint8_t family_of(const Address& address) { return address.is_v4() ? AF_INET : AF_INET6; }

// The zero address of the family, where the kernel leaves the attribute out.
Address any(uint8_t family) { return family == AF_INET ? Address::v4(0) : Address(); }

NetlinkMessage address_message(uint16_t type, uint16_t flags, uint32_t index, const Prefix& address,
                               uint32_t address_flags) {
  NetlinkMessage message(type, flags);
  ifaddrmsg info{};
  info.ifa_family = family_of(address.address);
  info.ifa_prefixlen = address.length;
  info.ifa_index = index;
  info.ifa_scope = RT_SCOPE_UNIVERSE;
  message.fixed(info);
  message.put_address(IFA_LOCAL, address.address);
  message.put_address(IFA_ADDRESS, address.address);
  if (address_flags != 0) message.put_u32(IFA_FLAGS, address_flags);
  return message;
}

NetlinkMessage route_message(uint16_t type, uint16_t flags, const Route& route) {
  NetlinkMessage message(type, flags);
  rtmsg info{};
  info.rtm_family = family_of(route.destination.address);
  info.rtm_dst_len = route.destination.length;
  info.rtm_protocol = route.protocol;
  info.rtm_type = route.type;
  info.rtm_scope =
      route.gateway.is_none() && route.type == RTN_UNICAST && info.rtm_family == AF_INET
          ? RT_SCOPE_LINK
          : RT_SCOPE_UNIVERSE;
  if (type == RTM_DELROUTE) info.rtm_scope = RT_SCOPE_NOWHERE;
  if (route.on_link) info.rtm_flags |= RTNH_F_ONLINK;
  message.fixed(info);
  if (route.destination.length > 0) message.put_address(RTA_DST, route.destination.address);
  if (!route.gateway.is_none()) message.put_address(RTA_GATEWAY, route.gateway);
  if (!route.source.is_none()) message.put_address(RTA_PREFSRC, route.source);
  if (route.ifindex != 0) message.put_u32(RTA_OIF, route.ifindex);
  if (route.metric != 0) message.put_u32(RTA_PRIORITY, route.metric);
  message.put_u32(RTA_TABLE, route.table);
  return message;
}

NetlinkMessage rule_message(uint16_t type, uint16_t flags, const Rule& rule) {
  NetlinkMessage message(type, flags);
  fib_rule_hdr info{};
  info.family = family_of(rule.from.address);
  info.src_len = rule.from.length;
  info.action = FR_ACT_TO_TBL;
  message.fixed(info);
  if (rule.from.length > 0) message.put_address(FRA_SRC, rule.from.address);
  message.put_u32(FRA_TABLE, rule.table);
  message.put_u32(FRA_PRIORITY, rule.priority);
  message.put_u8(FRA_PROTOCOL, rule.protocol);
  return message;
}

Route to_route(const NetlinkReply<rtmsg>& reply) {
  const NetlinkAttributes& attributes = reply.attributes;
  Route route;
  const auto destination = attributes.address(RTA_DST);
  route.destination.address = attributes.find(RTA_DST) ? destination : any(reply.fixed.rtm_family);
  route.destination.length = reply.fixed.rtm_dst_len;
  route.gateway = attributes.address(RTA_GATEWAY);
  route.source = attributes.address(RTA_PREFSRC);
  route.ifindex = attributes.u32(RTA_OIF).value_or(0);
  route.table = attributes.u32(RTA_TABLE).value_or(reply.fixed.rtm_table);
  route.metric = attributes.u32(RTA_PRIORITY).value_or(0);
  route.protocol = reply.fixed.rtm_protocol;
  route.type = reply.fixed.rtm_type;
  route.on_link = (reply.fixed.rtm_flags & RTNH_F_ONLINK) != 0;
  return route;
}

Rule to_rule(const NetlinkReply<fib_rule_hdr>& reply, uint8_t family) {
  const NetlinkAttributes& attributes = reply.attributes;
  Rule rule;
  rule.from.address = attributes.find(FRA_SRC) ? attributes.address(FRA_SRC) : any(family);
  rule.from.length = reply.fixed.src_len;
  rule.table = attributes.u32(FRA_TABLE).value_or(reply.fixed.table);
  rule.priority = attributes.u32(FRA_PRIORITY).value_or(0);
  rule.protocol = attributes.u8(FRA_PROTOCOL).value_or(0);
  return rule;
}

// What `read` takes of both families' objects. A family whose dump was interrupted starts again.
template <typename Item, typename Fixed, typename Dump, typename Read>
Result<std::vector<Item>> list_families(const Dump& dump, uint16_t request,
                                        unsigned char Fixed::*family_field, const Read& read) {
  std::vector<Item> out;
  for (const uint8_t family : {AF_INET, AF_INET6}) {
    const size_t start = out.size();
    NetlinkMessage message(request, 0);
    Fixed info{};
    info.*family_field = family;
    message.fixed(info);
    TRY(dump(
        message,
        [&](uint16_t type, ByteView payload) {
          const auto reply = netlink_reply<Fixed>(type, payload);
          if (!reply) return;
          if (auto item = read(*reply, family)) out.push_back(std::move(*item));
        },
        [&] { out.resize(start); }));
  }
  return out;
}

}  // namespace

Result<> Links::ensure_address(uint32_t index, const Prefix& address, bool prefix_route) {
  uint32_t flags = 0;
  if (!address.address.is_v4()) flags |= IFA_F_NODAD;
  if (!prefix_route) flags |= IFA_F_NOPREFIXROUTE;
  NetlinkMessage message =
      address_message(RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE, index, address, flags);
  if (auto done = socket_.request(message); !done)
    return std::move(done).error().in("set address " + address.to_string());
  return Ok;
}

Result<> Links::remove_address(uint32_t index, const Prefix& address) {
  NetlinkMessage message = address_message(RTM_DELADDR, 0, index, address, 0);
  auto done = socket_.request(message);
  if (!done && done.error().system_error() != EADDRNOTAVAIL)
    return std::move(done).error().in("remove address " + address.to_string());
  return Ok;
}

Result<std::vector<InterfaceAddress>> Links::addresses(uint32_t index) {
  std::vector<InterfaceAddress> out;
  NetlinkMessage message(RTM_GETADDR, 0);
  message.fixed(ifaddrmsg{});
  auto dumped = dump(
      message,
      [&](uint16_t type, ByteView payload) {
        const auto reply = netlink_reply<ifaddrmsg>(type, payload);
        if (!reply || (index != 0 && reply->fixed.ifa_index != index)) return;
        InterfaceAddress address;
        // On a point-to-point link IFA_ADDRESS is the other end.
        const auto local = reply->attributes.find(IFA_LOCAL) ? IFA_LOCAL : IFA_ADDRESS;
        address.prefix = {reply->attributes.address(uint16_t(local)), reply->fixed.ifa_prefixlen};
        address.ifindex = reply->fixed.ifa_index;
        address.flags = reply->attributes.u32(IFA_FLAGS).value_or(reply->fixed.ifa_flags);
        address.scope = reply->fixed.ifa_scope;
        out.push_back(address);
      },
      [&] { out.clear(); });
  if (!dumped) return std::move(dumped).error().in("list addresses");
  return out;
}

Result<> Links::ensure_route(const Route& route) {
  NetlinkMessage message = route_message(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE, route);
  if (auto done = socket_.request(message); !done)
    return std::move(done).error().in("set route to " + route.destination.to_string());
  return Ok;
}

Result<> Links::remove_route(const Route& route) {
  NetlinkMessage message = route_message(RTM_DELROUTE, 0, route);
  auto done = socket_.request(message);
  // The route left together with its link or its table.
  if (!done && done.error().system_error() != ESRCH && done.error().system_error() != ENODEV)
    return std::move(done).error().in("remove route to " + route.destination.to_string());
  return Ok;
}

Result<std::vector<Route>> Links::routes(uint8_t protocol) {
  const auto read = [&](const NetlinkReply<rtmsg>& reply, uint8_t) -> std::optional<Route> {
    if (reply.fixed.rtm_flags & RTM_F_CLONED) return {};
    if (protocol != 0 && reply.fixed.rtm_protocol != protocol) return {};
    return to_route(reply);
  };
  const auto dumped = [&](auto&&... arguments) { return dump(arguments...); };
  return TRY_IN("list routes",
                list_families<Route>(dumped, RTM_GETROUTE, &rtmsg::rtm_family, read));
}

Result<> Links::ensure_rule(const Rule& rule) {
  NetlinkMessage message = rule_message(RTM_NEWRULE, NLM_F_CREATE | NLM_F_EXCL, rule);
  auto done = socket_.request(message);
  if (!done && done.error().system_error() != EEXIST)
    return std::move(done).error().in("set rule for " + rule.from.to_string());
  return Ok;
}

Result<> Links::remove_rule(const Rule& rule) {
  NetlinkMessage message = rule_message(RTM_DELRULE, 0, rule);
  auto done = socket_.request(message);
  if (!done && done.error().system_error() != ENOENT)
    return std::move(done).error().in("remove rule for " + rule.from.to_string());
  return Ok;
}

Result<std::vector<Rule>> Links::rules(uint8_t protocol) {
  const auto read = [&](const NetlinkReply<fib_rule_hdr>& reply,
                        uint8_t family) -> std::optional<Rule> {
    if (reply.fixed.action != FR_ACT_TO_TBL) return {};
    const Rule rule = to_rule(reply, family);
    if (protocol != 0 && rule.protocol != protocol) return {};
    return rule;
  };
  const auto dumped = [&](auto&&... arguments) { return dump(arguments...); };
  return TRY_IN("list rules",
                list_families<Rule>(dumped, RTM_GETRULE, &fib_rule_hdr::family, read));
}

}  // namespace weft::link
