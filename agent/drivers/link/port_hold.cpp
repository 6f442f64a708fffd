// SPDX-License-Identifier: Apache-2.0
#include <linux/filter.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <cstring>

#include "drivers/link/uplink.h"
#include "drivers/netns/netns.h"

namespace weft::link {
namespace {

const char* name_of(PortProtocol protocol) {
  switch (protocol) {
    case PortProtocol::tcp:
      return "tcp";
    case PortProtocol::udp:
      return "udp";
    case PortProtocol::sctp:
      return "sctp";
  }
  return "?";
}

socklen_t fill(sockaddr_storage& storage, const Address& address, uint16_t port, int family) {
  if (family == AF_INET) {
    auto& in = reinterpret_cast<sockaddr_in&>(storage);
    in.sin_family = AF_INET;
    in.sin_port = htons(port);
    in.sin_addr.s_addr = address.is_none() ? INADDR_ANY : htonl(address.to_v4());
    return sizeof in;
  }
  auto& in6 = reinterpret_cast<sockaddr_in6&>(storage);
  in6.sin6_family = AF_INET6;
  in6.sin6_port = htons(port);
  std::memcpy(&in6.sin6_addr, address.bytes().data(), 16);
  return sizeof in6;
}

// Nothing that reaches the socket is kept: it will never be read.
Result<> drop_everything(const Fd& socket) {
  sock_filter drop = BPF_STMT(BPF_RET | BPF_K, 0);
  const sock_fprog program{1, &drop};
  if (setsockopt(socket.get(), SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program) < 0)
    return errno_error("cannot attach a socket filter");
  return Ok;
}

}  // namespace

Result<Fd> hold_port(const Address& address, uint16_t port, PortProtocol protocol, int netns) {
  const std::string where = std::string(name_of(protocol)) + " port " + std::to_string(port) +
                            (address.is_none() ? "" : " of " + address.to_string());
  const int type = protocol == PortProtocol::udp ? SOCK_DGRAM : SOCK_STREAM;
  int family = !address.is_none() && address.is_v4() ? AF_INET : AF_INET6;
  auto opened = netns::socket_in_netns(netns, family, type, int(protocol));
  // "Every address" on a node without IPv6 is every IPv4 address.
  if (!opened && opened.error().system_error() == EAFNOSUPPORT && address.is_none()) {
    family = AF_INET;
    opened = netns::socket_in_netns(netns, family, type, int(protocol));
  }
  if (!opened) {
    if (protocol == PortProtocol::sctp && opened.error().system_error() == EPROTONOSUPPORT)
      return Fd();
    return std::move(opened).error().in("hold " + where);
  }
  Fd socket = std::move(*opened);
  const int only = address.is_none() ? 0 : 1;
  if (family == AF_INET6) setsockopt(socket.get(), IPPROTO_IPV6, IPV6_V6ONLY, &only, sizeof only);
  if (protocol == PortProtocol::udp) TRY_IN("hold " + where, drop_everything(socket));
  sockaddr_storage storage{};
  const socklen_t size = fill(storage, address, port, family);
  if (bind(socket.get(), reinterpret_cast<sockaddr*>(&storage), size) < 0) {
    const int number = errno;
    if (number == EADDRINUSE)
      return Error(ErrorCode::conflict, where + " is in use by another program on this node")
          .with_errno(number);
    if (number == EADDRNOTAVAIL)
      return Error(ErrorCode::not_found, address.to_string() + " is not an address of this node")
          .with_errno(number);
    return errno_error("hold " + where, number);
  }
  return socket;
}

}  // namespace weft::link
