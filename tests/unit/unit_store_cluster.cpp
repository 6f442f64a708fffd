// SPDX-License-Identifier: Apache-2.0
// Replicated stores, each in a process of its own, with TLS between them:
//
//   m1 127.x.y.1:2377 --- m2 127.x.y.2:2377
//              \            /
//               m3 127.x.y.3:2377 ...
#include <doctest/doctest.h>
#include <sched.h>
#include <sys/mount.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <sstream>

#include "base/rng.h"
#include "harness/store_process.h"
#include "io/clock.h"
#include "store/sqlite_store.h"
#include "unit/store_cases.h"

using namespace weft;
using namespace weft::test;
using store::DqliteStore;

namespace {

using Clock = std::chrono::steady_clock;

double ms_since(Clock::time_point start) {
  return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
}

template <typename Done>
bool wait_until(Done done, Duration timeout = 15s) {
  const auto deadline = Clock::now() + timeout;
  while (!done())
    if (Clock::now() > deadline) return false;
  return true;
}

double percentile(std::vector<double> values, double share) {
  std::sort(values.begin(), values.end());
  return values[std::min(values.size() - 1, size_t(share * double(values.size())))];
}

std::set<std::string> words_of(const std::string& text) {
  std::istringstream in(text);
  return {std::istream_iterator<std::string>(in), {}};
}

class Cluster {
 public:
  struct Node {
    StoreProcess::Settings settings;
    uint64_t id = 1;
    std::unique_ptr<StoreProcess> process;
    StoreProcess* operator->() { return process.get(); }
  };

  // `disk`: a folder for all, empty: one in memory.
  explicit Cluster(size_t size = 1, const std::string& disk = "")
      : disk_(disk), ca_(*io::create_cluster_ca("c1", io::clock_wall_now())) {
    Node& first = make("m1");
    start(first, "create");
    for (size_t i = 2; i <= size; i++) grow();
  }

  Node& operator[](const std::string& name) { return nodes_.at(name); }
  std::vector<std::string> names() const {
    std::vector<std::string> names;
    for (const auto& [name, node] : nodes_) names.push_back(name);
    return names;
  }
  std::string file(const std::string& name) const {
    return (disk_.empty() ? folder_.path : disk_) + "/" + name;
  }
  std::string peer(const std::string& name) const {
    return name + "@" + nodes_.at(name).settings.address;
  }

  // A further voter.
  Node& grow() {
    Node& node = make("m" + std::to_string(++made_));
    join(node);
    return node;
  }

  Node& make(const std::string& name) {
    made_ = std::max(made_, size_t(std::stoi(name.substr(1))));
    Node& node = nodes_[name];
    const std::string key = *io::create_key();
    node.settings.name = name;
    node.settings.directory = file(name);
    // Of this process alone.
    node.settings.address = "127." + std::to_string(1 + ::getpid() % 250) + "." +
                            std::to_string(::getpid() / 250 % 250) + "." + std::to_string(made_) +
                            ":2377";
    node.settings.identity = {
        ca_.certificate_pem,
        *io::sign_node_certificate(ca_, *io::create_signing_request(key), {name, "manager", "c1"},
                                   io::clock_wall_now()),
        key};
    return node;
  }

  void start(Node& node, const std::string& how) {
    node.process.reset();
    node.process = std::make_unique<StoreProcess>(node.settings, how);
    if (!node->started().ok) FAIL(node->started().text);
  }

  void join(Node& node, const std::string& role = "voter") {
    node.id = DqliteStore::new_member_id();
    const std::string leading = leader();
    const std::string generation = nodes_.at(leading)->call("generation").text;
    start(node, "join " + std::to_string(node.id) + " " + generation);
    const StoreReply added = nodes_.at(leading)->call(
        "add " + std::to_string(node.id) + " " + node.settings.address + " " + role, 40s);
    CHECK(added.text == "done");
  }

  void forget(const std::string& name) { nodes_.erase(name); }

  // Among the running ones; waits until there is one.
  std::string leader(const std::set<std::string>& among = {}) {
    std::string found;
    const bool any = wait_until([&] {
      for (auto& [name, node] : nodes_)
        if (node.process && (among.empty() || among.contains(name)) && node->leads()) found = name;
      return !found.empty();
    });
    REQUIRE(any);
    return found;
  }

  // Asks leader after leader until the operation is acknowledged: as a client does.
  StoreReply put(const std::string& op, const std::string& rest,
                 const std::set<std::string>& among = {}, Duration timeout = 20s) {
    StoreReply reply;
    const bool done = wait_until(
        [&] {
          for (auto& [name, node] : nodes_) {
            if (!node.process || (!among.empty() && !among.contains(name))) continue;
            reply = node->call("put " + op + " " + rest, 5s);
            if (reply.ok || reply.code == "conflict") return true;
          }
          return false;
        },
        timeout);
    if (!done) FAIL("not acknowledged: " << reply.code << " " << reply.text);
    return reply;
  }

  std::set<std::string> list() { return words_of(nodes_.at(leader())->call("list").text); }

