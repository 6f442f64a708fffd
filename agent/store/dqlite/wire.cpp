// SPDX-License-Identifier: Apache-2.0
#include "store/dqlite/wire.h"

#include <bit>

namespace weft::store::dqlite {
namespace {

constexpr uint64_t protocol_version = 1;
constexpr uint64_t more_rows = 0xeeeeeeeeeeeeeeee;
constexpr uint64_t last_rows = 0xffffffffffffffff;
// Of the protocol: ids, addresses and roles; failure domain and weight.
constexpr uint64_t cluster_format = 1;
constexpr uint64_t describe_format = 0;

enum RequestType : uint8_t {
  request_leader = 0,
  request_client = 1,
  request_open = 3,
  request_prepare = 4,
  request_exec = 5,
  request_query = 6,
  request_finalize = 7,
  request_exec_sql = 8,
  request_query_sql = 9,
  request_add = 12,
  request_assign = 13,
  request_remove = 14,
  request_dump = 15,
  request_cluster = 16,
  request_transfer = 17,
  request_describe = 18,
  request_weight = 19,
};

enum ResponseType : uint8_t {
  response_failure = 0,
  response_leader = 1,
  response_welcome = 2,
  response_nodes = 3,
  response_database = 4,
  response_statement = 5,
  response_result = 6,
  response_rows = 7,
  response_empty = 8,
  response_files = 9,
  response_metadata = 10,
};

enum ValueType : uint8_t {
  value_integer = 1,
  value_real = 2,
  value_text = 3,
  value_blob = 4,
  value_null = 5,
  value_unix_time = 9,
  value_iso8601 = 10,
  value_boolean = 11,
};

size_t padding(size_t size) { return (word_bytes - size % word_bytes) % word_bytes; }

class Writer {
 public:
  explicit Writer(uint8_t type) : out_(header_bytes, '\0') { out_[4] = char(type); }
  Writer& number(uint64_t value, size_t bytes = word_bytes) {
    for (size_t i = 0; i < bytes; ++i) out_ += char(value >> (8 * i));
    return *this;
  }
  Writer& number32(uint32_t value) { return number(value, 4); }
  Writer& text(std::string_view value) {
    out_.append(value.substr(0, value.find('\0')));
    out_ += '\0';
    return pad();
  }
  Writer& blob(std::string_view value) {
    number(value.size());
    out_.append(value);
    return pad();
  }
  Writer& byte(uint8_t value) {
    out_ += char(value);
    return *this;
  }
  Writer& pad() {
    out_.append(padding(out_.size()), '\0');
    return *this;
  }
  std::string finish() {
    const size_t words = (out_.size() - header_bytes) / word_bytes;
    for (size_t i = 0; i < 4; ++i) out_[i] = char(words >> (8 * i));
    return std::move(out_);
  }

 private:
  std::string out_;
};

// After the first short read everything is zero or empty and ok() is false.
class Reader {
 public:
  explicit Reader(std::string_view in) : in_(in) {}
  bool ok() const { return ok_; }
  size_t remaining() const { return in_.size(); }
  uint64_t number(size_t bytes = word_bytes) {
    const std::string_view raw = take(bytes);
    uint64_t value = 0;
    for (size_t i = raw.size(); i > 0; --i) value = value << 8 | uint8_t(raw[i - 1]);
    return value;
  }
  uint32_t number32() { return uint32_t(number(4)); }
  std::string text() {
    const size_t end = in_.find('\0');
    if (end == std::string_view::npos) {
      fail();
      return {};
    }
    std::string value(take(end));
    take(1 + padding(end + 1));
    return value;
  }
  std::string bytes(uint64_t size) {
    if (size > in_.size()) {
      fail();
      return {};
    }
    std::string value(take(size));
    take(padding(size));
    return value;
  }
  std::string_view take(size_t size) {
    if (!ok_ || size > in_.size()) {
      fail();
      return {};
    }
    const std::string_view out = in_.substr(0, size);
    in_.remove_prefix(size);
    return out;
  }
  uint64_t peek() const {
    Reader copy(in_);
    return copy.number();
  }
  void fail() {
    ok_ = false;
    in_ = {};
  }

