// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <set>

#include "core/manage/draft.h"

namespace weft::manage {

// Spreads tasks: fewest tasks of the service on the node, then fewest tasks at all, then lowest
// node index. Counts what it places itself.
class Scheduler {
 public:
  explicit Scheduler(const Draft& draft);

  // May a task of this service start on the node now? Empty: yes; else why not, in a few words.
  std::string why_not(const api::ServiceSpec& spec, const api::Node& node) const;
  // `avoid`: a node that refused the task before; taken only if no other is left.
  Result<const api::Node*> choose(const std::string& service_id, const api::ServiceSpec& spec,
                                  const std::string& avoid) const;
  void place(const api::Task& task, const std::string& node_id);

 private:
  struct Load {
    uint32_t total = 0;
    std::map<std::string, uint32_t> by_service;
    std::set<std::string> host_ports;  // "tcp/8080"
  };
  void count(const api::Task& task, const std::string& node_id);

  const Draft& draft_;
  std::vector<const api::Node*> nodes_;
  std::map<std::string, Load> loads_;
};

// Constraints of the spec hold for the node.
bool meets_constraints(const api::ServiceSpec& spec, const api::Node& node);

}  // namespace weft::manage
