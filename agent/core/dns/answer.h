// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string_view>

#include "base/address.h"
#include "base/bytes.h"
#include "core/dns/query.h"
#include "core/dns/wire.h"

namespace weft::dns {

enum class Section { answer, authority, additional };

// Writes one answer: header, the question as it was asked (its case included), records, OPT. Owner
// names are pointers to where the name already stands.
class AnswerWriter {
 public:
  // Offset of the question's name, whatever its size.
  static constexpr uint16_t question_at = header_size;

  // `limit` is the answer's largest size. Without `with_question` (an unreadable one) only the
  // header is written.
  AnswerWriter(Bytes& out, ByteView packet, const Query& query, size_t limit, bool with_question);

  // Each adds one record whole, or nothing and returns false if there is no room.
  bool address(Section section, uint16_t owner, uint32_t ttl, const Address& address);
  bool ptr(uint16_t owner, uint32_t ttl, std::string_view target);
  // `target_at` is where the target's name stands, for its address records.
  bool srv(uint16_t owner, uint32_t ttl, uint16_t port, std::string_view target,
           uint16_t& target_at);
  // The owner is the question's name from `zone_at` on.
  bool soa(Section section, uint16_t zone_at, uint32_t ttl, uint32_t serial, uint32_t minimum);

  void set_truncated() { truncated_ = true; }
  bool truncated() const { return truncated_; }
  void finish(Rcode rcode, bool authoritative);

 private:
  bool room(size_t size) const { return out_.size() + size <= limit_; }
  void head(Section section, uint16_t owner, Type type, uint32_t ttl, size_t data_size);

  Bytes& out_;
  const Query& query_;
  size_t limit_;
  bool with_question_;
  bool truncated_ = false;
  uint16_t counts_[3] = {};
};

// The answer to a query that this node cannot resolve: the question, and a bare rcode. Also for a
// packet that parse_query refuses (then without the question). Empty if the packet deserves none.
Bytes error_answer(ByteView packet, Rcode rcode);

}  // namespace weft::dns
