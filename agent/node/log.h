// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "base/result.h"
#include "node/config.h"

namespace weft::node {

// One line per event that matters, on standard error; the supervisor keeps and rotates it.
void start_logging(const Config& config);

void log_debug(const std::string& message);
void log_info(const std::string& message);
void log_warning(const std::string& message);
void log_error(const std::string& message);

}  // namespace weft::node
