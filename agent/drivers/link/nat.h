// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <set>
#include <string>
#include <vector>

#include "base/address.h"
#include "base/result.h"

namespace weft::link {

// Which packets of containers may leave the node, and how.
struct NatSpec {
  std::set<Prefix> subnets;   // of every overlay network
  std::set<Prefix> outgoing;  // those that may go outside: masqueraded with the node's address
  auto operator<=>(const NatSpec&) const = default;
};

// Makes table `inet weft` of the namespace say exactly this, in one transaction. The chains:
//   postrouting  outgoing -> not a subnet, not over weft0: masquerade
//   forward      from a container's link: accept; over weft0: only replies, new connections from
//                outside to a container's own address are dropped (publish the port instead)
// An accept here does not overrule a DROP policy of another table. So every forward chain of
// another table whose policy is drop (Docker's) also gets two rules marked "weft" at its top. A
// chain of iptables-legacy cannot be reached this way; the warning returned says what to do.
Result<std::vector<std::string>> apply_nat(int netns, const NatSpec& spec);
// Removes the table and the rules in other tables. Nothing there is fine.
Result<> remove_nat(int netns);

}  // namespace weft::link
