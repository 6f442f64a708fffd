// SPDX-License-Identifier: Apache-2.0
// What a disk and a processor have to do with it.
#include <doctest/doctest.h>
#include <sched.h>
#include <sys/mount.h>

#include <cstdio>
#include <filesystem>
#include <fstream>

#include "unit/store_cluster.h"

using namespace weft;
using namespace weft::test;

namespace {

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

TEST_CASE("a full disk is said, loses nothing, and writing goes on when there is space again") {
  SmallDisk disk(96);
  if (!disk.mounted()) {
    MESSAGE("skipped: a disk of its own needs root");
    return;
  }
  StoreCluster cluster(1, disk.path());
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
    StoreCluster cluster(size);
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
