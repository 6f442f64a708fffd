// SPDX-License-Identifier: Apache-2.0
#include "drivers/bpf/map_store.h"

#include <algorithm>

#include "registry.h"

namespace weft::bpf {
namespace {

constexpr diff::MapId plain_maps[] = {
    diff::MapId::ports,          diff::MapId::local_macs, diff::MapId::endpoints,
    diff::MapId::networks,       diff::MapId::subnets,    diff::MapId::vteps,
    diff::MapId::peers,          diff::MapId::services,   diff::MapId::published,
    diff::MapId::node_addresses,
};

bool all_zero(ByteView bytes) {
  return std::all_of(bytes.begin(), bytes.end(), [](uint8_t byte) { return byte == 0; });
}

}  // namespace

RawMap* Maps::find(std::string_view name) {
  const auto it = maps_.find(name);
  return it == maps_.end() ? nullptr : &it->second;
}

RawMap& Maps::get(std::string_view name) {
  RawMap* map = find(name);
  WEFT_ASSERT(map != nullptr);
  return *map;
}

Result<> Maps::apply(const diff::Operation& operation) {
  RawMap* map = find(diff::map_name(operation.map));
  if (map == nullptr)
    return Error(ErrorCode::not_found,
                 "map '" + std::string(diff::map_name(operation.map)) + "' is not loaded");
  switch (operation.kind) {
    case diff::Operation::Kind::set:
      return map->update(operation.key, operation.value);
    case diff::Operation::Kind::remove:
      return map->erase(operation.key);
    case diff::Operation::Kind::fill: {
      uint32_t first = 0;
      WEFT_ASSERT(operation.key.size() == sizeof first);
      std::memcpy(&first, operation.key.data(), sizeof first);
      return map->fill(first, operation.value);
    }
  }
  return Ok;
}

Result<> Maps::read_back(diff::Held& held) {
  for (const diff::MapId id : plain_maps) {
    RawMap* map = find(diff::map_name(id));
    if (map == nullptr) continue;
    auto read = map->for_each([&](ByteView key, ByteView value) {
      if (diff::is_array(id) && all_zero(value)) return;
      held.note({id, diff::Operation::Kind::set, Bytes(key.begin(), key.end()),
                 Bytes(value.begin(), value.end())});
    });
    if (!read) return read;
  }
  // The two large arrays: only what the services refer to.
  const auto read_ranges = [&](diff::MapId id, const std::vector<diff::Range>& ranges) -> Result<> {
    RawMap* map = find(diff::map_name(id));
    if (map == nullptr) return Ok;
    for (const diff::Range& range : ranges) {
      diff::Operation operation{id, diff::Operation::Kind::fill, diff::bytes_of(range.first), {}};
      auto read = map->for_each(
          [&](ByteView, ByteView value) {
            operation.value.insert(operation.value.end(), value.begin(), value.end());
          },
          range.first, range.count);
      if (!read) return read;
      held.note(operation);
    }
    return Ok;
  };
  TRY(read_ranges(diff::MapId::backends, held.backends_in_use()));
  return read_ranges(diff::MapId::service_slots, held.slot_elements_in_use());
}

std::string pin_path(const std::string& folder, std::string_view name, unsigned version) {
  return folder + "/" + std::string(name) + "_v" + std::to_string(version);
}

Result<Maps> open_maps(const std::string& folder) {
  Maps maps;
  for (const MapEntry& entry : map_registry) {
    auto map =
        RawMap::open_pinned(pin_path(folder, entry.name, entry.version), std::string(entry.name));
    if (map) {
      maps.add(std::move(*map));
    } else if (map.error().code() != ErrorCode::not_found) {
      return std::move(map).error();
    }
  }
  return maps;
}

}  // namespace weft::bpf
