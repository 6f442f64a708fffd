// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"

namespace weft::node {

// Who this node is in its cluster; kept in the state folder, so that a restarted agent needs
// nobody.
struct Identity {
  std::string node_id;  // 32 hex digits
  std::string cluster_id;
  std::string role;  // "worker" or "manager"
  std::string advertise_address;
  std::vector<std::string> managers;  // ADDRESS:PORT, last known
  std::string ca_pem;
  std::string certificate_pem;
  std::string key_pem;
};

// A random id for a node or a cluster: 32 hex digits.
std::string new_id();

class IdentityStore {
 public:
  explicit IdentityStore(std::string state_folder) : folder_(std::move(state_folder)) {}

  // not_found: this node is in no cluster.
  Result<Identity> load() const;
  Result<> save(const Identity& identity) const;
  // Forgets the cluster: identity, last known assignment, the managers' store.
  Result<> erase() const;
  // A number that is greater at every call, over restarts and clock jumps: it orders the boots of
  // this node in gossip and keeps nonces apart.
  Result<uint64_t> next_boot_epoch() const;

 private:
  std::string folder_;
};

}  // namespace weft::node
