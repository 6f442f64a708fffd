// SPDX-License-Identifier: Apache-2.0
#include "store/dqlite/elections.h"

extern "C" {
#include <raft.h>
}
#include <dlfcn.h>

#include <atomic>
#include <cstdlib>

#include "base/assert.h"

namespace weft::store::dqlite {
namespace {

std::atomic<bool> tuned = false;

// Of this thread's node since it last was a follower.
thread_local int attempts = 0;

int within(int from, int to) { return to > from ? from + std::rand() % (to - from) : from; }

// Of the library's interface: in [shortest, longest), which is one to two election timeouts.
int draw_timer(raft_io* io, int shortest, int longest) {
  if (raft_state(static_cast<struct raft*>(io->data)) != RAFT_CANDIDATE) {
    attempts = 0;
    return within(shortest, shortest + (longest - shortest) / 3);
  }
  if (attempts++ == 0) return within(shortest / 2, shortest * 5 / 6);
  return within(shortest, longest);
}

void tune(struct raft* raft) {
  WEFT_ASSERT(raft->io->data == raft);
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
