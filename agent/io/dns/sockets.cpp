// SPDX-License-Identifier: Apache-2.0
#include "io/dns/sockets.h"

#include <arpa/inet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <cstring>
#include <optional>
#include <thread>

namespace weft::dns {

namespace {

constexpr uint32_t server_address = 0x7f00000b;  // 127.0.0.11
constexpr uint16_t server_port = 53;

Result<Fd> open_bound(int type) {
  Fd socket(::socket(AF_INET, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!socket) return errno_error("open a name server's socket");
  // TCP: connections of an earlier agent may linger. UDP: leaves the wildcard address free for a
  // name server inside the container that sets it, too.
  const int on = 1;
  if (::setsockopt(socket.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) < 0)
    return errno_error("SO_REUSEADDR");
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(server_port);
  address.sin_addr.s_addr = htonl(server_address);
  if (::bind(socket.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) < 0)
    return errno_error("bind 127.0.0.11:53");
  return socket;
}

// Bound while lo is down, a UDP socket takes the address but sends from 127.0.0.1 for ever, and
// clients do not accept that.
Result<> check_lo_up() {
  const Fd socket(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!socket) return errno_error("open a socket");
  ifreq request{};
  std::strcpy(request.ifr_name, "lo");
  if (::ioctl(socket.get(), SIOCGIFFLAGS, &request) < 0) return errno_error("lo");
  if (!(request.ifr_flags & IFF_UP)) return Error("open the name server's sockets: lo is down");
  return Ok;
}

Result<DnsSockets> open_here() {
  TRY(check_lo_up());
  DnsSockets out;
  out.udp = TRY(open_bound(SOCK_DGRAM));
  out.tcp = TRY(open_bound(SOCK_STREAM));
  if (::listen(out.tcp.get(), 64) < 0) return errno_error("listen at 127.0.0.11:53");
  return out;
}

}  // namespace

Result<DnsSockets> open_dns_sockets(int netns) {
  std::optional<Result<DnsSockets>> out;
  std::thread([&] {
    if (::setns(netns, CLONE_NEWNET) < 0)
      out.emplace(errno_error("enter the network namespace"));
    else
      out.emplace(open_here());
  }).join();
  return *std::move(out);
}

}  // namespace weft::dns
