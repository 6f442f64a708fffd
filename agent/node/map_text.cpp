// SPDX-License-Identifier: Apache-2.0
#include "node/map_text.h"

#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>

#include <algorithm>
#include <cstring>

#include "base/address.h"
#include "base/mac.h"

namespace weft::node {

namespace {

uint64_t native_number(ByteView bytes) {
  uint64_t value = 0;
  std::memcpy(&value, bytes.data(), std::min<size_t>(bytes.size(), sizeof value));
  return value;
}

std::string hex(ByteView bytes) {
  static const char digits[] = "0123456789abcdef";
  std::string out;
  for (uint8_t byte : bytes) {
    out += digits[byte >> 4];
    out += digits[byte & 15];
  }
  return out;
}

std::string address_text(ByteView bytes) {
  Address::Bytes raw;
  std::copy(bytes.begin(), bytes.end(), raw.begin());
  const Address address(raw);
  return address.is_none() ? "-" : address.to_string();
}

std::string lower(std::string text) {
  for (char& c : text) c = char(::tolower(c));
  return text;
}

bool is_named(const std::string& path, std::string_view leaf) {
  const size_t dot = path.rfind('.');
  return std::string_view(path).substr(dot == std::string::npos ? 0 : dot + 1).starts_with(leaf);
}

}  // namespace

Result<MapText> MapText::open(int map_fd) {
  bpf_map_info info{};
  __u32 size = sizeof info;
  if (::bpf_obj_get_info_by_fd(map_fd, &info, &size) != 0)
    return errno_error("read a map's description");
  MapText out;
  out.name_ = info.name;
  out.type_ = info.type;
  out.key_size_ = info.key_size;
  out.value_size_ = info.value_size;
  out.max_entries_ = info.max_entries;
  out.key_type_ = info.btf_key_type_id;
  out.value_type_ = info.btf_value_type_id;
  if (info.btf_id != 0) out.btf_ = ::btf__load_from_kernel_by_id(info.btf_id);
  return out;
}

MapText::MapText(MapText&& other) noexcept { *this = std::move(other); }

MapText& MapText::operator=(MapText&& other) noexcept {
  std::swap(btf_, other.btf_);
  name_ = std::move(other.name_);
  type_ = other.type_;
  key_size_ = other.key_size_;
  value_size_ = other.value_size_;
  max_entries_ = other.max_entries_;
  key_type_ = other.key_type_;
  value_type_ = other.value_type_;
  return *this;
}

MapText::~MapText() { ::btf__free(btf_); }

std::string MapText::type_name() const {
  const char* name = ::libbpf_bpf_map_type_str(bpf_map_type(type_));
  return name ? name : std::to_string(type_);
}

MapText::Fields MapText::key(ByteView bytes) const {
  Fields out;
  // The index of these two arrays has its names in an enum.
  const char* names = name_ == "drops"      ? "weft_drop_reason"
                      : name_ == "counters" ? "weft_counter"
                                            : nullptr;
  if (names && btf_ && bytes.size() == 4) {
    const int id = ::btf__find_by_name_kind(btf_, names, BTF_KIND_ENUM);
    if (id > 0) {
      out.emplace_back(name_ == "drops" ? "reason" : "counter",
                       enum_name(uint32_t(id), int64_t(native_number(bytes))));
      return out;
    }
  }
  render(key_type_, bytes, "", out);
  if (out.size() == 1 && out[0].first.empty()) out[0].first = "index";
  return out;
}

MapText::Fields MapText::value(ByteView bytes) const {
  Fields out;
  render(value_type_, bytes, "", out);
  if (out.size() == 1 && out[0].first.empty()) out[0].first = "value";
  return out;
}

std::string MapText::enum_name(uint32_t type_id, int64_t value) const {
  const btf_type* type = ::btf__type_by_id(btf_, type_id);
  const struct btf_enum* members = ::btf_enum(type);
  for (int i = 0; i < ::btf_vlen(type); i++) {
    if (members[i].val != value) continue;
    std::string name = ::btf__name_by_offset(btf_, members[i].name_off);
    // WEFT_DROP_NO_ENDPOINT -> no_endpoint: the first two words name the enum.
    for (int words = 0; words < 2; words++) {
      const size_t underscore = name.find('_');
      if (underscore != std::string::npos) name.erase(0, underscore + 1);
    }
    return lower(name);
  }
  return std::to_string(value);
}

void MapText::render(uint32_t type_id, ByteView bytes, const std::string& name, Fields& out) const {
  if (is_named(name, "pad")) return;
  std::string typedef_name;
  const btf_type* type = btf_ ? ::btf__type_by_id(btf_, type_id) : nullptr;
  while (type && (::btf_is_typedef(type) || ::btf_is_mod(type))) {
    if (::btf_is_typedef(type)) typedef_name = ::btf__name_by_offset(btf_, type->name_off);
    if (typedef_name == "__be16" || typedef_name == "__be32") break;
    type_id = type->type;
    type = ::btf__type_by_id(btf_, type_id);
  }
  if (!type) {
    out.emplace_back(name, hex(bytes));
  } else if (typedef_name == "__be16" && bytes.size() >= 2) {
    out.emplace_back(name, std::to_string(bytes[0] << 8 | bytes[1]));
  } else if (::btf_is_struct(type) || ::btf_is_union(type)) {
    const btf_member* members = ::btf_members(type);
    for (int i = 0; i < ::btf_vlen(type); i++) {
      const uint32_t offset = ::btf_member_bit_offset(type, uint32_t(i)) / 8;
      const int64_t size = ::btf__resolve_size(btf_, members[i].type);
      if (size < 0 || offset + size_t(size) > bytes.size()) continue;
      const std::string member = ::btf__name_by_offset(btf_, members[i].name_off);
      render(members[i].type, bytes.subspan(offset, size_t(size)),
             name.empty()     ? member
             : member.empty() ? name
                              : name + "." + member,
             out);
    }
  } else if (::btf_is_array(type)) {
    render_array(type_id, bytes, name, out);
  } else if (::btf_is_enum(type)) {
    out.emplace_back(name, enum_name(type_id, int64_t(native_number(bytes))));
  } else {
    const uint64_t number = native_number(bytes);
    const bool none =
        (bytes.size() == 2 && number == 0xffff) || (bytes.size() == 4 && number == 0xffffffff);
    out.emplace_back(name, none ? "-" : std::to_string(number));
  }
}

void MapText::render_array(uint32_t type_id, ByteView bytes, const std::string& name,
                           Fields& out) const {
  const struct btf_array* array = ::btf_array(::btf__type_by_id(btf_, type_id));
  const int64_t size = ::btf__resolve_size(btf_, array->type);
  if (size == 1) {
    if (bytes.size() == 16)
      out.emplace_back(name, address_text(bytes));
    else if (bytes.size() == 6 && name.find("mac") != std::string::npos)
      out.emplace_back(
          name, Mac{{bytes[0], bytes[1], bytes[2], bytes[3], bytes[4], bytes[5]}}.to_string());
    else
      out.emplace_back(name, hex(bytes));
    return;
  }
  for (uint32_t i = 0; size > 0 && i < array->nelems; i++)
    render(array->type, bytes.subspan(size_t(i * size), size_t(size)),
           name + "[" + std::to_string(i) + "]", out);
}

}  // namespace weft::node
