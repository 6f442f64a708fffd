// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <thread>
#include <utility>
#include <vector>

#include "base/mailbox.h"
#include "io/loop.h"
#include "store/dqlite/local_node.h"
#include "store/dqlite/observer.h"
#include "store/dqlite/writer.h"
#include "store/dqlite_store.h"

namespace weft::store {

// A loop on a thread of its own, for work that blocks.
class WorkThread {
 public:
  ~WorkThread() { stop(); }
  void start() {
    thread_ = std::thread([this] { loop_.run(); });
  }
  void stop() {
    loop_.stop();
    if (thread_.joinable()) thread_.join();
  }
  io::Loop& loop() { return loop_; }

 private:
  io::Loop loop_;
  std::thread thread_;
};

struct DqliteStore::State {
  State(Settings s, MemberIdentity self);
  ~State();
  Result<> start();

  // On the writer's thread.
  void enqueue(manage::Transaction transaction, Answer answer);
  void run_group();
  // On the operations' thread.
  using Call = std::function<dqlite::Outcome<dqlite::Empty>(dqlite::Client&)>;
  Result<dqlite::Client> client(Duration timeout) const;
  // Tries while the cluster is busy with another change.
  Result<> change(const std::string& what, const Call& call) const;
  Result<std::vector<Member>> members() const;
  Result<> add(const Member& member) const;
  Result<> set_role(uint64_t id, MemberRole role) const;
  Result<> remove(uint64_t id) const;
  Result<> transfer(uint64_t id) const;
  Result<> backup(const std::string& path) const;
  // What the library has read from the disk is a database.
  Result<> check_sound() const;
  void dump_if_changed();

  void leadership_changed(const Leadership& now);
  template <typename T>
  void answer(std::function<void(Result<T>)> done, Result<T> result) const {
    settings.post([done = std::move(done), result = std::move(result)] { done(result); });
  }

  Settings settings;
  MemberIdentity self;
  Fd stop;  // readable: everything that waits gives up
  std::unique_ptr<dqlite::LocalNode> node;
  std::optional<dqlite::Writer> writer;
  std::optional<dqlite::Observer> observer;
  std::vector<std::pair<manage::Transaction, Answer>> waiting;
  Mailbox<Leadership> leader;
  size_t dumped = 0;  // hash of the last dump
  io::Timer dump_timer;
  // Last: their threads use what is above.
  WorkThread writing, observing, operating;
};

}  // namespace weft::store
