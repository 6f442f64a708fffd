// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <set>

#include "base/fd.h"
#include "base/rng.h"
#include "store/sqlite_store.h"
#include "unit/faulty_vfs.h"
#include "unit/store_cases.h"

using namespace weft;
using namespace weft::store;
using namespace weft::test;
using manage::Transaction;

TEST_CASE("a damaged file, a foreign file and a newer schema are refused with a sentence") {
  StoreFolder folder;
  {
    auto store = *SqliteStore::open(folder.file());
    for (int i = 0; i < 200; i++)
      REQUIRE(commit(*store,
                     {std::to_string(i), "", {write(std::to_string(i), std::string(500, 'x'))}}));
  }
  {
    std::fstream file(folder.file(), std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(8192);
    file << std::string(20000, '\xaa');
  }
  const auto damaged = SqliteStore::open(folder.file());
  REQUIRE(!damaged);
  CHECK(damaged.error().message().find("damaged") != std::string::npos);
  std::ofstream(folder.path + "/text") << std::string(5000, 't');
  CHECK(SqliteStore::open(folder.path + "/text").error().message().find("not a weft store") !=
        std::string::npos);
  CHECK(!SqliteStore::open(folder.path + "/no/such/folder"));
  const std::string newer = folder.path + "/newer.db";
  (void)*SqliteStore::open(newer);
  sqlite3* raw = nullptr;
  REQUIRE(sqlite3_open(newer.c_str(), &raw) == SQLITE_OK);
  sqlite3_exec(raw, "PRAGMA user_version = 7", nullptr, nullptr, nullptr);
  sqlite3_close(raw);
  CHECK(SqliteStore::open(newer).error().message().find("newer weft") != std::string::npos);
}

TEST_CASE("a second process cannot open a store that is in use") {
  StoreFolder folder;
  auto store = *SqliteStore::open(folder.file());
  const auto second = SqliteStore::open(folder.file());
  REQUIRE(!second);
  CHECK(second.error().code() == ErrorCode::unavailable);
}

TEST_CASE("a dump is a store of its own") {
  StoreFolder folder;
  auto store = *SqliteStore::open(folder.file());
  REQUIRE(commit(*store, {"1", "", {write("a", "1")}}));
  REQUIRE(store->dump(folder.path + "/dump.db"));
  REQUIRE(commit(*store, {"2", "", {write("b", "2")}}));
  auto copy = *SqliteStore::open(folder.path + "/dump.db");
  CHECK(contents(*copy) == std::map<std::string, std::string>{{"a", "1"}});
}

TEST_CASE("the disk failing at any call loses nothing acknowledged and keeps nothing half") {
  FaultyVfs::install();
  bool ran_through = false;
  for (int k = 0; k < 60 && !ran_through; k++) {
    StoreFolder folder;
    std::map<std::string, std::string> expected;
    {
      auto store = *SqliteStore::open(folder.file(), FaultyVfs::name);
      REQUIRE(commit(*store, {"0", "", {write("a", "1", {{"vni", "1"}})}}));
      expected["a"] = "1";
      FaultyVfs::calls_left = k;
      FaultyVfs::error = k % 2 ? SQLITE_FULL : SQLITE_IOERR_WRITE;
      const Transaction transaction = {
          "1", "", {write("a", std::string(9000, 'y'), {}, 1), write("b", "", {{"vni", "1"}})}};
      const auto first = commit(*store, transaction);
      ran_through = FaultyVfs::calls_left > 0;
      FaultyVfs::calls_left = -1;
      if (!first) {
        CHECK(!first.error().message().empty());
        if (FaultyVfs::error == SQLITE_FULL && k == 1)
          CHECK(first.error().message().find("disk is full") != std::string::npos);
        CHECK(contents(*store) == expected);
      }
      // The disk is well again: the same operation goes through, once.
      REQUIRE(commit(*store, transaction));
      expected = {{"a", std::string(9000, 'y')}, {"b", ""}};
      CHECK(contents(*store) == expected);
    }
    auto again = *SqliteStore::open(folder.file());
    CHECK(contents(*again) == expected);
    CHECK(commit(*again, {"2", "", {write("c", "", {{"vni", "1"}})}}).error().code() ==
          ErrorCode::conflict);
  }
  CHECK(ran_through);
}

namespace {

// Child: commits object after object and tells the number of each that was acknowledged.
[[noreturn]] void write_until_killed(const std::string& path, int first, int out) {
  auto store = SqliteStore::open(path);
  for (int i = first; store; i++) {
    const std::string id = std::to_string(i);
    if (!commit(**store, {"op" + id, "", {write(id, id, {{"vni", id}})}})) break;
    if (::write(out, &i, sizeof i) != sizeof i) break;
  }
  ::_exit(1);
}

}  // namespace

TEST_CASE("kill -9 in the middle of commits loses no acknowledged transaction") {
  StoreFolder folder;
  Rng rng(1);
  (void)*SqliteStore::open(folder.file());
  std::set<int> acknowledged;
  int next = 0;
  for (int round = 0; round < 8; round++) {
    int ends[2];
    REQUIRE(::pipe(ends) == 0);
    const pid_t child = ::fork();
    REQUIRE(child >= 0);
    if (child == 0) write_until_killed(folder.file(), next, ends[1]);
    Fd in(ends[0]);
    ::close(ends[1]);
    // Kill after some acknowledgements, at whatever instruction the child is by then.
    int number;
    for (uint64_t left = 1 + rng.below(20); left > 0; left--) {
      REQUIRE(::read(in.get(), &number, sizeof number) == sizeof number);
      acknowledged.insert(number);
    }
    for (volatile uint64_t spin = rng.below(2'000'000); spin > 0;) spin = spin - 1;
    ::kill(child, SIGKILL);
    while (::read(in.get(), &number, sizeof number) == sizeof number) acknowledged.insert(number);
    int status = 0;
    ::waitpid(child, &status, 0);
    CHECK(WIFSIGNALED(status));
    auto store = *SqliteStore::open(folder.file());
    const auto found = contents(*store);
    for (const int i : acknowledged) REQUIRE(found.count(std::to_string(i)) == 1);
    // At most the one that was under way is there without an answer, and its id is known.
    CHECK(found.size() <= acknowledged.size() + 1 + size_t(round));
    const int under_way = *acknowledged.rbegin() + 1;
    const std::string id = std::to_string(under_way);
    const auto again = commit(*store, {"op" + id, "", {write(id, id, {{"vni", id}})}});
    REQUIRE(again);
    CHECK(again->repeated == (found.count(id) == 1));
    acknowledged.insert(under_way);
    CHECK(contents(*store).size() == acknowledged.size());
    next = under_way + 1;
  }
}
