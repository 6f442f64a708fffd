// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/address.h"

namespace weft::dns {

// A resolver configuration file (resolv.conf(5)).
struct ResolvConf {
  std::vector<Address> nameservers;
  std::vector<std::string> search;
  std::vector<std::string> options;  // without ndots
  std::optional<int> ndots;
};

// Where a container finds its name server.
inline constexpr std::string_view resolver_address = "127.0.0.11";

// Total. As glibc reads it: `options` accumulate, the last `search` or `domain` wins, the last
// valid ndots wins; a comment starts with # or ; in column 0; a name server that is not a plain
// address (a scope such as %eth0 means nothing elsewhere) and unknown keywords are skipped.
ResolvConf parse_resolv_conf(std::string_view text);

// A container's file: our name server, and the search domains and options of `conf`. ndots is 0
// unless `conf` sets it, so that names of one label are asked as they are, before any search
// domain is tried.
std::string container_resolv_conf(const ResolvConf& conf);

}  // namespace weft::dns
