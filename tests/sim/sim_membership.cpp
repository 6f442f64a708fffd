// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <cstdio>

#include "sim/cluster.h"

using namespace weft;
using namespace weft::sim;
using cluster::MemberState;

namespace {

double seconds(Duration d) { return double(d.count()) / 1e9; }

// Time from a SIGKILL until the last node has declared it dead; each round kills another node.
std::vector<double> detection(uint64_t seed, size_t nodes, size_t rounds, Death death, Link link) {
  std::vector<double> samples;
  Cluster c(seed, nodes, link);
  c.skew_clocks(200);
  c.form();
  c.run_for(2s);
  for (size_t round = 0; round < rounds; ++round) {
    c.run_for(Duration(int64_t(c.rng().below(1'000'000'000))));
    const size_t victim = c.rng().below(nodes);
    const Instant killed = c.now();
    c.kill(victim, death);
    const bool all = c.run_until(
        [&] {
          for (size_t i = 0; i < nodes; ++i) {
            if (i != victim && c.state_of(i, victim) != MemberState::dead) return false;
          }
          return true;
        },
        20s, 10ms);
    CHECK_MESSAGE(all, "seed ", seed, ": not dead everywhere");
    samples.push_back(seconds(c.now() - killed));
    c.start(victim);
    c.complete(victim);
    std::string why;
    const bool back = c.run_until([&] { return c.converged(&why); }, 20s, 50ms);
    CHECK_MESSAGE(back, "seed ", seed, ": ", why);
  }
  return samples;
}

}  // namespace

TEST_CASE("a killed node is dead everywhere within 3 s, with and without port unreachable") {
  for (const size_t nodes : {3, 5, 10, 30, 100}) {
    for (const Death death : {Death::refused, Death::silent}) {
      std::vector<double> samples;
      for (uint64_t seed : seeds(nodes > 50 ? 2 : 5)) {
        const auto some = detection(seed, nodes, nodes > 50 ? 4 : 6, death, {});
        samples.insert(samples.end(), some.begin(), some.end());
      }
      const double p50 = percentile(samples, 0.5), p99 = percentile(samples, 0.99);
      std::printf("detection, %3zu nodes, %-7s: p50 %.2f s, p99 %.2f s (%zu deaths)\n", nodes,
                  death == Death::refused ? "refused" : "silent", p50, p99, samples.size());
      CHECK(p50 <= 2.5);
      CHECK(p99 <= 3.0);
    }
  }
}

TEST_CASE("nobody is declared dead wrongly while packets are lost") {
  for (const double loss : {0.05, 0.20}) {
    for (const size_t nodes : {3, 10, 60}) {
      size_t deaths = 0, suspicions = 0;
      for (uint64_t seed : seeds(nodes > 50 ? 1 : 3)) {
        Cluster c(seed, nodes);
        c.form();
        c.link().loss = loss;
        c.run_for(nodes > 50 ? 60s : 300s);
        deaths += c.false_deaths();
        for (size_t i = 0; i < nodes; ++i) suspicions += c.gossip(i).counters().refutations;
      }
      std::printf("loss %2.0f %%, %2zu nodes: %zu false deaths, %zu refuted suspicions\n",
                  loss * 100, nodes, deaths, suspicions);
      CHECK(deaths == 0);
    }
  }
}

TEST_CASE("a killed node is still found when packets are lost") {
  std::vector<double> samples;
  Link link;
  link.loss = 0.05;
  for (uint64_t seed : seeds(4)) {
    const auto some = detection(seed, 10, 5, Death::silent, link);
    samples.insert(samples.end(), some.begin(), some.end());
  }
  std::printf("detection, 5 %% loss, 10 nodes: p50 %.2f s, p99 %.2f s\n", percentile(samples, 0.5),
              percentile(samples, 0.99));
  CHECK(percentile(samples, 0.99) <= 8.0);
}

TEST_CASE("a node that leaves is left at once, not suspected") {
  for (uint64_t seed : seeds(5)) {
    Cluster c(seed, 8);
    c.form();
    c.set(3, 0, "a");
    REQUIRE(c.run_until([&] { return c.converged(); }, 1s));
    c.leave(3);
    const bool left = c.run_until(
        [&] {
          for (size_t i = 0; i < 8; ++i) {
            if (i != 3 && c.state_of(i, 3) != MemberState::left) return false;
          }
          return true;
        },
        500ms);
    CHECK_MESSAGE(left, "seed ", seed);
    c.run_for(5s);
    std::string why;
    CHECK_MESSAGE(c.converged(&why), "seed ", seed, ": ", why);
    // It may come back.
    c.start(3);
    c.complete(3);
    CHECK_MESSAGE(c.run_until([&] { return c.converged(&why); }, 5s), "seed ", seed, ": ", why);
  }
}

TEST_CASE("a partition hides the other side's records, healing restores them without a resync") {
  for (uint64_t seed : seeds(5)) {
    Cluster c(seed, 9);
    c.form();
    for (size_t i = 0; i < 9; ++i) {
      for (int k = 0; k < 20; ++k) c.set(i, 0, "key-" + std::to_string(k), 100);
    }
    std::string why;
    REQUIRE(c.run_until([&] { return c.converged(&why); }, 5s));
    c.partition({0, 0, 0, 0, 0, 1, 1, 1, 1});
    c.run_for(12s);
    CHECK(c.gossip(0).alive_members() == 5);
    CHECK(c.gossip(8).alive_members() == 4);
    CHECK(c.gossip(0).records(0).size() == 100);
    c.heal();
    const uint64_t bytes = c.bytes();
    const bool healed = c.run_until([&] { return c.converged(&why); }, 15s);
    CHECK_MESSAGE(healed, "seed ", seed, ": ", why);
    // 9 nodes would have to learn 80 to 100 records of over 100 bytes each again.
    CHECK(c.bytes() - bytes < 9 * 80 * 100 * 2);
    CHECK(c.resurrections().empty());
  }
}

TEST_CASE("a node that cannot hear is declared dead though it speaks") {
  Cluster c(1, 5);
  c.form();
  for (size_t i = 0; i < 4; ++i) c.cut(i, 4);
  CHECK(c.run_until(
      [&] {
        for (size_t i = 0; i < 4; ++i) {
          if (c.state_of(i, 4) != MemberState::dead) return false;
        }
        return true;
      },
      10s));
}

TEST_CASE("one broken link between two nodes kills neither") {
  Cluster c(1, 6);
  c.form();
  c.cut(1, 2);
  c.cut(2, 1);
  c.run_for(120s);
  for (size_t i = 0; i < 6; ++i) {
    for (size_t j = 0; j < 6; ++j) CHECK(c.state_of(i, j) != MemberState::dead);
  }
}

TEST_CASE("a restarted node is alive again at once") {
  Cluster c(7, 10);
  c.form();
  c.kill(4);
  c.run_for(500ms);
  c.start(4);
  c.run_for(300ms);
  for (size_t i = 0; i < 10; ++i) CHECK(c.state_of(i, 4) == MemberState::alive);
  c.run_for(10s);
  CHECK(c.converged());
  CHECK(c.false_deaths() == 0);
}
