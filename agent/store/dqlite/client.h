// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/fd.h"
#include "base/instant.h"
#include "store/dqlite/wire.h"

namespace weft::store::dqlite {

// Codes of sqlite and dqlite that a caller acts on (extended codes of sqlite's SQLITE_IOERR).
// A change of members or leader that did not come about in time.
constexpr uint64_t code_failed = 1;
constexpr uint64_t code_busy = 5;
constexpr uint64_t code_constraint = 19;
constexpr uint64_t code_io_error = 10;
constexpr uint64_t code_full = 13;
constexpr uint64_t code_not_leader = 10250;
constexpr uint64_t code_leadership_lost = 10506;
// Not of dqlite: the connection broke, nothing came in time, or the caller is stopping.
constexpr uint64_t code_disconnected = uint64_t(1) << 32;
// Of this code: the database was written by a newer version of it.
constexpr uint64_t code_newer_schema = code_disconnected + 1;
constexpr uint64_t primary_code(uint64_t code) { return code & 0xff; }

// A value, or the failure with dqlite's code.
template <typename T>
class [[nodiscard]] Outcome {
 public:
  Outcome(T value) : state_(std::move(value)) {}
  Outcome(Failure failure) : state_(std::move(failure)) {}
  explicit operator bool() const { return state_.index() == 0; }
  T& operator*() { return std::get<0>(state_); }
  T* operator->() { return &std::get<0>(state_); }
  const Failure& failure() const { return std::get<1>(state_); }

 private:
  std::variant<T, Failure> state_;
};

// A connection to the node of this process: one thread, blocking with a time-out for each call.
class Client {
 public:
  // `stop`: a descriptor that becomes readable when every call must end at once.
  Client(Fd socket, int stop) : socket_(std::move(socket)), stop_(stop) {}

  // For each wait of the following calls.
  void set_timeout(Duration timeout) { timeout_ = timeout; }

  // First of all calls.
  Outcome<Welcome> greet();
  Outcome<Leader> leader();
  Outcome<std::vector<Node>> nodes();
  Outcome<Empty> add(uint64_t id, std::string_view address);
  Outcome<Empty> assign(uint64_t id, Role role);
  Outcome<Empty> remove(uint64_t id);
  Outcome<Empty> transfer(uint64_t id);
  Outcome<Metadata> describe();
  Outcome<Empty> set_weight(uint64_t weight);
  // The database file and its write-ahead log.
  Outcome<Files> dump(std::string_view database);

  // One database for each connection, before the calls below.
  Outcome<Empty> open(std::string_view database);
  Outcome<Empty> exec_sql(std::string_view sql);
  // `sql` is prepared when it is first used; the pointer identifies it.
  Outcome<Changed> exec(const char* sql, std::vector<Value> parameters = {});
  Outcome<std::vector<Row>> query(const char* sql, std::vector<Value> parameters = {});
  Outcome<Empty> finalize(const char* sql);

  struct Statement {
    const char* sql;
    std::vector<Value> parameters;
  };
  // All of them, without waiting for each, in order. `done` gets each outcome in its order; all are
  // executed even if one fails. False: the connection broke, and `done` was called for some only.
  bool exec_all(const std::vector<Statement>& statements,
                const std::function<void(size_t, Outcome<Changed>)>& done);

 private:
  Outcome<Empty> send(std::string_view bytes);
  Outcome<Empty> receive_bytes(char* data, size_t size);
  Outcome<Response> receive();
  // 0, or the reason why `events` did not come.
  Outcome<Empty> wait(short events);
  template <typename T>
  Outcome<T> receive_as();
  template <typename T>
  Outcome<T> call(std::string_view message);
  Outcome<uint32_t> prepared(const char* sql);

  Fd socket_;
  int stop_;
  Duration timeout_ = 10s;
  std::map<const char*, uint32_t> statements_;
};

}  // namespace weft::store::dqlite
