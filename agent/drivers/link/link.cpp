// SPDX-License-Identifier: Apache-2.0
#include "drivers/link/link.h"

#include <arpa/inet.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <linux/veth.h>
#include <net/if.h>

#include <cctype>
#include <cstring>

namespace weft::link {
namespace {

std::string quoted(std::string_view name) { return "'" + std::string(name) + "'"; }

NetlinkMessage link_message(uint16_t type, uint32_t index, uint16_t flags = 0) {
  NetlinkMessage message(type, flags);
  ifinfomsg info{};
  info.ifi_index = int(index);
  message.fixed(info);
  return message;
}

Link to_link(const NetlinkReply<ifinfomsg>& reply) {
  const NetlinkAttributes& attributes = reply.attributes;
  Link link;
  link.index = uint32_t(reply.fixed.ifi_index);
  link.type = reply.fixed.ifi_type;
  link.flags = reply.fixed.ifi_flags;
  link.name = attributes.text(IFLA_IFNAME);
  link.alias = attributes.text(IFLA_IFALIAS);
  link.mac = attributes.mac(IFLA_ADDRESS).value_or(Mac{});
  link.mtu_bytes = attributes.u32(IFLA_MTU).value_or(0);
  const NetlinkAttributes info = attributes.nested(IFLA_LINKINFO);
  link.kind = info.text(IFLA_INFO_KIND);
  if (link.kind == "veth") link.peer_index = attributes.u32(IFLA_LINK).value_or(0);
  if (link.kind == "vxlan") {
    const NetlinkAttributes data = info.nested(IFLA_INFO_DATA);
    link.vxlan = VxlanInfo{ntohs(data.u16(IFLA_VXLAN_PORT).value_or(0)),
                           data.u8(IFLA_VXLAN_COLLECT_METADATA).value_or(0) != 0};
  }
  return link;
}

void put_name(NetlinkMessage& message, std::string_view name, const Mac& mac, uint32_t mtu_bytes) {
  message.put_text(IFLA_IFNAME, name);
  message.put_u32(IFLA_MTU, mtu_bytes);
  if (mac != Mac{}) message.put_mac(IFLA_ADDRESS, mac);
}

bool valid_name(std::string_view name) {
  if (name.empty() || name.size() >= IFNAMSIZ || name == "." || name == "..") return false;
  for (char c : name)
    if (c == '/' || c == ':' || std::isspace(static_cast<unsigned char>(c))) return false;
  return true;
}

}  // namespace

std::string host_link_name(std::string_view endpoint_id) {
  return std::string(host_link_prefix) + std::string(endpoint_id.substr(0, 11));
}

bool is_ours(std::string_view name) {
  if (name == node_link_name || name == node_link_host_name || name == vxlan_link_name) return true;
  if (name.size() != 13 || !name.starts_with(host_link_prefix)) return false;
  return name.substr(2).find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

bool Link::up() const { return (flags & IFF_UP) != 0; }
bool Link::running() const { return up() && (flags & IFF_RUNNING) != 0; }

Result<Links> Links::open(int netns) { return Links(TRY(NetlinkSocket::open(netns))); }

Result<> Links::dump(NetlinkMessage& message, const NetlinkHandler& handler,
                     const std::function<void()>& restart) {
  // Others change the same tables: a dump that was overtaken is asked for again.
  constexpr int attempts = 10;
  for (int attempt = 1;; ++attempt) {
    restart();
    auto dumped = socket_.dump(message, handler);
    if (dumped || dumped.error().code() != ErrorCode::unavailable || attempt == attempts)
      return dumped;
  }
}

Result<std::vector<Link>> Links::list() {
  std::vector<Link> links;
  NetlinkMessage message = link_message(RTM_GETLINK, 0);
  auto dumped = dump(
      message,
      [&](uint16_t type, ByteView payload) {
        if (auto reply = netlink_reply<ifinfomsg>(type, payload)) links.push_back(to_link(*reply));
      },
      [&] { links.clear(); });
  if (!dumped) return std::move(dumped).error().in("list links");
  return links;
}

Result<std::optional<Link>> Links::find(std::string_view name) {
  NetlinkMessage message = link_message(RTM_GETLINK, 0);
  message.put_text(IFLA_IFNAME, name);
  std::optional<Link> link;
  auto asked = socket_.request(message, [&](uint16_t type, ByteView payload) {
    if (auto reply = netlink_reply<ifinfomsg>(type, payload)) link = to_link(*reply);
  });
  if (!asked && asked.error().system_error() != ENODEV)
    return std::move(asked).error().in("find link " + quoted(name));
  return link;
}

Result<std::optional<Link>> Links::find(uint32_t index) {
  NetlinkMessage message = link_message(RTM_GETLINK, index);
  std::optional<Link> link;
  auto asked = socket_.request(message, [&](uint16_t type, ByteView payload) {
    if (auto reply = netlink_reply<ifinfomsg>(type, payload)) link = to_link(*reply);
  });
  if (!asked && asked.error().system_error() != ENODEV)
    return std::move(asked).error().in("find link " + std::to_string(index));
  return link;
}

Result<Link> Links::get(std::string_view name) {
  auto link = TRY(find(name));
  if (!link) return Error(ErrorCode::not_found, "there is no link " + quoted(name));
  return std::move(*link);
}

// Is `link` the near end of the pair that the spec describes?
Result<bool> Links::is_pair(const Link& link, const VethSpec& spec) {
  if (spec.peer_netns < 0) {
    const auto peer = TRY(find(spec.peer_name));
    return peer && peer->kind == "veth" && peer->index == link.peer_index;
  }
  Links there = TRY(Links::open(spec.peer_netns));
  const auto peer = TRY(there.find(spec.peer_name));
  // Indices are per namespace, so both directions must agree.
  return peer && peer->kind == "veth" && peer->index == link.peer_index &&
         peer->peer_index == link.index;
}

Result<> Links::equalise(const Link& link, const VethSpec& spec) {
  if (link.mtu_bytes != spec.mtu_bytes) TRY(set_mtu(link.index, spec.mtu_bytes));
  if (spec.mac != Mac{} && link.mac != spec.mac) TRY(set_mac(link.index, spec.mac));
  if (link.alias != spec.alias) TRY(set_alias(link.index, spec.alias));
  std::optional<Links> elsewhere;
  if (spec.peer_netns >= 0) elsewhere = TRY(Links::open(spec.peer_netns));
  Links& there = elsewhere ? *elsewhere : *this;
  const Link peer = TRY(there.get(spec.peer_name));
  if (peer.mtu_bytes != spec.mtu_bytes) TRY(there.set_mtu(peer.index, spec.mtu_bytes));
  if (spec.peer_mac != Mac{} && peer.mac != spec.peer_mac)
    TRY(there.set_mac(peer.index, spec.peer_mac));
  return Ok;
}

Result<Link> Links::ensure_veth(const VethSpec& spec) {
  for (const std::string& name : {spec.name, spec.peer_name})
    if (!valid_name(name))
      return Error(ErrorCode::invalid,
                   "link name " + quoted(name) + " is not valid (1 to 15 characters)");
  if (const auto existing = TRY(find(spec.name))) {
    if (existing->kind != "veth")
      return Error(ErrorCode::conflict, "link " + quoted(spec.name) + " exists and is no veth");
    if (TRY(is_pair(*existing, spec))) {
      if (auto done = equalise(*existing, spec); !done) return std::move(done).error();
      return get(spec.name);
    }
    TRY(remove(spec.name));
  }
  NetlinkMessage message = link_message(RTM_NEWLINK, 0, NLM_F_CREATE | NLM_F_EXCL);
  put_name(message, spec.name, spec.mac, spec.mtu_bytes);
  const size_t info = message.nest(IFLA_LINKINFO);
  message.put_text(IFLA_INFO_KIND, "veth");
  const size_t data = message.nest(IFLA_INFO_DATA);
  const size_t peer = message.nest(VETH_INFO_PEER);
  message.fixed(ifinfomsg{});
  put_name(message, spec.peer_name, spec.peer_mac, spec.mtu_bytes);
  if (spec.peer_netns >= 0) message.put_u32(IFLA_NET_NS_FD, uint32_t(spec.peer_netns));
  message.end(peer);
  message.end(data);
  message.end(info);
  if (auto made = socket_.request(message); !made) {
    if (made.error().system_error() == EEXIST)
      return Error(ErrorCode::conflict, "interface " + quoted(spec.peer_name) +
                                            " already exists in the container's network namespace")
          .with_errno(EEXIST);
    return std::move(made).error().in("create veth " + quoted(spec.name));
  }
  const Link link = TRY(get(spec.name));
  TRY(set_alias(link.index, spec.alias));  // the kernel ignores it in the creation
  return get(spec.name);
}

// Who has the port? The kernel only says that it is taken.
Error Links::vxlan_error(Error error, const VxlanSpec& spec) {
  if (error.system_error() != EEXIST && error.system_error() != EADDRINUSE) {
    if (error.system_error() == EOPNOTSUPP)
      return Error("the kernel has no VXLAN (module vxlan); install a kernel that has it");
    return std::move(error).in("create VXLAN device " + quoted(spec.name));
  }
  const std::string port = "UDP port " + std::to_string(spec.port);
  if (auto links = list())
    for (const Link& link : *links)
      if (link.name != spec.name && link.vxlan && link.vxlan->port == spec.port)
        return Error(ErrorCode::conflict, port + " is taken by the VXLAN device " +
                                              quoted(link.name) +
                                              "; remove it or choose another --vxlan-port");
  return Error(ErrorCode::conflict,
               port +
                   " is in use by another program or another namespace's VXLAN device; choose "
                   "another --vxlan-port");
}

Result<Link> Links::ensure_vxlan(const VxlanSpec& spec) {
  if (auto existing = TRY(find(spec.name))) {
    if (!existing->vxlan)
      return Error(ErrorCode::conflict,
                   "link " + quoted(spec.name) + " exists and is no VXLAN device");
    if (existing->vxlan->port == spec.port && existing->vxlan->collect_metadata) {
      if (existing->mtu_bytes != spec.mtu_bytes) TRY(set_mtu(existing->index, spec.mtu_bytes));
      if (auto up = set_up(existing->index); !up) return vxlan_error(std::move(up).error(), spec);
      return get(spec.name);
    }
    TRY(remove(spec.name));
  }
  NetlinkMessage message = link_message(RTM_NEWLINK, 0, NLM_F_CREATE | NLM_F_EXCL);
  message.put_text(IFLA_IFNAME, spec.name);
  message.put_u32(IFLA_MTU, spec.mtu_bytes);
  const size_t info = message.nest(IFLA_LINKINFO);
  message.put_text(IFLA_INFO_KIND, "vxlan");
  const size_t data = message.nest(IFLA_INFO_DATA);
  message.put_be16(IFLA_VXLAN_PORT, spec.port);
  message.put_u8(IFLA_VXLAN_COLLECT_METADATA, 1);
  message.put_u8(IFLA_VXLAN_LEARNING, 0);
  message.put_u8(IFLA_VXLAN_UDP_CSUM, 0);
  message.put_u8(IFLA_VXLAN_UDP_ZERO_CSUM6_TX, 1);
  message.put_u8(IFLA_VXLAN_UDP_ZERO_CSUM6_RX, 1);
  message.end(data);
  message.end(info);
  if (auto made = socket_.request(message); !made)
    return vxlan_error(std::move(made).error(), spec);
  const Link link = TRY(get(spec.name));
  // The socket is opened, and a clash shows, only now.
  TRY(set_no_link_local(link.index));
  if (auto up = set_up(link.index); !up) {
    Error error = vxlan_error(std::move(up).error(), spec);
    TRY(remove(spec.name));
    return error;
  }
  return get(spec.name);
}

Result<> Links::change_flags(uint32_t index, uint32_t flags, uint32_t mask) {
  NetlinkMessage message(RTM_NEWLINK, 0);
  ifinfomsg info{};
  info.ifi_index = int(index);
  info.ifi_flags = flags;
  info.ifi_change = mask;
  message.fixed(info);
  if (auto done = socket_.request(message); !done)
    return std::move(done).error().in("change link " + std::to_string(index));
  return Ok;
}

Result<> Links::set_up(uint32_t index, bool up) {
  return change_flags(index, up ? IFF_UP : 0, IFF_UP);
}

Result<> Links::set_no_arp(uint32_t index) { return change_flags(index, IFF_NOARP, IFF_NOARP); }

Result<> Links::set_mtu(uint32_t index, uint32_t mtu_bytes) {
  NetlinkMessage message = link_message(RTM_NEWLINK, index);
  message.put_u32(IFLA_MTU, mtu_bytes);
  if (auto done = socket_.request(message); !done)
    return std::move(done).error().in("set MTU " + std::to_string(mtu_bytes));
  return Ok;
}

Result<> Links::set_mac(uint32_t index, const Mac& mac) {
  NetlinkMessage message = link_message(RTM_NEWLINK, index);
  message.put_mac(IFLA_ADDRESS, mac);
  if (auto done = socket_.request(message); !done)
    return std::move(done).error().in("set MAC address " + mac.to_string());
  return Ok;
}

Result<> Links::set_alias(uint32_t index, std::string_view alias) {
  NetlinkMessage message = link_message(RTM_NEWLINK, index);
  message.put_text(IFLA_IFALIAS, alias);
  if (auto done = socket_.request(message); !done)
    return std::move(done).error().in("set alias of link " + std::to_string(index));
  return Ok;
}

Result<> Links::set_no_link_local(uint32_t index) {
  NetlinkMessage message = link_message(RTM_NEWLINK, index);
  const size_t families = message.nest(IFLA_AF_SPEC);
  const size_t inet6 = message.nest(AF_INET6);
  message.put_u8(IFLA_INET6_ADDR_GEN_MODE, IN6_ADDR_GEN_MODE_NONE);
  message.end(inet6);
  message.end(families);
  auto done = socket_.request(message);
  // A kernel or namespace without IPv6 makes no link-local address in the first place.
  if (!done && done.error().system_error() != EAFNOSUPPORT &&
      done.error().system_error() != EOPNOTSUPP && done.error().system_error() != EINVAL)
    return std::move(done).error().in("set address generation mode");
  return Ok;
}

Result<> Links::remove(std::string_view name) {
  NetlinkMessage message = link_message(RTM_DELLINK, 0);
  message.put_text(IFLA_IFNAME, name);
  auto done = socket_.request(message);
  if (!done && done.error().system_error() != ENODEV)
    return std::move(done).error().in("remove link " + quoted(name));
  return Ok;
}

}  // namespace weft::link
