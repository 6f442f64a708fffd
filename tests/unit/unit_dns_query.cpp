// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include "core/dns/message.h"
#include "core/dns/query.h"

using namespace weft;
using namespace weft::dns;

namespace {

Bytes query_for(std::string_view name, Type type = Type::a) { return *encode_query(name, type, 7); }

}  // namespace

TEST_CASE("a name goes to wire form and back, lower-cased, with escapes") {
  CHECK(*wire_name("Web.N1.") == "\3web\2n1");
  CHECK(*wire_name("web.n1") == "\3web\2n1");
  CHECK(*wire_name(".") == "");
  CHECK(*wire_name("a\\.b.c\\032") == std::string("\3a.b\2c ", 7));
  CHECK(dotted_name(*wire_name("a\\.b.c\\032")) == "a\\.b.c\\032.");
  CHECK(dotted_name("") == ".");
}

TEST_CASE("a name that does not fit into DNS is refused") {
  for (const std::string& bad :
       {std::string(""), std::string("a..b"), std::string(".a"), std::string("a\\"),
        std::string("a\\25"), std::string("a\\256"), std::string(64, 'x')})
    CHECK_FALSE(wire_name(bad));
  std::string longest;
  for (int i = 0; i < 126; ++i) longest += "a.";
  CHECK(wire_name(longest + "b"));
  CHECK_FALSE(wire_name(longest + "bcd"));
}

TEST_CASE("record types and rcodes have names") {
  CHECK(type_name(Type::srv) == "SRV");
  CHECK(type_name(Type(65)) == "TYPE65");
  CHECK(*parse_type("aaaa") == Type::aaaa);
  CHECK(*parse_type("type65") == Type(65));
  CHECK_FALSE(parse_type("bogus"));
  CHECK_FALSE(parse_type("TYPE"));
  CHECK_FALSE(parse_type("TYPE99999"));
  CHECK(rcode_name(Rcode::nxdomain) == "NXDOMAIN");
  CHECK(rcode_name(Rcode::badvers) == "BADVERS");
  CHECK(rcode_name(Rcode(23)) == "RCODE23");
}

TEST_CASE("a query is read with its labels and its EDNS size") {
  Query query;
  const Bytes packet = query_for("WEB.n1", Type::aaaa);
  REQUIRE(parse_query(packet, query) == Parsed::query);
  CHECK(query.id == 7);
  CHECK(query.type == Type::aaaa);
  CHECK(query.query_class == class_in);
  CHECK(query.labels == 2);
  CHECK(query.name() == "\3web\2n1");
  CHECK(query.name(1) == "\2n1");
  CHECK(query.name(0, 1) == "\3web");
  CHECK(query.name(2) == "");
  CHECK(query.label(1) == "n1");
  CHECK(query.edns);
  CHECK(query.udp_size == edns_udp_size);
}

TEST_CASE("a packet cut anywhere is dropped or refused, never read as a query") {
  const Bytes packet = query_for("web.n1");
  for (size_t size = 0; size < packet.size(); ++size) {
    Query query;
    const Parsed parsed = parse_query(ByteView(packet).first(size), query);
    CHECK(parsed == (size < header_size ? Parsed::drop : Parsed::formerr));
  }
}

TEST_CASE("answers are dropped, other opcodes and question counts are refused") {
  Query query;
  Bytes packet = query_for("web");
  packet[2] = 0x80;
  CHECK(parse_query(packet, query) == Parsed::drop);
  packet[2] = 0x10;  // STATUS
  CHECK(parse_query(packet, query) == Parsed::notimp);
  packet[2] = 0x01;
  packet[5] = 0;
  CHECK(parse_query(packet, query) == Parsed::formerr);
  packet[5] = 2;
  CHECK(parse_query(packet, query) == Parsed::formerr);
}

TEST_CASE("a compressed question, a second OPT and trailing bytes are refused") {
  Query query;
  const Bytes good = query_for("web");
  Bytes pointer(good.begin(), good.begin() + 12);
  for (uint8_t byte : {0xc0, 0x0c, 0, 1, 0, 1}) pointer.push_back(byte);
  pointer[11] = 0;
  CHECK(parse_query(pointer, query) == Parsed::formerr);

  Bytes two_opts = good;
  two_opts.insert(two_opts.end(), good.end() - 11, good.end());
  two_opts[11] = 2;
  CHECK(parse_query(two_opts, query) == Parsed::formerr);

  Bytes trailing = good;
  trailing.push_back(0);
  CHECK(parse_query(trailing, query) == Parsed::formerr);
}

TEST_CASE("records behind the question may have compressed names") {
  Bytes packet = query_for("web");
  packet.resize(packet.size() - opt_size);
  // One A record owned by a pointer to the question.
  for (uint8_t byte : {0xc0, 0x0c, 0, 1, 0, 1, 0, 0, 0, 9, 0, 4, 10, 0, 0, 1})
    packet.push_back(byte);
  Query query;
  CHECK(parse_query(packet, query) == Parsed::query);
  CHECK_FALSE(query.edns);
  CHECK(query.udp_size == plain_udp_size);
}
