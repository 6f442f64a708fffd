// SPDX-License-Identifier: Apache-2.0
#include "core/dns/answer.h"

namespace weft::dns {

namespace {

using namespace std::string_view_literals;

constexpr size_t record_head_size = 12;  // pointer, type, class, TTL, length
constexpr std::string_view soa_master = "\4weft\0"sv;
constexpr std::string_view soa_mailbox = "\012hostmaster\4weft\0"sv;
// Nobody transfers these zones: the times are customary values (RFC 1912 2.2).
constexpr uint32_t soa_refresh = 3600, soa_retry = 600, soa_expire = 86400;

void put(Bytes& out, size_t at, uint16_t value) {
  out[at] = uint8_t(value >> 8);
  out[at + 1] = uint8_t(value);
}

}  // namespace

AnswerWriter::AnswerWriter(Bytes& out, ByteView packet, const Query& query, size_t limit,
                           bool with_question)
    : out_(out),
      query_(query),
      limit_(limit - (query.edns ? opt_size : 0)),
      with_question_(with_question) {
  const size_t kept = with_question ? query.question_end : size_t(header_size);
  out_.assign(packet.begin(), packet.begin() + std::ptrdiff_t(kept));
}

void AnswerWriter::head(Section section, uint16_t owner, Type type, uint32_t ttl,
                        size_t data_size) {
  ByteWriter writer(out_);
  writer.u16(0xc000 | owner);
  writer.u16(uint16_t(type));
  writer.u16(class_in);
  writer.u32(ttl);
  writer.u16(uint16_t(data_size));
  ++counts_[size_t(section)];
}

bool AnswerWriter::address(Section section, uint16_t owner, uint32_t ttl, const Address& address) {
  const bool v4 = address.is_v4();
  const ByteView data = ByteView(address.bytes()).subspan(v4 ? 12 : 0);
  if (!room(record_head_size + data.size())) return false;
  head(section, owner, v4 ? Type::a : Type::aaaa, ttl, data.size());
  ByteWriter(out_).raw(data);
  return true;
}

bool AnswerWriter::ptr(uint16_t owner, uint32_t ttl, std::string_view target) {
  const size_t size = target.size() + 1;
  if (!room(record_head_size + size)) return false;
  head(Section::answer, owner, Type::ptr, ttl, size);
  ByteWriter writer(out_);
  writer.raw(view_of(target));
  writer.u8(0);
  return true;
}

bool AnswerWriter::srv(uint16_t owner, uint32_t ttl, uint16_t port, std::string_view target,
                       uint16_t& target_at) {
  const size_t size = 6 + target.size() + 1;
  if (!room(record_head_size + size)) return false;
  head(Section::answer, owner, Type::srv, ttl, size);
  ByteWriter writer(out_);
  writer.u16(0);  // priority
  writer.u16(0);  // weight: all alike
  writer.u16(port);
  target_at = uint16_t(out_.size());
  writer.raw(view_of(target));  // RFC 2782: the target is not compressed
  writer.u8(0);
  return true;
}

bool AnswerWriter::soa(Section section, uint16_t zone_at, uint32_t ttl, uint32_t serial,
                       uint32_t minimum) {
  const size_t size = soa_master.size() + soa_mailbox.size() + 20;
  if (!room(record_head_size + size)) return false;
  head(section, zone_at, Type::soa, ttl, size);
  ByteWriter writer(out_);
  writer.raw(view_of(soa_master));
  writer.raw(view_of(soa_mailbox));
  writer.u32(serial);
  writer.u32(soa_refresh);
  writer.u32(soa_retry);
  writer.u32(soa_expire);
  writer.u32(minimum);
  return true;
}

void AnswerWriter::finish(Rcode rcode, bool authoritative) {
  const uint16_t kept = mask_opcode | flag_recursion_desired | flag_checking_disabled;
  uint16_t flags = flag_response | flag_recursion_available | (query_.flags & kept) |
                   (uint16_t(rcode) & mask_rcode);
  if (authoritative) flags |= flag_authoritative;
  if (truncated_) flags |= flag_truncated;
  put(out_, 2, flags);
  put(out_, 4, with_question_ ? 1 : 0);
  put(out_, 6, counts_[0]);
  put(out_, 8, counts_[1]);
  put(out_, 10, uint16_t(counts_[2] + (query_.edns ? 1 : 0)));
  if (!query_.edns) return;
  ByteWriter writer(out_);
  writer.u8(0);
  writer.u16(uint16_t(Type::opt));
  writer.u16(edns_udp_size);
  writer.u8(uint8_t(uint16_t(rcode) >> 4));
  writer.u8(0);  // our EDNS version
  writer.u16(query_.dnssec_ok ? 0x8000 : 0);
  writer.u16(0);
}

Bytes error_answer(ByteView packet, Rcode rcode) {
  Query query;
  const Parsed parsed = parse_query(packet, query);
  Bytes out;
  if (parsed == Parsed::drop) return out;
  if (parsed != Parsed::query) query.edns = false;
  AnswerWriter writer(out, packet, query, plain_udp_size, parsed == Parsed::query);
  writer.finish(rcode, false);
  return out;
}

}  // namespace weft::dns
