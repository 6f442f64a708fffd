// SPDX-License-Identifier: Apache-2.0
// One member alone, in this process.
#include <doctest/doctest.h>
#include <sqlite3.h>

#include <algorithm>
#include <fstream>
#include <set>

#include "store/sqlite_store.h"
#include "unit/dqlite_engine.h"

using namespace weft;
using namespace weft::store;
using namespace weft::test;
namespace fs = std::filesystem;

namespace {

void damage(const fs::path& file) {
  const auto size = fs::file_size(file);
  std::fstream out(file, std::ios::in | std::ios::out | std::ios::binary);
  out.seekp(long(size / 3));
  out << std::string(size / 3, '\xaa');
}

// Of the library's files, the last whose name fits: the newest.
fs::path find_file(const std::string& folder, const std::function<bool(const std::string&)>& fits) {
  std::set<fs::path> found;
  for (const auto& entry : fs::directory_iterator(folder))
    if (fits(entry.path().filename())) found.insert(entry.path());
  return found.empty() ? fs::path() : *found.rbegin();
}

// A store with some transactions, closed in good order.
void fill(const std::string& directory, int transactions) {
  const auto engine = DqliteEngine::leading(directory);
  for (int i = 0; i < transactions; i++) {
    const std::string id = std::to_string(i);
    REQUIRE(engine->commit({"op" + id, "", {write(id, std::string(500, 'x'))}}));
  }
}

std::string refusal(const std::string& directory) {
  DqliteEngine engine;
  const auto opened = engine.open(directory);
  REQUIRE(!opened);
  return opened.error().message();
}

}  // namespace

TEST_CASE("files that the library has put aside as corrupt are refused with what to do") {
  StoreFolder folder;
  const std::string store = folder.path + "/store";
  fill(store, 3);
  std::ofstream(store + "/raft/corrupt-1700000000-open-1") << "x";
  const std::string sentence = refusal(store);
  CHECK(sentence.find("is damaged (file corrupt-1700000000-open-1)") != std::string::npos);
  CHECK(sentence.find("weft cluster restore") != std::string::npos);
  fs::remove(store + "/raft/corrupt-1700000000-open-1");
  CHECK(contents(*DqliteEngine::leading(store)->load()).size() == 3);
}

TEST_CASE("a damaged log or snapshot is refused each time and is left as it is") {
  StoreFolder folder;
  const std::string store = folder.path + "/store";
  fill(store, 600);
  const auto is_segment = [](const std::string& name) {
    return name.find('-') == 16 && !name.starts_with("snapshot");
  };
  const auto is_snapshot = [](const std::string& name) {
    return name.starts_with("snapshot") && !name.ends_with(".meta");
  };
  for (const auto& fits : std::vector<std::function<bool(const std::string&)>>{
           is_segment, is_snapshot,
           [](const std::string& name) { return name.ends_with(".meta"); }}) {
    const std::string copy = folder.path + "/copy";
    fs::remove_all(copy);
    fs::copy(store, copy, fs::copy_options::recursive);
    const fs::path file = find_file(copy + "/raft", fits);
    REQUIRE(!file.empty());
    CAPTURE(file.filename().string());
    damage(file);
    CHECK(refusal(copy).find("damaged") != std::string::npos);
    CHECK(refusal(copy).find("damaged") != std::string::npos);
  }
  CHECK(contents(*DqliteEngine::leading(store)->load()).size() == 600);
}

TEST_CASE("a folder that is half there is refused, and a new store never replaces one") {
  StoreFolder folder;
  const std::string store = folder.path + "/store";
  CHECK(!DqliteStore::exists(store));
  {
    DqliteEngine engine;
    CHECK(engine.open(store).error().code() == ErrorCode::not_found);
  }
  fill(store, 1);
  CHECK(DqliteStore::exists(store));
  {
    DqliteEngine engine;
    CHECK(engine.create(store).error().code() == ErrorCode::conflict);
  }
  fs::copy(store, folder.path + "/copy", fs::copy_options::recursive);
  fs::remove_all(folder.path + "/copy/raft");
  CHECK(refusal(folder.path + "/copy").find("has lost its log") != std::string::npos);
  std::ofstream(folder.path + "/copy/member") << "1 2";
  CHECK(refusal(folder.path + "/copy").find("member is damaged") != std::string::npos);
  // What a create() left that was killed half-way is no store.
  fs::create_directories(folder.path + "/left/raft");
  std::ofstream(folder.path + "/left/raft/metadata1") << "x";
  fill(folder.path + "/left", 1);
}

