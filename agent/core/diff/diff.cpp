// SPDX-License-Identifier: Apache-2.0
#include "core/diff/diff.h"

#include <algorithm>

#include "core/diff/placement.h"

namespace weft::diff {
namespace {

using plan::KeyLess;
using plan::MapContents;

template <typename K>
bool same_key(const K& a, const K& b) {
  return std::memcmp(&a, &b, sizeof(K)) == 0;
}

// Entries that are new or have another value.
template <typename K, typename V, typename Chosen>
void add_sets(MapId map, const MapContents<K, V>& desired, const HeldMap<K, V>& held,
              std::vector<Operation>& out, Chosen chosen) {
  auto at = held.begin();
  for (const auto& [key, value] : desired) {
    while (at != held.end() && KeyLess()(at->first, key)) ++at;
    const bool known = at != held.end() && same_key(at->first, key);
    if (known && std::memcmp(&at->second, &value, sizeof(V)) == 0) continue;
    if (chosen(value)) out.push_back(set_of(map, key, value));
  }
}
template <typename K, typename V>
void add_sets(MapId map, const MapContents<K, V>& desired, const HeldMap<K, V>& held,
              std::vector<Operation>& out) {
  add_sets(map, desired, held, out, [](const V&) { return true; });
}

// Entries that are held and not wanted.
template <typename K, typename V, typename Chosen>
void add_removes(MapId map, const MapContents<K, V>& desired, const HeldMap<K, V>& held,
                 std::vector<Operation>& out, Chosen chosen) {
  auto at = desired.begin();
  for (const auto& [key, value] : held) {
    while (at != desired.end() && KeyLess()(at->first, key)) ++at;
    if (at != desired.end() && same_key(at->first, key)) continue;
    if (!chosen(value)) continue;
    // An array entry cannot be removed, only cleared.
    out.push_back(is_array(map) ? set_of(map, key, V{}) : remove_of(map, key));
  }
}
template <typename K, typename V>
void add_removes(MapId map, const MapContents<K, V>& desired, const HeldMap<K, V>& held,
                 std::vector<Operation>& out) {
  add_removes(map, desired, held, out, [](const V&) { return true; });
}

template <typename K, typename V>
void sort_by_key(MapContents<K, V>& contents) {
  std::sort(contents.begin(), contents.end(),
            [](const auto& a, const auto& b) { return KeyLess()(a.first, b.first); });
}

// What refers to services by index.
struct References {
  MapContents<weft_endpoint_key, weft_endpoint> vips;
  MapContents<weft_published_key, weft_published> published;

  void add(const plan::PlannedService& service, uint32_t index) {
    for (const Address& vip : {service.vip4, service.vip6}) {
      if (vip.is_none()) continue;
      weft_endpoint_key key{.vni = service.vni};
      std::memcpy(key.address, vip.bytes().data(), 16);
      weft_endpoint value{.service = index, .node = WEFT_NO_NODE};
      value.kind = WEFT_ENDPOINT_VIP;
      vips.emplace_back(key, value);
    }
    for (const plan::PlannedPort& p : service.published)
      published.emplace_back(
          p.key, weft_published{.service = index, .target_port = p.target_port, .flags = p.flags});
  }
};

bool is_vip(const weft_endpoint& e) { return e.kind == WEFT_ENDPOINT_VIP; }
bool is_not_vip(const weft_endpoint& e) { return !is_vip(e); }

void append(std::vector<Operation>& to, std::vector<Operation>&& from) {
  to.insert(to.end(), std::make_move_iterator(from.begin()), std::make_move_iterator(from.end()));
}

}  // namespace

Difference diff(const plan::DesiredState& desired, const Held& held, const Memory& memory,
                Duration drain, Instant now, const Limits& limits) {
  Placement placement(held, memory, drain, now, limits);
  References references;
  for (const plan::PlannedService& service : desired.services)
    if (const auto index = placement.place(service)) references.add(service, *index);
  placement.free_others();
  auto endpoints = desired.endpoints;
  endpoints.insert(endpoints.end(), references.vips.begin(), references.vips.end());
  sort_by_key(endpoints);
  sort_by_key(references.published);

  Difference out;
  auto& ops = out.operations;
  add_sets(MapId::vteps, desired.vteps, held.vteps, ops);
  add_sets(MapId::networks, desired.networks, held.networks, ops);
  add_sets(MapId::subnets, desired.subnets, held.subnets, ops);
  add_sets(MapId::peers, desired.peers, held.peers, ops);
  add_sets(MapId::ports, desired.ports, held.ports, ops);
  add_sets(MapId::local_macs, desired.local_macs, held.local_macs, ops);
  add_sets(MapId::node_addresses, desired.node_addresses, held.node_addresses, ops);
  add_sets(MapId::endpoints, endpoints, held.endpoints, ops, is_not_vip);
  append(ops, std::move(placement.before));
  add_sets(MapId::endpoints, endpoints, held.endpoints, ops, is_vip);
  add_sets(MapId::published, references.published, held.published, ops);

  add_removes(MapId::published, references.published, held.published, ops);
  add_removes(MapId::endpoints, endpoints, held.endpoints, ops, is_vip);
  append(ops, std::move(placement.after));
  add_removes(MapId::endpoints, endpoints, held.endpoints, ops, is_not_vip);
  add_removes(MapId::node_addresses, desired.node_addresses, held.node_addresses, ops);
  add_removes(MapId::local_macs, desired.local_macs, held.local_macs, ops);
  add_removes(MapId::ports, desired.ports, held.ports, ops);
  add_removes(MapId::peers, desired.peers, held.peers, ops);
  add_removes(MapId::subnets, desired.subnets, held.subnets, ops);
  add_removes(MapId::networks, desired.networks, held.networks, ops);
  add_removes(MapId::vteps, desired.vteps, held.vteps, ops);

  out.memory = std::move(placement.built);
  out.deadline = placement.deadline;
  out.problems = std::move(placement.problems);
  return out;
}

}  // namespace weft::diff
