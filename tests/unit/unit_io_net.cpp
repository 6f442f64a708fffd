// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <map>
#include <string>
#include <vector>

#include "io/loop.h"
#include "io/sockets.h"
#include "io/stream.h"
#include "io/udp_socket.h"

using namespace weft;
using namespace weft::io;

namespace {

const SocketAddress any_port4 = {Address::v4(0x7f000001), 0};
const SocketAddress any_port6 = {*Address::parse("::1"), 0};

struct Inbox {
  UdpSocket::Callbacks callbacks() {
    return {.on_datagram = [this](const SocketAddress& from,
                                  ByteView bytes) { datagrams.emplace_back(from, text_of(bytes)); },
            .on_refused = [this](const SocketAddress& peer) { refused.push_back(peer); }};
  }
  std::vector<std::pair<SocketAddress, std::string>> datagrams;
  std::vector<SocketAddress> refused;
};

// A port of this host where nobody listens: it was bound a moment ago.
SocketAddress closed_port(int type, const SocketAddress& like = any_port4) {
  const Fd fd = *bind_socket(like, type);
  return local_address(fd.get());
}

Fd connect_plain(const SocketAddress& to) {
  Fd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const KernelAddress address = KernelAddress::from(to);
  REQUIRE(::connect(fd.get(), address.get(), address.size) == 0);
  return fd;
}

}  // namespace

TEST_CASE("datagrams arrive with their sender, over IPv4 and IPv6") {
  for (const SocketAddress& any : {any_port4, any_port6}) {
    Loop loop;
    Inbox a_inbox, b_inbox;
    auto a = std::move(*UdpSocket::open(loop, any, a_inbox.callbacks()));
    auto b = std::move(*UdpSocket::open(loop, any, b_inbox.callbacks()));
    CHECK(a->local().port != 0);
    // More than one batch of the receiver.
    for (int i = 0; i < 100; ++i) REQUIRE(a->send(b->local(), view_of(std::to_string(i))));
    REQUIRE(loop.run_until([&] { return b_inbox.datagrams.size() == 100; }, 2s));
    for (int i = 0; i < 100; ++i) {
      CHECK(b_inbox.datagrams[i].first == a->local());
      CHECK(b_inbox.datagrams[i].second == std::to_string(i));
    }
    CHECK(b->counters().received == 100);
  }
}

TEST_CASE("a socket of both families answers an IPv4 peer") {
  Loop loop;
  Inbox a_inbox, b_inbox;
  auto both = std::move(*UdpSocket::open(loop, SocketAddress{}, a_inbox.callbacks()));
  auto v4 = std::move(*UdpSocket::open(loop, any_port4, b_inbox.callbacks()));
  REQUIRE(v4->send({any_port4.address, both->local().port}, view_of("ping")));
  REQUIRE(loop.run_until([&] { return a_inbox.datagrams.size() == 1; }, 2s));
  CHECK(a_inbox.datagrams[0].first == v4->local());
  REQUIRE(both->send(a_inbox.datagrams[0].first, view_of("pong")));
  CHECK(loop.run_until([&] { return b_inbox.datagrams.size() == 1; }, 2s));
}

TEST_CASE("a port where nobody listens is reported, and the socket goes on") {
  for (const SocketAddress& any : {any_port4, any_port6}) {
    Loop loop;
    Inbox a_inbox, b_inbox;
    auto a = std::move(*UdpSocket::open(loop, any, a_inbox.callbacks()));
    auto b = std::move(*UdpSocket::open(loop, any, b_inbox.callbacks()));
    const SocketAddress nobody = closed_port(SOCK_DGRAM, any);
    REQUIRE(a->send(nobody, view_of("x")));
    // The pending error of the first must not be taken for one of the second.
    REQUIRE(a->send(b->local(), view_of("y")));
    REQUIRE(loop.run_until([&] { return !a_inbox.refused.empty(); }, 2s));
    CHECK(a_inbox.refused[0] == nobody);
    CHECK(loop.run_until([&] { return !b_inbox.datagrams.empty(); }, 2s));
    REQUIRE(b->send(a->local(), view_of("z")));
    CHECK(loop.run_until([&] { return !a_inbox.datagrams.empty(); }, 2s));
  }
}

