// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "base/instant.h"

namespace weft::store::dqlite {

// Elections that end sooner than the library's own. A follower refuses its vote until its own timer
// has expired, so an election takes the longer of two timers drawn from 15 to 30 times the network
// latency; and if that follower lacks an entry which the other has, one more. Here, with 20 ms:
//
//   follower                      300 to 400 ms
//   candidate, its first attempt  150 to 250 ms: the other one refused, and is ready now
//   candidate, further attempts   300 to 600 ms, as before: slow disks get the time they need
//
// The library has no setting for it (Debian's is built without the assertions that would forbid
// less): raft_start() of libraft is found here first, and goes on there.
// True once a node of this process was started so.
bool elections_tuned();

}  // namespace weft::store::dqlite
