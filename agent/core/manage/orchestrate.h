// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>

#include "core/manage/draft.h"

namespace weft::manage {

// A failed task is replaced no sooner than this.
constexpr auto restart_delay = std::chrono::seconds(5);
// Finished tasks kept per slot, for people to look at.
constexpr size_t task_history = 5;
// A task that cannot be confirmed stopped, because its node is dead, keeps its addresses this long:
// the node may only be cut off, with the container running. Removing the node frees them at once.
constexpr auto orphan_after = std::chrono::hours(24);

// Brings the tasks in line with the services and nodes: creates, places, shuts down, replaces and
// forgets. Running it twice changes nothing the second time. Gives the time at which there is
// something to do even if nothing happens.
std::optional<WallTime> orchestrate(Draft& draft);

}  // namespace weft::manage
