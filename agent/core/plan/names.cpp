// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <map>

#include "core/plan/context.h"
#include "core/plan/plan.h"

namespace weft::plan {
namespace {

std::string protocol_name(Protocol protocol) {
  switch (protocol) {
    case Protocol::tcp:
      return "tcp";
    case Protocol::udp:
      return "udp";
    case Protocol::sctp:
      return "sctp";
  }
  return {};
}

void add_address(std::vector<Address>& out, const Address& address) {
  if (!address.is_none()) out.push_back(address);
}

dns::ServiceInput service_input(const Service& service, std::string_view network_id) {
  dns::ServiceInput out{.name = std::string(service.name)};
  out.aliases.assign(service.aliases.begin(), service.aliases.end());
  std::sort(out.aliases.begin(), out.aliases.end());
  if (!service.dnsrr) {
    for (const Vip& vip : service.vips) {
      if (vip.network_id != network_id) continue;
      add_address(out.vips, vip.address4);
      add_address(out.vips, vip.address6);
    }
  }
  for (const PublishedPort& p : service.ports)
    out.ports.push_back(
        {.protocol = protocol_name(p.protocol), .target = p.target, .published = p.published});
  std::sort(out.ports.begin(), out.ports.end(), [](const auto& a, const auto& b) {
    return std::tie(a.target, a.protocol, a.published) <
           std::tie(b.target, b.protocol, b.published);
  });
  return out;
}

dns::EndpointState state_of(const VisibleEndpoint& e) {
  if (e.state == MemberState::dead) return dns::EndpointState::dead;
  if (e.record->state == EndpointState::starting) return dns::EndpointState::starting;
  if (e.record->state == EndpointState::draining) return dns::EndpointState::draining;
  return e.state == MemberState::suspect ? dns::EndpointState::suspect : dns::EndpointState::ready;
}

dns::EndpointInput endpoint_input(const VisibleEndpoint& e, const Service* service) {
  const Endpoint& record = *e.record;
  dns::EndpointInput out{.name = std::string(record.name),
                         .id = std::string(record.id),
                         .hostname = std::string(record.hostname),
                         .state = state_of(e)};
  out.aliases.assign(record.aliases.begin(), record.aliases.end());
  std::sort(out.aliases.begin(), out.aliases.end());
  add_address(out.addresses, record.address4);
  add_address(out.addresses, record.address6);
  if (service == nullptr) return out;
  out.service = service->name;
  if (!record.task_id.empty()) {
    out.slot = record.slot != 0 ? std::to_string(record.slot) : std::string(record.node_id);
    out.task_id = record.task_id;
  }
  return out;
}

}  // namespace

Names plan_names(const NodeView& view, const std::function<bool(std::string_view id)>& wanted) {
  const Context context(view);
  Names out;
  std::map<std::string_view, dns::NetworkInput> networks;
  for (const Network* n : context.present()) {
    out.present.emplace_back(n->id);
    if (!wanted(n->id)) continue;
    dns::NetworkInput& input = networks[n->id];
    input.id = n->id;
    input.name = n->name;
    input.forward_unknown = n->forward_unknown;
    for (const auto& subnet : {n->subnet4, n->subnet6})
      if (subnet) input.subnets.push_back(*subnet);
  }
  std::map<std::string_view, const Service*> services;
  for (const Service& s : view.services) services.emplace(s.id, &s);
  for (const auto& [id, service] : services) {
    for (std::string_view network : service->network_ids) {
      const auto found = networks.find(network);
      if (found != networks.end())
        found->second.services.push_back(service_input(*service, network));
    }
  }
  for (const VisibleEndpoint& e : context.endpoints()) {
    const auto network = networks.find(e.network->id);
    if (network == networks.end()) continue;
    const auto service = services.find(e.record->service_id);
    network->second.endpoints.push_back(
        endpoint_input(e, service == services.end() ? nullptr : service->second));
  }
  std::sort(out.present.begin(), out.present.end());
  for (auto& [id, input] : networks) out.networks.push_back(std::move(input));
  return out;
}

std::vector<dns::NetworkInput> plan_names(const NodeView& view) {
  return plan_names(view, [](std::string_view) { return true; }).networks;
}

}  // namespace weft::plan
