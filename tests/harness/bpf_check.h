// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <doctest/doctest.h>

#include "harness/bpf_node.h"

// Whole frames are compared, and every checksum inside.
#define CHECK_FRAME(actual, expected)                                                           \
  do {                                                                                          \
    const weft::test::Frame a_ = (actual), e_ = (expected);                                     \
    CHECK_MESSAGE(a_ == e_, "got" << weft::test::hex(a_) << "\nwanted" << weft::test::hex(e_)); \
    CHECK(weft::test::check_checksums(a_) == "");                                               \
  } while (0)

namespace weft::test {

inline Address ip(const char* text) { return *Address::parse(text); }

// The frame inside a VXLAN packet.
inline Frame inner(const Frame& outer) {
  return outer.size() > 50 ? Frame(outer.begin() + 50, outer.end()) : Frame{};
}
inline uint32_t vni_of(const Frame& outer) {
  return uint32_t(outer.at(46)) << 16 | uint32_t(outer.at(47)) << 8 | outer.at(48);
}
inline uint8_t mark_of(const Frame& outer) { return outer.at(49); }
inline uint16_t port_at(const Frame& frame, size_t offset) {
  return uint16_t(frame.at(offset) << 8 | frame.at(offset + 1));
}

}  // namespace weft::test
