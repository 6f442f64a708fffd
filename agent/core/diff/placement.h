// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "core/diff/diff.h"
#include "core/diff/regions.h"

namespace weft::diff {

// Gives services their index, their backends a region and offsets, their slot table a region.
class Placement {
 public:
  Placement(const Held& held, const Memory& memory, Duration drain, Instant now,
            const Limits& limits);

  // Index of the service in `services`, if it has one now (with or without room for its table).
  std::optional<uint32_t> place(const plan::PlannedService& service);
  // Services that were not placed go.
  void free_others();

  std::vector<Operation> before;  // ahead of everything that refers to services
  std::vector<Operation> after;   // once nothing refers to what goes
  Memory built;
  Instant deadline = Instant::never();
  std::vector<std::string> problems;

 private:
  // One service on its way from what is held to what is wanted.
  struct Work {
    const plan::PlannedService* service = nullptr;
    uint32_t index = 0;
    weft_service was{};  // all zero: new
    Range was_region;
    std::vector<uint16_t> offsets;  // parallel to the planned backends
    uint32_t extent = 0;            // highest offset in use plus 1
    Range region;
    lb::Table table;
    std::optional<Range> new_slots;
    bool rewrite_slots = false;  // in place
  };

  std::optional<uint32_t> find_index(uint64_t id);
  bool place_backends(Work& work);
  bool place_table(Work& work);
  void settle_in_place(Work& work, const lb::Table& was);
  void write_backends(const Work& work);
  void write_table(const Work& work);
  weft_backend held_backend(const Work& work, uint32_t offset) const;
  lb::Table held_table(const Work& work, const Memory::Built* built) const;

  const Held& held_;
  const Memory& memory_;
  Duration drain_;
  Instant now_;
  Limits limits_;
  Regions backend_regions_;
  Regions slot_regions_;
  std::unordered_map<uint64_t, uint32_t> index_of_;
  std::set<uint32_t> taken_;
  uint32_t next_index_ = 0;
  std::set<uint32_t> placed_;
};

}  // namespace weft::diff
