// SPDX-License-Identifier: Apache-2.0
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <thread>
#include <vector>

#include "base/fd.h"
#include "bench/load.h"

namespace weft::bench {

namespace {

// Small enough that the queue's rest does not count after the load's end.
constexpr int udp_buffer_bytes = 1 << 20;
constexpr int datagrams_at_once = 64;

std::atomic<uint64_t> datagrams = 0;

Fd bound(int type, uint16_t port) {
  Fd socket(::socket(AF_INET, type | SOCK_CLOEXEC, 0));
  const int yes = 1;
  ::setsockopt(socket.get(), SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
  // Accepted sockets inherit it: a client that stalls does not hold the server for ever.
  const timeval limit{5, 0};
  ::setsockopt(socket.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  ::setsockopt(socket.get(), SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
  const sockaddr_in own = make_address("0.0.0.0", port);
  if (::bind(socket.get(), reinterpret_cast<const sockaddr*>(&own), sizeof own) != 0)
    fail("bind port " + std::to_string(port));
  if (type == SOCK_STREAM && ::listen(socket.get(), 1024) != 0) fail("listen");
  return socket;
}

void echo(Fd socket) {
  pin(0);
  const int yes = 1;
  ::setsockopt(socket.get(), IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
  char byte;
  while (read_all(socket.get(), &byte, 1) && write_all(socket.get(), &byte, 1)) {
  }
}

// The same CPU as the client: a wake-up across CPUs costs more than the path and hides it.
void answer_connections(const Fd& listener) {
  pin(0);
  for (;;) {
    Fd socket(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
    if (!socket) continue;  // the client gave up, or nobody came for 5 s
    char wish;
    if (!read_all(socket.get(), &wish, 1)) continue;
    if (wish == 'C') {
      write_all(socket.get(), &wish, 1);
    } else if (wish == 'E') {
      std::thread(echo, std::move(socket)).detach();
    } else if (wish == 'U') {
      const uint64_t count = datagrams;
      write_all(socket.get(), &count, sizeof count);
    }
  }
}

void swallow(Fd socket) {
  uint8_t cpu;
  if (!read_all(socket.get(), &cpu, 1)) return;
  pin(cpu);
  std::vector<char> buffer(256 << 10);
  uint64_t bytes = 0;
  ssize_t got;
  while ((got = ::recv(socket.get(), buffer.data(), buffer.size(), 0)) > 0) bytes += got;
  write_all(socket.get(), &bytes, sizeof bytes);
}

void answer_streams(const Fd& listener) {
  for (;;) {
    Fd socket(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
    if (!socket) continue;
    std::thread(swallow, std::move(socket)).detach();
  }
}

void count_datagrams(const Fd& socket) {
  pin(1);
  ::setsockopt(socket.get(), SOL_SOCKET, SO_RCVBUFFORCE, &udp_buffer_bytes,
               sizeof udp_buffer_bytes);
  std::array<std::array<char, 128>, datagrams_at_once> buffers;
  std::array<iovec, datagrams_at_once> vectors;
  std::array<mmsghdr, datagrams_at_once> messages{};
  for (int i = 0; i < datagrams_at_once; i++) {
    vectors[i] = {buffers[i].data(), buffers[i].size()};
    messages[i].msg_hdr.msg_iov = &vectors[i];
    messages[i].msg_hdr.msg_iovlen = 1;
  }
  for (;;) {
    const int got =
        ::recvmmsg(socket.get(), messages.data(), datagrams_at_once, MSG_WAITFORONE, nullptr);
    if (got > 0) datagrams += got;
  }
}

}  // namespace

void serve(uint16_t base, int ready) {
  const Fd connections = bound(SOCK_STREAM, base);
  const Fd streams = bound(SOCK_STREAM, base + 1);
  const Fd udp = bound(SOCK_DGRAM, base + 2);
  if (ready >= 0) ::close(ready);
  std::thread([&] { answer_streams(streams); }).detach();
  std::thread([&] { count_datagrams(udp); }).detach();
  answer_connections(connections);
  __builtin_unreachable();
}

}  // namespace weft::bench
