// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <cstring>
#include <functional>
#include <optional>
#include <string>
#include <type_traits>
#include <vector>

#include "base/bytes.h"
#include "base/fd.h"
#include "base/result.h"

namespace weft::bpf {

// What makes two maps interchangeable.
struct MapDefinition {
  uint32_t type = 0;  // BPF_MAP_TYPE_*
  uint32_t key_size = 0;
  uint32_t value_size = 0;
  uint32_t max_entries = 0;
  uint32_t flags = 0;
  auto operator<=>(const MapDefinition&) const = default;
};

// A BPF map as bytes. Values of per-CPU maps are the values of all possible CPUs one after the
// other, each rounded up to 8 bytes.
class RawMap {
 public:
  RawMap() = default;
  static Result<RawMap> from_fd(Fd fd, std::string name);
  // not_found: nothing is pinned there.
  static Result<RawMap> open_pinned(const std::string& path, std::string name);
  static Result<RawMap> create(const std::string& name, const MapDefinition& definition);

  const std::string& name() const { return name_; }
  const MapDefinition& definition() const { return definition_; }
  int fd() const { return fd_.get(); }
  bool is_array() const;
  bool is_per_cpu() const;
  // Of what lookup() returns: value_size, or for per-CPU maps that times the CPUs.
  size_t value_bytes() const;

  Result<std::optional<Bytes>> lookup(ByteView key) const;
  Result<> update(ByteView key, ByteView value);
  // A missing key is fine.
  Result<> erase(ByteView key);
  // Arrays: values of consecutive indices.
  Result<> fill(uint32_t first, ByteView values);
  // Every entry, in the kernel's order; of arrays every index from `first` on, `count` at most. In
  // batches where the kernel has them. Entries that others add or remove meanwhile may be missed.
  Result<> for_each(const std::function<void(ByteView key, ByteView value)>& visit,
                    uint32_t first = 0, uint32_t count = UINT32_MAX) const;
  // Entries of a hash or trie; of an array its size.
  Result<uint64_t> count() const;
  Result<> pin(const std::string& path) const;

 private:
  Result<bool> for_each_batch(const std::function<void(ByteView, ByteView)>& visit, uint32_t first,
                              uint32_t count) const;
  Result<> for_each_single(const std::function<void(ByteView, ByteView)>& visit, uint32_t first,
                           uint32_t count) const;
  Error error(const char* what) const;

  Fd fd_;
  std::string name_;
  MapDefinition definition_;
};

// The same with the types of maps/registry.h. K and V have no padding (WEFT_ABI).
template <typename K, typename V>
class BpfMap {
 public:
  // The map must have keys and values of these sizes.
  explicit BpfMap(RawMap& map) : map_(map) {
    WEFT_ASSERT(map.definition().key_size == sizeof(K));
    WEFT_ASSERT(map.definition().value_size == sizeof(V));
    WEFT_ASSERT(!map.is_per_cpu());
  }
  Result<std::optional<V>> lookup(const K& key) const {
    const auto bytes = TRY(map_.lookup(view(key)));
    if (!bytes) return std::optional<V>();
    return std::optional<V>(copy<V>(*bytes));
  }
  Result<> update(const K& key, const V& value) { return map_.update(view(key), view(value)); }
  Result<> erase(const K& key) { return map_.erase(view(key)); }
  Result<> for_each(const std::function<void(const K&, const V&)>& visit) const {
    return map_.for_each([&](ByteView k, ByteView v) { visit(copy<K>(k), copy<V>(v)); });
  }

 private:
  template <typename T>
  static ByteView view(const T& value) {
    return {reinterpret_cast<const uint8_t*>(&value), sizeof value};
  }
  template <typename T>
  static T copy(ByteView bytes) {
    T out;
    std::memcpy(&out, bytes.data(), sizeof out);
    return out;
  }
  RawMap& map_;
};

// One value per CPU.
template <typename V>
std::vector<V> per_cpu_values(ByteView bytes) {
  static_assert(std::is_trivially_copyable_v<V>);
  constexpr size_t stride = (sizeof(V) + 7) & ~size_t(7);
  std::vector<V> out(bytes.size() / stride);
  for (size_t i = 0; i < out.size(); ++i)
    std::memcpy(&out[i], bytes.data() + i * stride, sizeof(V));
  return out;
}
// Sums of a per-CPU array of 64-bit numbers, by index.
Result<std::vector<uint64_t>> sums(const RawMap& map);

}  // namespace weft::bpf
