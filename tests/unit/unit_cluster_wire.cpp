// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include "base/rng.h"
#include "core/cluster/wire.h"

using namespace weft;
using namespace weft::cluster;

namespace {

NodeId node(uint8_t n) {
  NodeId id;
  id.bytes.fill(n);
  return id;
}

std::vector<Bytes> samples() {
  using namespace wire;
  wire::Member alive{MemberState::alive, node(3), {7, 9}, node(3), {}};
  alive.info = {"web-1",  4,     {Address::v4(0x0a000001), 7946}, Address::v4(0x0a000001),
                "opaque", {5, 6}};
  return {
      encode(Ping{1, tag_of(node(2)), 20, 77}),
      encode(Ack{1, 0}),
      encode(Relay{2, node(2), {Address::v4(1), 80}, 100}),
      encode(Relayed{3}),
      encode(Nack{4}),
      encode(alive),
      encode(wire::Member{MemberState::dead, node(4), {1, 2}, node(9), {}}),
      encode(Hashes{{{0, 1}, {4097, 2}}}),
      encode(Compare{{{0, 1}, {4097, 2}}}),
      encode(RecordNews{4097, node(5), 3, {12, RecordKind::value, "key", "value"}}),
      encode(Digest{0, 5, 1, {1, 2}}),
      encode(Vector{1, 1, {0, 1}, {{node(1), 2, 3}}}),
      encode(Pull{1, {{node(1), 2, 3}}}),
      encode(Delta{1,
                   node(2),
                   3,
                   0,
                   9,
                   2,
                   {{1, RecordKind::value, "a", "b"}, {9, RecordKind::tombstone, "c", ""}}}),
  };
}

Bytes packet() {
  Bytes out;
  wire::append_header(out);
  for (const Bytes& message : samples()) out.insert(out.end(), message.begin(), message.end());
  return out;
}

}  // namespace

TEST_CASE("every message survives the way over the wire") {
  const Bytes bytes = packet();
  auto reader = wire::Reader::open(bytes);
  REQUIRE(reader);
  for (const Bytes& sample : samples()) {
    const auto message = reader->next();
    REQUIRE(message);
    CHECK(wire::encode(*message) == sample);
  }
  CHECK_FALSE(reader->next());
  CHECK(reader->malformed() == 0);
}

TEST_CASE("a message of a newer version is skipped, the rest is read") {
  Bytes bytes;
  wire::append_header(bytes);
  ByteWriter w(bytes);
  w.u8(200);
  w.field(view_of("from the future"));
  w.raw(wire::encode(wire::Ack{5, 0}));
  auto reader = wire::Reader::open(bytes);
  const auto message = reader->next();
  REQUIRE(message);
  CHECK(std::get<wire::Ack>(*message).probe == 5);
  CHECK(reader->malformed() == 0);
  bytes[0] = wire::version + 1;
  CHECK_FALSE(wire::Reader::open(bytes));
}

TEST_CASE("a packet cut at any length or with any byte changed is read without harm") {
  const Bytes bytes = packet();
  for (size_t length = 0; length <= bytes.size(); ++length) {
    auto reader = wire::Reader::open(ByteView(bytes).first(length));
    CHECK(reader.has_value() == (length >= wire::header_bytes));
    size_t messages = 0;
    while (reader && reader->next()) ++messages;
    CHECK(messages <= samples().size());
  }
  Rng rng(3);
  for (int round = 0; round < 20000; ++round) {
    Bytes changed = bytes;
    for (int i = 0; i < 3; ++i) changed[rng.below(changed.size())] = uint8_t(rng());
    auto reader = wire::Reader::open(changed);
    while (reader && reader->next()) {
    }
  }
}

TEST_CASE("what an owner may not write is malformed") {
  using namespace wire;
  auto malformed = [](const Message& message) {
    Bytes bytes;
    append_header(bytes);
    const Bytes encoded = encode(message);
    bytes.insert(bytes.end(), encoded.begin(), encoded.end());
    auto reader = Reader::open(bytes);
    const bool read = reader->next().has_value();
    return !read && reader->malformed() == 1;
  };
  const std::string long_key(Limits::key_bytes + 1, 'k'), long_value(Limits::record_bytes, 'v');
  CHECK(malformed(RecordNews{0, node(2), 1, {1, RecordKind::value, long_key, ""}}));
  CHECK(malformed(RecordNews{0, node(2), 1, {1, RecordKind::value, "k", long_value}}));
  CHECK(malformed(RecordNews{0, node(2), 1, {0, RecordKind::value, "k", ""}}));
  CHECK(malformed(RecordNews{0, node(2), 1, {1, RecordKind::value, "", "v"}}));
  CHECK(malformed(RecordNews{0, node(2), 1, {~uint64_t(0), RecordKind::value, "k", "v"}}));
  CHECK(malformed(RecordNews{0, {}, 1, {1, RecordKind::value, "k", "v"}}));
  // A delta that contradicts its own range.
  CHECK(malformed(Delta{0, node(2), 1, 5, 4, 0, {}}));
  CHECK(malformed(Delta{0, node(2), 1, 0, 4, 0, {{5, RecordKind::value, "k", "v"}}}));
  CHECK(malformed(Delta{0, node(2), 1, 0, 4, 5, {}}));
  wire::Member big{MemberState::alive, node(3), {7, 9}, {}, {}};
  big.info = {std::string(Limits::name_bytes + 1, 'n'), 1, {Address::v4(1), 1}, {}, ""};
  CHECK(malformed(big));
}
