// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <nlohmann/json_fwd.hpp>

#include "cli/command.h"

namespace weft::cli {

using Json = nlohmann::json;

// Waits until the service has as many running tasks as it should, with progress on a terminal's
// standard error. Errors: unavailable after `patience`, with the last word of a task that does
// not run. A service without a runtime of its own has no tasks to wait for.
Result<> wait_for_tasks(const Context& context, const Json& service,
                        std::chrono::milliseconds patience);

}  // namespace weft::cli
