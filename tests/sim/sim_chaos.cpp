// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <cstdio>

#include "sim/chaos.h"
#include "sim/cluster.h"

using namespace weft;
using namespace weft::sim;

TEST_CASE("after any mixture of restarts, partitions, loss and writes all nodes agree") {
  std::vector<double> times;
  for (uint64_t seed : seeds(16)) {
    const ChaosOutcome outcome = chaos(seed);
    CHECK_MESSAGE(outcome.wrong.empty(), "sim_gossip --seed ", seed, ": ", outcome.wrong);
    times.push_back(outcome.heal_seconds);
  }
  std::printf("chaos, %zu seeds: agreed again after p50 %.1f s, worst %.1f s\n", times.size(),
              percentile(times, 0.5), percentile(times, 1));
}

TEST_CASE("the same seed gives the same bytes") {
  for (uint64_t seed : {11, 12}) {
    const ChaosOutcome first = chaos(seed), second = chaos(seed);
    CHECK(first.trace == second.trace);
  }
  CHECK(chaos(11).trace != chaos(12).trace);
}
