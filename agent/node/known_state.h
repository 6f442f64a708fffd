// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <string>
#include <vector>

#include "base/result.h"
#include "weft/api/weft.pb.h"

namespace weft::node {

// What the managers have told this node: a full assignment and the changes after it. Kept in a
// file, so that a node that restarts without managers comes back with its last known state.
struct KnownState {
  api::Node self;
  std::map<std::string, api::Node> nodes;  // by id, this one included
  std::map<std::string, api::Network> networks;
  std::map<std::string, api::Service> services;
  std::map<std::string, api::Task> tasks;          // of this node
  std::map<std::string, api::Endpoint> endpoints;  // of this node, not of tasks
  std::vector<api::GossipKey> gossip_keys;
  uint32_t gossip_epoch = 0;
  std::vector<std::string> known_names;
  std::map<std::string, std::vector<std::string>> service_aliases;  // by service id
  uint64_t sequence = 0;

  bool known() const { return self.index() != 0; }
  // A full assignment replaces everything, a change only what it names.
  void apply(const api::Assignment& assignment);
  api::Assignment to_assignment() const;

  // By id or name; null if there is none.
  const api::Network* network(const std::string& name_or_id) const;
  const api::Network* ingress() const;

  Result<> save(const std::string& path) const;
  // not_found: there was none. A damaged file is an error: the managers will send everything again.
  static Result<KnownState> load(const std::string& path);
};

}  // namespace weft::node
