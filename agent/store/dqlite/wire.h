// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/result.h"

// The protocol that a dqlite node speaks with its clients, version 1, as bytes: messages of 8-byte
// words, little endian (https://canonical.com/dqlite/docs/reference/wire-protocol). No sockets.
namespace weft::store::dqlite {

constexpr size_t word_bytes = 8;
// A message is a header of one word and a body.
constexpr size_t header_bytes = word_bytes;

// A column of a row or a parameter of a statement.
struct Blob {
  std::string bytes;
  bool operator==(const Blob&) const = default;
};
using Value = std::variant<std::monostate, int64_t, double, std::string, Blob>;
using Row = std::vector<Value>;
constexpr size_t max_parameters = 255;

enum class Role : uint64_t { voter = 0, standby = 1, spare = 2 };

struct Node {
  uint64_t id = 0;
  std::string address;
  Role role = Role::voter;
  bool operator==(const Node&) const = default;
};

// Requests. Each gives a whole message.
std::string encode_handshake();
std::string encode_leader();
std::string encode_client(uint64_t id);
std::string encode_open(std::string_view database);
std::string encode_prepare(uint32_t database, std::string_view sql);
// Error: more than `max_parameters`, or a text with a zero byte, which the protocol cannot carry.
Result<std::string> encode_exec(uint32_t database, uint32_t statement,
                                std::span<const Value> parameters);
Result<std::string> encode_query(uint32_t database, uint32_t statement,
                                 std::span<const Value> parameters);
std::string encode_finalize(uint32_t database, uint32_t statement);
// One or more statements; rows are not returned.
std::string encode_exec_sql(uint32_t database, std::string_view sql);
std::string encode_query_sql(uint32_t database, std::string_view sql);
std::string encode_add(uint64_t id, std::string_view address);
std::string encode_assign(uint64_t id, Role role);
std::string encode_remove(uint64_t id);
std::string encode_dump(std::string_view database);
std::string encode_cluster();
std::string encode_transfer(uint64_t id);
std::string encode_describe();
std::string encode_weight(uint64_t weight);

struct Header {
  size_t body_bytes = 0;
  uint8_t type = 0;
};
// Of the first `header_bytes`.
Header decode_header(std::string_view bytes);

// Responses.
struct Failure {
  uint64_t code = 0;  // of sqlite or dqlite
  std::string message;
};
struct Leader {
  uint64_t id = 0;  // 0: none is known
  std::string address;
};
struct Welcome {
  uint64_t heartbeat_timeout = 0;
};
struct Nodes {
  std::vector<Node> nodes;
};
struct Database {
  uint32_t id = 0;
};
struct Prepared {
  uint32_t database = 0;
  uint32_t id = 0;
  uint64_t parameters = 0;
};
struct Changed {
  uint64_t last_insert_id = 0;
  uint64_t rows = 0;
};
struct Rows {
  std::vector<std::string> columns;
  std::vector<Row> rows;
  bool more = false;  // another message with the next rows follows
};
struct Empty {};
struct Files {
  struct File {
    std::string name;
    std::string bytes;
  };
  std::vector<File> files;
};
struct Metadata {
  uint64_t failure_domain = 0;
  uint64_t weight = 0;
};
using Response = std::variant<Failure, Leader, Welcome, Nodes, Database, Prepared, Changed, Rows,
                              Empty, Files, Metadata>;

// Error: the type is unknown or the body is not of its form. Never reads past `body`.
Result<Response> decode_response(uint8_t type, std::string_view body);

}  // namespace weft::store::dqlite
