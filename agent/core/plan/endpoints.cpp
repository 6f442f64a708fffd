// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <tuple>

#include "core/plan/context.h"

namespace weft::plan {
namespace {

// One claim on an address. The smallest rank wins.
struct Claim {
  weft_endpoint_key key;
  weft_endpoint value;
  std::tuple<int, MemberState, int, std::string_view> rank;
};

int order_of(EndpointState state) {
  switch (state) {
    case EndpointState::ready:
      return 0;
    case EndpointState::starting:
      return 1;
    case EndpointState::draining:
      return 2;
  }
  return 3;
}

weft_endpoint_key key_of(uint32_t vni, const Address& address) {
  weft_endpoint_key key{.vni = vni};
  copy_address(key.address, address);
  return key;
}

weft_endpoint at_node(uint16_t node, const Mac& mac, uint32_t local_ifindex) {
  weft_endpoint value{.ifindex = local_ifindex, .service = WEFT_NO_SERVICE, .node = node};
  value.kind = local_ifindex != 0 ? WEFT_ENDPOINT_LOCAL : WEFT_ENDPOINT_REMOTE;
  copy_mac(value.mac, mac);
  return value;
}

class Claims {
 public:
  void add(uint32_t vni, const Address& a4, const Address& a6, const weft_endpoint& value,
           const std::tuple<int, MemberState, int, std::string_view>& rank) {
    for (const Address& a : {a4, a6})
      if (!a.is_none()) claims_.push_back({key_of(vni, a), value, rank});
  }
  void settle(DesiredState& out) {
    std::sort(claims_.begin(), claims_.end(), [](const Claim& a, const Claim& b) {
      const int order = std::memcmp(&a.key, &b.key, sizeof(a.key));
      return order != 0 ? order < 0 : a.rank < b.rank;
    });
    out.endpoints.reserve(claims_.size());
    for (const Claim& c : claims_) out.endpoints.emplace_back(c.key, c.value);
    sort_unique(out.endpoints);
  }

 private:
  std::vector<Claim> claims_;
};

weft_port port_base(const Network& network, uint32_t ifindex) {
  weft_port port{.ifindex = ifindex, .vni = network.vni};
  copy_address(port.gateway4, network.gateway4);
  copy_address(port.gateway6, network.gateway6);
  if (network.subnet4) port.prefix4 = network.subnet4->length;
  if (network.subnet6) port.prefix6 = network.subnet6->length;
  if (network.internal) port.flags |= WEFT_PORT_INTERNAL;
  if (network.multicast) port.flags |= WEFT_PORT_MULTICAST;
  return port;
}

void add_port(DesiredState& out, const weft_port& port) {
  out.ports.emplace_back(port.ifindex, port);
  weft_mac_key key{};
  std::memcpy(key.mac, port.mac, sizeof(key.mac));
  out.local_macs.emplace_back(key, port);
}

void plan_ports(const Context& context, DesiredState& out) {
  const HostEndpoint& host = context.view().self.host;
  if (context.ingress() != nullptr && host.ifindex != 0) {
    weft_port port = port_base(*context.ingress(), host.ifindex);
    copy_address(port.address4, host.address4);
    copy_address(port.address6, host.address6);
    copy_mac(port.mac, host.mac);
    copy_mac(port.host_mac, host.host_mac);
    port.mtu_bytes = host.mtu_bytes;
    port.flags |= WEFT_PORT_HOST;
    port.id = host.id;
    add_port(out, port);
  }
  for (const VisibleEndpoint& e : context.endpoints()) {
    if (e.local == nullptr || e.local->ifindex == 0) continue;
    weft_port port = port_base(*e.network, e.local->ifindex);
    copy_address(port.address4, e.record->address4);
    copy_address(port.address6, e.record->address6);
    copy_mac(port.mac, e.record->mac);
    copy_mac(port.host_mac, e.local->host_mac);
    port.mtu_bytes = e.local->mtu_bytes;
    if (!e.record->service_id.empty()) port.flags |= WEFT_PORT_BACKEND;
    port.id = e.local->id;
    add_port(out, port);
  }
  sort_unique(out.ports);
  sort_unique(out.local_macs);
}

}  // namespace

void plan_endpoints(const Context& context, DesiredState& out) {
  const Self& self = context.view().self;
  Claims claims;
  for (const Network* n : context.present()) {
    weft_endpoint gateway{.service = WEFT_NO_SERVICE, .node = self.index};
    gateway.kind = WEFT_ENDPOINT_GATEWAY;
    claims.add(n->vni, n->gateway4, n->gateway6, gateway, {0, MemberState::alive, 0, {}});
  }
  if (const Network* ingress = context.ingress(); ingress != nullptr) {
    if (self.host.ifindex != 0)
      claims.add(ingress->vni, self.host.address4, self.host.address6,
                 at_node(self.index, self.host.mac, self.host.ifindex),
                 {1, MemberState::alive, 0, self.id});
    for (const Member* m : context.others())
      if (m->state != MemberState::gone)
        claims.add(ingress->vni, m->ingress_address4, m->ingress_address6,
                   at_node(m->index, m->host_mac, 0), {1, m->state, 0, m->id});
  }
  for (const VisibleEndpoint& e : context.endpoints()) {
    const uint32_t ifindex = e.local != nullptr ? e.local->ifindex : 0;
    if (e.local != nullptr && ifindex == 0) continue;
    claims.add(e.network->vni, e.record->address4, e.record->address6,
               at_node(e.node, e.record->mac, ifindex),
               {2, e.state, order_of(e.record->state), e.record->id});
  }
  claims.settle(out);
  plan_ports(context, out);
}

}  // namespace weft::plan
