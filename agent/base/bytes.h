// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace weft {

using Bytes = std::vector<uint8_t>;
using ByteView = std::span<const uint8_t>;

inline ByteView view_of(std::string_view text) {
  return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}
inline std::string_view text_of(ByteView bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// Appends big-endian numbers and length-prefixed fields.
class ByteWriter {
 public:
  explicit ByteWriter(Bytes& out) : out_(out) {}
  void u8(uint8_t v) { out_.push_back(v); }
  void u16(uint16_t v) { number(v, 2); }
  void u32(uint32_t v) { number(v, 4); }
  void u64(uint64_t v) { number(v, 8); }
  // LEB128, as in protobuf: 1 byte for values under 128.
  void varint(uint64_t v) {
    for (; v >= 0x80; v >>= 7) u8(uint8_t(v) | 0x80);
    u8(uint8_t(v));
  }
  void raw(ByteView bytes) { out_.insert(out_.end(), bytes.begin(), bytes.end()); }
  void field(ByteView bytes) {
    varint(bytes.size());
    raw(bytes);
  }
  size_t size() const { return out_.size(); }

 private:
  void number(uint64_t v, int bytes) {
    for (int shift = (bytes - 1) * 8; shift >= 0; shift -= 8) u8(uint8_t(v >> shift));
  }
  Bytes& out_;
};

// Reads what ByteWriter wrote. After the first short read everything reads as zero or empty and
// ok() is false, so that a decoder checks once at its end; sizes must still be checked before they
// size a loop.
class ByteReader {
 public:
  explicit ByteReader(ByteView in) : in_(in) {}
  bool ok() const { return ok_; }
  bool done() const { return ok_ && in_.empty(); }
  size_t remaining() const { return in_.size(); }
  uint8_t u8() { return uint8_t(number(1)); }
  uint16_t u16() { return uint16_t(number(2)); }
  uint32_t u32() { return uint32_t(number(4)); }
  uint64_t u64() { return number(8); }
  uint64_t varint() {
    uint64_t v = 0;
    for (int shift = 0; shift < 64; shift += 7) {
      const uint8_t byte = u8();
      v |= uint64_t(byte & 0x7f) << shift;
      if ((byte & 0x80) == 0) return v;
    }
    ok_ = false;
    return 0;
  }
  ByteView raw(size_t size) {
    if (!ok_ || size > in_.size()) {
      ok_ = false;
      in_ = {};
      return {};
    }
    const ByteView out = in_.first(size);
    in_ = in_.subspan(size);
    return out;
  }
  ByteView field() { return raw(varint()); }

 private:
  uint64_t number(size_t bytes) {
    uint64_t v = 0;
    for (uint8_t byte : raw(bytes)) v = v << 8 | byte;
    return ok_ ? v : 0;
  }
  ByteView in_;
  bool ok_ = true;
};

}  // namespace weft
