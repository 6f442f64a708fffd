// SPDX-License-Identifier: Apache-2.0
#include "node/known_state.h"

#include "io/files.h"

namespace weft::node {

namespace {

template <typename Map, typename Objects, typename Names>
void merge(bool full, Map& map, const Objects& set, const Names& removed) {
  if (full) map.clear();
  for (const std::string& id : removed) map.erase(id);
  for (const auto& object : set) map[object.id()] = object;
}

template <typename Map, typename Out>
void copy_values(const Map& map, Out* out) {
  for (const auto& [id, object] : map) *out->Add() = object;
}

}  // namespace

void KnownState::apply(const api::Assignment& in) {
  if (in.has_self()) self = in.self();
  merge(in.full(), nodes, in.nodes(), in.removed_nodes());
  merge(in.full(), networks, in.networks(), in.removed_networks());
  merge(in.full(), services, in.services(), in.removed_services());
  merge(in.full(), tasks, in.tasks(), in.removed_tasks());
  merge(in.full(), endpoints, in.endpoints(), in.removed_endpoints());
  if (in.full() || in.gossip_keys_size() > 0) {
    gossip_keys.assign(in.gossip_keys().begin(), in.gossip_keys().end());
    gossip_epoch = in.gossip_epoch();
  }
  if (in.full() || in.known_names_size() > 0)
    known_names.assign(in.known_names().begin(), in.known_names().end());
  service_aliases.clear();
  for (const auto& [id, service] : services)
    if (const auto& aliases = service.spec().aliases(); !aliases.empty())
      service_aliases[id].assign(aliases.begin(), aliases.end());
  sequence = in.sequence();
}

api::Assignment KnownState::to_assignment() const {
  api::Assignment out;
  out.set_full(true);
  out.set_sequence(sequence);
  *out.mutable_self() = self;
  copy_values(nodes, out.mutable_nodes());
  copy_values(networks, out.mutable_networks());
  copy_values(services, out.mutable_services());
  copy_values(tasks, out.mutable_tasks());
  copy_values(endpoints, out.mutable_endpoints());
  for (const auto& key : gossip_keys) *out.add_gossip_keys() = key;
  out.set_gossip_epoch(gossip_epoch);
  for (const auto& name : known_names) out.add_known_names(name);
  return out;
}

const api::Network* KnownState::network(const std::string& name_or_id) const {
  if (const auto found = networks.find(name_or_id); found != networks.end()) return &found->second;
  for (const auto& [id, network] : networks)
    if (network.name() == name_or_id) return &network;
  return nullptr;
}

const api::Network* KnownState::ingress() const {
  for (const auto& [id, network] : networks)
    if (network.ingress()) return &network;
  return nullptr;
}

Result<> KnownState::save(const std::string& path) const {
  return io::write_file_atomically(path, to_assignment().SerializeAsString(), 0600);
}

Result<KnownState> KnownState::load(const std::string& path) {
  const std::string bytes = TRY(io::read_file(path));
  api::Assignment assignment;
  if (!assignment.ParseFromString(bytes)) return Error(path + " is damaged");
  KnownState out;
  out.apply(assignment);
  return out;
}

}  // namespace weft::node
