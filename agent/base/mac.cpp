// SPDX-License-Identifier: Apache-2.0
#include "base/mac.h"

#include <cstdio>

namespace weft {

namespace {

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

}  // namespace

Result<Mac> Mac::parse(std::string_view text) {
  const auto fail = [&] {
    return Error(ErrorCode::invalid,
                 "'" + std::string(text) + "' is not a MAC address such as 02:42:0a:00:00:02");
  };
  if (text.size() != 17) return fail();
  Mac mac;
  for (size_t i = 0; i < 6; i++) {
    const int high = hex_digit(text[i * 3]), low = hex_digit(text[i * 3 + 1]);
    if (high < 0 || low < 0 || (i < 5 && text[i * 3 + 2] != ':')) return fail();
    mac.bytes[i] = uint8_t(high << 4 | low);
  }
  return mac;
}

Mac Mac::from_v4(const Address& address) {
  const uint32_t v4 = address.to_v4();
  return Mac{{0x02, 0x42, uint8_t(v4 >> 24), uint8_t(v4 >> 16), uint8_t(v4 >> 8), uint8_t(v4)}};
}

std::string Mac::to_string() const {
  char text[18];
  std::snprintf(text, sizeof text, "%02x:%02x:%02x:%02x:%02x:%02x", bytes[0], bytes[1], bytes[2],
                bytes[3], bytes[4], bytes[5]);
  return text;
}

}  // namespace weft
