// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <memory>

#include "base/address.h"
#include "base/bytes.h"
#include "base/result.h"
#include "io/loop.h"

namespace weft::io {

// A bound UDP socket, IPv4 or IPv6, on a loop. May be destroyed inside its callbacks.
class UdpSocket {
 public:
  struct Callbacks {
    // The bytes are only valid during the call.
    std::function<void(const SocketAddress& from, ByteView bytes)> on_datagram;
    // Nobody listens at an address that was sent to (ICMP port unreachable). May be empty.
    std::function<void(const SocketAddress& peer)> on_refused;
  };
  struct Options {
    size_t receive_buffer_bytes = 4 << 20;  // in the kernel; without root up to its rmem_max
    size_t max_datagram_bytes = 2048;       // longer ones are dropped and counted
  };
  struct Counters {
    uint64_t received = 0;
    uint64_t sent = 0;
    uint64_t send_failed = 0;
    uint64_t too_long = 0;
    uint64_t refused = 0;
  };

  // `local` with port 0 takes any free port; see local(). Errors: see bind_socket.
  static Result<std::unique_ptr<UdpSocket>> open(Loop& loop, const SocketAddress& local,
                                                 Callbacks callbacks, Options options);
  static Result<std::unique_ptr<UdpSocket>> open(Loop& loop, const SocketAddress& local,
                                                 Callbacks callbacks) {
    return open(loop, local, std::move(callbacks), Options{});
  }
  ~UdpSocket();

  // Never blocks; a full send buffer is an error like any other: datagrams may be lost.
  Result<> send(const SocketAddress& to, ByteView bytes);
  const SocketAddress& local() const;
  const Counters& counters() const;

 private:
  struct State;
  explicit UdpSocket(std::shared_ptr<State> state);
  std::shared_ptr<State> state_;
};

}  // namespace weft::io