 private:
  StoreFolder folder_;
  std::string disk_;
  io::CertifiedKey ca_;
  size_t made_ = 0;
  std::map<std::string, Node> nodes_;
};

// A small disk of its own, for as long as this process lives.
class SmallDisk {
 public:
  explicit SmallDisk(int megabytes) {
    path_ = folder_.path + "/disk";
    std::filesystem::create_directory(path_);
    const std::string size = "size=" + std::to_string(megabytes) + "m";
    mounted_ = ::unshare(CLONE_NEWNS) == 0 &&
               ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0 &&
               ::mount("weft-test", path_.c_str(), "tmpfs", 0, size.c_str()) == 0;
  }
  ~SmallDisk() {
    if (mounted_) ::umount2(path_.c_str(), MNT_DETACH);
  }
  bool mounted() const { return mounted_; }
  const std::string& path() const { return path_; }
  uint64_t free_bytes() const { return std::filesystem::space(path_).available; }
  // Takes space until `left` bytes are left.
  void fill(uint64_t left) {
    std::ofstream file(path_ + "/ballast", std::ios::app);
    const std::string chunk(64 << 10, 'x');
    while (file && free_bytes() > left) file.write(chunk.data(), long(chunk.size())).flush();
  }
  void free() { std::filesystem::remove(path_ + "/ballast"); }

 private:
  StoreFolder folder_;
  std::string path_;
  bool mounted_ = false;
};

}  // namespace

TEST_CASE("a store grows from one to three and five members while it is written to") {
  Cluster cluster;
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

TEST_CASE("SIGKILL of the leader at any moment loses no acknowledged write") {
  Cluster cluster(3);
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
  Cluster cluster(3);
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
  Cluster cluster(3);
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
  Cluster cluster(3);
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

TEST_CASE("a dead member is replaced, and a standby is promoted and demoted") {
  Cluster cluster(3);
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
  Cluster::Node& fresh = cluster.make("m4");
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
  Cluster cluster(3);
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
  Cluster cluster(3);
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

TEST_CASE("a full disk is said, loses nothing, and writing goes on when there is space again") {
  SmallDisk disk(96);
  if (!disk.mounted()) {
    MESSAGE("skipped: a disk of its own needs root");
    return;
  }
  Cluster cluster(1, disk.path());
  std::set<std::string> acknowledged;
  const auto write = [&](const std::string& id) {
    const StoreReply reply = cluster["m1"]->call("put op-" + id + " " + id + " 0 x");
    if (reply.ok) acknowledged.insert(id + "=x");
    return reply;
  };
  for (int i = 0; i < 20; i++) CHECK(write("a" + std::to_string(i)).ok);
  disk.fill(20 << 20);
  CHECK(write("b").text.starts_with("the disk is full: "));
  CHECK(words_of(cluster["m1"]->call("list").text) == acknowledged);
  disk.free();
  CHECK(write("b").ok);
  // Past what is kept free: the disk ends in the middle of the library's work.
  disk.fill(25 << 20);
  const StoreReply large = cluster["m1"]->call("bulk big x 3000 12000", 60s);
  CHECK(!large.ok);
  CHECK(large.text.find("disk") != std::string::npos);
  disk.fill(0);
  CHECK(!write("c").ok);
  disk.free();
  CHECK(wait_until([&] { return write("c").ok; }));
  CHECK(words_of(cluster["m1"]->call("list").text) == acknowledged);
  cluster.start(cluster["m1"], "open");
  CHECK(cluster.list() == acknowledged);
  // Full and killed, then started again.
  disk.fill(0);
  cluster["m1"].process.reset();
  cluster["m1"].process = std::make_unique<StoreProcess>(cluster["m1"].settings, "open");
  if (!cluster["m1"]->started().ok)
    CHECK(cluster["m1"]->started().text.find("disk") != std::string::npos);
  disk.free();
  cluster.start(cluster["m1"], "open");
  CHECK(cluster.list() == acknowledged);
  CHECK(write("d").ok);
}

TEST_CASE("what it costs: commits, rows, memory, idle time") {
  for (const size_t size : {1, 3}) {
    Cluster cluster(size);
    const std::string leading = cluster.leader();
    StoreProcess& store = *cluster[leading].process;
    const std::string memory = store.call("memory").text;
    std::vector<double> latencies;
    for (int i = 0; i < 1000; i++) {
      const std::string id = std::to_string(i);
      const auto start = Clock::now();
      REQUIRE(store.call("put op" + id + " " + id + " 0 " + std::string(200, 'x') + " " + id).ok);
      latencies.push_back(ms_since(start));
    }
    const auto start = Clock::now();
    REQUIRE(store.call("bulk big row 10000 100", 60s).ok);
    const double bulk = ms_since(start);
    const auto group = Clock::now();
    std::vector<uint64_t> numbers;
    for (int i = 0; i < 1000; i++) {
      const std::string id = "g" + std::to_string(i);
      numbers.push_back(store.send("put op" + id + " " + id + " 0 x " + id));
    }
    for (const uint64_t number : numbers) REQUIRE(store.reply(number, 20s).ok);
    const double grouped = ms_since(group);
    const long before = std::stol(store.call("processor").text);
    const auto idle = Clock::now();
    wait_until([&] { return ms_since(idle) > 2000; });
    const long used = std::stol(store.call("processor").text) - before;
    std::printf(
        "store of %zu: commit p50 %.1f p99 %.1f ms, alone %.0f/s, together %.0f/s; 10,000 rows "
        "with claims %.0f/s; memory%s fresh,%s after; idle %.2f ms of processor per second\n",
        size, percentile(latencies, 0.5), percentile(latencies, 0.99),
        1000 / (percentile(latencies, 0.5) / 1000) / 1000, 1000 / (grouped / 1000),
        10'000 / (bulk / 1000), memory.c_str(), store.call("memory").text.c_str(),
        double(used) / 2000);
    CHECK(10'000 / (bulk / 1000) > 1000);
  }
}
