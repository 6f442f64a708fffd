// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace weft::manage {

// Something that only one object of the cluster may hold: a VNI, a subnet, a name, an address of a
// network, a published port, a node index. The store has a UNIQUE constraint on (space, value).
struct Claim {
  std::string space;
  std::string value;
  auto operator<=>(const Claim&) const = default;
};

// One object set or removed. The store refuses the whole transaction when the object is not at
// `expected_version` (0: it must not exist), so that no decision is built on old news.
struct Write {
  std::string kind;
  std::string id;
  uint64_t expected_version = 0;
  bool remove = false;
  std::string bytes;          // serialised message, unless removed
  std::vector<Claim> claims;  // all that the object holds from now on
};

// All or nothing. The same operation id again changes nothing and gives the first result.
struct Transaction {
  std::string operation_id;
  std::string result;  // kept with the operation id: the reply to the caller
  std::vector<Write> writes;
};

struct StoredObject {
  std::string kind;
  std::string id;
  uint64_t version = 0;
  std::string bytes;
};

}  // namespace weft::manage
