// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/address.h"
#include "base/result.h"

namespace weft {

// An Ethernet address.
struct Mac {
  std::array<uint8_t, 6> bytes{};

  // "02:42:0a:00:00:02", case-insensitive.
  static Result<Mac> parse(std::string_view text);
  // 02:42 followed by the four bytes of an IPv4 address, as container users know it.
  static Mac from_v4(const Address& address);
  std::string to_string() const;
  bool is_unicast() const { return (bytes[0] & 1) == 0; }
  auto operator<=>(const Mac&) const = default;
};

}  // namespace weft
