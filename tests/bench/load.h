// SPDX-License-Identifier: Apache-2.0
//
// The loads of `scripts/bench overlay` and `lb`. A server answers on three ports, counted from a
// base:
//   base      TCP; the first byte of a connection says what it wants:
//             'C' one byte back, then the end     'E' each byte back     'U' datagrams counted so
//             far
//   base + 1  TCP; swallows the stream, answers the number of bytes at its end
//   base + 2  UDP; counts datagrams
#pragma once

#include <netinet/in.h>

#include <chrono>
#include <cstdint>
#include <string>

namespace weft::bench {

// Prints the reason and ends the process with status 1.
[[noreturn]] void fail(const std::string& what);

// Pins the calling thread; counts modulo the CPUs that the process may use, since on a
// single CPU everything shares it.
void pin(unsigned cpu);

// Dies with the process that made it, so that an ended bench leaves no load behind.
void die_with_parent();

void enter_netns(const std::string& path);
sockaddr_in make_address(const std::string& text, uint16_t port);

// Reads or writes all bytes of a small message; false at the end of the stream or a time-out.
bool read_all(int socket, void* data, size_t size);
bool write_all(int socket, const void* data, size_t size);

// Serves in the calling process until it is ended. `ready` is closed once all ports listen.
[[noreturn]] void serve(uint16_t base, int ready);

enum class Metric { tcp_1, tcp_4, udp_pps, rr, connections };
inline constexpr Metric metrics[] = {Metric::tcp_1, Metric::tcp_4, Metric::udp_pps, Metric::rr,
                                     Metric::connections};
const char* name_of(Metric metric);

struct Target {
  std::string address;
  uint16_t base = 0;
};

// What a load moved: bytes, datagrams that arrived, answers or connections.
struct Amount {
  double units = 0;
  double seconds = 0;
};

// Runs one load in the calling process, in its namespace. Waits without limit for a server that
// stalls: the caller bounds it.
Amount run_load(Metric metric, const Target& target, std::chrono::milliseconds time);

}  // namespace weft::bench
