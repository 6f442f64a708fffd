// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <vector>

#include "cli/command.h"

namespace weft::cli {

using Json = nlohmann::json;

// The options that describe a service, for create and update.
std::vector<Option> spec_options();

// Puts what was given into a ServiceSpec of the API, and into `fields` the names of the fields
// that were set.
Result<> read_spec(const Arguments& arguments, Json& spec, std::vector<std::string>& fields);

}  // namespace weft::cli
