// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/manage/state.h"

namespace weft::manage {

// What each node must know, from one state of the cluster; built once, asked for every node.
class Assigner {
 public:
  explicit Assigner(const ClusterState& state);

  // Full; sequence 0. Empty for a node that is not in the cluster.
  api::Assignment for_node(const std::string& node_id) const;

 private:
  const ClusterState& state_;
  std::map<std::string, std::vector<const api::Task*>> tasks_;          // by node, not finished
  std::map<std::string, std::vector<const api::Endpoint*>> endpoints_;  // by node
  std::vector<std::string> everywhere_;  // networks that concern every node
  std::vector<std::string> names_;
};

api::Assignment assignment_for(const std::string& node_id, const ClusterState& state);

// What turns `before` into `after`: objects to set and ids to remove. Lists that are sent whole
// (keys, names) are present if they differ. The sequence is the caller's.
api::Assignment diff(const api::Assignment& before, const api::Assignment& after);
// Nothing to tell.
bool is_empty(const api::Assignment& change);

}  // namespace weft::manage
