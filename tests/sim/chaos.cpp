// SPDX-License-Identifier: Apache-2.0
#include "sim/chaos.h"

#include "sim/cluster.h"

namespace weft::sim {

namespace {

constexpr int scopes = 4;

// One thing that happens to a cluster, chosen by its own generator.
void disturb(Cluster& c) {
  Rng& rng = c.rng();
  const size_t i = rng.below(c.size());
  const uint64_t dice = rng.below(100);
  if (dice < 3) {
    if (c.up(i)) c.kill(i, rng.below(2) ? Death::refused : Death::silent);
    return;
  }
  if (!c.up(i)) {
    c.start(i);
    if (rng.below(2)) c.complete(i);
    return;
  }
  if (dice < 6) {
    std::vector<int> groups(c.size());
    for (int& group : groups) group = int(rng.below(2));
    return c.partition(groups);
  }
  if (dice < 10) return c.heal();
  if (dice < 12) return c.cut(i, rng.below(c.size()));
  const auto scope = ScopeId(rng.below(scopes));
  if (!c.truth(i).contains(scope)) return c.enter(i, scope);
  if (dice < 16 && scope != 0) return c.leave_scope(i, scope);
  const std::string key = "k" + std::to_string(rng.below(12));
  if (dice < 40 && c.truth(i).at(scope).contains(key)) return c.erase(i, scope, key);
  if (dice < 42) {
    for (int k = 0; k < 60; ++k) c.set(i, scope, "burst" + std::to_string(k), 200);
    return;
  }
  c.set(i, scope, key, rng.below(300));
}

}  // namespace

ChaosOutcome chaos(uint64_t seed) {
  Rng dice(seed * 7919);
  const size_t nodes = 3 + dice.below(seed % 8 == 0 ? 60 : 14);
  Link link;
  link.delay = Duration(int64_t(dice.below(20'000'000)));
  link.jitter = Duration(int64_t(1 + dice.below(30'000'000)));  // reordering
  link.loss = double(dice.below(15)) / 100;
  link.duplicates = double(dice.below(10)) / 100;
  cluster::Config config;
  config.tombstone_lifetime = 8s;  // far less than the longest partition
  config.baseline_grace = 5s;
  config.orphan_lifetime = 5s;
  Cluster c(seed, nodes, link, config);
  c.skew_clocks(500);
  for (size_t i = 0; i < nodes; ++i) c.start(i);
  const int steps = 150 + int(dice.below(250));
  for (int step = 0; step < steps; ++step) {
    disturb(c);
    c.run_for(Duration(int64_t(dice.below(200'000'000))));
  }
  c.heal();
  c.link().loss = 0.02;
  for (size_t i = 0; i < nodes; ++i) {
    if (!c.up(i)) c.start(i);
    c.complete(i);
  }
  const Instant healed = c.now();
  std::string why;
  ChaosOutcome outcome;
  const bool converged = c.run_until([&] { return c.converged(&why); }, 90s, 20ms);
  outcome.heal_seconds = double((c.now() - healed).count()) / 1e9;
  outcome.trace = c.trace();
  if (!converged) outcome.wrong = why;
  // It stays so: nothing that is still on its way disturbs it.
  c.link().loss = 0;
  c.run_for(12s);
  if (converged && !c.converged(&why)) outcome.wrong = "later: " + why;
  if (outcome.wrong.empty()) outcome.wrong = c.hidden_for_good();
  if (!c.resurrections().empty()) outcome.wrong = c.resurrections().front();
  return outcome;
}

}  // namespace weft::sim
