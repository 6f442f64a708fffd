// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "weft/api/weft.pb.h"

namespace weft::manage {

// node.id, node.hostname (or node.name), node.role or node.labels.KEY, == or !=, a value.
struct Constraint {
  std::string key;
  bool equal = true;
  std::string value;
};

Result<Constraint> parse_constraint(const std::string& text);
bool holds(const Constraint& constraint, const api::Node& node);

}  // namespace weft::manage
