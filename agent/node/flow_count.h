// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>

#include "base/instant.h"
#include "base/result.h"
#include "drivers/bpf/raw_map.h"
#include "weft/abi/types.h"

namespace weft::node {

// Tracked connections by the local endpoint that serves them (weft_port.id). The data path never
// deletes a flow, it uses its place again: one that is over or that was not seen for long is not
// counted.
class FlowCount {
 public:
  // `seen_now`: the data path's clock, see seen_clock().
  explicit FlowCount(uint32_t seen_now, unsigned ticks_per_second)
      : seen_now_(seen_now), ticks_per_second_(ticks_per_second) {}
  void add(const weft_flow_set& set);
  const std::map<uint32_t, uint64_t>& by_port() const { return by_port_; }

 private:
  bool active(const weft_flow& flow, uint32_t seen) const;

  uint32_t seen_now_;
  unsigned ticks_per_second_;
  std::map<uint32_t, uint64_t> by_port_;
};

// What weft_flow_set.seen of a packet would be now: the kernel's jiffies follow CLOCK_MONOTONIC.
uint32_t seen_clock(Duration since_boot, unsigned ticks_per_second);

// Reads the whole map once: 16 MiB.
Result<std::map<uint32_t, uint64_t>> count_flows(const bpf::RawMap& flows);

}  // namespace weft::node
