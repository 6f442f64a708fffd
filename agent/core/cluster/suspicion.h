// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <vector>

#include "core/cluster/types.h"

namespace weft::cluster {

// How long a suspect has to refute, as in Lifeguard (Dadgar, Phillips, Currey: "Lifeguard: Local
// Health Awareness for More Accurate Failure Detection", 2018): from `maximum` with one accuser
// down to `minimum` when `expected` others confirm.
struct SuspicionTimes {
  Duration minimum{};
  Duration maximum{};
  uint32_t expected = 0;
  Duration refused{};  // when the port was refused: no loss explains that

  Duration after(uint32_t confirmations) const;
};

// The minimum is short on a network that loses nothing and memberlist's
// 4 * max(1, log10(members)) * unit on one that loses a fifth of all round trips or more.
// `loss` is the share of round trips that fail although the target lives.
// 0 for losses that every network has (2 %), 1 from memberlist's worst case (20 %) on.
double loss_weight(double loss);
SuspicionTimes suspicion_times(const Config& config, size_t members, double loss);

// A suspicion that is running.
struct Suspicion {
  Instant started;
  std::vector<NodeId> accusers;  // at most expected + 1
  bool refused = false;          // its port was refused: counts as every confirmation

  // True if `accuser` is new and still counts.
  bool confirm(const NodeId& accuser, uint32_t expected);
  Instant deadline(const SuspicionTimes& times) const;
};

// Round trips lost on living targets: this node's own probes (fast to rise) and what peers report.
class LossMeter {
 public:
  void probe(bool direct_answer);
  void report(double loss);
  double own() const;
  // The worse of both, so that a node that has just started is not too sure of itself.
  double estimate() const;

 private:
  uint32_t recent_ = 0;  // last 32 probes, 1 = lost
  double slow_ = 0;
  double peers_ = 0;
};

// Lifeguard's local health multiplier: 0 (healthy) to 8. A node that may itself be slow or cut off
// gives others more time.
class LocalHealth {
 public:
  void add(int delta);
  uint32_t score() const { return score_; }
  Duration scale(Duration d) const { return d * int64_t(score_ + 1); }

 private:
  uint32_t score_ = 0;
};

// Smoothed round trip and its variation, as TCP does (RFC 6298).
class RoundTrip {
 public:
  void sample(Duration rtt);
  bool known() const { return smoothed_us_ != 0; }
  Duration smoothed() const { return std::chrono::microseconds(smoothed_us_); }
  // Three variations more generous than a retransmission timer would need to be.
  Duration timeout(Duration minimum, Duration maximum) const;

 private:
  uint32_t smoothed_us_ = 0;
  uint32_t variation_us_ = 0;
};

}  // namespace weft::cluster
