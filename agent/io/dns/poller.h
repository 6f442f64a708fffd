// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/epoll.h>

#include <cstdint>

#include "base/fd.h"

namespace weft::dns {

// What a ready file descriptor belongs to. Ids are never used twice, so that a late event of
// something closed finds nothing.
enum class Source : uint8_t { wake, udp, listener, connection, forward };

struct Token {
  Source source = Source::wake;
  uint64_t id = 0;

  uint64_t packed() const { return uint64_t(source) << 56 | id; }
  static Token unpack(uint64_t value) {
    return {Source(value >> 56), value & ((uint64_t(1) << 56) - 1)};
  }
};

// epoll; closing a descriptor takes it out.
class Poller {
 public:
  explicit Poller(Fd epoll) : epoll_(std::move(epoll)) {}
  bool add(int fd, uint32_t events, Token token) {
    return control(EPOLL_CTL_ADD, fd, events, token);
  }
  bool change(int fd, uint32_t events, Token token) {
    return control(EPOLL_CTL_MOD, fd, events, token);
  }
  int wait(epoll_event* events, int size, int timeout_milliseconds) {
    return ::epoll_wait(epoll_.get(), events, size, timeout_milliseconds);
  }

 private:
  bool control(int operation, int fd, uint32_t events, Token token) {
    epoll_event event{};
    event.events = events;
    event.data.u64 = token.packed();
    return ::epoll_ctl(epoll_.get(), operation, fd, &event) == 0;
  }
  Fd epoll_;
};

}  // namespace weft::dns
