// SPDX-License-Identifier: Apache-2.0
#include "node/flow_count.h"

#include <netinet/in.h>
#include <time.h>

#include <cstring>

#include "drivers/bpf/features.h"

namespace weft::node {

namespace {

constexpr unsigned seen_shift = 8;  // as the data path's SEEN_SHIFT
// Silence after which a flow is taken for over. TCP says when it ends, unless its host dies.
constexpr auto tcp_silence = std::chrono::seconds(3600);
constexpr auto other_silence = std::chrono::seconds(60);

}  // namespace

uint32_t seen_clock(Duration since_boot, unsigned ticks_per_second) {
  const uint64_t tick_ns = 1'000'000'000 / ticks_per_second;
  // The kernel starts its jiffies 300 s before they overflow 32 bits (INITIAL_JIFFIES).
  const uint64_t jiffies =
      uint64_t(since_boot.count()) / tick_ns + uint32_t(-300 * int64_t(ticks_per_second));
  return uint32_t(jiffies >> seen_shift);
}

bool FlowCount::active(const weft_flow& flow, uint32_t seen) const {
  if (flow.flags & WEFT_FLOW_CLOSING) return false;
  const auto silence = flow.protocol == IPPROTO_TCP ? tcp_silence : other_silence;
  // A packet may come between the reading of the clock and that of the map.
  const int32_t age = std::max(int32_t(seen_now_ - seen), 0);
  return (uint64_t(age) << seen_shift) / ticks_per_second_ < uint64_t(silence.count());
}

void FlowCount::add(const weft_flow_set& set) {
  for (uint32_t i = 0; i < WEFT_FLOW_WAYS; i++) {
    if (set.tag[i] == 0 || set.tag[i] == WEFT_FLOW_BUSY) continue;
    if (active(set.way[i], set.seen[i])) by_port_[set.way[i].port_id]++;
  }
}

Result<std::map<uint32_t, uint64_t>> count_flows(const bpf::RawMap& flows) {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  const unsigned ticks = bpf::kernel_ticks_per_second();
  FlowCount count(
      seen_clock(std::chrono::seconds(now.tv_sec) + std::chrono::nanoseconds(now.tv_nsec), ticks),
      ticks);
  TRY(flows.for_each([&](ByteView, ByteView value) {
    weft_flow_set set;
    if (value.size() != sizeof set) return;
    std::memcpy(&set, value.data(), sizeof set);
    count.add(set);
  }));
  return count.by_port();
}

}  // namespace weft::node
