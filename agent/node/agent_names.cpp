// SPDX-License-Identifier: Apache-2.0
// What the containers' name server knows: built anew for the networks that changed.
#include <algorithm>

#include "core/plan/plan.h"
#include "node/agent.h"

namespace weft::node {

void Agent::names_changed(const std::string& network_id) {
  network_names_.erase(network_id);
  names_stale_ = true;
}

void Agent::all_names_changed() {
  network_names_.clear();
  names_stale_ = true;
}

// Before the assignment is applied: services are told of in the networks they were in, too.
void Agent::names_changed_by(const api::Assignment& assignment) {
  if (assignment.full() || assignment.nodes_size() > 0 || assignment.removed_nodes_size() > 0)
    return all_names_changed();
  for (const api::Network& network : assignment.networks()) names_changed(network.id());
  const auto service_changed = [this](const api::Service& service) {
    for (const std::string& network : service.spec().networks()) names_changed(network);
  };
  const auto known_service_changed = [&](const std::string& id) {
    if (const auto known = known_.services.find(id); known != known_.services.end())
      service_changed(known->second);
  };
  for (const api::Service& service : assignment.services()) {
    known_service_changed(service.id());
    service_changed(service);
  }
  for (const std::string& id : assignment.removed_services()) known_service_changed(id);
  if (assignment.removed_networks_size() > 0 || assignment.known_names_size() > 0)
    names_stale_ = true;
}

void Agent::names_changed_by(const cluster::Event& event) {
  using Kind = cluster::Event::Kind;
  switch (event.kind) {
    case Kind::member_alive:
    case Kind::member_suspect:
    case Kind::member_dead:
    case Kind::member_left:
    case Kind::member_forgotten:
      return all_names_changed();
    case Kind::record_set:
    case Kind::record_restored:
    case Kind::record_erased:
      for (const auto& [id, network] : known_.networks)
        if (network.vni() == event.scope) return names_changed(id);
      return;
    case Kind::record_hidden:
    case Kind::member_metadata:
    case Kind::scope_entered:
    case Kind::scope_left:
    case Kind::scope_synced:
    case Kind::keys_staged:
    case Kind::keys_sealing:
      return;
  }
}

// Of the state that the maps follow: a name that answers sooner sends its first callers nowhere,
// and they ask for the neighbour again only after a second.
void Agent::rebuild_names(const plan::NodeView& view) {
  if (!names_stale_) return;
  const Instant begun = loop_.now();
  if (begun < names_rested_) {
    names_timer_ = loop_.at(names_rested_, [this] { plan_soon(); });
    return;
  }
  names_stale_ = false;
  const auto stale = [this](std::string_view id) {
    return !network_names_.contains(std::string(id));
  };
  dns::ViewInput input;
  const plan::Names names = plan::plan_names(view, stale);
  for (const dns::NetworkInput& network : names.networks)
    network_names_[network.id] = dns::NetworkNames::build(network);
  std::erase_if(network_names_, [&](const auto& entry) {
    return !std::binary_search(names.present.begin(), names.present.end(), entry.first);
  });
  for (const auto& [id, network] : network_names_) input.networks.push_back(network);
  input.known_names = known_.known_names;
  for (const auto& [id, network] : known_.networks) {
    const auto shared = network.options().find("forward_unknown");
    if (shared == network.options().end() || shared->second != "true")
      input.known_networks.push_back(network.name());
    for (const std::string& text : {network.subnet4(), network.subnet6()})
      if (auto prefix = Prefix::parse(text)) input.known_subnets.push_back(*prefix);
  }
  input.serial = ++dns_serial_;
  names_.put(std::make_shared<const dns::DnsView>(std::move(input)));
  names_rested_ = loop_.now() + (loop_.now() - begun) * Pace::rests;
}

}  // namespace weft::node
