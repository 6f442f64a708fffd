// SPDX-License-Identifier: Apache-2.0
#include "store/dqlite/client.h"

#include <poll.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <cstring>

namespace weft::store::dqlite {
namespace {

// So many answers fit into a socket's buffer: while we still send, nobody waits for us to read.
constexpr size_t max_outstanding = 64;
// A dump is one message: the whole database.
constexpr size_t max_body_bytes = size_t(1) << 30;

Failure disconnected(std::string message) { return {code_disconnected, std::move(message)}; }

}  // namespace

Outcome<Empty> Client::wait(short events) {
  std::array<pollfd, 2> fds{{{socket_.get(), events, 0}, {stop_, POLLIN, 0}}};
  const auto ms = std::chrono::duration_cast<std::chrono::milliseconds>(timeout_).count();
  while (true) {
    const int ready = ::poll(fds.data(), fds.size(), int(ms));
    if (ready < 0 && errno == EINTR) continue;
    if (fds[1].revents != 0) return disconnected("stopping");
    if (ready > 0) return Empty{};
    if (ready < 0) return disconnected(std::strerror(errno));
    // The answer may still come: whatever is read next would belong to another request.
    socket_.reset();
    return disconnected("no answer within " + std::to_string(ms) + " ms");
  }
}

Outcome<Empty> Client::send(std::string_view bytes) {
  if (!socket_) return disconnected("not connected");
  while (!bytes.empty()) {
    const ssize_t sent =
        ::send(socket_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent >= 0) {
      bytes.remove_prefix(size_t(sent));
    } else if (errno == EAGAIN) {
      if (auto ready = wait(POLLOUT); !ready) return ready;
    } else if (errno != EINTR) {
      return disconnected(std::strerror(errno));
    }
  }
  return Empty{};
}

Outcome<Empty> Client::receive_bytes(char* data, size_t size) {
  while (size > 0) {
    if (!socket_) return disconnected("not connected");
    const ssize_t got = ::recv(socket_.get(), data, size, MSG_DONTWAIT);
    if (got > 0) {
      data += got;
      size -= size_t(got);
    } else if (got == 0) {
      return disconnected("closed by the node");
    } else if (errno == EAGAIN) {
      if (auto ready = wait(POLLIN); !ready) return ready;
    } else if (errno != EINTR) {
      return disconnected(std::strerror(errno));
    }
  }
  return Empty{};
}

Outcome<Response> Client::receive() {
  char head[header_bytes];
  if (auto got = receive_bytes(head, sizeof head); !got) return got.failure();
  const Header header = decode_header({head, sizeof head});
  if (header.body_bytes > max_body_bytes)
    return disconnected("a response of " + std::to_string(header.body_bytes) + " bytes");
  std::string body(header.body_bytes, '\0');
  if (auto got = receive_bytes(body.data(), body.size()); !got) return got.failure();
  auto response = decode_response(header.type, body);
  if (!response) return disconnected(response.error().message());
  return std::move(*response);
}

template <typename T>
Outcome<T> Client::receive_as() {
  auto response = receive();
  if (!response) return response.failure();
  if (auto* wanted = std::get_if<T>(&*response)) return std::move(*wanted);
  if (auto* failure = std::get_if<Failure>(&*response)) return std::move(*failure);
  return disconnected("an unexpected response");
}

template <typename T>
Outcome<T> Client::call(std::string_view message) {
  if (auto sent = send(message); !sent) return sent.failure();
  return receive_as<T>();
}

Outcome<Welcome> Client::greet() { return call<Welcome>(encode_handshake() + encode_client(0)); }
Outcome<Leader> Client::leader() { return call<Leader>(encode_leader()); }

Outcome<std::vector<Node>> Client::nodes() {
  auto found = call<Nodes>(encode_cluster());
  if (!found) return found.failure();
  return std::move(found->nodes);
}

Outcome<Empty> Client::add(uint64_t id, std::string_view address) {
  return call<Empty>(encode_add(id, address));
}
Outcome<Empty> Client::assign(uint64_t id, Role role) {
  return call<Empty>(encode_assign(id, role));
}
Outcome<Empty> Client::remove(uint64_t id) { return call<Empty>(encode_remove(id)); }
Outcome<Empty> Client::transfer(uint64_t id) { return call<Empty>(encode_transfer(id)); }
Outcome<Metadata> Client::describe() { return call<Metadata>(encode_describe()); }
Outcome<Empty> Client::set_weight(uint64_t weight) { return call<Empty>(encode_weight(weight)); }
Outcome<Files> Client::dump(std::string_view database) {
  return call<Files>(encode_dump(database));
}

Outcome<Empty> Client::open(std::string_view database) {
  auto opened = call<Database>(encode_open(database));
  if (!opened) return opened.failure();
  return Empty{};
}

Outcome<Empty> Client::exec_sql(std::string_view sql) {
  auto done = call<Changed>(encode_exec_sql(0, sql));
  if (!done) return done.failure();
  return Empty{};
}

Outcome<uint32_t> Client::prepared(const char* sql) {
  if (const auto known = statements_.find(sql); known != statements_.end()) return known->second;
  auto statement = call<Prepared>(encode_prepare(0, sql));
  if (!statement) return statement.failure();
  return statements_[sql] = statement->id;
}

Outcome<Empty> Client::finalize(const char* sql) {
  const auto known = statements_.extract(sql);
  if (known.empty()) return Empty{};
  return call<Empty>(encode_finalize(0, known.mapped()));
}

Outcome<Changed> Client::exec(const char* sql, std::vector<Value> parameters) {
  Outcome<Changed> result = disconnected("not connected");
  exec_all({{sql, std::move(parameters)}},
           [&](size_t, Outcome<Changed> done) { result = std::move(done); });
  return result;
}

Outcome<std::vector<Row>> Client::query(const char* sql, std::vector<Value> parameters) {
  auto statement = prepared(sql);
  if (!statement) return statement.failure();
  auto message = encode_query(0, *statement, parameters);
  if (!message) return Failure{code_constraint, message.error().message()};
  if (auto sent = send(*message); !sent) return sent.failure();
  std::vector<Row> rows;
  while (true) {
    auto batch = receive_as<Rows>();
    if (!batch) return batch.failure();
    for (Row& row : batch->rows) rows.push_back(std::move(row));
    if (!batch->more) return rows;
  }
}

bool Client::exec_all(const std::vector<Statement>& statements,
                      const std::function<void(size_t, Outcome<Changed>)>& done) {
  for (const Statement& statement : statements)
    if (auto ready = prepared(statement.sql); !ready) {
      done(0, ready.failure());
      return ready.failure().code != code_disconnected;
    }
  size_t answered = 0;
  const auto take = [&]() {
    auto changed = receive_as<Changed>();
    const bool connected = changed || changed.failure().code != code_disconnected;
    done(answered++, std::move(changed));
    return connected;
  };
  for (size_t i = 0; i < statements.size(); ++i) {
    const auto message = encode_exec(0, statements_[statements[i].sql], statements[i].parameters);
    if (!message) {
      // Those before it are answered first.
      while (answered < i)
        if (!take()) return false;
      done(i, Failure{code_constraint, message.error().message()});
      return true;
    }
    if (auto sent = send(*message); !sent) {
      done(i, sent.failure());
      return false;
    }
    while (i + 1 - answered >= max_outstanding)
      if (!take()) return false;
  }
  while (answered < statements.size())
    if (!take()) return false;
  return true;
}

}  // namespace weft::store::dqlite