TEST_CASE("a datagram longer than allowed is dropped and counted") {
  Loop loop;
  Inbox inbox;
  auto a = std::move(*UdpSocket::open(loop, any_port4, inbox.callbacks()));
  REQUIRE(a->send(a->local(), view_of(std::string(3000, 'x'))));
  REQUIRE(a->send(a->local(), view_of("short")));
  REQUIRE(loop.run_until([&] { return !inbox.datagrams.empty(); }, 2s));
  CHECK(inbox.datagrams[0].second == "short");
  CHECK(a->counters().too_long == 1);
}

TEST_CASE("a socket may be destroyed by what it received") {
  Loop loop;
  std::unique_ptr<UdpSocket> socket;
  int count = 0;
  socket = std::move(
      *UdpSocket::open(loop, any_port4, {.on_datagram = [&](const SocketAddress&, ByteView) {
                         ++count;
                         socket.reset();
                       }}));
  for (int i = 0; i < 3; ++i) REQUIRE(socket->send(socket->local(), view_of("x")));
  CHECK(loop.run_until([&] { return !socket; }, 2s));
  CHECK(count == 1);
}

TEST_CASE("an address that cannot be bound is refused in one sentence that says what to do") {
  Loop loop;
  Inbox inbox;
  auto first = std::move(*UdpSocket::open(loop, any_port4, inbox.callbacks()));
  const auto second = UdpSocket::open(loop, first->local(), inbox.callbacks());
  REQUIRE(!second);
  CHECK(second.error().message() == "cannot listen on " + first->local().to_string() +
                                        "/udp: address already in use; is another weftd running?");
  CHECK(second.error().code() == ErrorCode::conflict);
  const auto foreign = listen_tcp(*SocketAddress::parse("192.0.2.1:7946"));
  REQUIRE(!foreign);
  CHECK(foreign.error().message() ==
        "cannot listen on 192.0.2.1:7946/tcp: cannot assign requested address; no interface of "
        "this node has the address");
}

TEST_CASE("a stream carries one large request and its reply") {
  Loop loop;
  auto server = std::move(*StreamServer::listen(
      loop, any_port4, [](const SocketAddress&, Bytes request, StreamServer::Reply reply) {
        request.push_back('!');
        reply(std::move(request));
      }));
  const std::string large(3 << 20, 'x');
  Result<Bytes> answer = Error("none");
  bool done = false;
  stream_request(loop, server->local(), view_of(large), [&](Result<Bytes> r) {
    answer = std::move(r);
    done = true;
  });
  REQUIRE(loop.run_until([&] { return done; }, 3s));
  REQUIRE(answer);
  CHECK(text_of(*answer) == large + "!");
  CHECK(loop.run_until([&] { return server->counters().served == 1; }, 1s));
}

TEST_CASE("a stream request fails in time, and says why") {
  Loop loop;
  std::string why;
  const auto request = [&](const SocketAddress& to, size_t size, StreamLimits limits) {
    why.clear();
    const Bytes bytes(size, 1);
    stream_request(
        loop, to, bytes, [&](Result<Bytes> r) { why = r ? "ok" : r.error().message(); }, limits);
    CHECK(why.empty());
    REQUIRE(loop.run_until([&] { return !why.empty(); }, 2s));
  };
  const SocketAddress nobody = closed_port(SOCK_STREAM);
  request(nobody, 1, {});
  CHECK(why.find("connection refused") != std::string::npos);

  auto silent = std::move(*StreamServer::listen(
      loop, any_port4, [](const SocketAddress&, Bytes, StreamServer::Reply) {}));
  request(silent->local(), 1, {.timeout = 20ms});
  CHECK(why == "exchange with " + silent->local().to_string() + ": no answer in time");

  auto forged = std::move(*StreamServer::listen(
      loop, any_port4,
      [](const SocketAddress&, Bytes, const StreamServer::Reply& reply) { reply({}); }));
  request(forged->local(), 1, {});
  CHECK(why.find("cut off by the other side") != std::string::npos);
  request(forged->local(), 11, {.max_frame_bytes = 10});
  CHECK(why.find("too long for one frame") != std::string::npos);

  auto chatty = std::move(*StreamServer::listen(
      loop, any_port4,
      [](const SocketAddress&, Bytes, const StreamServer::Reply& reply) { reply(Bytes(100)); }));
  request(chatty->local(), 1, {.max_frame_bytes = 10});
  CHECK(why.find("a frame of 100 bytes is too long") != std::string::npos);
}

