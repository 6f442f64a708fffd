// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <string>
#include <string_view>

#include "base/result.h"
#include "core/diff/held.h"
#include "core/diff/operation.h"
#include "drivers/bpf/raw_map.h"

namespace weft::bpf {

// Where the plan's operations go: the kernel's maps, or a test's.
class MapStore {
 public:
  virtual ~MapStore() = default;
  virtual Result<> apply(const diff::Operation& operation) = 0;
  // Notes everything the maps hold.
  virtual Result<> read_back(diff::Held& held) = 0;
};

// The pinned maps of one node, by their names in maps/registry.h.
class Maps : public MapStore {
 public:
  Result<> apply(const diff::Operation& operation) override;
  Result<> read_back(diff::Held& held) override;

  // The map must exist: maps are created by DataPath::load or opened by open_maps.
  RawMap& get(std::string_view name);
  RawMap* find(std::string_view name);
  const std::map<std::string, RawMap, std::less<>>& all() const { return maps_; }
  void add(RawMap map) { maps_.insert_or_assign(map.name(), std::move(map)); }

 private:
  std::map<std::string, RawMap, std::less<>> maps_;
};

// <folder>/<name>_v<version>. The kernel allows no dot in a pin's name.
std::string pin_path(const std::string& folder, std::string_view name, unsigned version);
// The maps that a running or killed agent pinned; those that are missing are left out.
Result<Maps> open_maps(const std::string& folder);

}  // namespace weft::bpf
