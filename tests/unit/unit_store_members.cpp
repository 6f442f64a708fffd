// SPDX-License-Identifier: Apache-2.0
// Members come, go, are replaced, recovered and restored.
#include <doctest/doctest.h>

#include <filesystem>
#include <fstream>

#include "store/sqlite_store.h"
#include "unit/store_cluster.h"

using namespace weft;
using namespace weft::test;

TEST_CASE("a store grows from one to three and five members while it is written to") {
  StoreCluster cluster;
  CHECK(cluster.put("op0", "a0 0 x").text == "committed result-of-op0");
  for (int i = 1; i <= 4; i++) {
    cluster.grow();
    const std::string number = std::to_string(i);
    cluster.put("op" + number, "a" + number + " 0 x");
  }
  CHECK(cluster.list() == std::set<std::string>{"a0=x", "a1=x", "a2=x", "a3=x", "a4=x"});
  const std::string leading = cluster.leader();
  const std::string members = cluster[leading]->call("members").text;
  CHECK(words_of(members).size() == 5);
  for (const auto& member : words_of(members)) CHECK(member.ends_with("/voter"));
  for (const std::string& name : cluster.names()) {
    if (name == leading) continue;
    // The others say who leads, and refuse.
    CHECK(cluster[name]->call("leader").text == cluster[leading].settings.address);
    const StoreReply refused = cluster[name]->call("put op9 a9 0 x");
    CHECK(refused.code == "unavailable");
    CHECK(refused.text ==
          "this manager does not lead: " + cluster[leading].settings.address + " does");
    CHECK(cluster[name]->call("list").code == "unavailable");
  }
}

TEST_CASE("a dead member is replaced, and a standby is promoted and demoted") {
  StoreCluster cluster(3);
  REQUIRE(cluster.put("op1", "a 0 1").ok);
  const std::string leading = cluster.leader();
  const std::string dead = leading == "m3" ? "m2" : "m3";
  const std::string dead_id = std::to_string(cluster[dead].id);
  const std::string dead_address = cluster[dead].settings.address;
  cluster[dead].process.reset();
  // Its address is taken until it is removed.
  CHECK(cluster[leading]->call("add 12345 " + dead_address + " voter").code == "conflict");
  CHECK(cluster[leading]->call("remove " + dead_id).ok);
  CHECK(cluster[leading]->call("remove " + dead_id).ok);
  cluster.forget(dead);
  StoreCluster::Node& fresh = cluster.make("m4");
  cluster.join(fresh, "standby");
  const std::string id = std::to_string(fresh.id);
  CHECK(cluster[leading]->call("members").text.find(id + "/" + fresh.settings.address +
                                                    "/standby") != std::string::npos);
  CHECK(cluster[leading]->call("role " + id + " voter", 40s).ok);
  CHECK(cluster[leading]->call("role " + id + " spare", 40s).ok);
  CHECK(cluster[leading]->call("role " + id + " voter", 40s).ok);
  CHECK(cluster[leading]->call("role 999 voter").code == "not_found");
  // It counts: with it and without another one the majority stands.
  CHECK(cluster[leading]->call("transfer " + id).text == "done");
  CHECK(wait_until([&] { return cluster["m4"]->leads() && !cluster[leading]->leads(); }));
  cluster[leading].process.reset();
  CHECK(cluster.put("op2", "b 0 1").ok);
  CHECK(cluster.list() == std::set<std::string>{"a=1", "b=1"});
  CHECK(cluster["m4"]->call("remove " + id).text.find("transfer the leadership first") !=
        std::string::npos);
}

TEST_CASE("after the majority is lost one survivor goes on alone and the lost ones stay out") {
  StoreCluster cluster(3);
  for (int i = 0; i < 10; i++)
    REQUIRE(cluster.put("op" + std::to_string(i), "a" + std::to_string(i) + " 0 1").ok);
  // The last write is with all before the majority goes.
  const auto before = cluster.list();
  const std::string survivor = cluster.leader();
  for (const std::string& name : cluster.names()) cluster[name].process.reset();
  REQUIRE(DqliteStore::recover(cluster.file(survivor)));
  cluster.start(cluster[survivor], "open");
  CHECK(cluster.leader() == survivor);
  CHECK(cluster.list() == before);
  CHECK(cluster.put("op-new", "n 0 1").ok);
  // Those that come back are a majority of the old cluster, and must not take the new one over.
  for (const std::string& name : cluster.names())
    if (name != survivor) cluster.start(cluster[name], "open");
  std::set<std::string> old;
  for (const std::string& name : cluster.names())
    if (name != survivor) old.insert(name);
  cluster.put("op-old", "o 0 1", old);
  CHECK(cluster[survivor]->leads());
  CHECK(cluster.put("op-new2", "n2 0 1", {survivor}).ok);
  auto expected = before;
  expected.insert({"n=1", "n2=1"});
  CHECK(words_of(cluster[survivor]->call("list").text) == expected);
  // It grows again.
  for (const std::string& name : old) cluster.forget(name);
  cluster.join(cluster.make("m4"));
  cluster.join(cluster.make("m5"));
  cluster[survivor].process.reset();
  CHECK(cluster.list() == expected);
}

TEST_CASE("a backup of any member is a whole store, and restores to a fresh cluster") {
  StoreCluster cluster(3);
  REQUIRE(cluster.put("op1", "a 0 1 5").ok);
  REQUIRE(cluster.put("op2", "a 1 2 5").ok);
  const std::string leading = cluster.leader();
  for (const std::string& name : cluster.names()) {
    const std::string path = cluster.file("backup-" + name);
    // A follower may be a moment behind.
    CHECK(wait_until([&] {
      const StoreReply made = cluster[name]->call("backup " + path);
      if (!made.ok) FAIL(made.text);
      auto copy = store::SqliteStore::open(path);
      REQUIRE(copy);
      return contents(**copy) == std::map<std::string, std::string>{{"a", "2"}};
    }));
    const auto copy = *store::SqliteStore::open(path);
    CHECK(copy->load()->results.size() == 2);
  }
  CHECK(!cluster[leading]->call("backup /no/such/folder/b").ok);
  REQUIRE(cluster.put("op3", "later 0 1").ok);
  for (const std::string& name : cluster.names()) cluster[name].process.reset();
  std::ofstream(cluster.file("noise")) << std::string(9000, 'x');
  const std::string address = cluster["m1"].settings.address;
  const auto refused = DqliteStore::restore(cluster.file("m1"), cluster.file("noise"), address);
  REQUIRE(!refused);
  CHECK(refused.error().message().find("not a good backup") != std::string::npos);
  CHECK(!DqliteStore::restore(cluster.file("m1"), cluster.file("missing"), address));
  REQUIRE(DqliteStore::restore(cluster.file("m1"), cluster.file("backup-m2"), address));
  CHECK(std::filesystem::exists(cluster.file("m1") + ".replaced/member"));
  cluster.start(cluster["m1"], "open");
  CHECK(cluster.list() == std::set<std::string>{"a=2"});
  // Versions, claims and operation ids are there, too.
  CHECK(cluster.put("op2", "z 0 1").text == "repeated result-of-op2");
  CHECK(cluster.put("op4", "b 0 1 5").text == "vni 5 already belongs to network 'a'");
  CHECK(cluster.put("op5", "a 2 3 5").ok);
  // The others belong to the old one.
  cluster.start(cluster["m2"], "open");
  cluster.start(cluster["m3"], "open");
  CHECK(cluster.put("op6", "old 0 1", {"m2", "m3"}).ok);
  CHECK(words_of(cluster["m1"]->call("list").text) == std::set<std::string>{"a=3"});
}
