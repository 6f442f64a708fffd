// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <bit>
#include <map>
#include <optional>
#include <string>

#include "core/plan/context.h"

namespace weft::plan {
namespace {

__be16 big_endian(uint16_t port) {
  return std::endian::native == std::endian::little ? __be16(port << 8 | port >> 8) : port;
}

uint64_t identity(std::string_view service, uint32_t vni, bool host) {
  std::string text(service);
  text += '/';
  text += std::to_string(vni);
  if (host) text += "/host";
  return lb::stable_id(text);
}

bool same_backend(const PlannedBackend& a, const PlannedBackend& b) {
  return a.value.node == b.value.node && std::memcmp(a.value.mac, b.value.mac, 6) == 0;
}

PlannedBackend backend_of(const VisibleEndpoint& e, lb::BackendState state) {
  PlannedBackend b{.id = lb::stable_id(e.record->id), .state = state};
  b.weight = std::max<uint32_t>(e.record->weight, 1);
  copy_mac(b.value.mac, e.record->mac);
  b.value.node = e.node;
  if (e.local != nullptr) b.value.ifindex = e.local->ifindex;
  if (e.local != nullptr) b.value.flags |= WEFT_BACKEND_LOCAL;
  b.value.flags |= state == lb::BackendState::ready ? WEFT_BACKEND_READY : WEFT_BACKEND_DRAINING;
  if (e.state == MemberState::dead) b.value.flags |= WEFT_BACKEND_LOST;
  return b;
}

// Backends of a service in one network. Suspect nodes' get no new flows while there are others; if
// there are none, a suspicion is better than nothing. Dead nodes' get none at all, but connections
// that are open stay: an agent that is being restarted looks dead, and its containers serve on.
std::vector<PlannedBackend> backends_of(const Context& context, const Service& service,
                                        uint32_t vni, bool local_only) {
  std::vector<const VisibleEndpoint*> candidates;
  bool sure = false;
  for (const VisibleEndpoint* e : context.of_service(service.id)) {
    if (e->network->vni != vni || e->record->state == EndpointState::starting) continue;
    if (local_only && e->local == nullptr) continue;
    candidates.push_back(e);
    sure = sure || (e->record->state == EndpointState::ready && e->state == MemberState::alive);
  }
  std::vector<PlannedBackend> out;
  for (const VisibleEndpoint* e : candidates) {
    const bool ready =
        e->record->state == EndpointState::ready &&
        (e->state == MemberState::alive || (e->state == MemberState::suspect && !sure));
    out.push_back(backend_of(*e, ready ? lb::BackendState::ready : lb::BackendState::draining));
  }
  // {node, mac} names a backend in the kernel; of two records with the same one the ready counts.
  std::sort(out.begin(), out.end(), [](const PlannedBackend& a, const PlannedBackend& b) {
    if (a.value.node != b.value.node) return a.value.node < b.value.node;
    const int order = std::memcmp(a.value.mac, b.value.mac, 6);
    if (order != 0) return order < 0;
    return std::tie(a.state, a.id) < std::tie(b.state, b.id);
  });
  out.erase(std::unique(out.begin(), out.end(), same_backend), out.end());
  if (out.size() > lb::max_backends) out.resize(lb::max_backends);
  return out;
}

PlannedPort port_of(const PublishedPort& p) {
  PlannedPort port{.target_port = big_endian(p.target)};
  copy_address(port.key.address, p.address);
  port.key.port = big_endian(p.published);
  port.key.protocol = weft_protocol(p.protocol);
  if (p.mode == PublishMode::host) port.flags |= WEFT_PUBLISHED_HOST;
  return port;
}

class ServicePlanner {
 public:
  ServicePlanner(const Context& context, DesiredState& out) : context_(context), out_(out) {}

