// SPDX-License-Identifier: Apache-2.0
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <numeric>
#include <thread>
#include <vector>

#include "base/fd.h"
#include "bench/load.h"

namespace weft::bench {

namespace {

using Clock = std::chrono::steady_clock;
constexpr size_t stream_write_bytes = 128 << 10;
constexpr size_t datagram_bytes = 64;
constexpr int clock_every = 64;  // datagrams between two looks at the clock

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

Fd connected(int type, const std::string& address, uint16_t port) {
  Fd socket(::socket(AF_INET, type | SOCK_CLOEXEC, 0));
  if (!socket) fail("socket");
  const sockaddr_in peer = make_address(address, port);
  if (::connect(socket.get(), reinterpret_cast<const sockaddr*>(&peer), sizeof peer) != 0)
    fail("connect to " + address + ":" + std::to_string(port));
  return socket;
}

uint64_t stream(const Target& target, unsigned index, Clock::time_point end) {
  pin(index);
  const Fd socket = connected(SOCK_STREAM, target.address, target.base + 1);
  const uint8_t server_cpu = index;
  if (!write_all(socket.get(), &server_cpu, 1)) fail("start of a stream");
  const std::vector<char> data(stream_write_bytes);
  while (Clock::now() < end)
    if (::send(socket.get(), data.data(), data.size(), MSG_NOSIGNAL) < 0) fail("stream stalled");
  ::shutdown(socket.get(), SHUT_WR);
  uint64_t bytes = 0;
  if (!read_all(socket.get(), &bytes, sizeof bytes)) fail("a stream's end is not answered");
  return bytes;
}

Amount streams(const Target& target, unsigned count, std::chrono::milliseconds time) {
  const auto start = Clock::now();
  std::vector<uint64_t> bytes(count);
  std::vector<std::thread> threads;
  for (unsigned i = 0; i < count; i++)
    threads.emplace_back([&, i] { bytes[i] = stream(target, i, start + time); });
  for (auto& thread : threads) thread.join();
  return {std::accumulate(bytes.begin(), bytes.end(), 0.0), seconds_since(start)};
}

uint64_t datagrams_arrived(const Target& target) {
  const Fd socket = connected(SOCK_STREAM, target.address, target.base);
  uint64_t count = 0;
  if (!write_all(socket.get(), "U", 1) || !read_all(socket.get(), &count, sizeof count))
    fail("the server does not tell its datagrams");
  return count;
}

Amount datagrams(const Target& target, std::chrono::milliseconds time) {
  pin(0);
  const Fd socket = connected(SOCK_DGRAM, target.address, target.base + 2);
  const std::array<char, datagram_bytes> data{};
  const uint64_t before = datagrams_arrived(target);
  const auto start = Clock::now();
  do {
    for (int i = 0; i < clock_every; i++)
      if (::send(socket.get(), data.data(), data.size(), 0) < 0 && errno != ENOBUFS)
        fail("send a datagram");
  } while (Clock::now() - start < time);
  const double seconds = seconds_since(start);
  // The receiver is done once its count stands still.
  uint64_t after = datagrams_arrived(target), last;
  do {
    last = after;
    after = datagrams_arrived(target);
  } while (after != last);
  return {double(after - before), seconds};
}

Amount request_response(const Target& target, std::chrono::milliseconds time) {
  pin(0);
  const Fd socket = connected(SOCK_STREAM, target.address, target.base);
  const int yes = 1;
  ::setsockopt(socket.get(), IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
  if (!write_all(socket.get(), "E", 1)) fail("start of requests");
  const auto start = Clock::now();
  double answers = 0;
  char byte = 'x';
  do {
    if (!write_all(socket.get(), &byte, 1) || !read_all(socket.get(), &byte, 1))
      fail("a request is not answered");
    answers++;
  } while (Clock::now() - start < time);
  return {answers, seconds_since(start)};
}

Amount connections(const Target& target, std::chrono::milliseconds time) {
  pin(0);
  const auto start = Clock::now();
  double count = 0;
  do {
    const Fd socket = connected(SOCK_STREAM, target.address, target.base);
    char byte = 'C';
    if (!write_all(socket.get(), &byte, 1) || !read_all(socket.get(), &byte, 1))
      fail("a connection is not answered");
    // The server closes first, so that the client's ports stay free.
    if (read_all(socket.get(), &byte, 1)) fail("the server keeps a connection");
    count++;
  } while (Clock::now() - start < time);
  return {count, seconds_since(start)};
}

}  // namespace

const char* name_of(Metric metric) {
  switch (metric) {
    case Metric::tcp_1:
      return "tcp_1";
    case Metric::tcp_4:
      return "tcp_4";
    case Metric::udp_pps:
      return "udp_pps";
    case Metric::rr:
      return "rr";
    case Metric::connections:
      return "connections";
  }
  __builtin_unreachable();
}

Amount run_load(Metric metric, const Target& target, std::chrono::milliseconds time) {
  switch (metric) {
    case Metric::tcp_1:
      return streams(target, 1, time);
    case Metric::tcp_4:
      return streams(target, 4, time);
    case Metric::udp_pps:
      return datagrams(target, time);
    case Metric::rr:
      return request_response(target, time);
    case Metric::connections:
      return connections(target, time);
  }
  __builtin_unreachable();
}

}  // namespace weft::bench
