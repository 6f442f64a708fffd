// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "base/instant.h"

namespace weft::io {

// CLOCK_BOOTTIME: monotonic, and it goes on while the machine is suspended, so that a node that
// slept through its tombstones' lifetime knows that it was away.
Instant clock_now();

// CLOCK_REALTIME.
WallTime clock_wall_now();

}  // namespace weft::io
