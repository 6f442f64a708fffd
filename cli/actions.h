// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "cli/client.h"
#include "cli/command.h"
#include "cli/output.h"

// What the commands of several nouns do alike.
namespace weft::cli {

// Prints each named object of a collection as JSON: an array if several are named, so that the
// output is always one JSON value.
Result<int> inspect(const Context& context, const std::string& collection);

// Removes each named object and prints its name. Goes on after a failure; the status says so.
Result<int> remove_each(const Context& context, const std::string& collection,
                        const Parameters& query = {});

// Names by id: {"nodes", "nodes"} or {"networks", "networks"}.
Result<std::map<std::string, std::string>> names_by_id(const Context& context,
                                                       const char* collection);
// The name, or the short id if it is not known (any more).
std::string name_of(const std::map<std::string, std::string>& names, const std::string& id);

}  // namespace weft::cli
