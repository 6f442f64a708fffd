// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "base/address.h"
#include "base/fd.h"
#include "base/mac.h"
#include "base/result.h"
#include "drivers/link/link.h"

namespace weft::link {

// The link that carries the underlay.
struct Uplink {
  Link link;
  Prefix address;  // host bits kept; the one that was asked for, else the first global one
};
// By address, or (`address` none) the link of the IPv4 default route with the lowest metric, else
// of the IPv6 one. not_found says what to set.
Result<Uplink> find_uplink(Links& links, const Address& address = {});

// How a packet to an underlay address leaves this node.
struct NextHop {
  uint32_t ifindex = 0;
  Mac source;
  Mac destination;
  uint32_t mtu_bytes = 0;  // of the path, as far as the kernel knows it
  Address neighbour;       // gateway, or the address itself
  bool local = false;      // an address of this node
  // The destination MAC is true. Not so while the neighbour does not answer, or on a link without
  // Ethernet addresses; traffic then takes the kernel way.
  bool resolved = false;
};
// not_found: there is no route.
Result<NextHop> next_hop(Links& links, const Address& address);
// Asks the kernel to resolve the neighbour and to keep it fresh, although no packet of the host's
// own stack uses it (NTF_EXT_MANAGED, Linux 5.16).
Result<> keep_neighbour(Links& links, uint32_t ifindex, const Address& neighbour);
// Forgets what keep_neighbour asked for. A missing entry is fine.
Result<> drop_neighbour(Links& links, uint32_t ifindex, const Address& neighbour);

// Reserves a port on the node, so that another program's bind fails with EADDRINUSE and a published
// port never shadows it. The socket takes no packet. conflict: somebody has the port.
enum class PortProtocol : uint8_t { tcp = 6, udp = 17, sctp = 132 };
// `address` none: every address, both families. Of SCTP without kernel support there is nothing to
// reserve: the Fd is empty.
Result<Fd> hold_port(const Address& address, uint16_t port, PortProtocol protocol, int netns = -1);

}  // namespace weft::link
