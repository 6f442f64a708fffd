// SPDX-License-Identifier: Apache-2.0
// What the tests of stores share: a folder, transactions, what a store holds.
#pragma once

#include <doctest/doctest.h>

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "store/store.h"

namespace weft::test {

struct StoreFolder {
  std::string path;
  StoreFolder() {
    // In memory where possible: a killed process, not a power cut, is what is tested.
    path = std::filesystem::exists("/dev/shm") ? "/dev/shm" : "/tmp";
    path += "/weft-unit-store-XXXXXX";
    REQUIRE(::mkdtemp(path.data()) != nullptr);
  }
  ~StoreFolder() { std::filesystem::remove_all(path); }
  StoreFolder(const StoreFolder&) = delete;
  std::string file() const { return path + "/store.db"; }
};

// For a store that answers from within.
inline Result<store::Committed> commit(store::Store& store,
                                       const manage::Transaction& transaction) {
  Result<store::Committed> result = Error("no answer");
  store.commit(transaction, [&](Result<store::Committed> r) { result = std::move(r); });
  return result;
}

inline manage::Write write(const std::string& id, const std::string& bytes,
                           std::vector<manage::Claim> claims = {}, uint64_t expected = 0) {
  return {"network", id, expected, false, bytes, std::move(claims)};
}

inline manage::Write removal(const std::string& id, uint64_t expected) {
  return {"network", id, expected, true, "", {}};
}

inline std::map<std::string, std::string> contents(const store::Snapshot& snapshot) {
  std::map<std::string, std::string> out;
  for (const auto& object : snapshot.objects) out[object.id] = object.bytes;
  return out;
}

inline std::map<std::string, std::string> contents(store::Store& store) {
  return contents(*store.load());
}

}  // namespace weft::test
