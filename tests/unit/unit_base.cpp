// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include "base/address.h"
#include "base/bytes.h"
#include "base/mac.h"
#include "base/result.h"
#include "base/rng.h"

using namespace weft;

TEST_CASE("an IPv4 address is kept v4-mapped and prints as IPv4") {
  const Address a = *Address::parse("10.1.2.3");
  CHECK(a.is_v4());
  CHECK(a.bytes()[11] == 0xff);
  CHECK(a.to_v4() == 0x0a010203);
  CHECK(a.to_string() == "10.1.2.3");
  CHECK(Address::parse("2001:db8::1")->to_string() == "2001:db8::1");
}

TEST_CASE("garbage is not an address, and the error says so in one sentence") {
  for (const char* bad : {"", "10.1.2", "10.1.2.256", "::g", "10.1.2.3/24", "eth0"}) {
    const auto parsed = Address::parse(bad);
    REQUIRE(!parsed);
    CHECK(parsed.error().message() == "'" + std::string(bad) + "' is not an IP address");
    CHECK(parsed.error().code() == ErrorCode::invalid);
  }
}

TEST_CASE("a prefix knows what it contains, its last address and its size") {
  const Prefix p = *Prefix::parse("10.0.4.0/22");
  CHECK(p.contains(*Address::parse("10.0.7.255")));
  CHECK(!p.contains(*Address::parse("10.0.8.0")));
  CHECK(!p.contains(*Address::parse("::1")));
  CHECK(p.last().to_string() == "10.0.7.255");
  CHECK(p.size() == 1024);
  CHECK(p.overlaps(*Prefix::parse("10.0.0.0/8")));
  CHECK(!p.overlaps(*Prefix::parse("10.0.8.0/22")));
  CHECK(Prefix::parse("fd00::/8")->size() == ~uint64_t(0));
}

TEST_CASE("host bits in a prefix are refused with the prefix that was probably meant") {
  const auto p = Prefix::parse("10.0.0.5/24");
  REQUIRE(!p);
  CHECK(p.error().message() == "'10.0.0.5/24' has host bits set; did you mean 10.0.0.0/24?");
  CHECK(Prefix::parse("10.0.0.5/24", true)->to_string() == "10.0.0.0/24");
}

TEST_CASE("addresses count upwards across byte boundaries") {
  CHECK(Address::parse("10.0.0.255")->plus(1).to_string() == "10.0.1.0");
  CHECK(Address::parse("fd00::ffff")->plus(1).to_string() == "fd00::1:0");
}

TEST_CASE("socket addresses parse with and without port and brackets") {
  CHECK(SocketAddress::parse("10.0.0.1:80")->port == 80);
  CHECK(SocketAddress::parse("10.0.0.1", 7)->port == 7);
  CHECK(SocketAddress::parse("[fd00::1]:80")->to_string() == "[fd00::1]:80");
  CHECK(SocketAddress::parse("fd00::1", 9)->to_string() == "[fd00::1]:9");
  CHECK(!SocketAddress::parse("10.0.0.1"));
  CHECK(!SocketAddress::parse("10.0.0.1:"));
  CHECK(!SocketAddress::parse("10.0.0.1:99999"));
  CHECK(!SocketAddress::parse("host:80"));
}

TEST_CASE("a MAC address is derived from IPv4 as container users know it") {
  CHECK(Mac::from_v4(*Address::parse("10.0.0.2")).to_string() == "02:42:0a:00:00:02");
  CHECK(Mac::parse("02:42:0A:00:00:02")->to_string() == "02:42:0a:00:00:02");
  CHECK(!Mac::parse("02:42:0a:00:00"));
  CHECK(!Mac::parse("02-42-0a-00-00-02"));
}

TEST_CASE("an error carries its context in front and its errno with it") {
  const Error e = errno_error("open /x", ENOENT).in("start");
  CHECK(e.message() == "start: open /x: No such file or directory");
  CHECK(e.system_error() == ENOENT);
  CHECK(e.code() == ErrorCode::not_found);
}

TEST_CASE("TRY returns the error of a failed step and the value of a good one") {
  const auto run = [](const char* text) -> Result<int> {
    const Address a = TRY_IN("peer", Address::parse(text));
    return a.is_v4() ? 4 : 6;
  };
  CHECK(*run("::1") == 6);
  CHECK(run("x").error().message() == "peer: 'x' is not an IP address");
}

TEST_CASE("what ByteWriter wrote ByteReader reads, and a short input never reads past its end") {
  Bytes bytes;
  ByteWriter w(bytes);
  w.u8(1);
  w.u32(0xdeadbeef);
  w.varint(300);
  w.field(view_of("hello"));
  ByteReader r(bytes);
  CHECK(r.u8() == 1);
  CHECK(r.u32() == 0xdeadbeef);
  CHECK(r.varint() == 300);
  CHECK(text_of(r.field()) == "hello");
  CHECK(r.done());
  for (size_t cut = 0; cut < bytes.size(); cut++) {
    ByteReader s(ByteView(bytes).first(cut));
    s.u8(), s.u32(), s.varint(), s.field();
    CHECK(!s.ok());
  }
}

TEST_CASE("the generator repeats from a seed and stays in its bounds") {
  Rng a(7), b(7), c(8);
  bool differs = false;
  for (int i = 0; i < 1000; i++) {
    const uint64_t x = a.below(10);
    CHECK(x == b.below(10));
    CHECK(x < 10);
    differs = differs || x != c.below(10);
  }
  CHECK(differs);
}
