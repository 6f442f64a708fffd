// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "core/manage/state.h"

namespace weft::manage {

// What a node was told last: ids, sorted.
struct Told {
  std::vector<std::string> nodes, networks, services, tasks, endpoints;
  std::shared_ptr<const std::vector<std::string>> names;  // null: nothing yet
};

// (kind, id) of the objects that were written since.
using Changed = std::set<std::pair<std::string, std::string>>;

// What each node must know, from one state of the cluster; built once, asked for every node.
class Assigner {
 public:
  explicit Assigner(const ClusterState& state);

  // What turns `told` into what the node must know now; full if it was told nothing. Sequence 0.
  // Empty for a node that is not in the cluster, and if there is nothing to tell.
  api::Assignment for_node(const std::string& node_id, Told& told, const Changed& changed) const;
  // Everything.
  api::Assignment for_node(const std::string& node_id) const;

 private:
  const ClusterState& state_;
  std::map<std::string, std::vector<const api::Task*>> tasks_;          // by node, not finished
  std::map<std::string, std::vector<const api::Endpoint*>> endpoints_;  // by node
  std::vector<std::string> everywhere_;  // networks that concern every node
  std::shared_ptr<const std::vector<std::string>> names_;
};

// The same for the commonest change, without a look at anything else: endpoints that the node has
// made in networks it knows. Nothing if there is more to it.
std::optional<api::Assignment> endpoints_made(const ClusterState& state, const std::string& node_id,
                                              Told& told, const Changed& changed);

// Could it concern the node, as far as it was told?
bool concerns(const ClusterState& state, const std::string& node_id, const Told& told,
              const std::string& kind, const std::string& id);

api::Assignment assignment_for(const std::string& node_id, const ClusterState& state);

// Nothing to tell.
bool is_empty(const api::Assignment& change);

}  // namespace weft::manage
