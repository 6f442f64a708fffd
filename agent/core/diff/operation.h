// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <cstring>
#include <string_view>
#include <type_traits>

#include "base/bytes.h"

namespace weft::diff {

// The maps that the plan fills, under their names in maps/registry.h.
enum class MapId : uint8_t {
  ports,
  local_macs,
  endpoints,
  networks,
  subnets,
  vteps,
  peers,
  services,
  service_slots,
  backends,
  published,
  node_addresses,
};
inline constexpr size_t map_count = 12;
std::string_view map_name(MapId map);
// An array has all its entries always; one that is all zero counts as absent.
bool is_array(MapId map);

// One step towards the desired state. Steps are safe in their order only, and each leaves the maps
// in a state that packets may meet: stop at the first that fails, and diff again.
struct Operation {
  enum class Kind : uint8_t {
    set,     // the value of a key
    remove,  // a key; never of an array
    fill,    // arrays: values of consecutive indices, from `key` (u32) on. May be applied in parts
  };
  MapId map{};
  Kind kind{};
  Bytes key;
  Bytes value;
  bool operator==(const Operation&) const = default;
};

template <typename T>
Bytes bytes_of(const T& value) {
  static_assert(std::has_unique_object_representations_v<T>);
  const auto* p = reinterpret_cast<const uint8_t*>(&value);
  return Bytes(p, p + sizeof(T));
}

template <typename K, typename V>
Operation set_of(MapId map, const K& key, const V& value) {
  return {map, Operation::Kind::set, bytes_of(key), bytes_of(value)};
}
template <typename K>
Operation remove_of(MapId map, const K& key) {
  return {map, Operation::Kind::remove, bytes_of(key), {}};
}
// `values`: a contiguous range of elements.
template <typename Range>
Operation fill_of(MapId map, uint32_t first, const Range& values) {
  const auto* p = reinterpret_cast<const uint8_t*>(values.data());
  return {map, Operation::Kind::fill, bytes_of(first),
          Bytes(p, p + values.size() * sizeof(*values.data()))};
}

}  // namespace weft::diff
