// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"

struct btf;

namespace weft::node {

// What a map's bytes mean, in words: read from the BTF that the kernel keeps with the map, so that
// the agent, its command and bpftool always agree.
class MapText {
 public:
  using Fields = std::vector<std::pair<std::string, std::string>>;

  // `map_fd` stays the caller's.
  static Result<MapText> open(int map_fd);
  MapText(MapText&&) noexcept;
  MapText& operator=(MapText&&) noexcept;
  ~MapText();

  const std::string& name() const { return name_; }
  uint32_t type() const { return type_; }
  std::string type_name() const;
  uint32_t key_size() const { return key_size_; }
  uint32_t value_size() const { return value_size_; }
  uint32_t max_entries() const { return max_entries_; }

  // Fields in the order of the structure; nested ones as "way[0].client". Addresses, MACs, ports
  // and enum names are spelt out; padding is left out.
  Fields key(ByteView bytes) const;
  Fields value(ByteView bytes) const;

 private:
  MapText() = default;
  void render(uint32_t type_id, ByteView bytes, const std::string& name, Fields& out) const;
  void render_array(uint32_t type_id, ByteView bytes, const std::string& name, Fields& out) const;
  std::string enum_name(uint32_t type_id, int64_t value) const;

  ::btf* btf_ = nullptr;
  std::string name_;
  uint32_t type_ = 0, key_size_ = 0, value_size_ = 0, max_entries_ = 0;
  uint32_t key_type_ = 0, value_type_ = 0;
};

}  // namespace weft::node
