// SPDX-License-Identifier: Apache-2.0
// What every Store does, for each engine.
#include <doctest/doctest.h>

#include "store/sqlite_store.h"
#include "unit/dqlite_engine.h"

using namespace weft;
using namespace weft::store;
using namespace weft::test;
using manage::Transaction;
using manage::Write;

namespace {

struct Sqlite {
  explicit Sqlite(const StoreFolder& folder) : store(*SqliteStore::open(folder.file())) {}
  Result<Committed> commit(const Transaction& t) { return test::commit(*store, t); }
  Result<Snapshot> load() { return store->load(); }
  std::unique_ptr<SqliteStore> store;
};

struct Dqlite {
  explicit Dqlite(const StoreFolder& folder)
      : engine(DqliteEngine::leading(folder.path + "/store")) {}
  Result<Committed> commit(const Transaction& t) { return engine->commit(t); }
  Result<Snapshot> load() { return engine->load(); }
  std::unique_ptr<DqliteEngine> engine;
};

}  // namespace

TEST_CASE_TEMPLATE("what was committed is there after the store is opened again", Engine, Sqlite,
                   Dqlite) {
  StoreFolder folder;
  {
    Engine store(folder);
    REQUIRE(store.commit({"op1", "reply", {write("a", std::string("\0x", 2)), write("b", "")}}));
    REQUIRE(store.commit({"op2", "", {write("a", "new", {}, 1), removal("b", 1)}}));
  }
  Engine store(folder);
  const Snapshot snapshot = *store.load();
  REQUIRE(snapshot.objects.size() == 1);
  CHECK(snapshot.objects[0].kind == "network");
  CHECK(snapshot.objects[0].bytes == "new");
  CHECK(snapshot.objects[0].version == 2);
  CHECK(snapshot.results.at("op1") == "reply");
}

TEST_CASE_TEMPLATE("bytes of every kind come back as they were", Engine, Sqlite, Dqlite) {
  StoreFolder folder;
  std::string all;
  for (int i = 0; i < 256; i++) all += char(i);
  Engine store(folder);
  REQUIRE(store.commit({"op", all, {write("a", all), write("b", std::string(300'000, '\xff'))}}));
  const Snapshot snapshot = *store.load();
  CHECK(contents(snapshot).at("a") == all);
  CHECK(contents(snapshot).at("b") == std::string(300'000, '\xff'));
  CHECK(snapshot.results.at("op") == all);
  CHECK(store.commit({"op", "", {write("c", "")}})->result == all);
}

TEST_CASE_TEMPLATE("the same operation id gives the first result and changes nothing", Engine,
                   Sqlite, Dqlite) {
  StoreFolder folder;
  Engine store(folder);
  const auto first = store.commit({"op", "first", {write("a", "1")}});
  CHECK(!first->repeated);
  const auto second = store.commit({"op", "second", {write("b", "2")}});
  CHECK(second->repeated);
  CHECK(second->result == "first");
  CHECK(contents(*store.load()) == std::map<std::string, std::string>{{"a", "1"}});
}

TEST_CASE_TEMPLATE(
    "two objects never hold the same claim, and the refused transaction leaves nothing", Engine,
    Sqlite, Dqlite) {
  StoreFolder folder;
  Engine store(folder);
  REQUIRE(store.commit({"1", "", {write("a", "", {{"vni", "4097"}})}}));
  const auto clash = store.commit({"2", "", {write("x", ""), write("b", "", {{"vni", "4097"}})}});
  REQUIRE(!clash);
  CHECK(clash.error().code() == ErrorCode::conflict);
  CHECK(clash.error().message() == "vni 4097 already belongs to network 'a'");
  CHECK(contents(*store.load()).size() == 1);
  // Given up and taken over in one transaction, whichever is written first.
  CHECK(store.commit({"3", "", {write("b", "", {{"vni", "4097"}}), removal("a", 1)}}));
  CHECK(contents(*store.load()).count("b") == 1);
  // Twice in one transaction is a conflict, too.
  const auto twice =
      store.commit({"4", "", {write("c", "", {{"vni", "5"}}), write("d", "", {{"vni", "5"}})}});
  REQUIRE(!twice);
  CHECK(twice.error().message() == "vni 5 already belongs to network 'c'");
  CHECK(contents(*store.load()).size() == 1);
}

TEST_CASE_TEMPLATE("a decision on old news is refused", Engine, Sqlite, Dqlite) {
  StoreFolder folder;
  Engine store(folder);
  REQUIRE(store.commit({"1", "", {write("a", "1")}}));
  REQUIRE(store.commit({"2", "", {write("a", "2", {}, 1)}}));
  for (const Write& stale : {write("a", "3", {}, 1), write("a", "3"), removal("a", 1)}) {
    const auto refused = store.commit({"3", "", {write("z", ""), stale}});
    REQUIRE(!refused);
    CHECK(refused.error().code() == ErrorCode::conflict);
    CHECK(refused.error().message().find("'a' was changed by somebody else") != std::string::npos);
  }
  CHECK(contents(*store.load()) == std::map<std::string, std::string>{{"a", "2"}});
}

TEST_CASE_TEMPLATE("the newest operation ids are remembered, the oldest forgotten", Engine, Sqlite,
                   Dqlite) {
  StoreFolder folder;
  Engine store(folder);
  REQUIRE(store.commit({"first", "r", {write("a", "")}}));
  for (int i = 1; i < remembered_operations; i++)
    REQUIRE(store.commit({"op" + std::to_string(i), "", {}}));
  CHECK(store.load()->results.size() == size_t(remembered_operations));
  CHECK(store.commit({"first", "", {write("b", "")}})->repeated);
  REQUIRE(store.commit({"one more", "", {}}));
  const auto results = store.load()->results;
  CHECK(results.size() == size_t(remembered_operations));
  CHECK(results.count("first") == 0);
}
