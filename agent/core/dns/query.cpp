// SPDX-License-Identifier: Apache-2.0
#include "core/dns/query.h"

namespace weft::dns {

namespace {

uint16_t u16_at(ByteView packet, size_t at) { return uint16_t(packet[at] << 8 | packet[at + 1]); }

// The question's name into query.key; false if it is not plain labels ending in the root. A
// compression pointer is refused: in front of the first name there is nothing to point at.
bool read_question_name(ByteView packet, size_t& at, Query& query) {
  size_t size = 0;
  size_t labels = 0;
  for (;;) {
    if (at >= packet.size()) return false;
    const size_t length = packet[at];
    if (length == 0) break;
    if (length > 63 || at + 1 + length > packet.size()) return false;
    if (size + 1 + length > name_limit) return false;
    query.label_at[labels++] = uint8_t(size);
    query.key[size] = char(length);
    for (size_t i = 1; i <= length; ++i) query.key[size + i] = lower(char(packet[at + i]));
    size += 1 + length;
    at += 1 + length;
  }
  ++at;
  query.key_size = uint16_t(size);
  query.labels = uint8_t(labels);
  return true;
}

// Past a record's owner name, which may be compressed: the pointer's target does not matter here.
bool skip_name(ByteView packet, size_t& at) {
  while (at < packet.size()) {
    const uint8_t length = packet[at];
    if (length == 0) {
      at += 1;
      return true;
    }
    if (length >= 0xc0) {
      at += 2;
      return at <= packet.size();
    }
    if (length > 63) return false;
    at += 1 + size_t(length);
  }
  return false;
}

bool read_opt(ByteView packet, size_t at, bool root_owner, Query& query) {
  if (query.edns || !root_owner) return false;
  query.edns = true;
  const uint16_t size = u16_at(packet, at + 2);
  query.udp_size = size < plain_udp_size ? uint16_t(plain_udp_size) : size;
  query.edns_version = packet[at + 5];
  query.dnssec_ok = (packet[at + 6] & 0x80) != 0;
  return true;
}

}  // namespace

Parsed parse_query(ByteView packet, Query& query) {
  if (packet.size() < header_size) return Parsed::drop;
  query.id = u16_at(packet, 0);
  query.flags = u16_at(packet, 2);
  query.edns = false;
  query.edns_version = 0;
  query.dnssec_ok = false;
  query.udp_size = plain_udp_size;
  if (query.flags & flag_response) return Parsed::drop;
  if (query.flags & mask_opcode) return Parsed::notimp;
  if (u16_at(packet, 4) != 1) return Parsed::formerr;

  size_t at = header_size;
  if (!read_question_name(packet, at, query)) return Parsed::formerr;
  if (packet.size() - at < 4) return Parsed::formerr;
  query.type = Type(u16_at(packet, at));
  query.query_class = u16_at(packet, at + 2);
  at += 4;
  query.question_end = at;

  const size_t before_additional = size_t(u16_at(packet, 6)) + u16_at(packet, 8);
  const size_t records = before_additional + u16_at(packet, 10);
  for (size_t i = 0; i < records; ++i) {
    const bool root_owner = at < packet.size() && packet[at] == 0;
    if (!skip_name(packet, at) || packet.size() - at < 10) return Parsed::formerr;
    const size_t data = u16_at(packet, at + 8);
    if (packet.size() - at - 10 < data) return Parsed::formerr;
    if (Type(u16_at(packet, at)) == Type::opt &&
        (i < before_additional || !read_opt(packet, at, root_owner, query)))
      return Parsed::formerr;
    at += 10 + data;
  }
  return at == packet.size() ? Parsed::query : Parsed::formerr;
}

}  // namespace weft::dns
