// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"
#include "core/dns/wire.h"

// Whole DNS messages for a client: `weft dns query` and the tests.
namespace weft::dns {

struct Question {
  std::string name;  // "Web.n1.", the case as sent
  Type type = Type::a;
  uint16_t question_class = class_in;
};

struct Record {
  std::string name;
  Type type = Type::a;
  uint16_t record_class = class_in;
  uint32_t ttl = 0;
  // "10.0.0.2", "0 0 80 web.n1.", ...; RFC 3597's "\# 3 010203" for types not known here.
  std::string data;
};

struct Message {
  uint16_t id = 0;
  uint16_t flags = 0;
  Rcode rcode = Rcode::noerror;  // with the upper bits of EDNS
  std::vector<Question> questions;
  std::vector<Record> answers;
  std::vector<Record> authority;
  std::vector<Record> additional;  // without OPT
  bool edns = false;
  uint16_t udp_size = 0;
  uint8_t edns_version = 0;

  bool response() const { return flags & flag_response; }
  bool authoritative() const { return flags & flag_authoritative; }
  bool truncated() const { return flags & flag_truncated; }
};

// A query with RD and an EDNS size of 1232.
Result<Bytes> encode_query(std::string_view name, Type type, uint16_t id);

// Total: follows compression pointers only backwards, so that every message ends.
Result<Message> decode_message(ByteView bytes);

// For people, in the manner of dig: a header line, then one line per question and record.
std::string to_text(const Message& message);
std::string to_text(const Record& record);

}  // namespace weft::dns
