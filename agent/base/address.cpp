// SPDX-License-Identifier: Apache-2.0
#include "base/address.h"

#include <arpa/inet.h>

#include <algorithm>
#include <charconv>
#include <cstring>
#include <limits>

namespace weft {

namespace {

constexpr Address::Bytes v4_prefix = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0, 0, 0};

// Length of the prefix in 128-bit terms.
unsigned long_length(const Prefix& p) { return p.address.is_v4() ? p.length + 96u : p.length; }

bool same_leading_bits(const Address& a, const Address& b, unsigned bits) {
  const unsigned whole = bits / 8;
  if (std::memcmp(a.bytes().data(), b.bytes().data(), whole) != 0) return false;
  if (bits % 8 == 0) return true;
  const uint8_t mask = uint8_t(0xff << (8 - bits % 8));
  return (a.bytes()[whole] & mask) == (b.bytes()[whole] & mask);
}

Address with_host_bits(const Address& a, unsigned bits, bool ones) {
  Address::Bytes out = a.bytes();
  for (unsigned i = bits; i < 128; i++) {
    const uint8_t bit = uint8_t(0x80 >> (i % 8));
    out[i / 8] = ones ? uint8_t(out[i / 8] | bit) : uint8_t(out[i / 8] & ~bit);
  }
  return Address(out);
}

Result<unsigned> parse_number(std::string_view text, unsigned max, std::string_view what) {
  unsigned value = 0;
  const auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (failure != std::errc() || end != text.data() + text.size() || value > max)
    return Error(ErrorCode::invalid, "'" + std::string(text) + "' is not a " + std::string(what));
  return value;
}

}  // namespace

Result<Address> Address::parse(std::string_view text) {
  const std::string copy(text);
  in_addr four{};
  if (::inet_pton(AF_INET, copy.c_str(), &four) == 1) return v4(ntohl(four.s_addr));
  Bytes six{};
  if (::inet_pton(AF_INET6, copy.c_str(), six.data()) == 1) return Address(six);
  return Error(ErrorCode::invalid, "'" + copy + "' is not an IP address");
}

bool Address::is_v4() const {
  return std::equal(bytes_.begin(), bytes_.begin() + 12, v4_prefix.begin());
}

bool Address::is_loopback() const {
  if (is_v4()) return bytes_[12] == 127;
  Bytes one{};
  one[15] = 1;
  return bytes_ == one;
}

bool Address::is_multicast() const {
  return is_v4() ? (bytes_[12] & 0xf0) == 0xe0 : bytes_[0] == 0xff;
}

bool Address::is_link_local() const {
  if (is_v4()) return bytes_[12] == 169 && bytes_[13] == 254;
  return bytes_[0] == 0xfe && (bytes_[1] & 0xc0) == 0x80;
}

uint32_t Address::to_v4() const {
  WEFT_ASSERT(is_v4());
  return uint32_t(bytes_[12]) << 24 | uint32_t(bytes_[13]) << 16 | uint32_t(bytes_[14]) << 8 |
         bytes_[15];
}

std::string Address::to_string() const {
  if (is_none()) return "none";
  char text[INET6_ADDRSTRLEN];
  if (is_v4())
    ::inet_ntop(AF_INET, bytes_.data() + 12, text, sizeof text);
  else
    ::inet_ntop(AF_INET6, bytes_.data(), text, sizeof text);
  return text;
}

Address Address::plus(uint64_t offset) const {
  if (is_v4()) return v4(to_v4() + uint32_t(offset));
  Bytes out = bytes_;
  unsigned carry = 0;
  for (int i = 15; i >= 0; i--) {
    const unsigned sum = out[i] + unsigned(offset & 0xff) + carry;
    out[i] = uint8_t(sum);
    carry = sum >> 8;
    offset >>= 8;
  }
  return Address(out);
}

Result<Prefix> Prefix::parse(std::string_view text, bool clear_host_bits) {
  const size_t slash = text.find('/');
  if (slash == std::string_view::npos)
    return Error(ErrorCode::invalid,
                 "'" + std::string(text) + "' is not an address block such as 10.0.0.0/24");
  Prefix prefix;
  prefix.address = TRY(Address::parse(text.substr(0, slash)));
  const unsigned max = prefix.address.is_v4() ? 32 : 128;
  prefix.length = uint8_t(TRY(parse_number(text.substr(slash + 1), max, "prefix length")));
  const Address network = with_host_bits(prefix.address, long_length(prefix), false);
  if (network != prefix.address && !clear_host_bits)
    return Error(ErrorCode::invalid, "'" + std::string(text) +
                                         "' has host bits set; did you mean " +
                                         Prefix{network, prefix.length}.to_string() + "?");
  prefix.address = network;
  return prefix;
}

bool Prefix::contains(const Address& a) const {
  return a.is_v4() == address.is_v4() && same_leading_bits(address, a, long_length(*this));
}

bool Prefix::contains(const Prefix& p) const { return p.length >= length && contains(p.address); }

bool Prefix::overlaps(const Prefix& p) const { return contains(p) || p.contains(*this); }

Address Prefix::last() const { return with_host_bits(address, long_length(*this), true); }

uint64_t Prefix::size() const {
  const unsigned host_bits = 128 - long_length(*this);
  return host_bits >= 64 ? std::numeric_limits<uint64_t>::max() : uint64_t(1) << host_bits;
}

std::string Prefix::to_string() const { return address.to_string() + "/" + std::to_string(length); }

Result<SocketAddress> SocketAddress::parse(std::string_view text, uint16_t default_port) {
  const auto fail = [&] {
    return Error(ErrorCode::invalid, "'" + std::string(text) + "' is not ADDRESS:PORT");
  };
  std::string_view host = text, port;
  if (!text.empty() && text.front() == '[') {
    const size_t end = text.find(']');
    if (end == std::string_view::npos) return fail();
    host = text.substr(1, end - 1);
    port = text.substr(end + 1);
    if (!port.empty() && port.front() != ':') return fail();
    if (!port.empty()) port.remove_prefix(1);
  } else if (const size_t colon = text.find(':');
             colon != std::string_view::npos && colon == text.rfind(':')) {
    host = text.substr(0, colon);
    port = text.substr(colon + 1);
    if (port.empty()) return fail();
  }
  SocketAddress out;
  out.address = TRY(Address::parse(host));
  out.port = default_port;
  if (!port.empty()) out.port = uint16_t(TRY(parse_number(port, 65535, "port")));
  if (out.port == 0) return fail();
  return out;
}

std::string SocketAddress::to_string() const {
  const std::string host = address.to_string();
  return (address.is_v4() ? host : "[" + host + "]") + ":" + std::to_string(port);
}

size_t AddressHash::operator()(const Address& a) const {
  uint64_t high, low;
  std::memcpy(&high, a.bytes().data(), 8);
  std::memcpy(&low, a.bytes().data() + 8, 8);
  return size_t((high * 0x9e3779b97f4a7c15ull) ^ (low * 0xc2b2ae3d27d4eb4full));
}

}  // namespace weft
