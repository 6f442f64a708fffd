// SPDX-License-Identifier: Apache-2.0
#include "store/dqlite_store.h"

#include <sys/eventfd.h>

#include <filesystem>
#include <future>

#include "base/assert.h"
#include "io/files.h"
#include "io/pki.h"
#include "store/dqlite/layout.h"
#include "store/dqlite/state.h"

namespace weft::store {
namespace {

constexpr auto load_timeout = 10s;
// A group is one message to the other members, and one fsync.
constexpr size_t max_group = 256;

Error stopping() { return Error(ErrorCode::unavailable, "the store is stopping"); }

}  // namespace

DqliteStore::State::State(Settings s, MemberIdentity me)
    : settings(std::move(s)), self(std::move(me)), stop(::eventfd(0, EFD_CLOEXEC)) {
  WEFT_ASSERT(stop);
}

DqliteStore::State::~State() {
  const uint64_t one = 1;
  (void)!::write(stop.get(), &one, sizeof one);
  for (WorkThread* thread : {&writing, &observing, &operating}) thread->stop();
  // Their connections end before the node does.
  dump_timer.cancel();
  writer.reset();
  observer.reset();
  node.reset();
}

Result<> DqliteStore::State::start() {
  node = TRY(dqlite::LocalNode::start({dqlite::raft_folder(settings.directory), self.id,
                                       self.address, settings.connect, settings.network_latency}));
  writer.emplace(*node, settings.directory, stop.get());
  TRY(check_sound());
  observer.emplace(observing.loop(), *node, self.id, stop.get(),
                   [this](const Leadership& now) { leadership_changed(now); });
  writer->on_refused([this] { observing.loop().post([this] { observer->doubt(); }); });
  observing.loop().post([this] { observer->start(); });
  if (settings.dump_interval > Duration::zero())
    operating.loop().post([this] { dump_if_changed(); });
  for (WorkThread* thread : {&writing, &observing, &operating}) thread->start();
  return Ok;
}

void DqliteStore::State::leadership_changed(const Leadership& now) {
  leader.put(std::make_shared<const Leadership>(now));
  if (!now.self) writing.loop().post([this] { writer->disconnect(); });
  if (settings.on_leadership) settings.post([fn = settings.on_leadership, now] { fn(now); });
}

void DqliteStore::State::enqueue(manage::Transaction transaction, Answer answer) {
  // Those that wait already come before this function returns to the loop: one group.
  if (waiting.empty()) writing.loop().post([this] { run_group(); });
  waiting.emplace_back(std::move(transaction), std::move(answer));
}

void DqliteStore::State::run_group() {
  std::vector<manage::Transaction> group;
  std::vector<Answer> answers;
  const size_t count = std::min(waiting.size(), max_group);
  for (size_t i = 0; i < count; ++i) {
    group.push_back(std::move(waiting[i].first));
    answers.push_back(std::move(waiting[i].second));
  }
  waiting.erase(waiting.begin(), waiting.begin() + long(count));
  if (!waiting.empty()) writing.loop().post([this] { run_group(); });
  auto results = writer->commit(group);
  for (size_t i = 0; i < count; ++i) answer(std::move(answers[i]), std::move(results[i]));
}

DqliteStore::DqliteStore(std::unique_ptr<State> state) : state_(std::move(state)) {}
DqliteStore::~DqliteStore() = default;

bool DqliteStore::exists(const std::string& directory) {
  std::error_code error;
  return std::filesystem::exists(dqlite::member_file(directory), error);
}

Result<std::unique_ptr<DqliteStore>> DqliteStore::start(Settings settings, MemberIdentity self,
                                                        bool fresh) {
  const std::string directory = settings.directory;
  TRY(io::make_directories(directory));
  if (fresh) {
    if (exists(directory)) return Error(ErrorCode::conflict, directory + " holds a store already");
    // Of an attempt that did not get as far as the member file.
    std::error_code error;
    std::filesystem::remove_all(dqlite::raft_folder(directory), error);
    if (error) return Error("cannot remove " + dqlite::raft_folder(directory));
    TRY(dqlite::check_space(directory));
    TRY(io::make_directories(dqlite::raft_folder(directory)));
  } else {
    TRY(dqlite::check_has_log(directory));
  }
  auto state = std::make_unique<State>(std::move(settings), std::move(self));
  TRY(state->start());
  if (fresh) TRY(dqlite::write_member(directory, state->self));
  return std::unique_ptr<DqliteStore>(new DqliteStore(std::move(state)));
}

Result<std::unique_ptr<DqliteStore>> DqliteStore::create(Settings settings,
                                                         const std::string& address) {
  auto store = TRY(
      start(std::move(settings), {dqlite::first_node_id, address, dqlite::new_generation()}, true));
  // The only voter leads at once.
  TRY(store->load());
  return store;
}

Result<std::unique_ptr<DqliteStore>> DqliteStore::join(Settings settings, const Member& self,
                                                       const std::string& generation) {
  if (self.id == 0 || self.id == dqlite::first_node_id || self.address.empty())
    return Error(ErrorCode::invalid, "a member that joins needs a new id and an address");
  return start(std::move(settings), {self.id, self.address, generation}, true);
}

Result<std::unique_ptr<DqliteStore>> DqliteStore::open(Settings settings) {
  MemberIdentity self = TRY(dqlite::read_member(settings.directory));
  return start(std::move(settings), std::move(self), false);
}

Result<Snapshot> DqliteStore::load() {
  auto promise = std::make_shared<std::promise<Result<Snapshot>>>();
  auto future = promise->get_future();
  State* state = state_.get();
  state->writing.loop().post([state, promise] { promise->set_value(state->writer->load()); });
  if (future.wait_for(load_timeout) != std::future_status::ready) return stopping();
  return future.get();
}

void DqliteStore::load(std::function<void(Result<Snapshot>)> done) {
  State* state = state_.get();
  state->writing.loop().post([state, done = std::move(done)]() mutable {
    state->answer<Snapshot>(std::move(done), state->writer->load());
  });
}

void DqliteStore::commit(const manage::Transaction& transaction, Answer answer) {
  State* state = state_.get();
  state->writing.loop().post([state, transaction, answer = std::move(answer)]() mutable {
    state->enqueue(std::move(transaction), std::move(answer));
  });
}

const MemberIdentity& DqliteStore::identity() const { return state_->self; }

std::string DqliteStore::greeting() const { return "weft-raft " + state_->self.generation + "\n"; }

Result<Fd> DqliteStore::connect_local() const { return state_->node->connect(); }

Leadership DqliteStore::leadership() const {
  const auto known = state_->leader.get();
  return known ? *known : Leadership{};
}

void DqliteStore::peer_lost() {
  State* state = state_.get();
  state->observing.loop().post([state] { state->observer->hurry(); });
}

uint64_t DqliteStore::new_member_id() {
  uint64_t id = 0;
  // 63 bits: some engines and languages know only signed numbers.
  while (id <= dqlite::first_node_id)
    for (const uint8_t byte : io::random_bytes(8)) id = (id << 8 | byte) & INT64_MAX;
  return id;
}

}  // namespace weft::store
