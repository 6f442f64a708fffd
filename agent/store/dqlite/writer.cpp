// SPDX-License-Identifier: Apache-2.0
#include "store/dqlite/writer.h"

#include <poll.h>

#include <chrono>

#include "store/dqlite/layout.h"
#include "store/schema.h"

namespace weft::store::dqlite {
namespace {

constexpr auto give_up_after = 5s;
constexpr auto pause_between_attempts = 5ms;
constexpr const char* savepoint = "SAVEPOINT one";
constexpr const char* savepoint_rollback = "ROLLBACK TO one";
constexpr const char* savepoint_release = "RELEASE one";

const std::string& text_of(const Value& value) {
  static const std::string none;
  if (const auto* text = std::get_if<std::string>(&value)) return *text;
  if (const auto* blob = std::get_if<Blob>(&value)) return blob->bytes;
  return none;
}

int64_t number_of(const Value& value) {
  const auto* number = std::get_if<int64_t>(&value);
  return number ? *number : 0;
}

bool disk_refuses(const Failure& failure) {
  const uint64_t kind = primary_code(failure.code);
  return failure.code < code_disconnected && failure.code != code_leadership_lost &&
         (kind == code_io_error || kind == code_full);
}

bool has_columns(const std::vector<Row>& rows, size_t count) {
  for (const Row& row : rows)
    if (row.size() != count) return false;
  return true;
}

Client::Statement write_statement(const manage::Write& write) {
  const int64_t expected = int64_t(write.expected_version);
  if (write.remove) return {sql::remove_object, {write.kind, write.id, expected}};
  if (expected == 0) return {sql::insert_object, {write.kind, write.id, Blob{write.bytes}}};
  return {sql::update_object, {Blob{write.bytes}, write.kind, write.id, expected}};
}

struct Origin {
  const manage::Write* write = nullptr;  // must change one row
  const manage::Claim* claim = nullptr;
};

// What a transaction executes, and whom each statement stands for.
struct Plan {
  std::vector<Client::Statement> statements;
  std::vector<Origin> origins;

