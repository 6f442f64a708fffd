// SPDX-License-Identifier: Apache-2.0
#include "core/cluster/suspicion.h"

#include <algorithm>
#include <bit>
#include <cmath>

namespace weft::cluster {

Duration SuspicionTimes::after(uint32_t confirmations) const {
  if (expected == 0 || confirmations >= expected) return minimum;
  const double share = std::log(double(confirmations) + 1) / std::log(double(expected) + 1);
  const double range = double((maximum - minimum).count());
  return std::max(minimum, maximum - Duration(int64_t(range * share)));
}

double loss_weight(double loss) {
  constexpr double quiet = 0.02, bad = 0.20;
  return std::clamp((loss - quiet) / (bad - quiet), 0.0, 1.0);
}

SuspicionTimes suspicion_times(const Config& config, size_t members, double loss) {
  const double weight = loss_weight(loss);
  const double nodes = std::max(1.0, std::log10(double(std::max<size_t>(members, 1))));
  const double formula = 4 * nodes * double(config.suspicion_unit.count());
  const double fast = std::min(double(config.suspicion_fast.count()), formula);
  const double minimum = fast + weight * (formula - fast);
  SuspicionTimes times;
  times.minimum = Duration(int64_t(minimum));
  times.refused = Duration(int64_t(fast));
  times.maximum = Duration(int64_t(minimum * (1.25 + weight * 4.75)));  // memberlist's factor is 6
  // Those who can confirm: all but the suspect and this node.
  times.expected = uint32_t(std::min<size_t>(3, members > 2 ? members - 2 : 0));
  return times;
}

bool Suspicion::confirm(const NodeId& accuser, uint32_t expected) {
  if (accusers.size() > expected) return false;
  if (std::find(accusers.begin(), accusers.end(), accuser) != accusers.end()) return false;
  accusers.push_back(accuser);
  return true;
}

Instant Suspicion::deadline(const SuspicionTimes& times) const {
  if (refused) return started + times.refused;
  const uint32_t confirmations = accusers.empty() ? 0 : uint32_t(accusers.size() - 1);
  return started + times.after(confirmations);
}

void LossMeter::probe(bool direct_answer) {
  recent_ = recent_ << 1 | (direct_answer ? 0 : 1);
  slow_ += ((direct_answer ? 0.0 : 1.0) - slow_) / 64;
}

void LossMeter::report(double loss) { peers_ += (std::clamp(loss, 0.0, 1.0) - peers_) / 16; }

double LossMeter::own() const {
  // Two losses in 32 are an accident.
  const int lost = std::popcount(recent_);
  return std::max(slow_, lost > 2 ? double(lost) / 32 : 0.0);
}

double LossMeter::estimate() const { return std::max(own(), peers_); }

void LocalHealth::add(int delta) { score_ = uint32_t(std::clamp(int(score_) + delta, 0, 8)); }

void RoundTrip::sample(Duration rtt) {
  const auto us = uint32_t(std::clamp<int64_t>(rtt / 1us, 1, 10'000'000));
  if (smoothed_us_ == 0) {
    smoothed_us_ = us;
    variation_us_ = us / 2;
    return;
  }
  const uint32_t error = us > smoothed_us_ ? us - smoothed_us_ : smoothed_us_ - us;
  variation_us_ = variation_us_ - variation_us_ / 4 + error / 4;
  smoothed_us_ = std::max<uint32_t>(1, smoothed_us_ - smoothed_us_ / 8 + us / 8);
}

Duration RoundTrip::timeout(Duration minimum, Duration maximum) const {
  if (!known()) return maximum;
  const Duration d =
      std::chrono::microseconds(int64_t(smoothed_us_) * 2 + int64_t(variation_us_) * 7);
  return std::clamp(d, minimum, maximum);
}

}  // namespace weft::cluster
