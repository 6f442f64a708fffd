// SPDX-License-Identifier: Apache-2.0
#include "store/dqlite/elections.h"

extern "C" {
#include <raft.h>
}
#include <dlfcn.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>

#include "base/assert.h"

namespace weft::store::dqlite {
namespace {

std::atomic<bool> tuned = false;

// Of the library's interface: in [shortest, longest), which is one to two election timeouts.
int draw_timer(raft_io* io, int shortest, int longest) {
  const auto* raft = static_cast<const struct raft*>(io->data);
  const int unit = (longest - shortest) / 10;
  const bool candidate = raft_state(const_cast<struct raft*>(raft)) == RAFT_CANDIDATE;
  const int from = shortest + (candidate ? 0 : 5 * unit);
  const int width = (candidate ? 4 : 5) * unit;
  return from + (width > 0 ? std::rand() % width : 0);
}

void tune(struct raft* raft) {
  WEFT_ASSERT(raft->io->data == raft);
  raft_set_election_timeout(raft, std::max(1U, raft->election_timeout * 2 / 3));
  raft->io->random = draw_timer;
  tuned = true;
}

}  // namespace

bool elections_tuned() { return tuned; }

}  // namespace weft::store::dqlite

extern "C" int raft_start(struct raft* raft) {
  using Start = int (*)(struct raft*);
  static const auto start = reinterpret_cast<Start>(::dlsym(RTLD_NEXT, "raft_start"));
  WEFT_ASSERT(start != nullptr);
  weft::store::dqlite::tune(raft);
  return start(raft);
}
