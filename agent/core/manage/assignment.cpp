// SPDX-License-Identifier: Apache-2.0
#include "core/manage/assignment.h"

#include <algorithm>
#include <set>

namespace weft::manage {

namespace {

template <typename T>
using Repeated = google::protobuf::RepeatedPtrField<T>;

bool contains(const std::vector<std::string>& sorted, const std::string& id) {
  return std::binary_search(sorted.begin(), sorted.end(), id);
}

// `wanted` is sorted by id, as objects come out of ordered maps.
template <typename T>
void tell(const std::vector<const T*>& wanted, const Changed& changed,
          std::vector<std::string>& told, Repeated<T>* set, Repeated<std::string>* removed) {
  bool same_ids = wanted.size() == told.size();
  auto old = told.begin();
  for (const T* object : wanted) {
    for (; old != told.end() && *old < object->id(); ++old) *removed->Add() = *old;
    const bool known = old != told.end() && *old == object->id();
    if (known) ++old;
    same_ids &= known;
    if (!known || changed.contains({kind_of<T>, object->id()})) *set->Add() = *object;
  }
  for (; old != told.end(); ++old) *removed->Add() = *old;
  if (same_ids) return;
  told.clear();
  for (const T* object : wanted) told.push_back(object->id());
}

}  // namespace

Assigner::Assigner(const ClusterState& state) : state_(state) {
  for (const auto& [id, task] : state.tasks)
    if (!task.node_id().empty() && task.state() >= api::TASK_ASSIGNED && !is_terminal(task))
      tasks_[task.node_id()].push_back(&task);
  for (const auto& [id, endpoint] : state.endpoints)
    endpoints_[endpoint.node_id()].push_back(&endpoint);
  std::set<std::string> everywhere, names;
  for (const auto& [id, network] : state.networks) {
    if (network.ingress()) everywhere.insert(id);
    names.insert(network.name());
  }
  for (const auto& [id, service] : state.services) {
    names.insert(service.spec().name());
    names.insert(service.spec().aliases().begin(), service.spec().aliases().end());
    // Every node picks backends for a port of the routing mesh.
    const auto& ports = service.spec().ports();
    if (std::any_of(ports.begin(), ports.end(),
                    [](const auto& port) { return port.mode() == api::INGRESS; }))
      everywhere.insert(service.spec().networks().begin(), service.spec().networks().end());
  }
  everywhere_.assign(everywhere.begin(), everywhere.end());
  names_ = std::make_shared<const std::vector<std::string>>(names.begin(), names.end());
}

api::Assignment Assigner::for_node(const std::string& node_id, Told& told,
                                   const Changed& changed) const {
  api::Assignment out;
  const auto self = state_.nodes.find(node_id);
  if (self == state_.nodes.end()) return out;
  const bool full = !told.names;
  if (full) out.set_full(true);
  if (full || changed.contains({kind_of<api::Node>, node_id})) *out.mutable_self() = self->second;
  std::vector<const api::Node*> nodes;
  for (const auto& [id, node] : state_.nodes) nodes.push_back(&node);
  static const std::vector<const api::Task*> no_tasks;
  static const std::vector<const api::Endpoint*> no_endpoints;
  const auto of_node = [&](const auto& by_node, const auto& none) -> const auto& {
    const auto found = by_node.find(node_id);
    return found == by_node.end() ? none : found->second;
  };
  const auto& tasks = of_node(tasks_, no_tasks);
  const auto& endpoints = of_node(endpoints_, no_endpoints);
  std::set<std::string> wanted(everywhere_.begin(), everywhere_.end());
  for (const api::Task* task : tasks)
    for (const auto& attachment : task->attachments()) wanted.insert(attachment.network_id());
  for (const api::Endpoint* endpoint : endpoints) wanted.insert(endpoint->network_id());
  std::vector<const api::Network*> networks;
  for (const std::string& id : wanted)
    if (const auto found = state_.networks.find(id); found != state_.networks.end())
      networks.push_back(&found->second);
  std::vector<const api::Service*> services;
  for (const auto& [id, service] : state_.services) {
    const auto& on = service.spec().networks();
    if (std::any_of(on.begin(), on.end(), [&](const auto& n) { return wanted.contains(n); }))
      services.push_back(&service);
  }
  tell(nodes, changed, told.nodes, out.mutable_nodes(), out.mutable_removed_nodes());
  tell(networks, changed, told.networks, out.mutable_networks(), out.mutable_removed_networks());
  tell(services, changed, told.services, out.mutable_services(), out.mutable_removed_services());
  tell(tasks, changed, told.tasks, out.mutable_tasks(), out.mutable_removed_tasks());
  tell(endpoints, changed, told.endpoints, out.mutable_endpoints(),
       out.mutable_removed_endpoints());
  const auto cluster = state_.cluster.find(cluster_key);
  if (cluster != state_.cluster.end() &&
      (full || changed.contains({kind_of<api::Cluster>, cluster_key}))) {
    *out.mutable_gossip_keys() = cluster->second.gossip_keys();
    out.set_gossip_epoch(cluster->second.gossip_epoch());
  }
  if (full || *told.names != *names_)
    for (const std::string& name : *names_) out.add_known_names(name);
  told.names = names_;
  return out;
}

api::Assignment Assigner::for_node(const std::string& node_id) const {
  Told nothing;
  return for_node(node_id, nothing, {});
}

std::optional<api::Assignment> endpoints_made(const ClusterState& state, const std::string& node_id,
                                              Told& told, const Changed& changed) {
  std::vector<const api::Endpoint*> made;
  for (const auto& [kind, id] : changed) {
    if (kind != kind_of<api::Endpoint>) return std::nullopt;
    const auto found = state.endpoints.find(id);
    if (found == state.endpoints.end() || found->second.node_id() != node_id ||
        !contains(told.networks, found->second.network_id()))
      return std::nullopt;
    made.push_back(&found->second);
  }
  api::Assignment out;
  for (const api::Endpoint* endpoint : made) {
    *out.add_endpoints() = *endpoint;
    auto& ids = told.endpoints;
    const auto at = std::lower_bound(ids.begin(), ids.end(), endpoint->id());
    if (at == ids.end() || *at != endpoint->id()) ids.insert(at, endpoint->id());
  }
  return out;
}

bool concerns(const ClusterState& state, const std::string& node_id, const Told& told,
              const std::string& kind, const std::string& id) {
  if (kind == kind_of<api::AddressLease> || kind == kind_of<api::AddressCursor>) return false;
  if (kind == kind_of<api::Endpoint>) {
    const auto found = state.endpoints.find(id);
    return contains(told.endpoints, id) ||
           (found != state.endpoints.end() && found->second.node_id() == node_id);
  }
  if (kind == kind_of<api::Task>) {
    const auto found = state.tasks.find(id);
    return contains(told.tasks, id) ||
           (found != state.tasks.end() && found->second.node_id() == node_id);
  }
  return true;
}

api::Assignment assignment_for(const std::string& node_id, const ClusterState& state) {
  return Assigner(state).for_node(node_id);
}

bool is_empty(const api::Assignment& change) { return change.ByteSizeLong() == 0; }

}  // namespace weft::manage