  void add(Client::Statement statement, Origin origin = {}) {
    statements.push_back(std::move(statement));
    origins.push_back(origin);
  }
};

Plan plan_of(const manage::Transaction& transaction) {
  Plan plan;
  for (const manage::Write& write : transaction.writes) {
    plan.add(write_statement(write), {&write, nullptr});
    plan.add({sql::drop_claims, {write.kind, write.id}});
  }
  // After all old claims are gone: one object may take over what another gives up.
  for (const manage::Write& write : transaction.writes) {
    if (write.remove) continue;
    for (const manage::Claim& claim : write.claims)
      plan.add({sql::add_claim, {claim.space, claim.value, write.kind, write.id}},
               {nullptr, &claim});
  }
  plan.add({sql::add_operation, {transaction.operation_id, Blob{transaction.result}}});
  plan.add({sql::forget_operations, {int64_t(remembered_operations)}});
  return plan;
}

}  // namespace

Writer::Writer(const LocalNode& node, std::string directory, int stop)
    : node_(node), directory_(std::move(directory)), stop_(stop) {}

bool Writer::pause() {
  pollfd stop{stop_, POLLIN, 0};
  const auto ms = std::chrono::duration_cast<std::chrono::milliseconds>(pause_between_attempts);
  return ::poll(&stop, 1, int(ms.count())) <= 0;
}

Outcome<Empty> Writer::connect() {
  if (client_) return Empty{};
  auto socket = node_.connect();
  if (!socket) return Failure{code_disconnected, socket.error().message()};
  client_.emplace(std::move(*socket), stop_);
  if (auto welcome = client_->greet(); !welcome) return welcome.failure();
  if (auto opened = client_->open(database_name); !opened) return opened.failure();
  return ensure_schema();
}

Outcome<Empty> Writer::ensure_schema() {
  auto version = client_->query(sql::version);
  if (!version) return version.failure();
  if (version->size() != 1 || !has_columns(*version, 1))
    return Failure{code_disconnected, "no schema version"};
  const int64_t found = number_of((*version)[0][0]);
  if (found > sql::schema_version)
    return Failure{code_newer_schema, newer_schema(directory_, found).message()};
  if (found != 0) return Empty{};
  for (const char* text : {sql::begin, sql::create, sql::commit})
    if (auto done = client_->exec_sql(text); !done) return done.failure();
  return Empty{};
}

Error Writer::not_leader() {
  std::string address;
  if (client_)
    if (auto leader = client_->leader()) address = leader->address;
  if (address.empty())
    return Error(ErrorCode::unavailable,
                 "the managers have no leader now: a majority of them must run and reach each "
                 "other; what runs on the nodes goes on");
  return Error(ErrorCode::unavailable, "this manager does not lead: " + address + " does");
}

// Tries until it is clear what came of it: the same operation id twice does no harm.
template <typename T>
Result<T> Writer::persist(const std::function<Outcome<T>()>& attempt) {
  const auto deadline = std::chrono::steady_clock::now() + give_up_after;
  while (true) {
    Failure failure;
    if (auto connected = connect(); !connected) {
      failure = connected.failure();
    } else if (auto done = attempt(); done) {
      return std::move(*done);
    } else {
      failure = done.failure();
    }
    if (failure.code == code_not_leader) {
      Error error = not_leader();
      disconnect();
      if (on_refused_) on_refused_();
      return error;
    }
    if (failure.code == code_leadership_lost && on_refused_) on_refused_();
    // Whatever state the connection is in: its transaction is undone with it.
    disconnect();
    if (failure.code == code_newer_schema) return Error(failure.message);
    if (disk_refuses(failure)) {
      TRY(check_space(directory_));
      return Error("write store " + directory_ + ": the disk refuses: " + failure.message);
    }
    if (std::chrono::steady_clock::now() >= deadline || !pause())
      return Error(ErrorCode::unavailable, "write store " + directory_ + ": " + failure.message);
  }
}

std::vector<Result<Committed>> Writer::commit(const std::vector<manage::Transaction>& group) {
  const auto all_fail = [&](const Error& error) { return Answers(group.size(), error); };
  if (auto space = check_space(directory_); !space) return all_fail(space.error());
  auto answers = persist<Answers>([&] { return attempt(group); });
  return answers ? std::move(*answers) : all_fail(answers.error());
}

Outcome<Writer::Answers> Writer::attempt(const std::vector<manage::Transaction>& group) {
  if (auto begun = client_->exec(sql::begin); !begun) return begun.failure();
  Answers answers;
  bool changed = false;
  for (const manage::Transaction& transaction : group) {
    // A refused transaction must not undo those beside it.
    if (group.size() > 1)
      if (auto saved = client_->exec(savepoint); !saved) return saved.failure();
    auto answer = attempt_one(transaction);
    if (!answer) return answer.failure();
    if (group.size() > 1) {
      if (!*answer)
        if (auto undone = client_->exec(savepoint_rollback); !undone) return undone.failure();
      if (auto released = client_->exec(savepoint_release); !released) return released.failure();
    }
    changed |= *answer && !(*answer)->repeated;
    answers.push_back(std::move(*answer));
  }
  auto ended = client_->exec(changed ? sql::commit : sql::rollback);
  if (!ended) return ended.failure();
  return answers;
}

Outcome<Result<Committed>> Writer::attempt_one(const manage::Transaction& transaction) {
  auto found = client_->query(sql::find_operation, {transaction.operation_id});
  if (!found) return found.failure();
  if (found->empty()) return write_all(transaction);
  if (!has_columns(*found, 1)) return Failure{code_disconnected, "a row of another form"};
  return Result<Committed>(Committed{true, text_of((*found)[0][0])});
}

Outcome<Result<Committed>> Writer::write_all(const manage::Transaction& transaction) {
  const Plan plan = plan_of(transaction);
  std::optional<size_t> refused;  // the first
  std::optional<Failure> failed;
  const bool connected = client_->exec_all(plan.statements, [&](size_t i, Outcome<Changed> done) {
    if (!done && primary_code(done.failure().code) != code_constraint && !failed)
      failed = done.failure();
    const bool kept = done && (plan.origins[i].write == nullptr || done->rows == 1);
    if (!kept && !refused) refused = i;
  });
  if (failed) return *failed;
  if (!connected) return Failure{code_disconnected, "the connection broke"};
  if (!refused) return Result<Committed>(Committed{false, transaction.result});
  const Origin& origin = plan.origins[*refused];
  if (origin.write != nullptr) return Result<Committed>(stale_object(*origin.write));
  if (origin.claim == nullptr)
    return Result<Committed>(
        Error(ErrorCode::invalid, "the transaction holds a text that cannot be stored"));
  auto owner = client_->query(sql::claim_owner, {origin.claim->space, origin.claim->value});
  if (!owner) return owner.failure();
  std::string name;
  if (!owner->empty() && has_columns(*owner, 2))
    name = text_of((*owner)[0][0]) + " '" + text_of((*owner)[0][1]) + "'";
  return Result<Committed>(taken_claim(*origin.claim, name));
}

Result<Snapshot> Writer::load() {
  return persist<Snapshot>([this] { return attempt_load(); });
}

Outcome<Snapshot> Writer::attempt_load() {
  // A leader that was deposed without knowing fails here.
  if (auto raised = client_->exec(sql::raise_barrier); !raised) return raised.failure();
  if (auto begun = client_->exec(sql::begin_reading); !begun) return begun.failure();
  auto objects = client_->query(sql::all_objects);
  if (!objects) return objects.failure();
  auto operations = client_->query(sql::all_operations);
  if (!operations) return operations.failure();
  if (auto ended = client_->exec(sql::rollback); !ended) return ended.failure();
  if (!has_columns(*objects, 4) || !has_columns(*operations, 2))
    return Failure{code_disconnected, "a row of another form"};
  Snapshot snapshot;
  for (Row& row : *objects)
    snapshot.objects.push_back(
        {text_of(row[0]), text_of(row[1]), uint64_t(number_of(row[2])), text_of(row[3])});
  for (Row& row : *operations) snapshot.results[text_of(row[0])] = text_of(row[1]);
  return snapshot;
}

Result<> Writer::fill(const std::vector<Client::Statement>& rows) {
  auto done = persist<Empty>([&]() -> Outcome<Empty> {
    if (auto begun = client_->exec(sql::begin); !begun) return begun.failure();
    std::optional<Failure> failed;
    const bool connected = client_->exec_all(rows, [&](size_t, Outcome<Changed> row) {
      if (!row && !failed) failed = row.failure();
    });
    if (failed) return *failed;
    if (!connected) return Failure{code_disconnected, "the connection broke"};
    auto ended = client_->exec(sql::commit);
    if (!ended) return ended.failure();
    return Empty{};
  });
  if (!done) return std::move(done).error();
  return Ok;
}

}  // namespace weft::store::dqlite
