// SPDX-License-Identifier: Apache-2.0
#include "drivers/link/monitor.h"

#include <linux/if_addr.h>
#include <linux/rtnetlink.h>
#include <sys/socket.h>

#include <optional>

#include "drivers/link/netlink.h"
#include "drivers/netns/netns.h"

namespace weft::link {
namespace {

std::optional<Change> to_change(uint16_t type, ByteView payload) {
  Change change;
  switch (type) {
    case RTM_NEWLINK:
    case RTM_DELLINK: {
      const auto reply = netlink_reply<ifinfomsg>(type, payload);
      if (!reply) return std::nullopt;
      change.kind = ChangeKind::link;
      change.removed = type == RTM_DELLINK;
      change.ifindex = uint32_t(reply->fixed.ifi_index);
      change.name = reply->attributes.text(IFLA_IFNAME);
      return change;
    }
    case RTM_NEWADDR:
    case RTM_DELADDR: {
      const auto reply = netlink_reply<ifaddrmsg>(type, payload);
      if (!reply) return std::nullopt;
      change.kind = ChangeKind::address;
      change.removed = type == RTM_DELADDR;
      change.ifindex = reply->fixed.ifa_index;
      change.address = reply->attributes.address(
          uint16_t(reply->attributes.find(IFA_LOCAL) ? IFA_LOCAL : IFA_ADDRESS));
      return change;
    }
    case RTM_NEWROUTE:
    case RTM_DELROUTE: {
      const auto reply = netlink_reply<rtmsg>(type, payload);
      if (!reply) return std::nullopt;
      change.kind = ChangeKind::route;
      change.removed = type == RTM_DELROUTE;
      change.ifindex = reply->attributes.u32(RTA_OIF).value_or(0);
      change.destination = {reply->attributes.address(RTA_DST), reply->fixed.rtm_dst_len};
      if (reply->fixed.rtm_family == AF_INET && change.destination.address.is_none())
        change.destination.address = Address::v4(0);
      return change;
    }
    case RTM_NEWNEIGH:
    case RTM_DELNEIGH: {
      const auto reply = netlink_reply<ndmsg>(type, payload);
      if (!reply) return std::nullopt;
      change.kind = ChangeKind::neighbour;
      change.removed = type == RTM_DELNEIGH;
      change.ifindex = uint32_t(reply->fixed.ndm_ifindex);
      change.address = reply->attributes.address(NDA_DST);
      return change;
    }
    default:
      return std::nullopt;
  }
}

void parse(ByteView rest, std::vector<Change>& out) {
  while (rest.size() >= sizeof(nlmsghdr)) {
    nlmsghdr header;
    std::memcpy(&header, rest.data(), sizeof header);
    if (header.nlmsg_len < sizeof header || header.nlmsg_len > rest.size()) return;
    if (auto change = to_change(header.nlmsg_type,
                                rest.subspan(sizeof header, header.nlmsg_len - sizeof header)))
      out.push_back(std::move(*change));
    rest = rest.subspan(std::min<size_t>(NLMSG_ALIGN(header.nlmsg_len), rest.size()));
  }
}

}  // namespace

Result<Monitor> Monitor::open(int netns) {
  Fd socket = TRY_IN("monitor", netns::socket_in_netns(netns, AF_NETLINK, SOCK_RAW | SOCK_NONBLOCK,
                                                       NETLINK_ROUTE));
  const int size = 1 << 20;
  setsockopt(socket.get(), SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
  sockaddr_nl address{};
  address.nl_family = AF_NETLINK;
  address.nl_groups = RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR | RTMGRP_IPV4_ROUTE |
                      RTMGRP_IPV6_ROUTE | RTMGRP_NEIGH;
  if (bind(socket.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) < 0)
    return errno_error("monitor: cannot bind");
  return Monitor(std::move(socket));
}

Result<std::vector<Change>> Monitor::read() {
  std::vector<Change> changes;
  Bytes buffer(64 * 1024);
  for (;;) {
    const ssize_t size = recv(socket_.get(), buffer.data(), buffer.size(), 0);
    if (size >= 0) {
      parse(ByteView(buffer.data(), size_t(size)), changes);
    } else if (errno == EAGAIN) {
      return changes;
    } else if (errno == ENOBUFS) {
      changes.push_back({.kind = ChangeKind::overrun});
    } else if (errno != EINTR) {
      return errno_error("monitor: cannot read");
    }
  }
}

}  // namespace weft::link
