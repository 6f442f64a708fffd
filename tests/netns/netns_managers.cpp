// SPDX-License-Identifier: Apache-2.0
// Several managers, with real weftds in a lab: the loss of the leader, of the majority, of all.
#include <doctest/doctest.h>

#include <cstdlib>
#include <filesystem>
#include <string>

#include "harness/lab.h"

using namespace weft;
using namespace weft::test;

namespace {

constexpr const char* lab_name = "weft-managers";

std::string whoami() { return std::string(std::getenv("WEFT_BIN")) + "/whoami"; }

// Three managers.
struct Managers {
  Lab lab{lab_name, "--nodes 3"};

  Managers() {
    lab.must(lab.weft("n1", "node promote n2 n3"));
    REQUIRE_MESSAGE(all_manage(), lab.weft("n1", "node ls").text);
  }
  bool all_manage() const {
    return eventually(30s, [&] {
      for (const char* node : {"n1", "n2", "n3"})
        if (members(node) != 3) return false;
      return true;
    });
  }
  // Managers that have their place in the store, as a node's managers tell; 0: no answer.
  int members(const std::string& node) const {
    const Output list = lab.weft(node, "node inspect n1 n2 n3");
    const std::string field = "\"manager_ready\": true";
    int count = 0;
    for (size_t at = 0; (at = list.text.find(field, at)) != std::string::npos; at += field.size())
      count++;
    const std::string role = lab.weft(node, "cluster status").text;
    return list.code == 0 && role.find("), manager") != std::string::npos ? count : 0;
  }
  // Waits until some node has answered.
  std::string leader() const {
    std::string found;
    eventually(20s, [&] {
      for (const char* node : {"n1", "n2", "n3"}) {
        const Output list = lab.weft(node, "node ls");
        const size_t at = list.text.find(" leader ");
        if (list.code != 0 || at == std::string::npos) continue;
        const size_t name = list.text.rfind("n", at);
        if (name == std::string::npos) continue;
        found = list.text.substr(name, 2);
        return true;
      }
      return false;
    });
    REQUIRE(found.size() == 2);
    return found;
  }
  static std::string other(const std::string& node) { return node == "n1" ? "n2" : "n1"; }
  bool has_network(const std::string& node, const std::string& name) const {
    return lab.weft(node, "network inspect " + name).code == 0;
  }
};

}  // namespace

TEST_CASE(
    "a cluster grows to three managers, loses its leader again and again, and loses nothing") {
  Managers m;
  m.lab.must(m.lab.weft("n1", "network create app --attachable"));
  m.lab.must(m.lab.weft(
      "n1", "service create --name web --network app --replicas 3 --publish 8080:80 -- " +
                whoami() + " 80"));
  const auto serves = [&] {
    return m.lab.on("client", "curl -s -m 2 http://10.99.0.3:8080/").code == 0 &&
           m.lab.on("client", "curl -s -m 2 http://10.99.0.2:8080/").code == 0;
  };
  REQUIRE(eventually(30s, serves));
  for (int round = 1; round <= 3; round++) {
    const std::string lost = m.leader(), witness = Managers::other(lost);
    const std::string name = "net" + std::to_string(round);
    m.lab.must(m.lab.weft(witness, "network create " + name + "a"));
    m.lab.must(m.lab.lab("kill " + lost));
    // One call: it waits for the next leader.
    m.lab.must(m.lab.weft(witness, "network create " + name + "b"));
    CHECK(m.has_network(witness, name + "a"));
    CHECK(m.leader() != lost);
    m.lab.must(m.lab.lab("start " + lost));
    REQUIRE(m.all_manage());
  }
  for (int round = 1; round <= 3; round++)
    for (const char* half : {"a", "b"})
      CHECK(m.has_network("n1", "net" + std::to_string(round) + half));
  CHECK(eventually(20s, serves));
}

