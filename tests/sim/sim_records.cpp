// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <cstdio>

#include "sim/cluster.h"

using namespace weft;
using namespace weft::sim;

namespace {

double milliseconds(Duration d) { return double(d.count()) / 1e6; }

}  // namespace

TEST_CASE("a change reaches every node in milliseconds") {
  struct Case {
    size_t nodes;
    double loss;
    double p99_limit;
  };
  for (const auto& [nodes, loss, limit] : {Case{3, 0, 5}, Case{10, 0, 30}, Case{10, 0.05, 120},
                                           Case{100, 0.01, 60}, Case{300, 0.01, 80}}) {
    std::vector<double> each, all;
    for (uint64_t seed : seeds(nodes > 50 ? 1 : 2)) {
      Link link;
      link.loss = loss;
      Cluster c(seed, nodes, link);
      c.form();
      // The news of the start is told for a while yet, too long to wait for in a large cluster.
      const bool small = nodes <= 50;
      if (small) c.run_for(30s);
      const uint64_t idle_from = c.bytes();
      c.run_for(small ? 5s : 1s);
      const double idle = double(c.bytes() - idle_from) / 5 / double(nodes);
      const uint64_t busy_from = c.bytes();
      const int updates = nodes > 200 ? 10 : 20;
      for (int update = 0; update < updates; ++update) {
        const size_t owner = c.rng().below(nodes);
        const std::string key = "endpoint-" + std::to_string(update);
        std::vector<bool> seen(nodes);
        size_t missing = nodes;
        const Instant start = c.now();
        c.set(owner, 0, key, 100);
        for (int step = 0; missing > 0 && step < 20000; ++step) {
          for (size_t i = 0; i < nodes; ++i) {
            if (seen[i] || !c.knows(i, owner, 0, key)) continue;
            seen[i] = true;
            --missing;
            each.push_back(milliseconds(c.now() - start));
          }
          if (missing > 0) c.run_for(250us);
        }
        REQUIRE(missing == 0);
        all.push_back(milliseconds(c.now() - start));
        c.run_for(500ms);
      }
      const double spent = double(c.bytes() - busy_from) / double(nodes) - idle * updates * 0.5;
      if (!small) continue;
      std::printf(
          "propagation seed %llu, %zu nodes, %.0f %% loss: %.0f B/s idle, %.0f B per "
          "update and node\n",
          (unsigned long long)seed, nodes, loss * 100, idle, spent / updates);
    }
    const double p50 = percentile(each, 0.5), p99 = percentile(each, 0.99);
    std::printf(
        "propagation, %3zu nodes, %.0f %% loss: p50 %.2f ms, p99 %.2f ms, all nodes p50 "
        "%.1f ms, worst %.1f ms\n",
        nodes, loss * 100, p50, p99, percentile(all, 0.5), percentile(all, 1));
    CHECK(p99 <= limit);
  }
}

TEST_CASE("ten thousand records written at once are everywhere within two seconds") {
  Cluster c(3, 10);
  c.form();
  const Instant start = c.now();
  for (size_t i = 0; i < 10; ++i) {
    for (int k = 0; k < 1000; ++k) c.set(i, 0, "endpoint-" + std::to_string(k), 120);
  }
  std::string why;
  const bool done = c.run_until([&] { return c.converged(&why); }, 10s);
  CHECK_MESSAGE(done, why);
  std::printf("burst, 10 nodes x 1000 records: %.0f ms\n", milliseconds(c.now() - start));
  CHECK(c.now() - start <= 2s);
}

TEST_CASE("a node that joins learns everything at once") {
  Cluster c(3, 5);
  c.form();
  for (int k = 0; k < 4000; ++k) c.set(1, 0, "endpoint-" + std::to_string(k), 120);
  REQUIRE(c.run_until([&] { return c.converged(); }, 5s));
  c.kill(4);
  c.run_for(4s);
  const Instant start = c.now();
  c.start(4);
  std::string why;
  CHECK_MESSAGE(c.run_until([&] { return c.converged(&why); }, 5s), why);
  std::printf("join, 4000 records: %.0f ms\n", milliseconds(c.now() - start));
  CHECK(c.now() - start <= 1s);
}

TEST_CASE("only the nodes of a network learn its records") {
  Cluster c(5, 12);
  c.form();
  for (size_t i = 0; i < 6; ++i) c.enter(i, 4097);
  c.set(2, 4097, "endpoint", 50);
  std::string why;
  CHECK_MESSAGE(c.run_until([&] { return c.converged(&why); }, 1s), why);
  CHECK(c.gossip(5).records(4097).size() == 1);
  CHECK(c.gossip(7).records(4097).empty());
  CHECK(c.gossip(7).scope_members(4097).size() == 6);
  c.leave_scope(2, 4097);
  CHECK_MESSAGE(c.run_until([&] { return c.converged(&why); }, 1s), why);
  CHECK(c.gossip(5).records(4097).empty());
  c.enter(2, 4097);
  c.set(2, 4097, "endpoint", 50);
  CHECK_MESSAGE(c.run_until([&] { return c.converged(&why); }, 1s), why);
  CHECK(c.resurrections().empty());
}

TEST_CASE("records of a former boot stay until the new one is complete, then vanish together") {
  Cluster c(11, 4);
  c.form();
  c.enter(0, 9);
  c.enter(1, 9);
  for (int k = 0; k < 5; ++k) c.set(1, 9, "k" + std::to_string(k));
  REQUIRE(c.run_until([&] { return c.converged(); }, 2s));
  c.kill(1);
  c.run_for(300ms);
  c.start(1);
  c.run_for(1s);
  CHECK(c.gossip(0).records(9).size() == 5);
  c.enter(1, 9);
  c.set(1, 9, "k0");
  c.set(1, 9, "k1");
  c.run_for(1s);
  CHECK(c.gossip(0).records(9).size() == 5);
  c.complete(1);
  std::string why;
  CHECK_MESSAGE(c.run_until([&] { return c.converged(&why); }, 2s), why);
  CHECK(c.gossip(0).records(9).size() == 2);
  // And a network that is not entered again at all.
  c.kill(1);
  c.start(1);
  c.complete(1);
  CHECK_MESSAGE(c.run_until([&] { return c.converged(&why); }, 3s), why);
  CHECK(c.gossip(0).records(9).empty());
}

TEST_CASE("a node that was away longer than tombstones live does not bring records back") {
  cluster::Config config;
  config.tombstone_lifetime = 20s;
  for (uint64_t seed : seeds(4)) {
    Cluster c(seed, 6, {}, config);
    c.form();
    for (int k = 0; k < 50; ++k) c.set(0, 0, "k" + std::to_string(k));
    REQUIRE(c.run_until([&] { return c.converged(); }, 2s));
    c.partition({0, 0, 0, 0, 0, 1});
    c.run_for(5s);
    for (int k = 0; k < 25; ++k) c.erase(0, 0, "k" + std::to_string(k));
    c.run_for(60s);
    c.heal();
    std::string why;
    CHECK_MESSAGE(c.run_until([&] { return c.converged(&why); }, 15s), "seed ", seed, ": ", why);
    CHECK(c.gossip(5).records(0).size() == 25);
    CHECK(c.resurrections().empty());
  }
}
