// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "store/dqlite/client.h"
#include "store/dqlite/local_node.h"
#include "store/store.h"

namespace weft::store::dqlite {

// Executes transactions and loads on this process' node, one at a time. Blocks.
class Writer {
 public:
  // `stop`: see Client.
  Writer(const LocalNode& node, std::string directory, int stop);

  // All in one transaction of the database: one answer for each, in order.
  std::vector<Result<Committed>> commit(const std::vector<manage::Transaction>& group);
  // After a write barrier.
  Result<Snapshot> load();
  // This member no longer leads: what the connection had under way is undone.
  void disconnect() { client_.reset(); }
  // Called when a node that led refuses to.
  void on_refused(std::function<void()> fn) { on_refused_ = std::move(fn); }

  // Puts rows as they are into an empty database.
  Result<> fill(const std::vector<Client::Statement>& rows);

 private:
  using Answers = std::vector<Result<Committed>>;
  template <typename T>
  Result<T> persist(const std::function<Outcome<T>()>& attempt);
  Outcome<Empty> connect();
  Outcome<Empty> ensure_schema();
  Outcome<Answers> attempt(const std::vector<manage::Transaction>& group);
  Outcome<Result<Committed>> attempt_one(const manage::Transaction& transaction);
  Outcome<Result<Committed>> write_all(const manage::Transaction& transaction);
  Outcome<Snapshot> attempt_load();
  Error not_leader();
  // False: stopping.
  bool pause();

  const LocalNode& node_;
  std::string directory_;
  int stop_;
  std::function<void()> on_refused_;
  std::optional<Client> client_;
};

}  // namespace weft::store::dqlite
