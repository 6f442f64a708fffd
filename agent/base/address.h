// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "base/result.h"

namespace weft {

// An IPv6 address, or an IPv4 address in its v4-mapped form (::ffff:a.b.c.d, RFC 4291 2.5.5.2).
// The all-zero value means "none". Same bytes as in the BPF maps.
class Address {
 public:
  using Bytes = std::array<uint8_t, 16>;

  constexpr Address() = default;
  constexpr explicit Address(const Bytes& bytes) : bytes_(bytes) {}
  // `host` is in host byte order: 0x0a000001 is 10.0.0.1.
  static constexpr Address v4(uint32_t host) {
    Bytes b{};
    b[10] = b[11] = 0xff;
    b[12] = uint8_t(host >> 24);
    b[13] = uint8_t(host >> 16);
    b[14] = uint8_t(host >> 8);
    b[15] = uint8_t(host);
    return Address(b);
  }
  static Result<Address> parse(std::string_view text);

  constexpr const Bytes& bytes() const { return bytes_; }
  bool is_v4() const;
  bool is_none() const { return bytes_ == Bytes{}; }
  bool is_loopback() const;
  bool is_multicast() const;
  bool is_link_local() const;
  // Host byte order; only for v4.
  uint32_t to_v4() const;
  std::string to_string() const;
  auto operator<=>(const Address&) const = default;

  // The address `offset` after this one, without regard to prefix; wraps within its family.
  Address plus(uint64_t offset) const;

 private:
  Bytes bytes_{};
};

// An address block. `length` counts in the address's own family: 24 for 10.0.0.0/24, 64 for
// 2001:db8::/64.
struct Prefix {
  Address address;  // host bits are zero after parse_network, kept after parse_host
  uint8_t length = 0;

  // "10.0.0.0/24"; host bits must be zero or are cleared if `clear_host_bits`.
  static Result<Prefix> parse(std::string_view text, bool clear_host_bits = false);
  bool contains(const Address& a) const;
  bool contains(const Prefix& p) const;
  bool overlaps(const Prefix& p) const;
  // All-ones host part: the broadcast address of an IPv4 block.
  Address last() const;
  // Number of addresses, saturated at 2^64 - 1.
  uint64_t size() const;
  std::string to_string() const;
  auto operator<=>(const Prefix&) const = default;
};

// Address and port of a socket on the underlay.
struct SocketAddress {
  Address address;
  uint16_t port = 0;

  // "10.0.0.1:7946", "[2001:db8::1]:7946", or without port if `default_port` is not 0. Numeric
  // only.
  static Result<SocketAddress> parse(std::string_view text, uint16_t default_port = 0);
  std::string to_string() const;
  auto operator<=>(const SocketAddress&) const = default;
};

struct AddressHash {
  size_t operator()(const Address& a) const;
};

}  // namespace weft