TEST_CASE("transactions that wait are committed together, each with its own outcome") {
  StoreFolder folder;
  const auto engine = DqliteEngine::leading(folder.path + "/store");
  REQUIRE(engine->commit({"first", "kept", {write("a", "1", {{"vni", "1"}})}}));
  std::vector<std::string> outcomes;
  const auto commit = [&](const manage::Transaction& transaction) {
    engine->store->commit(transaction, [&](Result<Committed> done) {
      outcomes.push_back(!done            ? done.error().message()
                         : done->repeated ? "repeated " + done->result
                                          : "committed");
    });
  };
  commit({"2", "", {write("b", "2")}});
  commit({"3", "", {write("x", ""), write("c", "", {{"vni", "1"}})}});
  commit({"first", "", {write("y", "")}});
  commit({"4", "", {write("d", "4")}});
  commit({"4", "again", {write("e", "5")}});
  commit({"5", "", {write("b", "new", {}, 1)}});
  commit({"6", "", {write("b", "newer", {}, 1)}});
  REQUIRE(engine->loop.run_until([&] { return outcomes.size() == 7; }, 5s));
  CHECK(outcomes ==
        std::vector<std::string>{"committed", "vni 1 already belongs to network 'a'",
                                 "repeated kept", "committed", "repeated ", "committed",
                                 "network 'b' was changed by somebody else meanwhile: try again"});
  CHECK(contents(*engine->load()) ==
        std::map<std::string, std::string>{{"a", "1"}, {"b", "new"}, {"d", "4"}});
}

TEST_CASE("a store that goes away with transactions under way answers no more and keeps its word") {
  StoreFolder folder;
  for (int round = 0; round < 10; round++) {
    auto engine = DqliteEngine::leading(folder.path + "/store");
    std::set<std::string> acknowledged;
    for (int i = 0; i < 30; i++) {
      const std::string id = std::to_string(round) + "-" + std::to_string(i);
      engine->store->commit({id, "", {write(id, "")}}, [&, id](Result<Committed> done) {
        if (done) acknowledged.insert(id);
      });
    }
    engine->loop.run_until([&] { return acknowledged.size() > size_t(round * 3); }, 1s);
    engine->store.reset();
    engine = DqliteEngine::leading(folder.path + "/store");
    const auto found = contents(*engine->load());
    for (const std::string& id : acknowledged) CHECK(found.count(id) == 1);
  }
}

TEST_CASE("a copy is written again and again, and only a whole one is in place") {
  StoreFolder folder;
  const std::string directory = folder.path + "/store";
  DqliteEngine engine;
  auto settings = engine.settings(directory);
  settings.dump_interval = 20ms;
  engine.store = *DqliteStore::create(settings, "127.0.0.1:1");
  std::string last;
  for (int i = 0; i < 5; i++) {
    last = std::to_string(i);
    REQUIRE(engine.commit({"op" + last, "", {write(last, "")}}));
    const std::string copy = folder.path + "/copy.db";
    CHECK(engine.wait_until([&] {
      std::error_code error;
      fs::copy_file(directory + "/backup.db", copy, fs::copy_options::overwrite_existing, error);
      if (error) return false;
      const auto store = SqliteStore::open(copy);
      if (!store) FAIL(store.error().message());
      return contents(**store).count(last) == 1;
    }));
  }
  CHECK(engine.problems.empty());
}

TEST_CASE("a member that nobody has added neither leads nor decides") {
  StoreFolder folder;
  DqliteEngine engine;
  const Member self{DqliteStore::new_member_id(), "127.0.0.1:2", MemberRole::voter};
  engine.store =
      *DqliteStore::join(engine.settings(folder.path + "/store"), self, std::string(32, 'a'));
  CHECK(engine.load().error().code() == ErrorCode::unavailable);
  CHECK(engine.commit({"1", "", {write("a", "")}})
            .error()
            .message()
            .starts_with("the managers have no leader"));
  CHECK(!engine.store->leadership().self);
  const Member first{1, "127.0.0.1:2", MemberRole::voter};
  DqliteEngine other;
  CHECK(!DqliteStore::join(other.settings(folder.path + "/other"), first, std::string(32, 'a')));
}

TEST_CASE("a backup of a newer version, a damaged and a foreign one restore nothing") {
  StoreFolder folder;
  const std::string store = folder.path + "/store";
  fill(store, 50);
  const std::string backup = folder.path + "/backup.db";
  {
    const auto engine = DqliteEngine::leading(store);
    REQUIRE(engine->answer<Done>([&](auto done) { engine->store->backup(backup, done); }));
  }
  const auto refuse = [&](const std::string& word) {
    const auto restored = DqliteStore::restore(store, folder.path + "/bad.db", "127.0.0.1:1");
    REQUIRE(!restored);
    CAPTURE(restored.error().message());
    CHECK(restored.error().message().find(word) != std::string::npos);
    CHECK(contents(*DqliteEngine::leading(store)->load()).size() == 50);
    CHECK(!fs::exists(store + ".restoring"));
  };
  fs::copy_file(backup, folder.path + "/bad.db");
  damage(folder.path + "/bad.db");
  refuse("damaged");
  fs::copy_file(backup, folder.path + "/bad.db", fs::copy_options::overwrite_existing);
  sqlite3* raw = nullptr;
  REQUIRE(sqlite3_open((folder.path + "/bad.db").c_str(), &raw) == SQLITE_OK);
  sqlite3_exec(raw, "PRAGMA user_version = 7", nullptr, nullptr, nullptr);
  sqlite3_close(raw);
  refuse("newer weft");
  std::ofstream(folder.path + "/bad.db") << "text";
  refuse("not a weft store");
  // And the good one twice.
  for (int i = 0; i < 2; i++) {
    REQUIRE(DqliteStore::restore(store, backup, "127.0.0.1:1"));
    CHECK(contents(*DqliteEngine::leading(store)->load()).size() == 50);
  }
}
