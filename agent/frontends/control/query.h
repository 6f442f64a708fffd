// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"

namespace weft::control {

// A request target taken apart: path segments and parameters, percent-decoded after the split, so
// that an encoded '/' or '&' stays part of its value.
struct Target {
  std::vector<std::string> segments;
  std::vector<std::pair<std::string, std::string>> parameters;  // in the order they came
};

// Errors: invalid for a broken escape, or text that is not UTF-8 or holds a zero byte.
Result<Target> parse_target(std::string_view target);

}  // namespace weft::control
