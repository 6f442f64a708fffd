// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"

namespace weft::link {

// Reads and writes /proc/sys/NAME inside a network namespace, e.g. "net/ipv4/conf/eth0/rp_filter".
// Writing a value that is already there is no write, so a read-only /proc/sys is fine as long as
// nothing must change. not_found: the kernel has no such setting (IPv6 switched off).
Result<> write_sysctl(int netns, const std::string& name, std::string_view value);
Result<std::string> read_sysctl(int netns, const std::string& name);

}  // namespace weft::link
