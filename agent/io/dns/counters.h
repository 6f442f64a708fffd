// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cstdint>

#include "io/dns/server.h"

namespace weft::dns {

// Written by the server's thread only, read by any.
class Counter {
 public:
  void add(int64_t n = 1) {
    value_.store(value_.load(std::memory_order_relaxed) + uint64_t(n), std::memory_order_relaxed);
  }
  uint64_t get() const { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<uint64_t> value_{0};
};

struct LiveCounters {
  Counter queries, answered, forwarded, failed, dropped, truncated;
  Counter tcp_connections, tcp_refused, forwards_pending, tcp_open, containers;

  DnsCounters snapshot() const {
    return {queries.get(),          answered.get(),  forwarded.get(),       failed.get(),
            dropped.get(),          truncated.get(), tcp_connections.get(), tcp_refused.get(),
            forwards_pending.get(), tcp_open.get(),  containers.get()};
  }
};

}  // namespace weft::dns