TEST_CASE("a stream server ends connections that are too long, cut off, silent or too many") {
  Loop loop;
  int handled = 0;
  auto server = std::move(
      *StreamServer::listen(loop, any_port4,
                            [&](const SocketAddress&, Bytes, const StreamServer::Reply& reply) {
                              ++handled;
                              reply({1});
                            },
                            {.max_frame_bytes = 100, .max_connections = 2, .timeout = 50ms}));
  const auto broken = [&](uint64_t count) {
    return loop.run_until([&] { return server->counters().broken == count; }, 2s);
  };
  const Fd too_long = connect_plain(server->local());
  REQUIRE(::send(too_long.get(), "\x7f\xff\xff\xffgarbage", 11, 0) == 11);
  CHECK(broken(1));
  Fd cut_off = connect_plain(server->local());
  REQUIRE(::send(cut_off.get(), "\0\0\0\x05hal", 7, 0) == 7);
  cut_off.reset();
  CHECK(broken(2));
  const Fd silent = connect_plain(server->local());
  const Fd silent2 = connect_plain(server->local());
  const Fd too_many = connect_plain(server->local());
  CHECK(loop.run_until([&] { return server->counters().refused == 1; }, 2s));
  CHECK(broken(4));
  CHECK(handled == 0);
}

TEST_CASE("a held stream tells at once when its server is gone, and that nobody listens") {
  Loop loop;
  std::unique_ptr<StreamServer> server;
  int handled = 0;
  server = std::move(
      *StreamServer::listen(loop, any_port4,
                            [&](const SocketAddress&, const Bytes&, const StreamServer::Reply&) {
                              ++handled;
                              server->hold();
                            },
                            {.timeout = 30ms}));
  int lost = 0;
  HeldStream held(loop, server->local(), view_of("hold"), [&] { ++lost; });
  REQUIRE(loop.run_until([&] { return handled == 1; }, 1s));
  // No time-out ends it.
  CHECK_FALSE(loop.run_until([&] { return lost > 0; }, 100ms));
  server.reset();
  CHECK(loop.run_until([&] { return lost == 1; }, 1s));
  HeldStream nobody(loop, closed_port(SOCK_STREAM), view_of("hold"), [&] { ++lost; });
  CHECK(loop.run_until([&] { return lost == 2; }, 1s));
}

TEST_CASE("of many held streams the oldest gives way") {
  Loop loop;
  std::unique_ptr<StreamServer> server;
  int handled = 0;
  server = std::move(*StreamServer::listen(
      loop, any_port4, [&](const SocketAddress&, const Bytes&, const StreamServer::Reply&) {
        ++handled;
        server->hold();
      }));
  std::vector<int> lost;
  std::vector<std::unique_ptr<HeldStream>> held;
  for (int i = 0; i < 17; ++i) {
    held.push_back(std::make_unique<HeldStream>(loop, server->local(), view_of("hold"),
                                                [&lost, i] { lost.push_back(i); }));
    REQUIRE(loop.run_until([&] { return handled == i + 1; }, 1s));
  }
  CHECK(loop.run_until([&] { return !lost.empty(); }, 1s));
  CHECK(lost == std::vector<int>{0});
}
