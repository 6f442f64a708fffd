// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <cstdio>
#include <set>

#include "sim/measure.h"

using namespace weft;
using namespace weft::sim;
using cluster::Event;

TEST_CASE("a verified key rotation of 100 nodes takes less than 2 s and no packet is lost to it") {
  for (const double loss : {0.0, 0.01}) {
    const Rotation r = rotation({100, loss, 1, true});
    CHECK(r.done);
    CHECK(r.undecryptable == 0);
    CHECK(r.milliseconds <= 2000);
    std::printf("key rotation, 100 nodes, %.0f %% loss: %.0f ms\n", loss * 100, r.milliseconds);
  }
}

TEST_CASE("progress of a rotation counts who is reachable, and names who is behind") {
  Cluster c(3, 6);
  c.form();
  std::vector<uint32_t> staged(6);
  c.on_event([&](size_t node, const Event& event) {
    if (event.kind == Event::Kind::keys_staged) staged[node] = event.epoch;
  });
  for (size_t i = 0; i < 6; ++i) c.set_keys(i, {4, i == 2 ? 4u : 5u});
  c.run_for(1s);
  const auto progress = c.gossip(0).key_progress(5);
  CHECK(progress.members == 6);
  CHECK(progress.staged == 5);
  CHECK(progress.sealing == 0);
  CHECK(progress.behind == std::vector<NodeId>{c.id(2)});
  for (uint32_t epoch : staged) CHECK(epoch == 4);
  // Who is dead does not hold it up.
  c.kill(2);
  REQUIRE(c.run_until([&] { return c.everywhere(2, cluster::MemberState::dead); }, 5s));
  c.run_for(1ms);
  for (size_t i = 0; i < 6; ++i) CHECK((i == 2 || staged[i] == 5));
}

// --- the first comparison with a peer ---

TEST_CASE("a node that joins hears that it is complete, once for each scope, and then it is") {
  for (uint64_t seed : seeds(20)) {
    Cluster c(seed, 8);
    c.form();
    for (size_t i = 0; i < 8; ++i) {
      c.enter(i, 7);
      if (i < 2) c.enter(i, 9);
      for (int k = 0; k < 200; ++k) c.set(i, 7, "k" + std::to_string(k), 100);
    }
    REQUIRE(c.run_until([&] { return c.converged(); }, 5s));
    c.kill(5);
    REQUIRE(c.run_until([&] { return c.everywhere(5, cluster::MemberState::dead); }, 5s));
    c.link().loss = 0.05;
    std::map<ScopeId, int> told;
    const Instant start = c.now();
    c.on_event([&](size_t node, const Event& event) {
      if (node != 5 || event.kind != Event::Kind::scope_synced) return;
      ++told[event.scope];
      if (event.scope == 7) CHECK(c.gossip(5).records(7).size() == 7 * 200);
      if (event.scope == 0) CHECK(c.gossip(5).alive_members() == 8);
    });
    c.start(5);
    CHECK_FALSE(c.gossip(5).synced(0));
    c.enter(5, 7);
    c.enter(5, 11);  // nobody else is there
    const bool all = c.run_until([&] { return told.size() == 3; }, 10s);
    CHECK_MESSAGE(all, "seed ", seed, ": ", told.size(), " scopes");
    CHECK(c.now() - start < 5s);
    CHECK(c.gossip(5).synced(7));
    c.run_for(5s);
    for (const auto& [scope, times] : told) CHECK(times == 1);
  }
}

TEST_CASE("the first node of a cluster has nobody to learn from") {
  Cluster c(1, 1);
  c.start(0);
  CHECK(c.gossip(0).synced(0));
}
