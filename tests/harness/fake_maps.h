// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstring>
#include <map>
#include <optional>

#include "drivers/bpf/map_store.h"

namespace weft::test {

// Maps in memory, as the kernel's behave towards the agent: arrays have all entries, zero at first.
class FakeMaps : public bpf::MapStore {
 public:
  // The n-th apply from now on fails once (1: the next one).
  void fail_at(size_t n) { fail_at_ = n; }

  Result<> apply(const diff::Operation& operation) override {
    if (fail_at_ > 0 && --fail_at_ == 0) return Error("map refused the operation (asked for)");
    auto& map = maps_[operation.map];
    switch (operation.kind) {
      case diff::Operation::Kind::set:
        map[operation.key] = operation.value;
        break;
      case diff::Operation::Kind::remove:
        map.erase(operation.key);
        break;
      case diff::Operation::Kind::fill:
        fill(map, operation);
        break;
    }
    return Ok;
  }

  Result<> read_back(diff::Held& held) override {
    for (const auto& [id, map] : maps_)
      for (const auto& [key, value] : map) held.note({id, diff::Operation::Kind::set, key, value});
    return Ok;
  }

  const std::map<Bytes, Bytes>& map(diff::MapId id) { return maps_[id]; }

 private:
  static void fill(std::map<Bytes, Bytes>& map, const diff::Operation& operation) {
    const size_t size =
        operation.map == diff::MapId::backends ? sizeof(weft_backend) : sizeof(weft_slots);
    uint32_t index = 0;
    std::memcpy(&index, operation.key.data(), sizeof index);
    for (size_t at = 0; at < operation.value.size(); at += size, ++index)
      map[diff::bytes_of(index)] = Bytes(operation.value.begin() + ptrdiff_t(at),
                                         operation.value.begin() + ptrdiff_t(at + size));
  }

  std::map<diff::MapId, std::map<Bytes, Bytes>> maps_;
  size_t fail_at_ = 0;
};

}  // namespace weft::test
