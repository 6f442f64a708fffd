// SPDX-License-Identifier: Apache-2.0
#include "core/manage/schedule.h"

#include <algorithm>

#include "core/manage/constraints.h"

namespace weft::manage {

namespace {

std::string host_port_text(const api::PublishedPort& port) {
  return port.protocol() + "/" + std::to_string(port.published());
}

}  // namespace

bool meets_constraints(const api::ServiceSpec& spec, const api::Node& node) {
  return std::all_of(spec.constraints().begin(), spec.constraints().end(), [&](const auto& text) {
    const auto constraint = parse_constraint(text);
    return constraint && holds(*constraint, node);
  });
}

Scheduler::Scheduler(const Draft& draft) : draft_(draft), nodes_(draft.all<api::Node>()) {
  for (const api::Task* task : draft.all<api::Task>())
    if (!is_terminal(*task) && task->state() >= api::TASK_ASSIGNED) count(*task, task->node_id());
}

void Scheduler::count(const api::Task& task, const std::string& node_id) {
  Load& load = loads_[node_id];
  // A task that is being stopped still holds its ports, but is no load for the future.
  if (task.desired() != api::TASK_SHUTDOWN) {
    load.total++;
    load.by_service[task.service_id()]++;
  }
  for (const api::PublishedPort& port : task.spec().ports())
    if (port.mode() == api::HOST) load.host_ports.insert(host_port_text(port));
}

void Scheduler::place(const api::Task& task, const std::string& node_id) { count(task, node_id); }

std::string Scheduler::why_not(const api::ServiceSpec& spec, const api::Node& node) const {
  if (node.availability() == api::DRAIN) return "drained";
  if (node.availability() == api::PAUSE) return "paused";
  if (node.state() != api::NODE_ALIVE) return "not alive";
  if (!meets_constraints(spec, node)) return "outside the constraints";
  const auto load = loads_.find(node.id());
  for (const api::PublishedPort& port : spec.ports())
    if (port.mode() == api::HOST && load != loads_.end() &&
        load->second.host_ports.count(host_port_text(port)) != 0)
      return "host port " + host_port_text(port) + " taken";
  return "";
}

Result<const api::Node*> Scheduler::choose(const std::string& service_id,
                                           const api::ServiceSpec& spec,
                                           const std::string& avoid) const {
  const api::Node* best = nullptr;
  std::tuple<bool, uint32_t, uint32_t, uint32_t> best_rank;
  std::map<std::string, uint32_t> reasons;
  for (const api::Node* node : nodes_) {
    if (const std::string reason = why_not(spec, *node); !reason.empty()) {
      reasons[reason]++;
      continue;
    }
    static const Load none;
    const auto found = loads_.find(node->id());
    const Load& load = found == loads_.end() ? none : found->second;
    const auto own = load.by_service.find(service_id);
    const std::tuple rank(node->id() == avoid, own == load.by_service.end() ? 0 : own->second,
                          load.total, node->index());
    if (best && rank >= best_rank) continue;
    best = node;
    best_rank = rank;
  }
  if (best) return best;
  std::string message = "no node can run it";
  const char* separator = ": ";
  for (const auto& [reason, count] : reasons) {
    message += separator + std::to_string(count) + " " + reason;
    separator = ", ";
  }
  return Error(ErrorCode::unavailable, message);
}

}  // namespace weft::manage
