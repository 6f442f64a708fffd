// SPDX-License-Identifier: Apache-2.0
// Leaders killed, cut off and stopped.
#include <doctest/doctest.h>

#include <cstdio>

#include "base/rng.h"
#include "unit/store_cluster.h"

using namespace weft;
using namespace weft::test;

TEST_CASE("SIGKILL of the leader at any moment loses no acknowledged write") {
  StoreCluster cluster(3);
  Rng rng(3);
  std::vector<double> gaps;
  std::set<std::string> acknowledged;
  int next = 0;
  int unresolved = 0, committed_unseen = 0;
  for (int round = 0; round < 24; round++) {
    const std::string victim = cluster.leader();
    // Some writes are acknowledged, then the leader dies with others under way.
    const auto start = Clock::now();
    const double until = 5 + double(rng.below(60));
    std::map<uint64_t, std::string> out;
    while (ms_since(start) < until) {
      const std::string id = "k" + std::to_string(next++);
      const uint64_t number = cluster[victim]->send("put op-" + id + " " + id + " 0 " + id);
      out[number] = id;
      // Up to four under way.
      if (number > 4 && out.contains(number - 4)) (void)cluster[victim]->reply(number - 4, 5s);
    }
    cluster[victim]->kill();
    const auto killed = Clock::now();
    std::vector<std::string> open;
    for (const auto& [number, id] : out) {
      if (cluster[victim]->replied(number) && cluster[victim]->reply(number, 0s).ok)
        acknowledged.insert(id + "=" + id);
      else
        open.push_back(id);
    }
    cluster[victim].process.reset();
    // The next acknowledged write of a client that asks everybody.
    const std::string id = "n" + std::to_string(round);
    CHECK(cluster.put("op-" + id, id + " 0 " + id).ok);
    gaps.push_back(ms_since(killed));
    acknowledged.insert(id + "=" + id);
    const auto found = cluster.list();
    for (const std::string& one : acknowledged)
      if (!found.contains(one)) FAIL_CHECK("lost " << one << " in round " << round);
    for (const std::string& one : open) {
      ++unresolved;
      const bool there = found.contains(one + "=" + one);
      committed_unseen += there;
      // The operation id tells, and is carried out once.
      const StoreReply again = cluster.put("op-" + one, one + " 0 " + one);
      CHECK(again.text == (there ? "repeated" : "committed") + std::string(" result-of-op-") + one);
      acknowledged.insert(one + "=" + one);
    }
    cluster.start(cluster[victim], "open");
    if (round % 6 == 5)
      for (const std::string& name : cluster.names()) {
        CAPTURE(name);
        CHECK(!std::filesystem::exists(cluster.file(name) + "/raft/corrupt"));
      }
  }
  CHECK(cluster.list() == acknowledged);
  std::printf(
      "store: %zu leaders killed, %zu writes acknowledged, %d unanswered (%d of them committed); "
      "kill -> next write: median %.0f ms, worst %.0f ms\n",
      gaps.size(), acknowledged.size(), unresolved, committed_unseen, percentile(gaps, 0.5),
      percentile(gaps, 1));
  CHECK(percentile(gaps, 0.5) < 700);
}

TEST_CASE("all members killed at once come back with every acknowledged write") {
  StoreCluster cluster(3);
  std::set<std::string> acknowledged;
  for (int round = 0; round < 5; round++) {
    const std::string leading = cluster.leader();
    for (int i = 0; i < 20; i++) {
      const std::string id = "r" + std::to_string(round) + "-" + std::to_string(i);
      if (cluster[leading]->call("put " + id + " " + id + " 0 x").ok)
        acknowledged.insert(id + "=x");
    }
    for (const std::string& name : cluster.names()) cluster[name].process.reset();
    for (const std::string& name : cluster.names()) cluster.start(cluster[name], "open");
    CHECK(cluster.list() == acknowledged);
  }
  CHECK(acknowledged.size() == 100);
}

TEST_CASE("a leader that is cut off writes nothing, the others go on, and it follows again") {
  StoreCluster cluster(3);
  REQUIRE(cluster.put("op1", "a 0 1 77").ok);
  const std::string old = cluster.leader();
  std::set<std::string> others;
  std::string cut;
  for (const std::string& name : cluster.names())
    if (name != old) {
      others.insert(name);
      cut += " " + cluster.peer(name);
    }
  CHECK(cluster[old]->call("cut" + cut).ok);
  for (const std::string& name : others) CHECK(cluster[name]->call("cut " + cluster.peer(old)).ok);
  const auto started = Clock::now();
  // Neither decides on old news nor acknowledges.
  const uint64_t write = cluster[old]->send("put op2 b 0 1 78");
  const uint64_t read = cluster[old]->send("list");
  REQUIRE(cluster.put("op3", "c 0 1 78", others).ok);
  std::printf("store: leader cut off -> next write %.0f ms\n", ms_since(started));
  CHECK(cluster[old]->reply(write, 10s).code == "unavailable");
  CHECK(cluster[old]->reply(read, 10s).code == "unavailable");
  CHECK(wait_until([&] { return !cluster[old]->leads(); }, 5s));
  CHECK(wait_until([&] { return cluster[old]->call("leader").text == "nobody"; }, 5s));
  CHECK(cluster[old]->call("put op4 d 0 1").text.starts_with("the managers have no leader"));
  // Healed: one history, and the claim that both wanted belongs to one.
  for (const std::string& name : cluster.names()) CHECK(cluster[name]->call("cut").ok);
  const std::string leading = cluster.leader();
  CHECK(wait_until([&] {
    return cluster[old]->leads() ||
           cluster[old]->call("leader").text == cluster[leading].settings.address;
  }));
  CHECK(cluster.put("op2", "b 0 1 78").text == "vni 78 already belongs to network 'c'");
  CHECK(cluster.list() == std::set<std::string>{"a=1", "c=1"});
}

TEST_CASE("a leader that is stopped and goes on later does not overwrite its successor") {
  StoreCluster cluster(3);
  REQUIRE(cluster.put("op1", "a 0 1").ok);
  const std::string old = cluster.leader();
  std::set<std::string> others;
  for (const std::string& name : cluster.names())
    if (name != old) others.insert(name);
  cluster[old]->pause();
  REQUIRE(cluster.put("op2", "a 1 2", others).ok);
  const uint64_t late = cluster[old]->send("put op3 a 1 3");
  cluster[old]->resume();
  CHECK(!cluster[old]->reply(late, 10s).ok);
  CHECK(cluster.list() == std::set<std::string>{"a=2"});
}
