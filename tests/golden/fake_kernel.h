// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>
#include <map>
#include <string>

#include "core/diff/diff.h"

namespace weft::fixture {

// The maps as bytes, as a kernel keeps them; independent of diff::Held.
class FakeKernel {
 public:
  using Map = std::map<Bytes, Bytes>;

  Map& map(diff::MapId id) { return maps_[size_t(id)]; }
  const Map& map(diff::MapId id) const { return maps_[size_t(id)]; }
  bool operator==(const FakeKernel&) const = default;

  // False: the operation is not possible (removing from an array, a wrong size).
  bool apply(const diff::Operation& op) {
    if (!diff::is_array(op.map)) {
      Map& map = maps_[size_t(op.map)];
      if (op.kind == diff::Operation::Kind::remove) return map.erase(op.key) == 1;
      if (op.kind != diff::Operation::Kind::set) return false;
      map[op.key] = op.value;
      return true;
    }
    const size_t size = element_size(op.map);
    if (op.kind == diff::Operation::Kind::remove || op.value.empty()) return false;
    if (op.value.size() % size != 0) return false;
    if (op.kind == diff::Operation::Kind::set && op.value.size() != size) return false;
    uint32_t index;
    std::memcpy(&index, op.key.data(), 4);
    Bytes& array = arrays_[size_t(op.map)];
    array.resize(std::max(array.size(), index * size + op.value.size()));
    std::copy(op.value.begin(), op.value.end(), array.begin() + long(index * size));
    return true;
  }

  // What a restarted agent reads back.
  diff::Held read_back() const {
    diff::Held held;
    for (size_t id = 0; id < diff::map_count; ++id) {
      for (const auto& [key, value] : maps_[id])
        held.note({diff::MapId(id), diff::Operation::Kind::set, key, value});
      if (!arrays_[id].empty()) held.note(diff::fill_of(diff::MapId(id), 0u, arrays_[id]));
    }
    return held;
  }

  // An array's entry; all zero if it was never written.
  template <typename V>
  V get(diff::MapId id, uint32_t index) const {
    V value{};
    const Bytes& array = arrays_[size_t(id)];
    if ((index + 1) * sizeof(V) <= array.size())
      std::memcpy(&value, array.data() + index * sizeof(V), sizeof(V));
    return value;
  }

  // What a packet could run into at this moment; empty if all is well.
  std::string broken() const {
    for (const auto& [key, bytes] : map(diff::MapId::endpoints)) {
      weft_endpoint e;
      std::memcpy(&e, bytes.data(), sizeof(e));
      if (e.kind == WEFT_ENDPOINT_REMOTE &&
          !(get<weft_vtep>(diff::MapId::vteps, e.node).flags & WEFT_VTEP_KNOWN))
        return "a remote endpoint on an unknown node";
      if (e.kind == WEFT_ENDPOINT_VIP)
        if (auto why = broken_service(e.service); !why.empty()) return "VIP: " + why;
    }
    for (const auto& [key, bytes] : map(diff::MapId::published)) {
      weft_published p;
      std::memcpy(&p, bytes.data(), sizeof(p));
      if (auto why = broken_service(p.service); !why.empty()) return "published port: " + why;
    }
    return {};
  }

 private:
  static size_t element_size(diff::MapId id) {
    switch (id) {
      case diff::MapId::vteps:
        return sizeof(weft_vtep);
      case diff::MapId::services:
        return sizeof(weft_service);
      case diff::MapId::service_slots:
        return sizeof(weft_slots);
      default:
        return sizeof(weft_backend);
    }
  }
  std::string broken_service(uint32_t index) const {
    const auto service = get<weft_service>(diff::MapId::services, index);
    if (service.id == 0) return "no service";
    const diff::Range slots = diff::slots_of(service);
    for (uint32_t s = 0; s < slots.count; ++s) {
      const auto element = get<weft_slots>(diff::MapId::service_slots, (slots.first + s) / 2);
      const weft_slot_pair pair = element.pair[s & 1];
      const uint16_t primary = pair.primary & 0x7fff;
      if (primary != WEFT_SLOT_NONE) {
        if (primary >= service.backend_count) return "an owner beyond the backends";
        const auto backend = get<weft_backend>(diff::MapId::backends, service.backends + primary);
        if (!(backend.flags & WEFT_BACKEND_READY)) return "an owner that is not ready";
        const auto vtep = get<weft_vtep>(diff::MapId::vteps, backend.node);
        if (!(vtep.flags & WEFT_VTEP_KNOWN)) return "an owner on an unknown node";
      }
      if (pair.secondary == WEFT_SLOT_NONE) continue;
      if (pair.secondary >= service.backend_count) return "a secondary beyond the backends";
      if (get<weft_backend>(diff::MapId::backends, service.backends + pair.secondary).flags == 0)
        return "a dead secondary";
    }
    return {};
  }

  std::array<Map, diff::map_count> maps_;  // hashes
  std::array<Bytes, diff::map_count> arrays_;
};

}  // namespace weft::fixture
