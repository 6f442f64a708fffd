// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <cmath>

#include "core/cluster/suspicion.h"

using namespace weft;
using namespace weft::cluster;

TEST_CASE("a lossy network gets memberlist's suspicion time, a quiet one a short one") {
  const Config config;
  for (const size_t members : {3, 10, 100, 1000}) {
    const double formula = 4 * std::max(1.0, std::log10(double(members)));
    const auto quiet = suspicion_times(config, members, 0);
    const auto lossy = suspicion_times(config, members, 0.2);
    CHECK(quiet.minimum == config.suspicion_fast);
    CHECK(double(lossy.minimum.count()) / 1e9 == doctest::Approx(formula));
    CHECK(double(lossy.maximum.count()) / 1e9 == doctest::Approx(6 * formula));
    // It only grows with loss.
    Duration last{};
    for (double loss = 0; loss <= 0.5; loss += 0.01) {
      const Duration minimum = suspicion_times(config, members, loss).minimum;
      CHECK(minimum >= last);
      last = minimum;
    }
  }
}

TEST_CASE("confirmations shorten a suspicion from its maximum to its minimum") {
  const SuspicionTimes times{1s, 6s, 3};
  CHECK(times.after(0) == 6s);
  CHECK(times.after(1) < 6s);
  CHECK(times.after(2) < times.after(1));
  CHECK(times.after(3) == 1s);
  CHECK(SuspicionTimes{1s, 6s, 0}.after(0) == 1s);
}

TEST_CASE("each accuser counts once, and a refused port counts as all") {
  NodeId a, b;
  a.bytes.fill(1);
  b.bytes.fill(2);
  const SuspicionTimes times{1s, 6s, 1, 500ms};
  Suspicion suspicion{Instant{10s}, {}};
  CHECK(suspicion.confirm(a, 1));
  CHECK_FALSE(suspicion.confirm(a, 1));
  CHECK(suspicion.deadline(times) == Instant{16s});
  CHECK(suspicion.confirm(b, 1));
  CHECK(suspicion.deadline(times) == Instant{11s});
  Suspicion refused{Instant{10s}, {a}, true};
  CHECK(refused.deadline(times) == Instant{10500ms});
}

TEST_CASE("the loss estimate rises within seconds, and one accident is none") {
  LossMeter meter;
  for (int i = 0; i < 50; ++i) meter.probe(true);
  meter.probe(false);
  CHECK(meter.own() < 0.02);
  for (int i = 0; i < 8; ++i) meter.probe(i % 2 == 0);
  CHECK(meter.own() > 0.1);
  LossMeter told;
  for (int i = 0; i < 40; ++i) told.report(0.3);
  CHECK(told.own() == 0);
  CHECK(told.estimate() > 0.25);
}

TEST_CASE("the probe time-out follows the round trip within its bounds") {
  RoundTrip rtt;
  CHECK(rtt.timeout(60ms, 150ms) == 150ms);
  for (int i = 0; i < 50; ++i) rtt.sample(500us);
  CHECK(rtt.timeout(60ms, 150ms) == 60ms);
  for (int i = 0; i < 50; ++i) rtt.sample(i % 2 ? 40ms : 50ms);
  CHECK(rtt.timeout(60ms, 150ms) > 80ms);
  CHECK(rtt.timeout(60ms, 150ms) <= 150ms);
}

TEST_CASE("local health stays between 0 and 8 and scales times") {
  LocalHealth health;
  health.add(-3);
  CHECK(health.scale(1s) == 1s);
  health.add(20);
  CHECK(health.score() == 8);
  CHECK(health.scale(1s) == 9s);
}
