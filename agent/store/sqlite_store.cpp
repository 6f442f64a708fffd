// SPDX-License-Identifier: Apache-2.0
#include "store/sqlite_store.h"

#include <fcntl.h>
#include <sqlite3.h>
#include <unistd.h>

#include <cstdio>

#include "base/fd.h"
#include "store/schema.h"
#include "store/statement.h"

namespace weft::store {

namespace {

Result<> sync_file(const std::string& path, int flags) {
  const Fd fd(::open(path.c_str(), flags | O_CLOEXEC));
  if (!fd || ::fsync(fd.get()) != 0) return errno_error("write " + path);
  return Ok;
}

}  // namespace

struct SqliteStore::Statements {
  Statement begin, commit, rollback;
  Statement insert, update, remove;
  Statement drop_claims, claim, owner;
  Statement find_operation, add_operation, forget_operations;
};

SqliteStore::SqliteStore(std::string path, sqlite3* database)
    : path_(std::move(path)), database_(database), statements_(new Statements) {}

SqliteStore::~SqliteStore() {
  statements_.reset();
  sqlite3_close(database_);
}

Error SqliteStore::database_error(const std::string& context) const {
  const int code = sqlite3_errcode(database_) & 0xff;
  const std::string where = context + " " + path_ + ": ";
  if (code == SQLITE_FULL)
    return Error(where + "the disk is full; nothing was changed: free some space and try again");
  if (code == SQLITE_CORRUPT || code == SQLITE_NOTADB)
    return Error(where +
                 "the file is damaged or not a weft store; restore the newest dump, or "
                 "move it away and let this node join the cluster anew");
  if (code == SQLITE_BUSY)
    return Error(ErrorCode::unavailable,
                 where + "another process uses it: is weftd running twice?");
  return Error(where + sqlite3_errmsg(database_));
}

Result<std::unique_ptr<SqliteStore>> SqliteStore::open(const std::string& path, const char* vfs) {
  sqlite3* raw = nullptr;
  const int code =
      sqlite3_open_v2(path.c_str(), &raw, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, vfs);
  if (!raw) return Error("open store " + path + ": out of memory");
  std::unique_ptr<SqliteStore> store(new SqliteStore(path, raw));
  if (code != SQLITE_OK) return store->database_error("open store");
  sqlite3_busy_timeout(raw, 1000);
  if (auto ready = store->prepare(); !ready) return std::move(ready).error();
  return store;
}

Result<> SqliteStore::prepare() {
  const auto execute = [&](const char* sql) -> Result<> {
    if (sqlite3_exec(database_, sql, nullptr, nullptr, nullptr) == SQLITE_OK) return Ok;
    return database_error("open store");
  };
  // Exclusive: a second weftd on the same file is refused instead of corrupting decisions.
  TRY(execute("PRAGMA locking_mode = EXCLUSIVE"));
  TRY(execute("PRAGMA journal_mode = WAL"));
  TRY(execute("PRAGMA synchronous = FULL"));
  Statement query;
  if (query.prepare(database_, "PRAGMA journal_mode") != SQLITE_OK || query.step() != SQLITE_ROW)
    return database_error("open store");
  if (query.text(0) != "wal")
    return Error("open store " + path_ +
                 ": its file system does not allow a write-ahead log; put "
                 "the state folder on a local disk");
  if (query.prepare(database_, sql::version) != SQLITE_OK || query.step() != SQLITE_ROW)
    return database_error("open store");
  const int64_t version = query.number(0);
  query.reset();
  if (version > sql::schema_version) return newer_schema(path_, version);
  if (version == 0) {
    TRY(execute(sql::begin));
    TRY(execute(sql::create));
    TRY(execute(sql::commit));
  }
  if (query.prepare(database_, "PRAGMA quick_check(1)") != SQLITE_OK || query.step() != SQLITE_ROW)
    return database_error("open store");
  if (query.text(0) != "ok")
    return Error("open store " + path_ + ": the file is damaged (" + query.text(0) +
                 "); restore the newest dump, or move it away and let this node join the cluster "
                 "anew");
  query.reset();
  Statements& s = *statements_;
  const std::pair<Statement*, const char*> all[] = {
      {&s.begin, sql::begin},
      {&s.commit, sql::commit},
      {&s.rollback, sql::rollback},
      {&s.insert, sql::insert_object},
      {&s.update, sql::update_object},
      {&s.remove, sql::remove_object},
      {&s.drop_claims, sql::drop_claims},
      {&s.claim, sql::add_claim},
      {&s.owner, sql::claim_owner},
      {&s.find_operation, sql::find_operation},
      {&s.add_operation, sql::add_operation},
      {&s.forget_operations, sql::forget_operations},
  };
  for (const auto& [statement, text] : all)
    if (statement->prepare(database_, text) != SQLITE_OK) return database_error("open store");
  return Ok;
}

Result<Snapshot> SqliteStore::load() {
  Snapshot snapshot;
  Statement query;
  if (query.prepare(database_, sql::all_objects) != SQLITE_OK) return database_error("read store");
  int code;
  while ((code = query.step()) == SQLITE_ROW)
    snapshot.objects.push_back(
        {query.text(0), query.text(1), uint64_t(query.number(2)), query.text(3)});
  if (code != SQLITE_DONE) return database_error("read store");
  if (query.prepare(database_, sql::all_operations) != SQLITE_OK)
    return database_error("read store");
  while ((code = query.step()) == SQLITE_ROW) snapshot.results[query.text(0)] = query.text(1);
  if (code != SQLITE_DONE) return database_error("read store");
  return snapshot;
}

void SqliteStore::commit(const manage::Transaction& transaction, Answer answer) {
  answer(run(transaction));
}

Result<Committed> SqliteStore::run(const manage::Transaction& transaction) {
  Statements& s = *statements_;
  if (s.begin.run() != SQLITE_DONE) return database_error("write store");
  auto written = [&]() -> Result<Committed> {
    s.find_operation.reset().bind(transaction.operation_id);
    const int found = s.find_operation.step();
    if (found == SQLITE_ROW) {
      Committed first{true, s.find_operation.text(0)};
      s.find_operation.reset();
      return first;
    }
    s.find_operation.reset();
    if (found != SQLITE_DONE) return database_error("write store");
    TRY(write_all(transaction));
    return Committed{false, transaction.result};
  }();
  if (written && !written->repeated) {
    if (s.commit.run() == SQLITE_DONE) return written;
    written = database_error("write store");
  }
  // Some failures have rolled back already.
  if (sqlite3_get_autocommit(database_) == 0) s.rollback.run();
  return written;
}

Result<> SqliteStore::write_all(const manage::Transaction& transaction) {
  Statements& s = *statements_;
  for (const manage::Write& write : transaction.writes) {
    int code;
    if (write.remove)
      code = s.remove.reset()
                 .bind(write.kind)
                 .bind(write.id)
                 .bind(int64_t(write.expected_version))
                 .run();
    else if (write.expected_version == 0)
      code = s.insert.reset().bind(write.kind).bind(write.id).bind_bytes(write.bytes).run();
    else
      code = s.update.reset()
                 .bind_bytes(write.bytes)
                 .bind(write.kind)
                 .bind(write.id)
                 .bind(int64_t(write.expected_version))
                 .run();
    if (code == SQLITE_CONSTRAINT || (code == SQLITE_DONE && sqlite3_changes(database_) != 1))
      return stale_object(write);
    if (code != SQLITE_DONE) return database_error("write store");
    if (s.drop_claims.reset().bind(write.kind).bind(write.id).run() != SQLITE_DONE)
      return database_error("write store");
  }
  // After all old claims are gone: one object may take over what another gives up.
  for (const manage::Write& write : transaction.writes) {
    if (write.remove) continue;
    for (const manage::Claim& claim : write.claims) {
      const int code =
          s.claim.reset().bind(claim.space).bind(claim.value).bind(write.kind).bind(write.id).run();
      if (code == SQLITE_DONE) continue;
      if (code != SQLITE_CONSTRAINT) return database_error("write store");
      std::string owner;
      if (s.owner.reset().bind(claim.space).bind(claim.value).step() == SQLITE_ROW)
        owner = s.owner.text(0) + " '" + s.owner.text(1) + "'";
      s.owner.reset();
      return taken_claim(claim, owner);
    }
  }
  if (s.add_operation.reset().bind(transaction.operation_id).bind_bytes(transaction.result).run() !=
      SQLITE_DONE)
    return database_error("write store");
  if (s.forget_operations.reset().bind(int64_t(remembered_operations)).run() != SQLITE_DONE)
    return database_error("write store");
  return Ok;
}

Result<> SqliteStore::dump(const std::string& path) {
  const std::string fresh = path + ".new";
  ::unlink(fresh.c_str());
  Statement vacuum;
  if (vacuum.prepare(database_, "VACUUM INTO ?") != SQLITE_OK ||
      vacuum.reset().bind(fresh).run() != SQLITE_DONE) {
    Error error = database_error("dump store");
    ::unlink(fresh.c_str());
    return error;
  }
  // In place only when it is on the disk, name and all.
  if (auto kept = sync_file(fresh, O_RDONLY); !kept) return kept;
  if (std::rename(fresh.c_str(), path.c_str()) != 0) return errno_error("rename " + fresh);
  const size_t slash = path.rfind('/');
  return sync_file(slash == std::string::npos ? "." : path.substr(0, slash + 1),
                   O_RDONLY | O_DIRECTORY);
}

}  // namespace weft::store