 private:
  std::string_view in_;
  bool ok_ = true;
};

uint8_t type_of(const Value& value) {
  constexpr uint8_t types[] = {value_null, value_integer, value_real, value_text, value_blob};
  return types[value.index()];
}

Result<> write_parameters(Writer& out, std::span<const Value> parameters) {
  if (parameters.size() > max_parameters)
    return Error(ErrorCode::invalid, "a statement has more than 255 parameters");
  if (parameters.empty()) return Ok;
  out.byte(uint8_t(parameters.size()));
  for (const Value& value : parameters) out.byte(type_of(value));
  out.pad();
  for (const Value& value : parameters) {
    if (const auto* text = std::get_if<std::string>(&value)) {
      if (text->find('\0') != std::string::npos)
        return Error(ErrorCode::invalid, "a text with a zero byte cannot be stored");
      out.text(*text);
    } else if (const auto* blob = std::get_if<Blob>(&value)) {
      out.blob(blob->bytes);
    } else if (const auto* integer = std::get_if<int64_t>(&value)) {
      out.number(uint64_t(*integer));
    } else if (const auto* real = std::get_if<double>(&value)) {
      out.number(std::bit_cast<uint64_t>(*real));
    } else {
      out.number(0);
    }
  }
  return Ok;
}

Result<std::string> statement_request(RequestType type, uint32_t database, uint32_t statement,
                                      std::span<const Value> parameters) {
  Writer out(type);
  out.number32(database).number32(statement);
  TRY(write_parameters(out, parameters));
  return out.finish();
}

Value read_value(Reader& in, uint8_t type) {
  switch (type) {
    case value_integer:
    case value_unix_time:
    case value_boolean:
      return int64_t(in.number());
    case value_real:
      return std::bit_cast<double>(in.number());
    case value_text:
    case value_iso8601:
      return in.text();
    case value_blob:
      return Blob{in.bytes(in.number())};
    case value_null:
      in.number();
      return std::monostate();
    default:
      in.fail();
      return std::monostate();
  }
}

// Four bits for each column's type, padded to words; then the values.
Row read_row(Reader& in, size_t columns) {
  const size_t type_bytes = (columns + 1) / 2;
  const std::string_view types = in.take(type_bytes + padding(type_bytes));
  Row row;
  for (size_t i = 0; i < columns && in.ok(); ++i)
    row.push_back(read_value(in, uint8_t(types[i / 2]) >> (i % 2 * 4) & 0x0f));
  return row;
}

Rows read_rows(Reader& in) {
  Rows out;
  const uint64_t columns = in.number();
  // A name takes a word at least, which bounds what the number can make us do.
  if (columns == 0 || columns > in.remaining() / word_bytes) {
    in.fail();
    return out;
  }
  for (uint64_t i = 0; i < columns; ++i) out.columns.push_back(in.text());
  while (in.ok()) {
    const uint64_t mark = in.peek();
    if (mark == last_rows || mark == more_rows) {
      in.number();
      out.more = mark == more_rows;
      return out;
    }
    out.rows.push_back(read_row(in, columns));
  }
  return out;
}

Nodes read_nodes(Reader& in) {
  Nodes out;
  for (uint64_t left = in.number(); left > 0 && in.ok(); --left) {
    Node node{in.number(), in.text(), Role::spare};
    const uint64_t role = in.number();
    if (role > uint64_t(Role::spare)) in.fail();
    node.role = Role(role);
    if (in.ok()) out.nodes.push_back(std::move(node));
  }
  return out;
}

Files read_files(Reader& in) {
  Files out;
  for (uint64_t left = in.number(); left > 0 && in.ok(); --left) {
    Files::File file;
    file.name = in.text();
    file.bytes = in.bytes(in.number());
    if (in.ok()) out.files.push_back(std::move(file));
  }
  return out;
}

// The members of a braced list are read in their order.
Response read_response(Reader& in, uint8_t type) {
  switch (type) {
    case response_failure:
      return Failure{in.number(), in.text()};
    case response_leader:
      return Leader{in.number(), in.text()};
    case response_welcome:
      return Welcome{in.number()};
    case response_nodes:
      return read_nodes(in);
    case response_database: {
      const Database database{in.number32()};
      in.number32();
      return database;
    }
    case response_statement:
      return Prepared{in.number32(), in.number32(), in.number()};
    case response_result:
      return Changed{in.number(), in.number()};
    case response_rows:
      return read_rows(in);
    case response_empty:
      in.number();
      return Empty{};
    case response_files:
      return read_files(in);
    case response_metadata:
      return Metadata{in.number(), in.number()};
    default:
      in.fail();
      return Empty{};
  }
}

}  // namespace

std::string encode_handshake() {
  std::string out;
  for (size_t i = 0; i < word_bytes; ++i) out += char(protocol_version >> (8 * i));
  return out;
}

std::string encode_leader() { return Writer(request_leader).number(0).finish(); }
std::string encode_client(uint64_t id) { return Writer(request_client).number(id).finish(); }

std::string encode_open(std::string_view database) {
  return Writer(request_open).text(database).number(0).text("").finish();
}

std::string encode_prepare(uint32_t database, std::string_view sql) {
  return Writer(request_prepare).number(database).text(sql).finish();
}

Result<std::string> encode_exec(uint32_t database, uint32_t statement,
                                std::span<const Value> parameters) {
  return statement_request(request_exec, database, statement, parameters);
}

Result<std::string> encode_query(uint32_t database, uint32_t statement,
                                 std::span<const Value> parameters) {
  return statement_request(request_query, database, statement, parameters);
}

std::string encode_finalize(uint32_t database, uint32_t statement) {
  return Writer(request_finalize).number32(database).number32(statement).finish();
}

std::string encode_exec_sql(uint32_t database, std::string_view sql) {
  return Writer(request_exec_sql).number(database).text(sql).finish();
}

std::string encode_query_sql(uint32_t database, std::string_view sql) {
  return Writer(request_query_sql).number(database).text(sql).finish();
}

std::string encode_add(uint64_t id, std::string_view address) {
  return Writer(request_add).number(id).text(address).finish();
}

std::string encode_assign(uint64_t id, Role role) {
  return Writer(request_assign).number(id).number(uint64_t(role)).finish();
}

std::string encode_remove(uint64_t id) { return Writer(request_remove).number(id).finish(); }

std::string encode_dump(std::string_view database) {
  return Writer(request_dump).text(database).finish();
}

std::string encode_cluster() { return Writer(request_cluster).number(cluster_format).finish(); }
std::string encode_transfer(uint64_t id) { return Writer(request_transfer).number(id).finish(); }
std::string encode_describe() { return Writer(request_describe).number(describe_format).finish(); }
std::string encode_weight(uint64_t weight) {
  return Writer(request_weight).number(weight).finish();
}

Header decode_header(std::string_view bytes) {
  Reader in(bytes);
  const size_t words = in.number32();
  return {words * word_bytes, uint8_t(in.number(1))};
}

Result<Response> decode_response(uint8_t type, std::string_view body) {
  Reader in(body);
  Response response = read_response(in, type);
  if (!in.ok())
    return Error("dqlite sent a malformed response of type " + std::to_string(type) + " and " +
                 std::to_string(body.size()) + " bytes");
  return response;
}

}  // namespace weft::store::dqlite
