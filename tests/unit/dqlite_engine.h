// SPDX-License-Identifier: Apache-2.0
// One DqliteStore in this process, whose events and answers come on a loop that the test runs.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "io/loop.h"
#include "store/dqlite_store.h"
#include "unit/store_cases.h"

namespace weft::test {

struct DqliteEngine {
  io::Loop loop;
  std::vector<store::Leadership> events;
  std::vector<std::string> problems;
  std::unique_ptr<store::DqliteStore> store;

  store::DqliteStore::Settings settings(const std::string& directory) {
    store::DqliteStore::Settings settings;
    settings.directory = directory;
    settings.post = [this](std::function<void()> fn) { loop.post(std::move(fn)); };
    settings.connect = [](const std::string& to) -> Result<Fd> { return Error("no way to " + to); };
    settings.on_leadership = [this](const store::Leadership& now) { events.push_back(now); };
    settings.on_problem = [this](const Error& error) { problems.push_back(error.message()); };
    settings.dump_interval = Duration::zero();
    return settings;
  }
  Result<> create(const std::string& directory) {
    store = TRY(store::DqliteStore::create(settings(directory), "127.0.0.1:2377"));
    return Ok;
  }
  Result<> open(const std::string& directory) {
    store = TRY(store::DqliteStore::open(settings(directory)));
    return Ok;
  }
  // Opened or created, and leading.
  static std::unique_ptr<DqliteEngine> leading(const std::string& directory) {
    auto engine = std::make_unique<DqliteEngine>();
    const auto started =
        store::DqliteStore::exists(directory) ? engine->open(directory) : engine->create(directory);
    if (!started) FAIL(started.error().message());
    REQUIRE(engine->loop.run_until([&] { return engine->store->leadership().self; }, 5s));
    return engine;
  }

  // For what happens outside of the loop.
  bool wait_until(const std::function<bool()>& done) {
    for (int i = 0; i < 500 && !done(); i++) loop.run_until([] { return false; }, 10ms);
    return done();
  }
  Result<store::Committed> commit(const manage::Transaction& transaction) {
    return answer<store::Committed>(
        [&](auto done) { store->commit(transaction, std::move(done)); });
  }
  Result<store::Snapshot> load() {
    return answer<store::Snapshot>([&](auto done) { store->load(std::move(done)); });
  }
  template <typename T, typename Ask>
  Result<T> answer(Ask ask) {
    std::optional<Result<T>> result;
    ask([&](Result<T> r) { result = std::move(r); });
    if (!loop.run_until([&] { return result.has_value(); }, 40s)) return Error("no answer");
    return std::move(*result);
  }
};

}  // namespace weft::test
