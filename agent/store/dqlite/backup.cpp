// SPDX-License-Identifier: Apache-2.0
#include "store/dqlite/backup.h"

#include <sqlite3.h>

#include <filesystem>

#include "base/free_with.h"
#include "io/files.h"
#include "store/sqlite_store.h"
#include "store/statement.h"

namespace weft::store::dqlite {
namespace {

using Handle = std::unique_ptr<sqlite3, FreeWith<sqlite3_close>>;

// A folder that is empty at first and gone at the end.
class Scratch {
 public:
  explicit Scratch(std::string path) : path_(std::move(path)) {}
  ~Scratch() {
    std::error_code error;
    std::filesystem::remove_all(path_, error);
  }
  Result<> make() {
    std::error_code error;
    std::filesystem::remove_all(path_, error);
    return io::make_directories(path_);
  }
  std::string file() const { return path_ + "/store.db"; }

 private:
  std::string path_;
};

struct Table {
  const char* select;
  const char* insert;
};

constexpr Table tables[] = {
    {"SELECT kind, id, version, bytes FROM objects",
     "INSERT INTO objects (kind, id, version, bytes) VALUES (?, ?, ?, ?)"},
    {"SELECT space, value, kind, id FROM claims",
     "INSERT INTO claims (space, value, kind, id) VALUES (?, ?, ?, ?)"},
    {"SELECT number, id, result FROM operations",
     "INSERT INTO operations (number, id, result) VALUES (?, ?, ?)"},
};

// Checks what it opens, and folds the write-ahead log into the copy.
Result<std::unique_ptr<SqliteStore>> unpack(const Files& dump, Scratch& folder) {
  if (dump.files.size() != 2) return Error("the store's dump is not of two files");
  TRY(folder.make());
  TRY(io::write_file_atomically(folder.file(), dump.files[0].bytes));
  TRY(io::write_file_atomically(folder.file() + "-wal", dump.files[1].bytes));
  return SqliteStore::open(folder.file());
}

}  // namespace

Result<> check_dump(const Files& dump, const std::string& scratch) {
  Scratch folder(scratch);
  TRY(unpack(dump, folder));
  return Ok;
}

Result<> write_backup(const Files& dump, const std::string& scratch, const std::string& path) {
  Scratch folder(scratch);
  const auto store = TRY_IN("dump", unpack(dump, folder));
  return store->dump(path);
}

Result<std::vector<Client::Statement>> read_backup(const std::string& path,
                                                   const std::string& scratch) {
  Scratch folder(scratch);
  TRY(folder.make());
  TRY(io::write_file_atomically(folder.file(), TRY(io::read_file(path, size_t(1) << 30))));
  // Checks that it is a sound store. Named as the operator knows it.
  if (auto sound = SqliteStore::open(folder.file()); !sound)
    return Error(path + " is not a good backup of a store: " + sound.error().message());
  sqlite3* raw = nullptr;
  const int opened = sqlite3_open_v2(folder.file().c_str(), &raw, SQLITE_OPEN_READWRITE, nullptr);
  const Handle database(raw);
  if (opened != SQLITE_OK) return Error("cannot read the backup " + path);
  std::vector<Client::Statement> rows;
  for (const Table& table : tables) {
    Statement query;
    if (query.prepare(raw, table.select) != SQLITE_OK)
      return Error("cannot read the backup " + path);
    int code;
    while ((code = query.step()) == SQLITE_ROW) {
      Client::Statement row{table.insert, {}};
      for (int i = 0; i < query.columns(); ++i) {
        if (query.type(i) == SQLITE_INTEGER)
          row.parameters.emplace_back(query.number(i));
        else if (query.type(i) == SQLITE_BLOB)
          row.parameters.emplace_back(Blob{query.text(i)});
        else
          row.parameters.emplace_back(query.text(i));
      }
      rows.push_back(std::move(row));
    }
    if (code != SQLITE_DONE) return Error("cannot read the backup " + path);
  }
  return rows;
}

}  // namespace weft::store::dqlite
