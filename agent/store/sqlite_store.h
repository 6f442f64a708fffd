// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>

#include "store/store.h"

struct sqlite3;

namespace weft::store {

// One file, one process. WAL with synchronous=FULL: an acknowledged transaction is on the disk.
class SqliteStore final : public Store {
 public:
  // Opens or creates. `vfs`: name of a registered sqlite VFS, null for the system's. Refuses a file
  // that is damaged, is no store, or was written by a newer version.
  static Result<std::unique_ptr<SqliteStore>> open(const std::string& path,
                                                   const char* vfs = nullptr);
  ~SqliteStore() override;

  Result<Snapshot> load() override;
  void commit(const manage::Transaction& transaction, Answer answer) override;
  // A complete copy in one new file, put in place atomically: what an operator restores after a
  // damaged disk.
  Result<> dump(const std::string& path);

 private:
  struct Statements;
  SqliteStore(std::string path, sqlite3* database);
  Result<> prepare();
  Result<Committed> run(const manage::Transaction& transaction);
  Result<> write_all(const manage::Transaction& transaction);
  Error database_error(const std::string& context) const;

  std::string path_;
  sqlite3* database_;
  std::unique_ptr<Statements> statements_;
};

}  // namespace weft::store
