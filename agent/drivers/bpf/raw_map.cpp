// SPDX-License-Identifier: Apache-2.0
#include "drivers/bpf/raw_map.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include <algorithm>
#include <numeric>

namespace weft::bpf {
namespace {

constexpr uint32_t batch_bytes = 256 * 1024;

size_t cpus() {
  const int number = libbpf_num_possible_cpus();
  WEFT_ASSERT(number > 0);
  return size_t(number);
}

}  // namespace

Error RawMap::error(const char* what) const {
  const int number = errno;
  if (number == E2BIG || number == ENOSPC)
    return Error(ErrorCode::exhausted, "map '" + name_ + "' is full (" +
                                           std::to_string(definition_.max_entries) + " entries)")
        .with_errno(number);
  return errno_error("map '" + name_ + "': cannot " + what, number);
}

Result<RawMap> RawMap::from_fd(Fd fd, std::string name) {
  bpf_map_info info{};
  uint32_t size = sizeof info;
  if (bpf_obj_get_info_by_fd(fd.get(), &info, &size) < 0)
    return errno_error("map '" + name + "': cannot read its definition");
  RawMap map;
  map.fd_ = std::move(fd);
  map.name_ = std::move(name);
  map.definition_ = {info.type, info.key_size, info.value_size, info.max_entries, info.map_flags};
  return map;
}

Result<RawMap> RawMap::open_pinned(const std::string& path, std::string name) {
  Fd fd(bpf_obj_get(path.c_str()));
  if (!fd) {
    const int number = errno;
    if (number == ENOENT)
      return Error(ErrorCode::not_found, "map '" + name + "' is not pinned at " + path)
          .with_errno(number);
    return errno_error("cannot open " + path, number);
  }
  return from_fd(std::move(fd), std::move(name));
}

Result<RawMap> RawMap::create(const std::string& name, const MapDefinition& definition) {
  LIBBPF_OPTS(bpf_map_create_opts, options, .map_flags = definition.flags);
  Fd fd(bpf_map_create(bpf_map_type(definition.type), name.c_str(), definition.key_size,
                       definition.value_size, definition.max_entries, &options));
  if (!fd) return errno_error("cannot create map '" + name + "'");
  return from_fd(std::move(fd), name);
}

bool RawMap::is_array() const {
  return definition_.type == BPF_MAP_TYPE_ARRAY || definition_.type == BPF_MAP_TYPE_PERCPU_ARRAY;
}

bool RawMap::is_per_cpu() const {
  return definition_.type == BPF_MAP_TYPE_PERCPU_ARRAY ||
         definition_.type == BPF_MAP_TYPE_PERCPU_HASH ||
         definition_.type == BPF_MAP_TYPE_LRU_PERCPU_HASH;
}

size_t RawMap::value_bytes() const {
  if (!is_per_cpu()) return definition_.value_size;
  return ((definition_.value_size + 7) & ~size_t(7)) * cpus();
}

Result<std::optional<Bytes>> RawMap::lookup(ByteView key) const {
  WEFT_ASSERT(key.size() == definition_.key_size);
  Bytes value(value_bytes());
  if (bpf_map_lookup_elem(fd(), key.data(), value.data()) < 0) {
    if (errno == ENOENT) return std::optional<Bytes>();
    return error("look up a key");
  }
  return std::optional<Bytes>(std::move(value));
}

Result<> RawMap::update(ByteView key, ByteView value) {
  WEFT_ASSERT(key.size() == definition_.key_size && value.size() == value_bytes());
  if (bpf_map_update_elem(fd(), key.data(), value.data(), BPF_ANY) < 0) return error("set a key");
  return Ok;
}

Result<> RawMap::erase(ByteView key) {
  WEFT_ASSERT(key.size() == definition_.key_size);
  if (bpf_map_delete_elem(fd(), key.data()) < 0 && errno != ENOENT) return error("remove a key");
  return Ok;
}

Result<> RawMap::fill(uint32_t first, ByteView values) {
  const size_t size = value_bytes();
  WEFT_ASSERT(is_array() && values.size() % size == 0);
  uint32_t left = uint32_t(values.size() / size);
  if (left == 0) return Ok;
  if (first >= definition_.max_entries || left > definition_.max_entries - first)
    return Error(ErrorCode::exhausted, "map '" + name_ + "' has only " +
                                           std::to_string(definition_.max_entries) + " entries");
  std::vector<uint32_t> keys(left);
  std::iota(keys.begin(), keys.end(), first);
  size_t at = 0;
  while (left > 0) {
    uint32_t count = left;
    const int done =
        bpf_map_update_batch(fd(), keys.data() + at, values.data() + at * size, &count, nullptr);
    if (done < 0 && errno != EINVAL && errno != ENOTSUP && errno != 524 /* ENOTSUPP */)
      return error("set keys");
    if (done < 0) {
      // This kernel has no batches for this type.
      count = 1;
      TRY(update(ByteView(reinterpret_cast<const uint8_t*>(&keys[at]), sizeof(uint32_t)),
                 values.subspan(at * size, size)));
    }
    at += count;
    left -= count;
  }
  return Ok;
}

// false: the kernel has no batches for this type, nothing was visited.
Result<bool> RawMap::for_each_batch(const std::function<void(ByteView, ByteView)>& visit,
                                    uint32_t first, uint32_t limit) const {
  const size_t key_size = definition_.key_size;
  const size_t value_size = value_bytes();
  uint32_t capacity = std::clamp<uint32_t>(uint32_t(batch_bytes / (key_size + value_size)), 16u,
                                           std::max(definition_.max_entries, 16u));
  Bytes keys;
  Bytes values;
  Bytes position(std::max<size_t>(key_size, 8));
  bool started = false;
  if (is_array() && first > 0) {
    // The position of an array is the last index that was read.
    const uint32_t before = first - 1;
    std::memcpy(position.data(), &before, sizeof before);
    started = true;
  }
  bool visited = false;
  while (limit > 0) {
    keys.resize(capacity * key_size);
    values.resize(capacity * value_size);
    uint32_t count = std::min(capacity, is_array() ? limit : capacity);
    Bytes next(position.size());
    const int done = bpf_map_lookup_batch(fd(), started ? position.data() : nullptr, next.data(),
                                          keys.data(), values.data(), &count, nullptr);
    const int number = done < 0 ? errno : 0;
    if (number == ENOSPC) {
      // One hash bucket holds more than the buffer.
      capacity *= 2;
      continue;
    }
    if (number != 0 && number != ENOENT) {
      if (!visited) return false;
      return error("read its entries");
    }
    for (uint32_t i = 0; i < count && limit > 0; ++i, --limit)
      visit(ByteView(keys).subspan(i * key_size, key_size),
            ByteView(values).subspan(i * value_size, value_size));
    visited = true;
    if (number == ENOENT) return true;
    position = std::move(next);
    started = true;
  }
  return true;
}

Result<> RawMap::for_each_single(const std::function<void(ByteView, ByteView)>& visit,
                                 uint32_t first, uint32_t limit) const {
  Bytes key(definition_.key_size);
  Bytes next(definition_.key_size);
  bool started = false;
  if (is_array() && first > 0) {
    const uint32_t before = first - 1;
    std::memcpy(key.data(), &before, sizeof before);
    started = true;
  }
  while (limit > 0 &&
         bpf_map_get_next_key(fd(), started ? key.data() : nullptr, next.data()) == 0) {
    if (const auto value = TRY(lookup(next))) {
      visit(next, *value);
      --limit;
    }
    key = next;
    started = true;
  }
  if (limit > 0 && errno != ENOENT) return error("read its keys");
  return Ok;
}

Result<> RawMap::for_each(const std::function<void(ByteView, ByteView)>& visit, uint32_t first,
                          uint32_t limit) const {
  if (definition_.key_size == 0) return Error("map '" + name_ + "' has no keys");
  if (is_array() && first >= definition_.max_entries) return Ok;
  if (TRY(for_each_batch(visit, first, limit))) return Ok;
  return for_each_single(visit, first, limit);
}

Result<uint64_t> RawMap::count() const {
  if (is_array()) return uint64_t(definition_.max_entries);
  uint64_t entries = 0;
  if (auto read = for_each([&](ByteView, ByteView) { ++entries; }); !read)
    return std::move(read).error();
  return entries;
}

Result<> RawMap::pin(const std::string& path) const {
  if (bpf_obj_pin(fd(), path.c_str()) < 0) return errno_error("cannot pin map at " + path);
  return Ok;
}

Result<std::vector<uint64_t>> sums(const RawMap& map) {
  WEFT_ASSERT(map.is_per_cpu() && map.definition().value_size == sizeof(uint64_t));
  std::vector<uint64_t> out;
  auto read = map.for_each([&](ByteView, ByteView value) {
    const auto values = per_cpu_values<uint64_t>(value);
    out.push_back(std::accumulate(values.begin(), values.end(), uint64_t(0)));
  });
  if (!read) return std::move(read).error();
  return out;
}

}  // namespace weft::bpf
