// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <vector>

#include "core/dns/query.h"
#include "core/dns/resolve.h"
#include "core/dns/view.h"

// The questions that resolve() puts to a view.
namespace weft::dns {

struct Match {
  const NetworkNames* network = nullptr;
  const NetworkNames::Entry* entry = nullptr;
  explicit operator bool() const { return entry != nullptr; }
};

// The asker's networks' answers to one name, without its first `first` labels: the name in each of
// its networks, then each split into name and network. Returns the first match that has what is
// asked for, or else the first that at least has the name.
Match find_name(const DnsView& view, const Asker& asker, const Query& query, size_t first);

// Is a name, which find_name does not know, one of ours all the same?
struct Ownership {
  enum class Kind {
    foreign,
    exists,  // answer "no such record"
    absent,  // answer "no such name"
  };
  Kind kind = Kind::foreign;
  size_t zone_label = 0;  // the zone is the question's name from this label on
};
Ownership owner_of(const DnsView& view, const Query& query);

// Under in-addr.arpa and ip6.arpa: the block that the name stands for; whole addresses have
// length 32 or 128.
struct Reverse {
  Prefix block;
  bool whole = false;
  size_t zone_label = 0;  // of "in-addr.arpa"
};
std::optional<Reverse> parse_reverse(const Query& query);

}  // namespace weft::dns
