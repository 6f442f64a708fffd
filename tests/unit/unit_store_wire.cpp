// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <cstring>

#include "base/rng.h"
#include "store/dqlite/wire.h"

using namespace weft;
using namespace weft::store::dqlite;

namespace {

std::string word(uint64_t value) {
  std::string out(8, '\0');
  for (size_t i = 0; i < 8; i++) out[i] = char(value >> (8 * i));
  return out;
}

std::string text(const std::string& value) {
  std::string out = value + '\0';
  while (out.size() % 8 != 0) out += '\0';
  return out;
}

std::string header(size_t words, int type) { return word(words | uint64_t(type) << 32); }

std::string real_word(double value) {
  uint64_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  return word(bits);
}

// A well-formed body of each type of response.
std::vector<std::pair<uint8_t, std::string>> samples() {
  const std::string blob = word(3) + std::string("a\0b\0\0\0\0\0", 8);
  const std::string row_types =
      std::string("\x31\x54\x02\0\0\0\0\0", 8);  // int text blob null real
  const std::string row = row_types + word(7) + text("abcdefgh") + blob + word(0) + real_word(0.5);
  const std::string rows =
      word(5) + text("i") + text("t") + text("b") + text("n") + text("r") + row + row;
  return {
      {0, word(10250) + text("not leader")},
      {1, word(3) + text("10.0.0.1:2377")},
      {2, word(15000)},
      {3, word(2) + word(1) + text("a:1") + word(0) + word(9) + text("b:2") + word(2)},
      {4, word(0)},
      {5, word(uint64_t(4) << 32) + word(2)},
      {6, word(11) + word(1)},
      {7, rows + word(~uint64_t(0))},
      {7, rows + word(0xeeeeeeeeeeeeeeee)},
      {8, word(0)},
      {9, word(2) + text("main") + word(8) + "12345678" + text("main-wal") + word(0)},
      {10, word(1) + word(2)},
  };
}

}  // namespace

TEST_CASE("requests have the bytes of the protocol's description") {
  CHECK(encode_handshake() == word(1));
  CHECK(encode_leader() == header(1, 0) + word(0));
  CHECK(encode_client(5) == header(1, 1) + word(5));
  CHECK(encode_open("weft") == header(3, 3) + text("weft") + word(0) + text(""));
  CHECK(encode_prepare(0, "SELECT 1") == header(3, 4) + word(0) + text("SELECT 1"));
  CHECK(*encode_exec(1, 2, {}) == header(1, 5) + word(1 | uint64_t(2) << 32));
  CHECK(encode_finalize(1, 2) == header(1, 7) + word(1 | uint64_t(2) << 32));
  CHECK(encode_exec_sql(0, "COMMIT") == header(2, 8) + word(0) + text("COMMIT"));
  CHECK(encode_query_sql(0, "COMMIT") == header(2, 9) + word(0) + text("COMMIT"));
  CHECK(encode_add(7, "a:1") == header(2, 12) + word(7) + text("a:1"));
  CHECK(encode_assign(7, Role::standby) == header(2, 13) + word(7) + word(1));
  CHECK(encode_remove(7) == header(1, 14) + word(7));
  CHECK(encode_dump("weft") == header(1, 15) + text("weft"));
  CHECK(encode_cluster() == header(1, 16) + word(1));
  CHECK(encode_transfer(7) == header(1, 17) + word(7));
  CHECK(encode_describe() == header(1, 18) + word(0));
  CHECK(encode_weight(7) == header(1, 19) + word(7));
  const Header head = decode_header(encode_add(7, "a:1"));
  CHECK(head.body_bytes == 16);
  CHECK(head.type == 12);
}

TEST_CASE("parameters are a count, a type each, and words") {
  const std::vector<Value> values = {int64_t(-1), 1.5, std::string("text"), Blob{"12345678"},
                                     std::monostate()};
  const std::string types("\x05\x01\x02\x03\x04\x05\0\0", 8);
  const std::string expected = word(0) + types + word(~uint64_t(0)) + real_word(1.5) +
                               text("text") + word(8) + "12345678" + word(0);
  CHECK(*encode_query(0, 0, values) == header(expected.size() / 8, 6) + expected);
  // Eight types and the count do not fit into one word.
  const std::vector<Value> eight(8, Value(int64_t(1)));
  CHECK(encode_exec(0, 0, eight)->size() == 8 + 8 + 16 + 64);
}

