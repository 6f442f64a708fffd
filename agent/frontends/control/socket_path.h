// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/types.h>

#include <string>

#include "base/result.h"

namespace weft::control {

// Makes the folder of `path` if only that is missing, and refuses a path that a live agent
// answers at (conflict) or that is something else than a socket (invalid).
Result<> claim_socket_path(const std::string& path);

// Gives the socket bound at `bound` its mode (0660) and group (if it exists) and moves it to
// `path` in one step, so that nobody finds it with other rights. Returns its inode.
Result<ino_t> publish_socket(const std::string& bound, const std::string& path,
                             const std::string& group);

// Removes the socket at `path` unless another agent has put its own there since.
void remove_socket(const std::string& path, ino_t inode);

}  // namespace weft::control
