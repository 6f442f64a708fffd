// SPDX-License-Identifier: Apache-2.0
// Work on a directory that no store has open.
#include <sys/eventfd.h>

#include <cstdio>
#include <filesystem>

#include "io/files.h"
#include "store/dqlite/backup.h"
#include "store/dqlite/layout.h"
#include "store/dqlite/state.h"

namespace weft::store {

using dqlite::Client;
using dqlite::LocalNode;

namespace {

constexpr size_t rows_per_transaction = 2000;

Result<Fd> nobody(const std::string& address) {
  return Error(ErrorCode::unavailable, "no connection to " + address + " while recovering");
}

// The rows in a new cluster of one member.
Result<> build(const std::string& directory, const MemberIdentity& self,
               const std::vector<Client::Statement>& rows) {
  TRY(io::make_directories(dqlite::raft_folder(directory)));
  TRY(dqlite::check_space(directory));
  const auto node =
      TRY(LocalNode::start({dqlite::raft_folder(directory), self.id, self.address, nobody, 20ms}));
  const Fd never(::eventfd(0, EFD_CLOEXEC));
  dqlite::Writer writer(*node, directory, never.get());
  for (size_t at = 0; at < rows.size(); at += rows_per_transaction) {
    const size_t count = std::min(rows_per_transaction, rows.size() - at);
    TRY(writer.fill({rows.begin() + long(at), rows.begin() + long(at + count)}));
  }
  // Also makes the tables if the backup was empty.
  TRY(writer.load());
  return dqlite::write_member(directory, self);
}

Result<> move(const std::string& from, const std::string& to) {
  if (std::rename(from.c_str(), to.c_str()) != 0)
    return errno_error("cannot rename " + from + " to " + to);
  return Ok;
}

}  // namespace

Result<> DqliteStore::restore(const std::string& directory, const std::string& backup,
                              const std::string& address) {
  const std::string fresh = directory + ".restoring";
  const std::string replaced = directory + ".replaced";
  std::error_code error;
  std::filesystem::remove_all(fresh, error);
  if (error) return Error("cannot remove " + fresh + ": " + error.message());
  auto built = [&]() -> Result<> {
    const auto rows = TRY(dqlite::read_backup(backup, fresh));
    return build(fresh, {dqlite::first_node_id, address, dqlite::new_generation()}, rows);
  }();
  if (!built) {
    std::filesystem::remove_all(fresh, error);
    return std::move(built).error().in("restore");
  }
  if (std::filesystem::exists(directory, error)) {
    std::filesystem::remove_all(replaced, error);
    if (error) return Error("cannot remove " + replaced + ": " + error.message());
    TRY(move(directory, replaced));
  }
  return move(fresh, directory);
}

Result<> DqliteStore::recover(const std::string& directory) {
  MemberIdentity self = TRY(dqlite::read_member(directory));
  TRY(dqlite::check_has_log(directory));
  TRY(dqlite::check_space(directory));
  // First the new generation: from then on the old members cannot reach this one any more.
  self.generation = dqlite::new_generation();
  TRY(dqlite::write_member(directory, self));
  return LocalNode::make_only_member(
      {dqlite::raft_folder(directory), self.id, self.address, nobody, 20ms});
}

}  // namespace weft::store
