// SPDX-License-Identifier: Apache-2.0
#include "core/manage/assignment.h"

#include <algorithm>
#include <set>

namespace weft::manage {

namespace {

template <typename T>
using Repeated = google::protobuf::RepeatedPtrField<T>;

// Both sides are sorted by id, as they come out of ordered maps.
template <typename T>
void diff_objects(const Repeated<T>& before, const Repeated<T>& after, Repeated<T>* set,
                  Repeated<std::string>* removed) {
  std::map<std::string, const T*> old;
  for (const T& object : before) old[object.id()] = &object;
  for (const T& object : after) {
    const auto found = old.find(object.id());
    const bool same = found != old.end() && serialize(*found->second) == serialize(object);
    if (!same) *set->Add() = object;
    if (found != old.end()) old.erase(found);
  }
  for (const auto& [id, object] : old) *removed->Add() = id;
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
  names_.assign(names.begin(), names.end());
}

api::Assignment Assigner::for_node(const std::string& node_id) const {
  api::Assignment out;
  const auto self = state_.nodes.find(node_id);
  if (self == state_.nodes.end()) return out;
  out.set_full(true);
  *out.mutable_self() = self->second;
  for (const auto& [id, node] : state_.nodes) *out.add_nodes() = node;
  std::set<std::string> networks(everywhere_.begin(), everywhere_.end());
  if (const auto found = tasks_.find(node_id); found != tasks_.end())
    for (const api::Task* task : found->second) {
      *out.add_tasks() = *task;
      for (const auto& attachment : task->attachments()) networks.insert(attachment.network_id());
    }
  if (const auto found = endpoints_.find(node_id); found != endpoints_.end())
    for (const api::Endpoint* endpoint : found->second) {
      *out.add_endpoints() = *endpoint;
      networks.insert(endpoint->network_id());
    }
  for (const std::string& id : networks)
    if (const auto found = state_.networks.find(id); found != state_.networks.end())
      *out.add_networks() = found->second;
  for (const auto& [id, service] : state_.services) {
    const auto& on = service.spec().networks();
    if (std::any_of(on.begin(), on.end(), [&](const auto& n) { return networks.count(n) != 0; }))
      *out.add_services() = service;
  }
  if (const auto cluster = state_.cluster.find(cluster_key); cluster != state_.cluster.end()) {
    *out.mutable_gossip_keys() = cluster->second.gossip_keys();
    out.set_gossip_epoch(cluster->second.gossip_epoch());
  }
  for (const std::string& name : names_) out.add_known_names(name);
  return out;
}

api::Assignment assignment_for(const std::string& node_id, const ClusterState& state) {
  return Assigner(state).for_node(node_id);
}

api::Assignment diff(const api::Assignment& before, const api::Assignment& after) {
  api::Assignment out;
  if (serialize(before.self()) != serialize(after.self())) *out.mutable_self() = after.self();
  diff_objects(before.nodes(), after.nodes(), out.mutable_nodes(), out.mutable_removed_nodes());
  diff_objects(before.networks(), after.networks(), out.mutable_networks(),
               out.mutable_removed_networks());
  diff_objects(before.services(), after.services(), out.mutable_services(),
               out.mutable_removed_services());
  diff_objects(before.tasks(), after.tasks(), out.mutable_tasks(), out.mutable_removed_tasks());
  diff_objects(before.endpoints(), after.endpoints(), out.mutable_endpoints(),
               out.mutable_removed_endpoints());
  api::Assignment keys_before, keys_after;
  *keys_before.mutable_gossip_keys() = before.gossip_keys();
  *keys_after.mutable_gossip_keys() = after.gossip_keys();
  keys_before.set_gossip_epoch(before.gossip_epoch());
  keys_after.set_gossip_epoch(after.gossip_epoch());
  if (serialize(keys_before) != serialize(keys_after)) out.MergeFrom(keys_after);
  if (!std::equal(before.known_names().begin(), before.known_names().end(),
                  after.known_names().begin(), after.known_names().end()))
    *out.mutable_known_names() = after.known_names();
  return out;
}

bool is_empty(const api::Assignment& change) { return change.ByteSizeLong() == 0; }

}  // namespace weft::manage
