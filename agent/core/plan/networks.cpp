// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "core/plan/context.h"

namespace weft::plan {
namespace {

weft_network network_value(const Network& n) {
  weft_network value{};
  if (n.subnet4) {
    copy_address(value.subnet4, n.subnet4->address);
    value.prefix4 = n.subnet4->length;
  }
  if (n.subnet6) {
    copy_address(value.subnet6, n.subnet6->address);
    value.prefix6 = n.subnet6->length;
  }
  value.mtu_bytes = n.mtu_bytes;
  if (n.internal) value.flags |= WEFT_NETWORK_INTERNAL;
  if (n.multicast) value.flags |= WEFT_NETWORK_MULTICAST;
  if (n.ingress) value.flags |= WEFT_NETWORK_INGRESS;
  if (n.encrypted) value.flags |= WEFT_NETWORK_ENCRYPTED;
  return value;
}

}  // namespace

void plan_networks(const Context& context, DesiredState& out) {
  for (const Network* n : context.present()) {
    out.networks.emplace_back(n->vni, network_value(*n));
    for (const auto& subnet : {n->subnet4, n->subnet6}) {
      if (!subnet) continue;
      out.routes.push_back({*subnet, n->vni});
      if (!n->internal) out.masqueraded.push_back(*subnet);
    }
  }
  sort_unique(out.networks);
  std::sort(out.routes.begin(), out.routes.end());
  std::sort(out.masqueraded.begin(), out.masqueraded.end());

  for (const Network& n : context.view().networks) {
    for (const auto& subnet : {n.subnet4, n.subnet6}) {
      if (!subnet || n.vni == 0) continue;
      weft_subnet_key key{.prefix_bits = subnet->length + (subnet->address.is_v4() ? 96u : 0u)};
      copy_address(key.address, subnet->address);
      out.subnets.emplace_back(key, weft_subnet{.vni = n.vni});
    }
  }
  // Blocks are disjoint; should two networks ever have one, the older VNI keeps it.
  std::sort(out.subnets.begin(), out.subnets.end(),
            [](const auto& a, const auto& b) { return a.second.vni < b.second.vni; });
  sort_unique(out.subnets);

  for (const NodeAddress& a : context.view().addresses) {
    weft_address key{};
    copy_address(key.bytes, a.address);
    out.node_addresses.emplace_back(key, weft_node_address{.ifindex = a.ifindex});
  }
  std::sort(out.node_addresses.begin(), out.node_addresses.end(),
            [](const auto& a, const auto& b) { return a.second.ifindex < b.second.ifindex; });
  sort_unique(out.node_addresses);
}

}  // namespace weft::plan
