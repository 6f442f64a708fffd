// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/manage/draft.h"

namespace weft::manage {

// Gives every task that waits for it a node and its addresses. Those that must go on waiting have
// the reason as their message.
void place_pending(Draft& draft);

}  // namespace weft::manage
