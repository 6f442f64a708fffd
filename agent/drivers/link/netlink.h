// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <linux/netlink.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <functional>
#include <optional>
#include <string_view>

#include "base/address.h"
#include "base/bytes.h"
#include "base/fd.h"
#include "base/mac.h"
#include "base/result.h"

namespace weft::link {

// One netlink request: header, fixed part, attributes (RFC 3549; native byte order).
class NetlinkMessage {
 public:
  NetlinkMessage(uint16_t type, uint16_t flags);

  template <typename Fixed>
  void fixed(const Fixed& value) {
    raw(ByteView(reinterpret_cast<const uint8_t*>(&value), sizeof value));
  }
  void put(uint16_t type, ByteView value);
  void put_u8(uint16_t type, uint8_t value) { put_number(type, value); }
  void put_u16(uint16_t type, uint16_t value) { put_number(type, value); }
  void put_u32(uint16_t type, uint32_t value) { put_number(type, value); }
  void put_be16(uint16_t type, uint16_t value);
  // With the terminating zero.
  void put_text(uint16_t type, std::string_view text);
  // 4 or 16 bytes, as its family has.
  void put_address(uint16_t type, const Address& address);
  void put_mac(uint16_t type, const Mac& mac) { put(type, ByteView(mac.bytes)); }
  // nest() ... end(): attributes in between belong to `type`.
  size_t nest(uint16_t type);
  void end(size_t nest);

  // The finished message; the socket sets `sequence` and adds `flags`.
  ByteView finish(uint32_t sequence, uint16_t flags);

 private:
  template <typename Number>
  void put_number(uint16_t type, Number value) {
    put(type, ByteView(reinterpret_cast<const uint8_t*>(&value), sizeof value));
  }
  void raw(ByteView bytes);
  Bytes bytes_;
};

// Attributes of a received message.
class NetlinkAttributes {
 public:
  explicit NetlinkAttributes(ByteView bytes) : bytes_(bytes) {}
  std::optional<ByteView> find(uint16_t type) const;
  // Attributes nested in `type`; empty if there is none.
  NetlinkAttributes nested(uint16_t type) const;
  std::optional<uint8_t> u8(uint16_t type) const { return number<uint8_t>(type); }
  std::optional<uint16_t> u16(uint16_t type) const { return number<uint16_t>(type); }
  std::optional<uint32_t> u32(uint16_t type) const { return number<uint32_t>(type); }
  std::string_view text(uint16_t type) const;
  // None unless 4 or 16 bytes.
  Address address(uint16_t type) const;
  std::optional<Mac> mac(uint16_t type) const;

 private:
  template <typename Number>
  std::optional<Number> number(uint16_t type) const {
    const auto value = find(type);
    if (!value || value->size() < sizeof(Number)) return std::nullopt;
    Number out;
    std::memcpy(&out, value->data(), sizeof out);
    return out;
  }
  ByteView bytes_;
};

// A received message: its fixed part as T, and the attributes behind it.
template <typename T>
struct NetlinkReply {
  uint16_t type = 0;
  T fixed{};
  NetlinkAttributes attributes{ByteView{}};
};
template <typename T>
std::optional<NetlinkReply<T>> netlink_reply(uint16_t type, ByteView payload) {
  if (payload.size() < sizeof(T)) return std::nullopt;
  NetlinkReply<T> out;
  out.type = type;
  std::memcpy(&out.fixed, payload.data(), sizeof(T));
  const size_t start = (sizeof(T) + 3) & ~size_t(3);
  out.attributes = NetlinkAttributes(payload.subspan(std::min(start, payload.size())));
  return out;
}

using NetlinkHandler = std::function<void(uint16_t type, ByteView payload)>;

// A blocking netlink socket of one namespace. Errors carry the kernel's own explanation (extended
// acknowledgement) and errno.
class NetlinkSocket {
 public:
  // netns -1: the caller's own.
  static Result<NetlinkSocket> open(int netns, int protocol = NETLINK_ROUTE);

  // Sends and waits for the acknowledgement; the handler sees a reply if there is one.
  Result<> request(NetlinkMessage& message, const NetlinkHandler& handler = {});
  // Sends a dump request and hands over every part of the answer. A dump that the kernel calls
  // inconsistent is `unavailable`: ask again (the handler may have seen entries twice).
  Result<> dump(NetlinkMessage& message, const NetlinkHandler& handler);

 private:
  explicit NetlinkSocket(Fd socket) : socket_(std::move(socket)) {}
  Result<> send(NetlinkMessage& message, uint16_t flags);
  Result<> receive(bool dump, const NetlinkHandler& handler);

  Fd socket_;
  uint32_t sequence_ = 0;
  Bytes buffer_;  // of receive()
};

}  // namespace weft::link
