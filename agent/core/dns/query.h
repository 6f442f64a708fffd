// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

#include "base/bytes.h"
#include "core/dns/wire.h"

namespace weft::dns {

// One parsed question. Filled by parse_query only; plain arrays, because one is made per packet.
struct Query {
  uint16_t id;
  uint16_t flags;
  Type type;
  uint16_t query_class;
  size_t question_end;  // the question is the packet's bytes [12, question_end)
  bool edns;
  uint8_t edns_version;
  bool dnssec_ok;
  uint16_t udp_size;  // what the asker takes over UDP, 512 without EDNS
  std::array<char, 256> key;
  uint16_t key_size;
  std::array<uint8_t, 128> label_at;  // offsets of the labels in `key`
  uint8_t labels;

  // The name in lower-case wire form, from label `first` to the end.
  std::string_view name(size_t first = 0) const {
    const size_t from = first < labels ? label_at[first] : key_size;
    return {key.data() + from, key_size - from};
  }
  // Labels [first, last).
  std::string_view name(size_t first, size_t last) const {
    const size_t to = last < labels ? label_at[last] : key_size;
    return name(first).substr(0, to - (first < labels ? label_at[first] : key_size));
  }
  // One label's text.
  std::string_view label(size_t index) const {
    return {key.data() + label_at[index] + 1, size_t(uint8_t(key[label_at[index]]))};
  }
};

enum class Parsed {
  query,
  drop,     // not a query at all: shorter than a header, or an answer
  formerr,  // only id and flags of the Query are set
  notimp,   // an opcode other than QUERY; only id and flags are set
};

// Total: any bytes give one of the four, and nothing outside `packet` is read.
Parsed parse_query(ByteView packet, Query& query);

}  // namespace weft::dns
