// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "cli/command.h"

namespace weft::cli {

// Lists tasks, of one service or node if given, with the names of their nodes.
Result<int> list_tasks(const Context& context, const std::string& service, const std::string& node,
                       bool all);

}  // namespace weft::cli
