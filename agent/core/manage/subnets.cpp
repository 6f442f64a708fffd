// SPDX-License-Identifier: Apache-2.0
#include "core/manage/subnets.h"

#include <algorithm>

#include "core/manage/allocate.h"
#include "core/manage/names.h"

namespace weft::manage {

namespace {

struct Occupied {
  Prefix prefix;
  std::string what;
};

// Networks, routes of nodes and the nodes' own addresses. Default routes say nothing.
std::vector<Occupied> occupied(const Draft& draft) {
  std::vector<Occupied> out;
  const auto add = [&](const std::string& text, const std::string& what) {
    const auto prefix = Prefix::parse(text, true);
    if (prefix && prefix->length != 0) out.push_back({*prefix, what});
  };
  for (const api::Network* network : draft.all<api::Network>()) {
    add(network->subnet4(),
        "subnet " + network->subnet4() + " of network '" + network->name() + "'");
    if (!network->subnet6().empty())
      add(network->subnet6(),
          "subnet " + network->subnet6() + " of network '" + network->name() + "'");
  }
  for (const api::Node* node : draft.all<api::Node>()) {
    for (const std::string& route : node->routes())
      add(route, "route " + route + " of node '" + node->name() + "'");
    const auto address = Address::parse(node->address());
    if (address)
      out.push_back({Prefix{*address, uint8_t(address->is_v4() ? 32 : 128)},
                     "address " + node->address() + " of node '" + node->name() + "'"});
  }
  return out;
}

// What was asked for in one family.
struct FamilyWish {
  std::optional<Prefix> subnet, range;
  std::optional<Address> gateway;
  std::map<std::string, Address> aux;
};

Result<> set_once(auto& field, auto value, bool v4, const char* what) {
  if (field)
    return Error(ErrorCode::invalid, std::string("more than one IPv") + (v4 ? "4 " : "6 ") + what +
                                         " is given: a network has one of each family");
  field = value;
  return Ok;
}

Result<> sort_by_family(const SubnetWish& wish, FamilyWish& four, FamilyWish& six) {
  const auto family = [&](const Address& a) -> FamilyWish& { return a.is_v4() ? four : six; };
  for (const std::string& text : wish.subnets) {
    const Prefix subnet = TRY_IN("--subnet", Prefix::parse(text));
    TRY(set_once(family(subnet.address).subnet, subnet, subnet.address.is_v4(), "subnet"));
  }
  const auto needs_subnet = [&](const Address& a, const std::string& what) -> Result<> {
    const FamilyWish& f = family(a);
    if (!f.subnet)
      return Error(ErrorCode::invalid, what + " needs a subnet of its family: add --subnet");
    if (f.subnet->contains(a)) return Ok;
    return Error(ErrorCode::invalid,
                 what + " is outside subnet " + f.subnet->to_string() + ": choose one inside");
  };
  for (const std::string& text : wish.ip_ranges) {
    const Prefix range = TRY_IN("--ip-range", Prefix::parse(text));
    TRY(needs_subnet(range.address, "ip range " + text));
    TRY(set_once(family(range.address).range, range, range.address.is_v4(), "ip range"));
  }
  for (const std::string& text : wish.gateways) {
    const Address gateway = TRY_IN("--gateway", Address::parse(text));
    TRY(needs_subnet(gateway, "gateway " + text));
    TRY(set_once(family(gateway).gateway, gateway, gateway.is_v4(), "gateway"));
  }
  for (const auto& [name, text] : wish.aux_addresses) {
    const Address address = TRY_IN("--aux-address " + name, Address::parse(text));
    TRY(needs_subnet(address, "aux address " + name + "=" + text));
    family(address).aux[name] = address;
  }
  return Ok;
}

Result<Prefix> pick_subnet(Draft& draft, const FamilyWish& wish, Family family, uint8_t length,
                           const std::vector<Occupied>& others) {
  if (wish.subnet) {
    for (const Occupied& other : others)
      if (other.prefix.overlaps(*wish.subnet))
        return Error(ErrorCode::conflict, "subnet " + wish.subnet->to_string() + " overlaps " +
                                              other.what + ": choose another --subnet");
    return *wish.subnet;
  }
  api::Cluster cluster = draft.cluster();
  const bool v4 = family == Family::v4;
  std::string& last_text = v4 ? *cluster.mutable_last_subnet4() : *cluster.mutable_last_subnet6();
  std::optional<Prefix> last;
  if (!last_text.empty()) last = TRY(Prefix::parse(last_text));
  std::vector<Prefix> taken;
  for (const Occupied& other : others) taken.push_back(other.prefix);
  const Prefix pool = TRY(Prefix::parse(v4 ? cluster.default_pool4() : cluster.default_pool6()));
  const Prefix chosen = TRY(ipam::choose_subnet(pool, length, last, taken));
  last_text = chosen.to_string();
  draft.put(std::move(cluster));
  return chosen;
}

Result<> fill_family(Draft& draft, const FamilyWish& wish, Family family, uint8_t length,
                     const std::vector<Occupied>& others, api::Network& network) {
  const Prefix subnet = TRY(pick_subnet(draft, wish, family, length, others));
  TRY(ipam::make_pool(subnet, wish.range));
  const Address gateway = wish.gateway.value_or(ipam::first_usable(subnet));
  const bool v4 = family == Family::v4;
  (v4 ? *network.mutable_subnet4() : *network.mutable_subnet6()) = subnet.to_string();
  (v4 ? *network.mutable_gateway4() : *network.mutable_gateway6()) = gateway.to_string();
  if (wish.range)
    (v4 ? *network.mutable_ip_range4() : *network.mutable_ip_range6()) = wish.range->to_string();
  TRY_IN("gateway", lease_address(draft, network, family, "gateway", gateway.to_string()));
  for (const auto& [name, address] : wish.aux)
    TRY_IN("aux address " + name,
           lease_address(draft, network, family, "aux:" + name, address.to_string()));
  return Ok;
}

}  // namespace

Result<> give_subnets(Draft& draft, const SubnetWish& wish, api::Network& network) {
  FamilyWish four, six;
  TRY(sort_by_family(wish, four, six));
  const std::vector<Occupied> others = occupied(draft);
  TRY(fill_family(draft, four, Family::v4, wish.default_length4, others, network));
  if (wish.ipv6 || six.subnet) TRY(fill_family(draft, six, Family::v6, 64, others, network));
  return Ok;
}

LargestMtu largest_mtu(const Draft& draft, bool encrypted) {
  LargestMtu largest{1500, ""};
  bool known = false;
  for (const api::Node* node : draft.all<api::Node>()) {
    const uint32_t uplink = node->uplink_mtu_bytes();
    if (uplink == 0 || (known && uplink >= largest.bytes)) continue;
    largest = {uplink, node->name()};
    known = true;
  }
  const uint32_t overhead = vxlan_overhead_bytes + (encrypted ? esp_overhead_bytes : 0);
  largest.bytes = largest.bytes > overhead ? largest.bytes - overhead : 0;
  return largest;
}

void lower_mtus(Draft& draft) {
  for (const api::Network* network : draft.all<api::Network>()) {
    if (network->options().contains("mtu")) continue;
    const LargestMtu largest = largest_mtu(draft, network->encrypted());
    if (network->mtu_bytes() <= largest.bytes) continue;
    api::Network lower = *network;
    lower.set_mtu_bytes(largest.bytes);
    draft.put(std::move(lower));
  }
}

}  // namespace weft::manage
