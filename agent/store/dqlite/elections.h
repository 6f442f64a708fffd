// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "base/instant.h"

namespace weft::store::dqlite {

// Elections that end sooner than the library's own. A follower refuses its vote until its own timer
// has expired, so an election takes the longer of two timers drawn from 300 to 600 ms; and if that
// follower lacks an entry which the other has, one more. Here followers draw from a narrow range,
// and a candidate, which no heartbeat can calm, tries again sooner:
//
//   follower   15 to 20 times the latency    (20 ms: 300 to 400 ms)
//   candidate  10 to 14 times the latency    (200 to 280 ms)
//   a leader without a majority steps down after 10 times the latency
//
// The library has no setting for it: raft_start() of libraft is found here first, and goes on
// there. True once a node of this process was started so.
bool elections_tuned();

}  // namespace weft::store::dqlite
