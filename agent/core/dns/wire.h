// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"

// Constants and names of the DNS wire format (RFC 1035, 2782, 3596, 6891).
namespace weft::dns {

enum class Type : uint16_t {
  a = 1,
  ns = 2,
  cname = 5,
  soa = 6,
  ptr = 12,
  mx = 15,
  txt = 16,
  aaaa = 28,
  srv = 33,
  opt = 41,
  ixfr = 251,
  axfr = 252,
  any = 255,
};

// Header rcodes, and those that need EDNS (above 15).
enum class Rcode : uint16_t {
  noerror = 0,
  formerr = 1,
  servfail = 2,
  nxdomain = 3,
  notimp = 4,
  refused = 5,
  badvers = 16,
};

inline constexpr uint16_t class_in = 1;
inline constexpr size_t header_size = 12;
inline constexpr size_t opt_size = 11;  // an OPT record without options
inline constexpr size_t plain_udp_size = 512;
// Fits one unfragmented packet on every path (DNS flag day 2020).
inline constexpr uint16_t edns_udp_size = 1232;
inline constexpr size_t message_limit = 65535;

// Header flags, as bits of the second 16-bit word.
inline constexpr uint16_t flag_response = 0x8000;
inline constexpr uint16_t flag_authoritative = 0x0400;
inline constexpr uint16_t flag_truncated = 0x0200;
inline constexpr uint16_t flag_recursion_desired = 0x0100;
inline constexpr uint16_t flag_recursion_available = 0x0080;
inline constexpr uint16_t flag_authentic = 0x0020;
inline constexpr uint16_t flag_checking_disabled = 0x0010;
inline constexpr uint16_t mask_opcode = 0x7800;
inline constexpr uint16_t mask_rcode = 0x000f;

// "A", "AAAA", or "TYPE65" (RFC 3597) for the rest.
std::string type_name(Type type);
// The inverse, case-insensitive.
Result<Type> parse_type(std::string_view text);
// "NOERROR", "NXDOMAIN", ..., "RCODE23" for the rest.
std::string rcode_name(Rcode rcode);

inline char lower(char c) { return c >= 'A' && c <= 'Z' ? char(c + 32) : c; }

// Domain names are kept as lower-case wire labels without the final root label: "\3web\2n1" is
// web.n1. So a dot inside a label is never taken for a separator, and a name and a network's name
// are joined by concatenation.
inline constexpr size_t name_limit = 254;

// From "Web.n1" or "web.n1.", with \. and \065 escapes. The root is the empty string.
Result<std::string> wire_name(std::string_view dotted);
// To "web.n1.", with escapes; the root is ".".
std::string dotted_name(std::string_view wire);

}  // namespace weft::dns
