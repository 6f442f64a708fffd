// SPDX-License-Identifier: Apache-2.0
#include "io/udp_socket.h"

#include <linux/errqueue.h>
#include <netinet/in.h>

#include <array>
#include <vector>

#include "base/fd.h"
#include "io/sockets.h"

namespace weft::io {
namespace {

constexpr size_t batch = 32;
// After so many batches the other descriptors of the loop have their turn.
constexpr int batches_per_wake = 4;

void size_receive_buffer(int fd, size_t bytes) {
  const int value = int(bytes);
  if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &value, sizeof(value)) != 0)
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &value, sizeof(value));
}

Result<> report_errors(int fd, int family) {
  const int on = 1;
  if (family == AF_INET6 && setsockopt(fd, IPPROTO_IPV6, IPV6_RECVERR, &on, sizeof(on)) != 0)
    return errno_error("IPV6_RECVERR");
  // Also for IPv4 peers of a socket of both families.
  if (setsockopt(fd, IPPROTO_IP, IP_RECVERR, &on, sizeof(on)) != 0 && family == AF_INET)
    return errno_error("IP_RECVERR");
  return Ok;
}

}  // namespace

struct UdpSocket::State : std::enable_shared_from_this<UdpSocket::State> {
  void on_readable() {
    const auto keep = shared_from_this();  // a callback may destroy the socket
    for (int round = 0; round < batches_per_wake; ++round) {
      for (size_t i = 0; i < batch; ++i) {
        parts[i] = {buffer.data() + i * stride, stride};
        messages[i] = {};
        messages[i].msg_hdr.msg_name = from[i].get();
        messages[i].msg_hdr.msg_namelen = sizeof(from[i].storage);
        messages[i].msg_hdr.msg_iov = &parts[i];
        messages[i].msg_hdr.msg_iovlen = 1;
      }
      const int count = ::recvmmsg(fd.get(), messages.data(), batch, MSG_DONTWAIT, nullptr);
      // Woken without data: an error is queued. Seen here only, since it keeps the descriptor
      // ready.
      if (count <= 0) {
        if (round == 0) drain_errors();
        return;
      }
      for (int i = 0; i < count; ++i) {
        deliver(i);
        if (!fd) return;
      }
      if (count < int(batch)) return;
    }
  }

  void deliver(int i) {
    if (messages[i].msg_hdr.msg_flags & MSG_TRUNC) {
      ++counters.too_long;
      return;
    }
    ++counters.received;
    callbacks.on_datagram(from[i].to(), {buffer.data() + i * stride, messages[i].msg_len});
  }

  void drain_errors() {
    for (size_t i = 0; i < batch && fd; ++i) {
      KernelAddress peer;
      alignas(cmsghdr) char control[512];
      msghdr message{};
      message.msg_name = peer.get();
      message.msg_namelen = sizeof(peer.storage);
      message.msg_control = control;
      message.msg_controllen = sizeof(control);
      if (::recvmsg(fd.get(), &message, MSG_ERRQUEUE | MSG_DONTWAIT) < 0) return;
      for (cmsghdr* c = CMSG_FIRSTHDR(&message); c != nullptr; c = CMSG_NXTHDR(&message, c)) {
        const bool v4 = c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_RECVERR;
        const bool v6 = c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_RECVERR;
        if (!v4 && !v6) continue;
        const auto& error = *reinterpret_cast<const sock_extended_err*>(CMSG_DATA(c));
        const bool icmp =
            error.ee_origin == SO_EE_ORIGIN_ICMP || error.ee_origin == SO_EE_ORIGIN_ICMP6;
        if (!icmp || error.ee_errno != ECONNREFUSED) continue;
        ++counters.refused;
        if (callbacks.on_refused) callbacks.on_refused(peer.to());
        break;
      }
    }
  }

  Fd fd;
  int family = AF_INET;
  SocketAddress local;
  Callbacks callbacks;
  Counters counters;
  size_t stride = 0;
  std::vector<uint8_t> buffer;
  std::array<mmsghdr, batch> messages;
  std::array<iovec, batch> parts;
  std::array<KernelAddress, batch> from;
  Watch watch;
};

Result<std::unique_ptr<UdpSocket>> UdpSocket::open(Loop& loop, const SocketAddress& local,
                                                   Callbacks callbacks, Options options) {
  auto state = std::make_shared<State>();
  state->fd = TRY(bind_socket(local, SOCK_DGRAM));
  const int fd = state->fd.get();
  state->family = KernelAddress::from(local).storage.ss_family;
  TRY(report_errors(fd, state->family));
  size_receive_buffer(fd, options.receive_buffer_bytes);
  state->local = local_address(fd);
  state->callbacks = std::move(callbacks);
  state->stride = options.max_datagram_bytes;
  state->buffer.resize(batch * state->stride);
  state->watch = loop.watch_read(fd, [raw = state.get()] { raw->on_readable(); });
  return std::unique_ptr<UdpSocket>(new UdpSocket(std::move(state)));
}

UdpSocket::UdpSocket(std::shared_ptr<State> state) : state_(std::move(state)) {}

UdpSocket::~UdpSocket() {
  state_->watch.cancel();
  state_->fd.reset();
}

Result<> UdpSocket::send(const SocketAddress& to, ByteView bytes) {
  const KernelAddress address = KernelAddress::from(to, state_->family);
  // An error that an earlier datagram met is reported once by the next call, whatever it sends; it
  // says nothing about this datagram, so try again.
  for (int attempt = 0;; ++attempt) {
    if (::sendto(state_->fd.get(), bytes.data(), bytes.size(), MSG_DONTWAIT | MSG_NOSIGNAL,
                 address.get(), address.size) >= 0) {
      ++state_->counters.sent;
      return Ok;
    }
    if (errno == EAGAIN || attempt == 1) break;
  }
  const int number = errno;
  ++state_->counters.send_failed;
  return Error("cannot send to " + to.to_string() + "/udp: " + errno_words(number))
      .with_errno(number);
}

const SocketAddress& UdpSocket::local() const { return state_->local; }

const UdpSocket::Counters& UdpSocket::counters() const { return state_->counters; }

}  // namespace weft::io