TEST_CASE("what the protocol cannot carry is refused") {
  CHECK(!encode_exec(0, 0, std::vector<Value>{std::string("a\0b", 3)}));
  CHECK(!encode_exec(0, 0, std::vector<Value>(256, Value(int64_t(1)))));
  CHECK(encode_exec(0, 0, std::vector<Value>(255, Value(int64_t(1)))));
  CHECK(encode_exec(0, 0, std::vector<Value>{Blob{std::string("a\0b", 3)}}));
}

TEST_CASE("every response is read") {
  const auto all = samples();
  const auto read = [&](size_t i) { return *decode_response(all[i].first, all[i].second); };
  CHECK(std::get<Failure>(read(0)).code == 10250);
  CHECK(std::get<Failure>(read(0)).message == "not leader");
  CHECK(std::get<Leader>(read(1)).id == 3);
  CHECK(std::get<Leader>(read(1)).address == "10.0.0.1:2377");
  CHECK(std::get<Welcome>(read(2)).heartbeat_timeout == 15000);
  CHECK(std::get<Nodes>(read(3)).nodes ==
        std::vector<Node>{{1, "a:1", Role::voter}, {9, "b:2", Role::spare}});
  CHECK(std::get<Prepared>(read(5)).id == 4);
  CHECK(std::get<Prepared>(read(5)).parameters == 2);
  CHECK(std::get<Changed>(read(6)).last_insert_id == 11);
  CHECK(std::get<Changed>(read(6)).rows == 1);
  const Rows rows = std::get<Rows>(read(7));
  CHECK(rows.columns == std::vector<std::string>{"i", "t", "b", "n", "r"});
  const Row row = {int64_t(7), std::string("abcdefgh"), Blob{std::string("a\0b", 3)},
                   std::monostate(), 0.5};
  CHECK(rows.rows == std::vector<Row>{row, row});
  CHECK(!rows.more);
  CHECK(std::get<Rows>(read(8)).more);
  const Files files = std::get<Files>(read(10));
  REQUIRE(files.files.size() == 2);
  CHECK(files.files[0].name == "main");
  CHECK(files.files[0].bytes == "12345678");
  CHECK(files.files[1].bytes.empty());
  CHECK(std::get<Metadata>(read(11)).weight == 2);
}

TEST_CASE("a response cut anywhere is malformed, of an unknown type too") {
  for (const auto& [type, body] : samples())
    for (size_t size = 0; size < body.size(); size += 8) {
      CAPTURE(int(type));
      CAPTURE(size);
      CHECK(!decode_response(type, std::string_view(body).substr(0, size)));
    }
  CHECK(!decode_response(42, word(0)));
}

TEST_CASE("random damage never reads outside of the message") {
  Rng rng(7);
  const auto all = samples();
  for (int round = 0; round < 200'000; round++) {
    const auto& [type, body] = all[rng.below(all.size())];
    // A copy of exactly its size, so that a sanitizer sees every step outside.
    std::vector<char> damaged(body.begin(), body.begin() + long(rng.below(body.size() + 1)));
    for (uint64_t left = rng.below(6); left > 0 && !damaged.empty(); left--)
      damaged[rng.below(damaged.size())] = char(rng.below(4) == 0 ? 0xff : rng.below(256));
    (void)decode_response(rng.below(8) == 0 ? uint8_t(rng.below(16)) : type,
                          {damaged.data(), damaged.size()});
  }
}

TEST_CASE("a number of columns, members or files that cannot be is refused at once") {
  for (const int type : {3, 7, 9})
    for (const uint64_t count : {uint64_t(1) << 20, uint64_t(1) << 62, ~uint64_t(0)})
      CHECK(!decode_response(uint8_t(type), word(count) + text("a") + word(1)));
}
