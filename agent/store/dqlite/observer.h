// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <optional>

#include "io/loop.h"
#include "store/dqlite/client.h"
#include "store/dqlite/local_node.h"
#include "store/dqlite_store.h"

namespace weft::store::dqlite {

// Asks this process' node again and again who leads. On a loop of its own.
class Observer {
 public:
  using Changed = std::function<void(const Leadership&)>;
  Observer(io::Loop& loop, const LocalNode& node, uint64_t self, int stop, Changed changed);

  void start() { poll(); }
  // Something happened: ask often for a while.
  void hurry();
  // The node refused to lead: tell so even if it leads again by now.
  void doubt();

 private:
  void poll();
  std::optional<Leadership> ask();
  void tell(const Leadership& now);

  io::Loop& loop_;
  const LocalNode& node_;
  uint64_t self_;
  int stop_;
  Changed changed_;
  std::optional<Client> client_;
  std::optional<Leadership> told_;
  Instant hurry_until_;
  io::Timer timer_;
};

}  // namespace weft::store::dqlite