  void add(const Service& service) {
    std::map<uint32_t, PlannedService> by_vni;
    if (!service.dnsrr) {
      for (const Vip& vip : service.vips) {
        const Network* network = context_.present_network(vip.network_id);
        if (network == nullptr) continue;
        PlannedService& planned = start(by_vni, service, network->vni);
        planned.vip4 = claim_vip(network->vni, vip.address4);
        planned.vip6 = claim_vip(network->vni, vip.address6);
      }
    }
    for (const PublishedPort& p : service.ports) {
      if (p.mode != PublishMode::ingress || context_.ingress() == nullptr) continue;
      if (!claim_port(p)) continue;
      start(by_vni, service, context_.ingress()->vni).published.push_back(port_of(p));
      out_.held_ports.push_back({p.address, p.published, uint8_t(p.protocol)});
    }
    for (auto& [vni, planned] : by_vni) {
      planned.backends = backends_of(context_, service, vni, false);
      finish(std::move(planned));
    }
    add_host_ports(service);
  }

  void settle() {
    std::sort(out_.services.begin(), out_.services.end(),
              [](const auto& a, const auto& b) { return a.id < b.id; });
    std::sort(out_.held_ports.begin(), out_.held_ports.end());
    // A VIP's entry is written with its service.
    std::erase_if(out_.endpoints, [&](const auto& e) { return vips_.contains(e.first); });
  }

 private:
  PlannedService& start(std::map<uint32_t, PlannedService>& by_vni, const Service& service,
                        uint32_t vni) {
    const auto [found, is_new] = by_vni.try_emplace(vni);
    if (is_new) found->second = base(service, vni, false);
    return found->second;
  }
  PlannedService base(const Service& service, uint32_t vni, bool host) {
    PlannedService planned{
        .id = identity(service.id, vni, host), .service_id = std::string(service.id), .vni = vni};
    if (service.affinity) planned.flags |= WEFT_SERVICE_AFFINITY;
    if (service.direct_return) planned.flags |= WEFT_SERVICE_DIRECT_RETURN;
    return planned;
  }
  // mode=host: this node's own backends, if there are any, in the ingress network if they are in
  // it.
  void add_host_ports(const Service& service) {
    std::optional<uint32_t> vni;
    for (const VisibleEndpoint* e : context_.of_service(service.id)) {
      if (e->local == nullptr || e->record->state == EndpointState::starting) continue;
      if (e->network == context_.ingress()) {
        vni = e->network->vni;
        break;
      }
      vni = std::min(vni.value_or(e->network->vni), e->network->vni);
    }
    if (!vni) return;
    PlannedService planned = base(service, *vni, true);
    for (const PublishedPort& p : service.ports) {
      if (p.mode != PublishMode::host || !claim_port(p)) continue;
      planned.published.push_back(port_of(p));
      out_.held_ports.push_back({p.address, p.published, uint8_t(p.protocol)});
    }
    if (planned.published.empty()) return;
    planned.backends = backends_of(context_, service, *vni, true);
    finish(std::move(planned));
  }
  void finish(PlannedService planned) {
    std::sort(planned.published.begin(), planned.published.end(),
              [](const auto& a, const auto& b) { return KeyLess()(a.key, b.key); });
    out_.services.push_back(std::move(planned));
  }
  Address claim_vip(uint32_t vni, const Address& address) {
    if (address.is_none()) return {};
    weft_endpoint_key key{.vni = vni};
    copy_address(key.address, address);
    return vips_.emplace(key, true).second ? address : Address();
  }
  bool claim_port(const PublishedPort& p) { return ports_.emplace(port_of(p).key, true).second; }

  const Context& context_;
  DesiredState& out_;
  std::map<weft_endpoint_key, bool, KeyLess> vips_;
  std::map<weft_published_key, bool, KeyLess> ports_;
};

}  // namespace

void plan_services(const Context& context, DesiredState& out) {
  std::vector<const Service*> services;
  for (const Service& s : context.view().services) services.push_back(&s);
  std::sort(services.begin(), services.end(),
            [](const Service* a, const Service* b) { return a->id < b->id; });
  services.erase(std::unique(services.begin(), services.end(),
                             [](const Service* a, const Service* b) { return a->id == b->id; }),
                 services.end());
  ServicePlanner planner(context, out);
  for (const Service* s : services) planner.add(*s);
  planner.settle();
}

}  // namespace weft::plan
