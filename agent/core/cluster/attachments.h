// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

#include "core/cluster/types.h"

namespace weft::cluster {

// The cluster scope's records whose key starts with a zero byte say which networks a node takes
// part in: zero, the network (4 bytes, big-endian) -> base (varint), the first sequence of this
// stay. A tombstone's value is the last sequence of the stay that it ends (varint).
inline constexpr char reserved = '\0';

std::string attachment_key(ScopeId scope);
ScopeId scope_of(std::string_view attachment);
bool is_reserved(ScopeId scope, std::string_view key);

}  // namespace weft::cluster
