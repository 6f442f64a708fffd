// SPDX-License-Identifier: Apache-2.0
#include "core/diff/held.h"

#include <algorithm>
#include <bit>

#include "base/assert.h"

namespace weft::diff {
namespace {

template <typename T>
T value_of(ByteView bytes) {
  WEFT_ASSERT(bytes.size() == sizeof(T));
  T value;
  std::memcpy(&value, bytes.data(), sizeof(T));
  return value;
}

template <typename T>
bool is_zero(const T& value) {
  const T zero{};
  return std::memcmp(&value, &zero, sizeof(T)) == 0;
}

template <typename K, typename V>
void note_keyed(HeldMap<K, V>& map, const Operation& op) {
  const K key = value_of<K>(op.key);
  if (op.kind == Operation::Kind::remove) {
    map.erase(key);
    return;
  }
  WEFT_ASSERT(op.kind == Operation::Kind::set);
  map.insert_or_assign(key, value_of<V>(op.value));
}

// Splits set and fill of an array into single elements.
template <typename V, typename Each>
void for_elements(const Operation& op, Each each) {
  WEFT_ASSERT(op.kind != Operation::Kind::remove && op.value.size() % sizeof(V) == 0);
  const uint32_t first = value_of<uint32_t>(op.key);
  const ByteView values(op.value);
  for (size_t i = 0; i < values.size() / sizeof(V); ++i)
    each(uint32_t(first + i), value_of<V>(values.subspan(i * sizeof(V), sizeof(V))));
}

template <typename V>
void note_array(std::vector<V>& array, const Operation& op) {
  for_elements<V>(op, [&](uint32_t index, const V& value) {
    if (index >= array.size()) array.resize(index + 1);
    array[index] = value;
  });
}

template <typename V, typename Present>
void note_sparse(HeldMap<__u32, V>& map, const Operation& op, Present present) {
  for_elements<V>(op, [&](uint32_t index, const V& value) {
    if (present(value))
      map.insert_or_assign(index, value);
    else
      map.erase(index);
  });
}

}  // namespace

std::string_view map_name(MapId map) {
  static constexpr std::string_view names[map_count] = {
      "ports", "local_macs", "endpoints",     "networks", "subnets",   "vteps",
      "peers", "services",   "service_slots", "backends", "published", "node_addresses"};
  return names[size_t(map)];
}

bool is_array(MapId map) {
  return map == MapId::vteps || map == MapId::services || map == MapId::service_slots ||
         map == MapId::backends;
}

void Held::note(const Operation& op) {
  switch (op.map) {
    case MapId::ports:
      return note_keyed(ports, op);
    case MapId::local_macs:
      return note_keyed(local_macs, op);
    case MapId::endpoints:
      return note_keyed(endpoints, op);
    case MapId::networks:
      return note_keyed(networks, op);
    case MapId::subnets:
      return note_keyed(subnets, op);
    case MapId::vteps:
      return note_sparse(vteps, op, [](const weft_vtep& v) { return !is_zero(v); });
    case MapId::peers:
      return note_keyed(peers, op);
    case MapId::services:
      return note_sparse(services, op, [](const weft_service& s) { return s.id != 0; });
    case MapId::service_slots:
      return for_elements<weft_slots>(op, [&](uint32_t index, const weft_slots& value) {
        slot_pages_[index / page_elements][index % page_elements] = value;
      });
    case MapId::backends:
      return note_array(backends_, op);
    case MapId::published:
      return note_keyed(published, op);
    case MapId::node_addresses:
      return note_keyed(node_addresses, op);
  }
}

const weft_backend& Held::backend(uint32_t index) const {
  static constexpr weft_backend none{};
  return index < backends_.size() ? backends_[index] : none;
}

weft_slot_pair Held::slot(uint32_t index) const {
  const auto page = slot_pages_.find(index / 2 / page_elements);
  if (page == slot_pages_.end()) return {.primary = WEFT_SLOT_NONE, .secondary = WEFT_SLOT_NONE};
  return page->second[index / 2 % page_elements].pair[index & 1];
}

std::vector<Range> Held::backends_in_use() const {
  std::vector<Range> out;
  for (const auto& [index, service] : services) {
    const Range region = region_of(service);
    if (region.count != 0) out.push_back({region.first, service.backend_count});
  }
  std::sort(out.begin(), out.end());
  return out;
}

std::vector<Range> Held::slot_elements_in_use() const {
  std::vector<Range> out;
  for (const auto& [index, service] : services) {
    const Range slots = slots_of(service);
    if (slots.count != 0) out.push_back({slots.first / 2, slots.count / 2});
  }
  std::sort(out.begin(), out.end());
  return out;
}

void Held::forget_unused_slots() {
  std::map<uint32_t, Page> used;
  for (const Range& range : slot_elements_in_use()) {
    const uint32_t last = (range.first + range.count - 1) / page_elements;
    for (uint32_t number = range.first / page_elements; number <= last; ++number)
      if (auto page = slot_pages_.extract(number)) used.insert(std::move(page));
  }
  slot_pages_ = std::move(used);
}

Range slots_of(const weft_service& service) {
  if (service.table == WEFT_NO_TABLE) return {};
  const uint64_t first = service.table & 0xffffffff;
  const uint64_t log2 = service.table >> 32;
  if (log2 < 1 || log2 > 22 || first % 2 != 0 || first + (1ull << log2) > WEFT_MAX_SLOTS) return {};
  return {uint32_t(first), 1u << log2};
}

uint32_t region_capacity(uint32_t backend_count) {
  return backend_count == 0 ? 0 : std::bit_ceil(std::max(backend_count, 8u));
}

Range region_of(const weft_service& service) {
  if (service.backend_count > lb::max_backends) return {};
  const uint32_t capacity = region_capacity(service.backend_count);
  if (uint64_t(service.backends) + capacity > WEFT_MAX_BACKENDS) return {};
  return {service.backends, capacity};
}

}  // namespace weft::diff
