// SPDX-License-Identifier: Apache-2.0
#include "core/diff/placement.h"

#include <algorithm>
#include <bit>

#include "base/assert.h"

namespace weft::diff {
namespace {

template <typename T>
bool same_bytes(const T& a, const T& b) {
  return std::memcmp(&a, &b, sizeof(T)) == 0;
}

// The order of plan::PlannedService::backends.
bool backend_before(const weft_backend& a, const weft_backend& b) {
  return a.node != b.node ? a.node < b.node : std::memcmp(a.mac, b.mac, 6) < 0;
}

uint64_t mixed(uint64_t hash, uint64_t word) {
  hash = (hash ^ word) * 0x9e3779b97f4a7c15;
  return hash ^ hash >> 29;
}

// What a slot table depends on, as far as this node is concerned.
uint64_t signature_of(const std::vector<lb::Backend>& backends) {
  uint64_t hash = backends.size();
  for (const lb::Backend& b : backends) {
    hash = mixed(hash, b.id);
    hash = mixed(hash, uint64_t(b.weight) << 32 | uint64_t(b.state) << 16 | b.offset);
  }
  return hash;
}

weft_slot_pair pair_of(const lb::Slot& slot) {
  static_assert(lb::no_backend == WEFT_SLOT_NONE);
  return {.primary = __u16(slot.primary | (slot.moving ? WEFT_SLOT_MOVING : 0)),
          .secondary = slot.secondary};
}

std::vector<weft_slots> elements_of(const lb::Table& table) {
  std::vector<weft_slots> out(table.slots.size() / 2);
  for (size_t s = 0; s < table.slots.size(); ++s) out[s / 2].pair[s & 1] = pair_of(table.slots[s]);
  return out;
}

uint64_t table_word(const Range& slots) {
  if (slots.count == 0) return WEFT_NO_TABLE;
  return uint64_t(std::countr_zero(slots.count)) << 32 | slots.first;
}

}  // namespace

Placement::Placement(const Held& held, const Memory& memory, Duration drain, Instant now,
                     const Limits& limits)
    : held_(held),
      memory_(memory),
      drain_(drain),
      now_(now),
      limits_(limits),
      backend_regions_(limits.backends),
      slot_regions_(limits.slots) {
  for (const auto& [index, service] : held_.services) {
    // Of two entries with one id, which a broken map could hold, the second is freed.
    index_of_.emplace(service.id, index);
    taken_.insert(index);
    backend_regions_.occupy(region_of(service));
    slot_regions_.occupy(slots_of(service));
  }
}

std::optional<uint32_t> Placement::find_index(uint64_t id) {
  if (const auto found = index_of_.find(id); found != index_of_.end()) return found->second;
  while (taken_.contains(next_index_)) ++next_index_;
  if (next_index_ >= limits_.services) return std::nullopt;
  taken_.insert(next_index_);
  return next_index_;
}

std::optional<uint32_t> Placement::place(const plan::PlannedService& service) {
  const auto index = find_index(service.id);
  if (!index) {
    problems.push_back("service " + service.service_id + " has no entry: `services` is full");
    return std::nullopt;
  }
  placed_.insert(*index);
  Work work{.service = &service, .index = *index};
  if (const auto found = held_.services.find(*index); found != held_.services.end()) {
    work.was = found->second;
    work.was_region = region_of(work.was);
    if (work.was_region.count == 0) work.was.backend_count = 0;
  }
  if (!place_backends(work) || !place_table(work)) {
    const auto known = memory_.services.find(service.id);
    if (known != memory_.services.end()) built.services.insert(*known);
    if (work.was.id == 0) return std::nullopt;
    return index;
  }
  write_backends(work);
  write_table(work);
  return index;
}

weft_backend Placement::held_backend(const Work& work, uint32_t offset) const {
  if (work.was_region.count == 0 || offset >= work.was.backend_count) return {};
  return held_.backend(work.was_region.first + offset);
}

// A backend that is known keeps its offset. A new one takes the next behind those in use, and only
// when the region is used up an earlier gap: flow caches may still name what was there.
bool Placement::place_backends(Work& work) {
  const auto& wanted = work.service->backends;
  work.offsets.assign(wanted.size(), lb::no_backend);
  std::vector<bool> used(work.was.backend_count);
  for (uint32_t offset = 0; offset < used.size(); ++offset) {
    const weft_backend was = held_backend(work, offset);
    used[offset] = was.flags != 0;
    const auto found = std::lower_bound(
        wanted.begin(), wanted.end(), was,
        [](const auto& b, const auto& key) { return backend_before(b.value, key); });
    if (used[offset] && found != wanted.end() && !backend_before(was, found->value))
      work.offsets[found - wanted.begin()] = uint16_t(offset);
  }
  const size_t fresh = std::count(work.offsets.begin(), work.offsets.end(), lb::no_backend);
  const size_t free_entries = std::count(used.begin(), used.end(), false);
  uint32_t capacity = work.was_region.count;
  // Gaps are used before the region grows, but never the entry of a backend that goes only now.
  const size_t room = capacity - used.size() + free_entries;
  if (fresh > room) capacity = region_capacity(uint32_t(used.size() - free_entries + fresh));
  if (fresh > room && capacity <= work.was_region.count) capacity = work.was_region.count * 2;
  uint32_t next = uint32_t(used.size());
  used.resize(capacity);
  for (size_t i = 0; i < wanted.size(); ++i) {
    uint16_t& offset = work.offsets[i];
    if (offset == lb::no_backend) {
      if (next >= capacity) next = 0;
      while (used[next]) next = (next + 1) % capacity;
      used[next] = true;
      offset = uint16_t(next);
    }
    work.extent = std::max<uint32_t>(work.extent, offset + 1u);
  }
  work.region = work.was_region;
  if (capacity == work.was_region.count) return true;
  // Offsets are 15 bits, and the last one means none.
  const bool fits = capacity <= (lb::max_backends + 1) / 2;
  const auto region = fits ? backend_regions_.allocate(capacity) : std::nullopt;
  if (!region) {
    problems.push_back("service " + work.service->service_id +
                       " keeps its former backends: it has too many, or `backends` is full");
    return false;
  }
  work.region = *region;
  return true;
}

lb::Table Placement::held_table(const Work& work, const Memory::Built* known) const {
  lb::Table table;
  const Range slots = work.was.id != 0 ? slots_of(work.was) : Range{};
  table.slots.resize(slots.count);
  for (uint32_t s = 0; s < slots.count; ++s) {
    const weft_slot_pair pair = held_.slot(slots.first + s);
    table.slots[s] = {.primary = uint16_t(pair.primary & ~WEFT_SLOT_MOVING),
                      .secondary = pair.secondary,
                      .moving = (pair.primary & WEFT_SLOT_MOVING) != 0};
  }
  if (known != nullptr && known->moved_at && known->moved_at->size() == slots.count)
    table.moved_at = *known->moved_at;
  return table;
}

bool Placement::place_table(Work& work) {
  std::vector<lb::Backend> backends;
  for (size_t i = 0; i < work.offsets.size(); ++i) {
    const plan::PlannedBackend& b = work.service->backends[i];
    backends.push_back(
        {.id = b.id, .weight = b.weight, .state = b.state, .offset = work.offsets[i]});
  }
  const uint64_t signature = signature_of(backends);
  const auto found = memory_.services.find(work.service->id);
  const Memory::Built* known = found == memory_.services.end() ? nullptr : &found->second;
  const Range slots = work.was.id != 0 ? slots_of(work.was) : Range{};
  if (known != nullptr && known->signature == signature && now_ < known->expiry &&
      slots.count == lb::slots_for(backends.size())) {
    deadline = std::min(deadline, known->expiry);
    built.services[work.service->id] = *known;
    return true;
  }
  const lb::Table was = held_table(work, known);
  work.table = lb::build(backends, was, drain_, now_);
  if (work.table.slots.size() != was.slots.size() || slots.count == 0) {
    work.new_slots = Range{};
    if (!work.table.slots.empty())
      work.new_slots = slot_regions_.allocate(uint32_t(work.table.slots.size()));
  } else {
    settle_in_place(work, was);
  }
  if (!work.new_slots && work.table.slots.size() != was.slots.size()) {
    problems.push_back("service " + work.service->service_id +
                       " keeps its former backends: `service_slots` is full");
    return false;
  }
  const Instant expiry = lb::next_expiry(work.table, drain_);
  deadline = std::min(deadline, expiry);
  Memory::Built& memory = built.services[work.service->id];
  memory = {signature, nullptr, expiry};
  if (!work.table.moved_at.empty())
    memory.moved_at = std::make_shared<const std::vector<uint32_t>>(work.table.moved_at);
  return true;
}

// Same size as before: nothing to do, a rewrite in place, or a new table to switch to.
void Placement::settle_in_place(Work& work, const lb::Table& was) {
  if (work.table.slots == was.slots) return;
  const bool owners_stay =
      std::equal(work.table.slots.begin(), work.table.slots.end(), was.slots.begin(),
                 [](const lb::Slot& a, const lb::Slot& b) { return a.primary == b.primary; });
  // Each element is valid on its own, before and after, so this is no worse than a switch. It is
  // also the way out when there is no room for a second table.
  if (!owners_stay) work.new_slots = slot_regions_.allocate(uint32_t(work.table.slots.size()));
  work.rewrite_slots = !work.new_slots;
}

void Placement::write_backends(const Work& work) {
  const auto& wanted = work.service->backends;
  const bool moved = work.region != work.was_region;
  std::vector<weft_backend> entries(moved ? work.region.count : 0);
  std::vector<bool> stays(work.was.backend_count);
  // The former table still names backends that go: they come along and go later.
  for (uint32_t o = 0; moved && o < work.was.backend_count && o < entries.size(); ++o)
    entries[o] = held_backend(work, o);
  for (size_t i = 0; i < wanted.size(); ++i) {
    const uint32_t offset = work.offsets[i];
    const weft_backend& value = wanted[i].value;
    if (offset < stays.size()) stays[offset] = true;
    const weft_backend was = held_backend(work, offset);
    if (same_bytes(was, value)) continue;
    // Until the switch, the former table may give it new flows.
    const bool later = (was.flags & WEFT_BACKEND_READY) && !(value.flags & WEFT_BACKEND_READY);
    if (moved && !later) entries[offset] = value;
    auto& list = later ? after : before;
    if (!moved || later) list.push_back(set_of(MapId::backends, work.region.first + offset, value));
  }
  if (moved && !entries.empty())
    before.push_back(fill_of(MapId::backends, work.region.first, entries));
  for (uint32_t o = 0; o < stays.size() && work.region.count != 0; ++o)
    if (!stays[o] && held_backend(work, o).flags != 0)
      after.push_back(set_of(MapId::backends, work.region.first + o, weft_backend{}));
  if (moved && work.was_region.count != 0)
    after.push_back(fill_of(MapId::backends, work.was_region.first,
                            std::vector<weft_backend>(work.was_region.count)));
}

void Placement::write_table(const Work& work) {
  const plan::PlannedService& service = *work.service;
  weft_service value{};
  value.table = work.was.id != 0 ? table_word(slots_of(work.was)) : WEFT_NO_TABLE;
  value.backends = work.region.first;
  value.vni = service.vni;
  value.backend_count = std::max(work.was.backend_count, work.extent);
  value.flags = service.flags;
  std::memcpy(value.vip4, service.vip4.bytes().data(), 16);
  std::memcpy(value.vip6, service.vip6.bytes().data(), 16);
  value.id = service.id;
  // First the region moves, under offsets that mean the same in both, or grows; then the slots.
  const bool moves = work.region != work.was_region;
  const bool grows = work.rewrite_slots && work.extent > work.was.backend_count;
  if (work.was.id != 0 && (moves || grows))
    before.push_back(set_of(MapId::services, work.index, value));
  if (work.new_slots) {
    if (work.new_slots->count != 0)
      before.push_back(
          fill_of(MapId::service_slots, work.new_slots->first / 2, elements_of(work.table)));
    value.table = table_word(*work.new_slots);
  } else if (work.rewrite_slots) {
    before.push_back(
        fill_of(MapId::service_slots, slots_of(work.was).first / 2, elements_of(work.table)));
  }
  value.backend_count = work.extent;
  if (!same_bytes(value, work.was)) before.push_back(set_of(MapId::services, work.index, value));
}

void Placement::free_others() {
  for (const auto& [index, service] : held_.services) {
    if (placed_.contains(index)) continue;
    weft_service none{};
    none.table = WEFT_NO_TABLE;
    after.push_back(set_of(MapId::services, index, none));
    const Range region = region_of(service);
    if (region.count != 0)
      after.push_back(
          fill_of(MapId::backends, region.first, std::vector<weft_backend>(region.count)));
  }
}

}  // namespace weft::diff
