// SPDX-License-Identifier: Apache-2.0
#include "io/sockets.h"

#include <netinet/in.h>
#include <netinet/tcp.h>

#include <cctype>
#include <cstring>
#include <system_error>

namespace weft::io {

KernelAddress KernelAddress::from(const SocketAddress& address, int family) {
  KernelAddress out;
  if (address.address.is_v4() && family != AF_INET6) {
    auto& in = reinterpret_cast<sockaddr_in&>(out.storage);
    in.sin_family = AF_INET;
    in.sin_port = htons(address.port);
    in.sin_addr.s_addr = htonl(address.address.to_v4());
    out.size = sizeof(in);
  } else {
    auto& in = reinterpret_cast<sockaddr_in6&>(out.storage);
    in.sin6_family = AF_INET6;
    in.sin6_port = htons(address.port);
    std::memcpy(&in.sin6_addr, address.address.bytes().data(), 16);
    out.size = sizeof(in);
  }
  return out;
}

SocketAddress KernelAddress::to() const {
  if (storage.ss_family == AF_INET) {
    const auto& in = reinterpret_cast<const sockaddr_in&>(storage);
    return {Address::v4(ntohl(in.sin_addr.s_addr)), ntohs(in.sin_port)};
  }
  if (storage.ss_family != AF_INET6) return {};
  const auto& in = reinterpret_cast<const sockaddr_in6&>(storage);
  Address::Bytes bytes;
  std::memcpy(bytes.data(), &in.sin6_addr, bytes.size());
  return {Address(bytes), ntohs(in.sin6_port)};
}

std::string errno_words(int number) {
  std::string words = std::generic_category().message(number);
  if (!words.empty()) words[0] = char(std::tolower(static_cast<unsigned char>(words[0])));
  return words;
}

namespace {

Error cannot_listen(const SocketAddress& local, int type, int number) {
  std::string text = "cannot listen on " + local.to_string() +
                     (type == SOCK_DGRAM ? "/udp: " : "/tcp: ") + errno_words(number);
  ErrorCode code = ErrorCode::failed;
  if (number == EADDRINUSE) {
    text += "; is another weftd running?";
    code = ErrorCode::conflict;
  } else if (number == EADDRNOTAVAIL) {
    text += "; no interface of this node has the address";
    code = ErrorCode::invalid;
  } else if (number == EACCES) {
    text += "; ports below 1024 need root";
    code = ErrorCode::denied;
  }
  return Error(code, std::move(text)).with_errno(number);
}

void set_flag(int fd, int level, int option, int value = 1) {
  (void)setsockopt(fd, level, option, &value, sizeof(value));
}

}  // namespace

Result<Fd> bind_socket(const SocketAddress& local, int type) {
  const KernelAddress address = KernelAddress::from(local);
  const int family = address.storage.ss_family;
  Fd fd(::socket(family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!fd) return cannot_listen(local, type, errno);
  if (family == AF_INET6) {
    set_flag(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, local.address.is_none() ? 0 : 1);
  }
  // A restarted agent takes its port back although old connections are in TIME_WAIT.
  if (type == SOCK_STREAM) set_flag(fd.get(), SOL_SOCKET, SO_REUSEADDR);
  if (::bind(fd.get(), address.get(), address.size) != 0) return cannot_listen(local, type, errno);
  return fd;
}

Result<Fd> listen_tcp(const SocketAddress& local) {
  Fd fd = TRY(bind_socket(local, SOCK_STREAM));
  if (::listen(fd.get(), SOMAXCONN) != 0) return cannot_listen(local, SOCK_STREAM, errno);
  return fd;
}

Result<Fd> start_connect(const SocketAddress& to) {
  const KernelAddress address = KernelAddress::from(to);
  Fd fd(::socket(address.storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!fd) return errno_error("socket");
  tune_tcp(fd.get());
  if (::connect(fd.get(), address.get(), address.size) != 0 && errno != EINPROGRESS) {
    const int number = errno;
    return Error(ErrorCode::unavailable,
                 "cannot connect to " + to.to_string() + ": " + errno_words(number))
        .with_errno(number);
  }
  return fd;
}

int connect_error(int fd) {
  int number = 0;
  socklen_t size = sizeof(number);
  return ::getsockopt(fd, SOL_SOCKET, SO_ERROR, &number, &size) == 0 ? number : errno;
}

SocketAddress local_address(int fd) {
  KernelAddress address;
  return ::getsockname(fd, address.get(), &address.size) == 0 ? address.to() : SocketAddress{};
}

SocketAddress peer_address(int fd) {
  KernelAddress address;
  return ::getpeername(fd, address.get(), &address.size) == 0 ? address.to() : SocketAddress{};
}

void tune_tcp(int fd) {
  set_flag(fd, IPPROTO_TCP, TCP_NODELAY);
  set_flag(fd, SOL_SOCKET, SO_KEEPALIVE);
  set_flag(fd, IPPROTO_TCP, TCP_KEEPIDLE, 10);
  set_flag(fd, IPPROTO_TCP, TCP_KEEPINTVL, 5);
  set_flag(fd, IPPROTO_TCP, TCP_KEEPCNT, 3);
  set_flag(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, 25'000);  // milliseconds
}

}  // namespace weft::io
