// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/socket.h>

#include "base/address.h"
#include "base/fd.h"
#include "base/result.h"

namespace weft::io {

// A SocketAddress in the kernel's form. An IPv4 address becomes AF_INET, or v4-mapped AF_INET6 if
// the socket it is for has that family.
struct KernelAddress {
  sockaddr_storage storage{};
  socklen_t size = sizeof(storage);

  static KernelAddress from(const SocketAddress& address, int family = AF_UNSPEC);
  SocketAddress to() const;
  sockaddr* get() { return reinterpret_cast<sockaddr*>(&storage); }
  const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&storage); }
};

// A non-blocking socket bound to `local`. The address "none" (::) takes both families. `type` is
// SOCK_DGRAM or SOCK_STREAM. Errors read "cannot listen on 10.9.0.1:7946/udp: address already in
// use; is another weftd running?".
Result<Fd> bind_socket(const SocketAddress& local, int type);

// bind_socket and listen.
Result<Fd> listen_tcp(const SocketAddress& local);

// A non-blocking TCP socket on its way to `to`; the outcome is connect_error() once it is writable.
Result<Fd> start_connect(const SocketAddress& to);

// SO_ERROR: 0, or why the connection failed.
int connect_error(int fd);

SocketAddress local_address(int fd);
SocketAddress peer_address(int fd);

// No delay, and a dead peer is noticed within about 25 s even if nothing is sent.
void tune_tcp(int fd);

// "connection refused": the system's words as the middle of a sentence.
std::string errno_words(int number);

}  // namespace weft::io
