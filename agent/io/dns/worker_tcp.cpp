// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <sys/socket.h>

#include <algorithm>

#include "core/dns/wire.h"
#include "io/dns/worker.h"

// The TCP half of the worker (RFC 7766): length-prefixed queries, several per connection, answers
// in the order in which they become known.
namespace weft::dns {

namespace {

// A client that sends faster than it reads waits.
constexpr size_t out_limit = 256 * 1024;
constexpr size_t pending_limit = 32;
constexpr size_t frame_limit = 2 + message_limit;
constexpr size_t accepts_per_event = 16;

}  // namespace

void Worker::accept_connections(Container& container) {
  for (size_t i = 0; i < accepts_per_event && accept_one(container); ++i) {
  }
}

bool Worker::accept_one(Container& container) {
  const int listener = container.sockets.tcp.get();
  Fd socket(::accept4(listener, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
  if (!socket) {
    if (errno == EINTR || errno == ECONNABORTED) return true;
    if (errno != EMFILE && errno != ENFILE) return false;
    // Out of descriptors: refuse with the spare one, or the listener stays ready for ever.
    spare_.reset();
    socket.reset(::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC));
    socket.reset();
    spare_.reset(::open("/dev/null", O_RDONLY | O_CLOEXEC));
    counters_.tcp_refused.add();
    return false;
  }
  if (container.connections >= options_.max_tcp_connections_per_container) {
    counters_.tcp_refused.add();
    return true;
  }
  if (connections_.empty()) next_sweep_ = now_ + options_.tcp_idle_timeout / 8;
  auto connection = std::make_unique<Connection>();
  connection->id = next_id_++;
  connection->container = container.id;
  connection->socket = std::move(socket);
  connection->interest = EPOLLIN;
  connection->active = now_;
  if (!poller_.add(connection->socket.get(), EPOLLIN, {Source::connection, connection->id})) {
    counters_.tcp_refused.add();
    return true;
  }
  ++container.connections;
  counters_.tcp_connections.add();
  counters_.tcp_open.add();
  connections_.emplace(connection->id, std::move(connection));
  return true;
}

void Worker::read_connection(Connection& connection) {
  if (!connection.end_of_input && connection.in.size() < frame_limit) {
    std::array<uint8_t, 16384> buffer;
    const ssize_t got = ::recv(connection.socket.get(), buffer.data(), buffer.size(), 0);
    if (got == 0) connection.end_of_input = true;
    if (got > 0) connection.in.insert(connection.in.end(), buffer.begin(), buffer.begin() + got);
    if (got < 0 && errno != EAGAIN && errno != EINTR) {
      close(connection.id);
      return;
    }
  }
  advance(connection);
}

void Worker::advance(Connection& connection) {
  const bool all_taken = answer_frames(connection);
  if (!flush(connection)) {
    close(connection.id);
    return;
  }
  const bool over = connection.end_of_input && all_taken && connection.pending == 0;
  if (over && connection.out.empty()) {
    close(connection.id);
    return;
  }
  // Sending has made room for queries that are already here.
  if (!all_taken && connection.out.empty() && connection.pending < pending_limit)
    touched_.push_back(connection.id);
  set_interest(connection);
}

// False if whole queries are left because the client is to read or wait first.
bool Worker::answer_frames(Connection& connection) {
  const Container& container = *containers_.at(connection.container);
  const Client client{.container = container.id, .connection = connection.id};
  Bytes answer;
  size_t at = 0;
  bool all_taken = true;
  for (;;) {
    const size_t left = connection.in.size() - at;
    if (left < 2) break;
    const size_t size = size_t(connection.in[at]) << 8 | connection.in[at + 1];
    if (left - 2 < size) break;
    if (connection.out.size() >= out_limit || connection.pending >= pending_limit) {
      all_taken = false;
      break;
    }
    answer.clear();
    ++connection.pending;  // a forwarded query may be delivered before handle() returns
    const auto action = handle(container, ByteView(connection.in).subspan(at + 2, size),
                               Transport::tcp, client, answer);
    at += 2 + size;
    connection.active = now_;
    if (action == Decision::Action::forward) continue;
    --connection.pending;
    if (answer.empty()) continue;
    ByteWriter writer(connection.out);
    writer.u16(uint16_t(answer.size()));
    writer.raw(answer);
  }
  connection.in.erase(connection.in.begin(), connection.in.begin() + std::ptrdiff_t(at));
  return all_taken;
}

bool Worker::flush(Connection& connection) {
  size_t done = 0;
  while (done < connection.out.size()) {
    const ssize_t sent = ::send(connection.socket.get(), connection.out.data() + done,
                                connection.out.size() - done, MSG_NOSIGNAL);
    if (sent < 0) {
      if (errno == EINTR) continue;
      if (errno != EAGAIN) return false;
      break;
    }
    done += size_t(sent);
    connection.active = now_;
  }
  connection.out.erase(connection.out.begin(), connection.out.begin() + std::ptrdiff_t(done));
  return true;
}

void Worker::set_interest(Connection& connection) {
  uint32_t wanted = 0;
  if (!connection.end_of_input && connection.in.size() < frame_limit) wanted |= EPOLLIN;
  if (!connection.out.empty()) wanted |= EPOLLOUT;
  if (wanted == connection.interest) return;
  connection.interest = wanted;
  poller_.change(connection.socket.get(), wanted, {Source::connection, connection.id});
}

void Worker::close(uint64_t id) {
  const auto at = connections_.find(id);
  --containers_.at(at->second->container)->connections;
  connections_.erase(at);
  counters_.tcp_open.add(-1);
}

}  // namespace weft::dns