TEST_CASE("managers become workers and come back; the last one stays") {
  Managers m;
  m.lab.must(m.lab.weft("n2", "network create app"));
  // The leader itself too.
  const std::string was = m.leader();
  m.lab.must(m.lab.weft(was, "node demote " + was));
  const std::string witness = Managers::other(was);
  CHECK(eventually(30s, [&] { return m.members(witness) == 2 && m.members(was) == 0; }));
  CHECK(eventually(20s,
                   [&] { return !std::filesystem::exists(m.lab.folder(was) + "/state/store"); }));
  CHECK(m.has_network(was, "app"));
  const std::string now = m.leader();
  for (const std::string node : {"n1", "n2", "n3"})
    if (node != now && node != was) m.lab.must(m.lab.weft(now, "node demote " + node));
  CHECK(eventually(30s, [&] { return m.members(now) == 1; }));
  const Output last = m.lab.weft(now, "node demote " + now);
  CHECK(last.code == 1);
  CHECK(last.text.find("is the last manager") != std::string::npos);
  m.lab.must(m.lab.weft(now, "node promote n1 n2 n3"));
  CHECK(m.all_manage());
  const Output leave = m.lab.weft("n2", "cluster leave");
  CHECK(leave.code == 1);
  CHECK(leave.text.find("weft node demote") != std::string::npos);
}

TEST_CASE("without a majority nothing is decided, and one survivor can be told to go on alone") {
  Managers m;
  m.lab.must(m.lab.weft("n1", "network create app --attachable"));
  m.lab.must(m.lab.weft("n1",
                        "service create --name web --network app --replicas 1 --constraint "
                        "node.name==n1 --publish 8080:80 -- " +
                            whoami() + " 80"));
  const auto serves = [&] {
    return m.lab.on("client", "curl -s -m 2 http://10.99.0.1:8080/").code == 0;
  };
  REQUIRE(eventually(30s, serves));
  const Output early = m.lab.weft("n1", "cluster recover --force");
  CHECK(early.code == 1);
  CHECK(early.text.find("have a leader") != std::string::npos);
  m.lab.must(m.lab.lab("kill n2"));
  m.lab.must(m.lab.lab("kill n3"));
  const Output refused = m.lab.weft("n1", "network create late");
  CHECK(refused.code == 1);
  CHECK_MESSAGE(refused.text.find("majority") != std::string::npos, refused.text);
  CHECK(eventually(10s, serves));
  CHECK(m.lab.weft("n1", "cluster recover").code == 1);
  m.lab.must(m.lab.weft("n1", "cluster recover --force"));
  CHECK(eventually(20s, [&] { return m.lab.weft("n1", "network create late").code == 0; }));
  CHECK(m.has_network("n1", "app"));
  // The others come back with a store of the past, and throw it away.
  m.lab.must(m.lab.lab("start n2"));
  m.lab.must(m.lab.lab("start n3"));
  CHECK(m.all_manage());
  CHECK(m.has_network("n3", "late"));
}

TEST_CASE("a backup is a cluster again on a node that lost everything") {
  Managers m;
  const std::string file = m.lab.folder("n1") + "/backup.db";
  m.lab.must(m.lab.weft("n1", "network create app --subnet 10.77.0.0/24"));
  m.lab.must(m.lab.weft("n1", "cluster backup " + file));
  CHECK(m.lab.weft("n1", "cluster backup " + file).code == 1);
  m.lab.must(m.lab.weft("n1", "network create after"));
  for (const char* node : {"n1", "n2", "n3"}) m.lab.must(m.lab.lab("stop " + std::string(node)));
  m.lab.must(sh("rm -rf " + m.lab.folder("n1") + "/state"));
  m.lab.must(m.lab.lab("start n1"));
  CHECK(m.lab.weft("n1", "cluster restore /nowhere.db").code == 1);
  m.lab.must(m.lab.weft("n1", "cluster restore " + file + " --advertise 10.99.0.1"));
  const Output network = m.lab.weft("n1", "network inspect app");
  CHECK(network.text.find("10.77.0.0/24") != std::string::npos);
  CHECK(!m.has_network("n1", "after"));
  // Managers that were not in on it find the restored cluster and join its store.
  m.lab.must(m.lab.lab("start n2"));
  m.lab.must(m.lab.lab("start n3"));
  CHECK(m.all_manage());
}
