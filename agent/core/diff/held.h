// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <map>
#include <vector>

#include "core/diff/operation.h"
#include "core/plan/desired_state.h"
#include "weft/abi/types.h"

namespace weft::diff {

template <typename K, typename V>
using HeldMap = std::map<K, V, plan::KeyLess>;

// Elements [first, first + count) of an array map.
struct Range {
  uint32_t first = 0;
  uint32_t count = 0;
  auto operator<=>(const Range&) const = default;
};

// What the maps hold. A driver reads them back at start and notes every entry; after that the agent
// notes each operation that succeeded. Zero entries of arrays are absent.
class Held {
 public:
  // Bytes of another size than the map's are an error of the caller.
  void note(const Operation& operation);

  HeldMap<__u32, weft_port> ports;
  HeldMap<weft_mac_key, weft_port> local_macs;
  HeldMap<weft_endpoint_key, weft_endpoint> endpoints;
  HeldMap<__u32, weft_network> networks;
  HeldMap<weft_subnet_key, weft_subnet> subnets;
  HeldMap<__u32, weft_vtep> vteps;
  HeldMap<weft_peer_key, weft_peer> peers;
  HeldMap<__u32, weft_service> services;  // with an id
  HeldMap<weft_published_key, weft_published> published;
  HeldMap<weft_address, weft_node_address> node_addresses;

  const weft_backend& backend(uint32_t index) const;
  weft_slot_pair slot(uint32_t index) const;

  // After `services` is read back: the parts of the two large arrays that matter. Slots count in
  // elements of two.
  std::vector<Range> backends_in_use() const;
  std::vector<Range> slot_elements_in_use() const;

  // Frees what no service refers to: the tables that were switched away from.
  void forget_unused_slots();

 private:
  // The kernel's array has 16 MB, of which a node with few services uses little, and scattered.
  static constexpr uint32_t page_elements = 512;
  using Page = std::array<weft_slots, page_elements>;

  std::vector<weft_backend> backends_;   // up to the highest index noted
  std::map<uint32_t, Page> slot_pages_;  // by first element / page_elements
};

// The slots of a service, in slots; count 0 if it has none (or the value makes no sense).
Range slots_of(const weft_service& service);
// The backends' region of a service: its capacity follows from the number in use.
Range region_of(const weft_service& service);
uint32_t region_capacity(uint32_t backend_count);

}  // namespace weft::diff
