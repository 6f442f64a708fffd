// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include "core/dns/message.h"

using namespace weft;
using namespace weft::dns;

namespace {

// A response with one question (web.n1 A) and `count` records given as raw bytes.
Bytes response(uint16_t count, std::initializer_list<int> records) {
  Bytes out;
  ByteWriter writer(out);
  for (uint16_t word :
       {uint16_t(7), uint16_t(0x8180), uint16_t(1), count, uint16_t(0), uint16_t(0)})
    writer.u16(word);
  writer.raw(view_of(std::string_view("\3Web\2n1\0\0\1\0\1", 12)));
  for (int byte : records) writer.u8(uint8_t(byte));
  return out;
}

std::string only_answer(const Bytes& bytes) {
  auto message = decode_message(bytes);
  REQUIRE(message);
  REQUIRE(message->answers.size() == 1);
  return to_text(message->answers[0]);
}

}  // namespace

TEST_CASE("a query is encoded with RD and EDNS and decodes to itself") {
  const Bytes bytes = *encode_query("Web.n1", Type::srv, 0x1234);
  const Message message = *decode_message(bytes);
  CHECK(message.id == 0x1234);
  CHECK_FALSE(message.response());
  CHECK((message.flags & flag_recursion_desired) != 0);
  REQUIRE(message.questions.size() == 1);
  CHECK(message.questions[0].name == "web.n1.");
  CHECK(message.questions[0].type == Type::srv);
  CHECK(message.edns);
  CHECK(message.udp_size == 1232);
  CHECK_FALSE(encode_query("a..b", Type::a, 1));
}

TEST_CASE("every common record type has a text form") {
  const auto text = [](int type, std::initializer_list<int> data) {
    Bytes bytes = response(1, {0xc0, 12, 0, type, 0, 1, 0, 0, 0, 5, 0, int(data.size())});
    for (int byte : data) bytes.push_back(uint8_t(byte));
    return only_answer(bytes);
  };
  CHECK(text(1, {10, 0, 0, 2}) == "Web.n1.\t5\tIN\tA\t10.0.0.2");
  CHECK(text(28, {0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1}) ==
        "Web.n1.\t5\tIN\tAAAA\tfd00::1");
  CHECK(text(2, {1, 'a', 0xc0, 16}) == "Web.n1.\t5\tIN\tNS\ta.n1.");
  CHECK(text(5, {0xc0, 16}) == "Web.n1.\t5\tIN\tCNAME\tn1.");
  CHECK(text(12, {0}) == "Web.n1.\t5\tIN\tPTR\t.");
  CHECK(text(15, {0, 10, 0xc0, 12}) == "Web.n1.\t5\tIN\tMX\t10 Web.n1.");
  CHECK(text(33, {0, 1, 0, 2, 0, 80, 1, 'a', 0}) == "Web.n1.\t5\tIN\tSRV\t1 2 80 a.");
  CHECK(text(16, {2, 'h', 'i', 1, '"', 0}) == "Web.n1.\t5\tIN\tTXT\t\"hi\" \"\\\"\" \"\"");
  CHECK(
      text(6, {1, 'm', 0, 1, 'r', 0, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 4, 0, 0, 0, 5}) ==
      "Web.n1.\t5\tIN\tSOA\tm. r. 1 2 3 4 5");
  CHECK(text(65, {1, 0xab}) == "Web.n1.\t5\tIN\tTYPE65\t\\# 2 01ab");
}

TEST_CASE("compression pointers that loop or lead forward are refused") {
  CHECK_FALSE(decode_message(response(1, {0xc0, 24, 0, 1, 0, 1, 0, 0, 0, 5, 0, 4, 1, 2, 3, 4})));
  CHECK_FALSE(decode_message(response(1, {0xc0, 40, 0, 1, 0, 1, 0, 0, 0, 5, 0, 4, 1, 2, 3, 4})));
  CHECK_FALSE(decode_message(response(1, {1, 'a', 0xc0, 24, 0, 1, 0, 1, 0, 0, 0, 5, 0, 0})));
}

TEST_CASE("a record whose length and content differ is refused") {
  CHECK_FALSE(decode_message(response(1, {0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 5, 0, 3, 1, 2, 3})));
  CHECK_FALSE(decode_message(response(1, {0xc0, 12, 0, 12, 0, 1, 0, 0, 0, 5, 0, 2, 0, 0})));
  CHECK_FALSE(decode_message(response(1, {0xc0, 12, 0, 16, 0, 1, 0, 0, 0, 5, 0, 2, 9, 0})));
}

TEST_CASE("a message cut anywhere is refused") {
  const Bytes whole = response(1, {0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 5, 0, 4, 10, 0, 0, 2});
  REQUIRE(decode_message(whole));
  for (size_t size = 0; size < whole.size(); ++size)
    CHECK_FALSE(decode_message(ByteView(whole).first(size)));
}

TEST_CASE("a message's text names its rcode, flags and sections") {
  Bytes bytes = response(1, {0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 5, 0, 4, 10, 0, 0, 2});
  CHECK(to_text(*decode_message(bytes)) ==
        ";; NOERROR, id 7, flags qr rd ra\n"
        ";; QUESTION\n;Web.n1.\tIN\tA\n"
        ";; ANSWER\nWeb.n1.\t5\tIN\tA\t10.0.0.2\n");
}

TEST_CASE("the upper bits of an rcode come from EDNS") {
  Bytes bytes = response(0, {0, 0, 41, 4, 0xd0, 1, 0, 0, 0, 0, 0});
  bytes[11] = 1;
  CHECK(decode_message(bytes)->rcode == Rcode::badvers);
}
