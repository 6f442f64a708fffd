// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "io/clock.h"
#include "io/rpc.h"
#include "io/sockets.h"

using namespace weft;
using namespace weft::io;

namespace {

const SocketAddress any_port{Address::v4(0x7f000001), 0};

struct Authority {
  explicit Authority(const std::string& cluster = "cluster-1")
      : cluster_id(cluster), ca(*create_cluster_ca(cluster, clock_wall_now())) {}

  TlsIdentity node(const std::string& id, const std::string& role = "worker",
                   std::chrono::hours age = 0h, const std::string& cluster = "") const {
    const std::string key = *create_key();
    const WallTime made{clock_wall_now().milliseconds -
                        std::chrono::duration_cast<std::chrono::milliseconds>(age).count()};
    return {ca.certificate_pem,
            *sign_node_certificate(ca, *create_signing_request(key),
                                   {id, role, cluster.empty() ? cluster_id : cluster}, made),
            key};
  }

  std::string cluster_id;
  CertifiedKey ca;
};

const Authority& authority() {
  static const Authority made;
  return made;
}

// A manager that serves "echo", "fail", "silent" (never answers), "whoami" and "back" (calls the
// caller's "echo").
struct Manager {
  explicit Manager(RpcLimits limits = {},
                   const TlsIdentity& identity = authority().node("manager-1", "manager"))
      : server(std::move(*RpcServer::listen(
            loop, any_port, identity,
            {.handler = [this](auto... a) { serve(std::move(a)...); },
             .is_revoked = [this](const std::string& id) { return revoked.contains(id); },
             .on_refused = [this](const Error& e) { refusals.push_back(e.message()); },
             .on_connection = {}},
            limits))) {}

  void serve(RpcConnectionHandle connection, std::string method, std::string payload,
             RpcReply reply) {
    ++served;
    if (method == "whoami") {
      const PeerIdentity& peer = connection->identity();
      return reply(peer.authenticated ? peer.node_id + "/" + peer.role + "/" + peer.cluster_id
                                      : std::string("anonymous"));
    }
    if (!connection->identity().authenticated)
      return reply(Error(ErrorCode::denied, method + " needs a node certificate"));
    if (method == "echo") return reply(std::move(payload));
    if (method == "fail") return reply(Error(ErrorCode::conflict, "the name is taken"));
    if (method == "silent") return;
    if (method == "back") {
      connection->call("echo", payload, 1s, [reply](Result<std::string> r) {
        reply(r ? Result<std::string>("client said " + *r) : r);
      });
      return;
    }
    reply(Error(ErrorCode::not_found, "no method " + method));
  }

  Result<RpcConnectionHandle> connect(const std::variant<TlsIdentity, Digest>& trust,
                                      RpcHandler handler = {}, Duration timeout = 5s) {
    std::optional<Result<RpcConnectionHandle>> outcome;
    rpc_connect(loop, server->local(),
                {.trust = trust, .handler = std::move(handler), .timeout = timeout},
                [&](Result<RpcConnectionHandle> r) { outcome.emplace(std::move(r)); });
    REQUIRE(!outcome);
    REQUIRE(loop.run_until([&] { return outcome.has_value(); }, 5s));
    return std::move(*outcome);
  }

  Result<std::string> call(const RpcConnectionHandle& connection, const std::string& method,
                           const std::string& payload = "", Duration timeout = 2s) {
    std::optional<Result<std::string>> outcome;
    connection->call(method, payload, timeout,
                     [&](Result<std::string> r) { outcome.emplace(std::move(r)); });
    REQUIRE(!outcome);
    REQUIRE(loop.run_until([&] { return outcome.has_value(); }, 5s));
    return std::move(*outcome);
  }

  bool refused_with(const std::string& words) {
    return loop.run_until(
        [&] { return !refusals.empty() && refusals.back().find(words) != std::string::npos; }, 2s);
  }

  Loop loop;
  std::set<std::string> revoked;
  std::vector<std::string> refusals;
  int served = 0;
  std::unique_ptr<RpcServer> server;
};

Fd connect_plain(const SocketAddress& to) {
  Fd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const KernelAddress address = KernelAddress::from(to);
  REQUIRE(::connect(fd.get(), address.get(), address.size) == 0);
  return fd;
}

}  // namespace

TEST_CASE("a node calls the manager, which knows who calls, and is called back") {
  Manager manager;
  const auto connection = manager.connect(
      authority().node("node-7"),
      [](const RpcConnectionHandle& c, std::string, std::string payload, const RpcReply& reply) {
        CHECK(c->identity().node_id == "manager-1");
        CHECK(c->identity().role == "manager");
        reply("<" + payload + ">");
      });
  REQUIRE(connection);
  CHECK(*manager.call(*connection, "whoami") == "node-7/worker/cluster-1");
  CHECK(manager.call(*connection, "echo", "")->empty());
  CHECK(*manager.call(*connection, "back", "hello") == "client said <hello>");
  CHECK(manager.server->connections() == 1);
  const std::string large(10 << 20, 'x');
  CHECK(*manager.call(*connection, "echo", large) == large);
  (*connection)->close();
  CHECK(manager.loop.run_until([&] { return manager.server->connections() == 0; }, 2s));
}

TEST_CASE("an error of the server reaches the caller with its code and words") {
  Manager manager;
  const auto connection = *manager.connect(authority().node("node-1"));
  const auto failed = manager.call(connection, "fail");
  REQUIRE(!failed);
  CHECK(failed.error().code() == ErrorCode::conflict);
  CHECK(failed.error().message() == "the name is taken");
  // A side without a handler says so.
  CHECK(manager.call(connection, "back", "x").error().code() == ErrorCode::not_found);
}

TEST_CASE("a call that is not answered ends in time, and a late answer harms nobody") {
  Manager manager;
  const auto connection = *manager.connect(authority().node("node-1"));
  const auto late = manager.call(connection, "silent", "", 10ms);
  REQUIRE(!late);
  CHECK(late.error().code() == ErrorCode::unavailable);
  CHECK(late.error().message() ==
        manager.server->local().to_string() + " did not answer silent within 10 ms");
  CHECK(*manager.call(connection, "echo", "still here") == "still here");
}

TEST_CASE("a thousand calls at once are all answered, each with its own reply") {
  Manager manager;
  const auto connection = *manager.connect(authority().node("node-1"));
  int right = 0, wrong = 0;
  for (int i = 0; i < 1000; ++i) {
    const std::string payload = std::to_string(i);
    connection->call("echo", payload, 5s, [&, payload](Result<std::string> r) {
      r&&* r == payload ? ++right : ++wrong;
    });
  }
  CHECK(manager.loop.run_until([&] { return right + wrong == 1000; }, 5s));
  CHECK(right == 1000);
}

TEST_CASE("calls that follow one another take less than a millisecond each") {
  Manager manager;
  const auto connection = *manager.connect(authority().node("node-1"));
  // Best of several rounds: other programs run on this machine.
  Duration best = 1h;
  for (int round = 0; round < 5; ++round) {
    const Instant start = manager.loop.now();
    for (int i = 0; i < 20; ++i) REQUIRE(manager.call(connection, "echo", "x"));
    best = std::min(best, (manager.loop.now() - start) / 20);
  }
  MESSAGE("one call: ", best.count() / 1000, " us");
  CHECK(best < 1ms);
}

TEST_CASE("a client that knows only the CA's digest connects, and is anonymous") {
  Manager manager;
  const Digest digest = *certificate_digest(authority().ca.certificate_pem);
  const auto connection = *manager.connect(digest);
  CHECK(*manager.call(connection, "whoami") == "anonymous");
  const auto denied = manager.call(connection, "echo", "x");
  REQUIRE(!denied);
  CHECK(denied.error().code() == ErrorCode::denied);
}

TEST_CASE("a client with a digest refuses a server of another CA, and one that is no manager") {
  Manager manager;
  Digest wrong = *certificate_digest(authority().ca.certificate_pem);
  wrong[31] ^= 1;
  const auto refused = manager.connect(wrong);
  REQUIRE(!refused);
  CHECK(refused.error().message() == "connection to " + manager.server->local().to_string() +
                                         ": certificate refused: its CA is not the one of the join "
                                         "token, which is of another cluster");

  Manager worker({}, authority().node("node-1", "worker"));
  const Digest digest = *certificate_digest(authority().ca.certificate_pem);
  for (const std::variant<TlsIdentity, Digest>& trust :
       {std::variant<TlsIdentity, Digest>(digest), {authority().node("node-2")}}) {
    const auto no_manager = worker.connect(trust);
    REQUIRE(!no_manager);
    CHECK(no_manager.error().message().find("role is worker, not manager") != std::string::npos);
  }
  // A server that shows the right CA in its chain but has a certificate of its own making.
  const Authority impostor("cluster-1");
  TlsIdentity forged = impostor.node("manager-1", "manager");
  forged.ca_pem = authority().ca.certificate_pem;
  Manager liar({}, forged);
  CHECK(!liar.connect(digest));
  CHECK(!liar.connect(authority().node("node-2")));
}

TEST_CASE("a certificate of a foreign CA, out of date or of another cluster is refused") {
  Manager manager;
  const auto refused = [&](TlsIdentity identity, const std::string& reason) {
    identity.ca_pem = authority().ca.certificate_pem;  // it trusts the server
    const auto connection = manager.connect(identity);
    REQUIRE(!connection);
    CHECK(connection.error().message().find("refused by the other side") != std::string::npos);
    CHECK(manager.refused_with(reason));
  };
  refused(Authority("cluster-1").node("node-1"), "certificate refused");
  refused(authority().node("node-1", "worker", 24h * 91), "certificate has expired");
  refused(authority().node("node-1", "worker", -3h), "certificate is not yet valid");
  refused(authority().node("node-1", "worker", 0h, "cluster-2"), "of another cluster");
  CHECK(manager.served == 0);
  CHECK(manager.server->connections() == 0);
  CHECK(manager.refusals.size() == 4);
}

TEST_CASE("a removed node is refused with the reason, and thrown out if it is connected") {
  Manager manager;
  const TlsIdentity identity = authority().node("node-9");
  const auto connection = *manager.connect(identity);
  bool closed = false;
  connection->on_close([&](const Error&) { closed = true; });
  manager.revoked.insert("node-9");
  manager.server->drop_revoked();
  CHECK(manager.loop.run_until([&] { return closed; }, 2s));
  CHECK(!connection->is_open());
  const auto again = manager.connect(identity);
  REQUIRE(!again);
  CHECK(again.error().code() == ErrorCode::denied);
  CHECK(again.error().message() == "node node-9 was removed from the cluster");
  CHECK(manager.connect(authority().node("node-8")));
}

TEST_CASE("when the server ends, pending calls fail, and then on_close is told") {
  Manager manager;
  const auto connection = *manager.connect(authority().node("node-1"));
  std::string events;
  connection->call("silent", "", 1h, [&](Result<std::string> r) {
    CHECK(r.error().code() == ErrorCode::unavailable);
    events += "call ";
  });
  connection->on_close([&](const Error& reason) {
    CHECK(reason.message().find("closed by the other side") != std::string::npos);
    events += "close";
  });
  REQUIRE(manager.loop.run_until([&] { return manager.served == 1; }, 2s));
  const SocketAddress address = manager.server->local();
  manager.server.reset();
  CHECK(manager.loop.run_until([&] { return events == "call close"; }, 2s));
  CHECK(manager.call(connection, "echo").error().message() ==
        "the connection to " + address.to_string() + " is closed");
}

TEST_CASE("a connection may be closed and dropped inside the callback of its own call") {
  Manager manager;
  auto connection = *manager.connect(authority().node("node-1"));
  bool done = false, other = false;
  connection->call("echo", "x", 1s, [&](Result<std::string>) {
    connection->close();
    connection.reset();
    done = true;
  });
  connection->call("silent", "", 1h, [&](Result<std::string> r) {
    CHECK(!r);
    other = true;
  });
  CHECK(manager.loop.run_until([&] { return done && other; }, 2s));
}

TEST_CASE("the server may be destroyed by what it serves") {
  Manager manager;
  std::unique_ptr<RpcServer> victim;
  victim = std::move(*RpcServer::listen(
      manager.loop, any_port, authority().node("m", "manager"),
      {.handler =
           [&](const RpcConnectionHandle&, std::string, std::string, const RpcReply& reply) {
             victim.reset();
             reply(std::string("gone"));
           },
       .is_revoked = {},
       .on_refused = {},
       .on_connection = {}}));
  std::optional<Result<std::string>> outcome;
  RpcConnectionHandle kept;
  rpc_connect(manager.loop, victim->local(), {.trust = authority().node("n")},
              [&](Result<RpcConnectionHandle> r) {
                kept = *r;
                kept->call("x", "", 1s,
                           [&](Result<std::string> o) { outcome.emplace(std::move(o)); });
              });
  REQUIRE(manager.loop.run_until([&] { return outcome.has_value(); }, 3s));
  CHECK(!*outcome);
}

TEST_CASE("what is not TLS at the port is refused with one reason and no answer served") {
  Manager manager;
  const auto refused = [&](const std::string& bytes, const std::string& reason) {
    const size_t before = manager.refusals.size();
    const Fd fd = connect_plain(manager.server->local());
    REQUIRE(::send(fd.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL) == ssize_t(bytes.size()));
    REQUIRE(manager.loop.run_until([&] { return manager.refusals.size() > before; }, 2s));
    CAPTURE(manager.refusals.back());
    CHECK(manager.refusals.back().find(reason) != std::string::npos);
    CHECK(manager.refusals.size() == before + 1);
  };
  refused("GET / HTTP/1.1\r\nHost: weft\r\n\r\n", "TLS: http request");
  refused(std::string(2000, '\x7f'), "TLS: ");
  const Bytes noise = random_bytes(4000);
  refused(std::string(text_of(noise)), "TLS: ");
  CHECK(manager.served == 0);
}

TEST_CASE("a peer that connects and says nothing, or half of a handshake, is dropped in time") {
  Manager manager({.handshake_timeout = 20ms});
  const Fd silent = connect_plain(manager.server->local());
  CHECK(manager.refused_with("no TLS handshake in time"));
  const Fd half = connect_plain(manager.server->local());
  REQUIRE(::send(half.get(), "\x16\x03\x01\x02\x00\x01", 6, 0) == 6);
  CHECK(manager.loop.run_until([&] { return manager.refusals.size() == 2; }, 2s));
}

TEST_CASE(
    "a server that never answers the handshake, and a closed port, fail the connect in time") {
  Manager manager;
  const Fd mute = *listen_tcp(any_port);
  std::string why;
  rpc_connect(manager.loop, local_address(mute.get()),
              {.trust = authority().node("node-1"), .timeout = 20ms},
              [&](Result<RpcConnectionHandle> r) { why = r.error().message(); });
  REQUIRE(manager.loop.run_until([&] { return !why.empty(); }, 2s));
  CHECK(why == "connection to " + local_address(mute.get()).to_string() + ": no answer in time");

  const SocketAddress closed = local_address(bind_socket(any_port, SOCK_STREAM)->get());
  why.clear();
  rpc_connect(manager.loop, closed, {.trust = authority().node("node-1")},
              [&](Result<RpcConnectionHandle> r) { why = r.error().message(); });
  REQUIRE(manager.loop.run_until([&] { return !why.empty(); }, 2s));
  CHECK(why == "connection to " + closed.to_string() + ": connection refused");
}

TEST_CASE("a frame over the limit ends the connection; for peers without certificate it is lower") {
  Manager manager({.max_frame_bytes = 1 << 20, .max_frame_bytes_unauthenticated = 1000});
  const auto node = *manager.connect(authority().node("node-1"));
  CHECK(*manager.call(node, "echo", std::string(100'000, 'x')) == std::string(100'000, 'x'));
  CHECK(manager.call(node, "echo", std::string(2 << 20, 'x')).error().code() ==
        ErrorCode::unavailable);
  CHECK(!node->is_open());
  const auto anonymous = *manager.connect(*certificate_digest(authority().ca.certificate_pem));
  CHECK(!manager.call(anonymous, "echo", std::string(2000, 'x')));
  CHECK(!anonymous->is_open());
  // One's own limit is known before anything is sent.
  const auto second = *manager.connect(authority().node("node-2"));
  const auto own = manager.call(second, "echo", std::string(17 << 20, 'x'));
  CHECK(own.error().code() == ErrorCode::invalid);
  CHECK(second->is_open());
}

TEST_CASE("bytes that are no frame end the connection") {
  Manager manager;
  std::unique_ptr<TlsStream> stream;
  bool open = false, closed = false;
  stream = std::move(*TlsStream::connect(
      manager.loop, manager.server->local(),
      *TlsContext::client(authority().node("node-1"), std::string(rpc_protocol)),
      {.on_open = [&] { open = true; },
       .on_data = {},
       .on_close = [&](const Error&) { closed = true; }},
      5s));
  REQUIRE(manager.loop.run_until([&] { return open; }, 2s));
  const std::string garbage("\0\0\0\x05\xff\xff\xff\xff\xff", 9);
  stream->write(view_of(garbage));
  CHECK(manager.loop.run_until([&] { return closed; }, 2s));
  CHECK(manager.served == 0);
}

TEST_CASE("calls fail instead of filling the memory when the peer does not read") {
  Loop loop;
  // A TLS server whose thread of control stops after the handshake: its loop is never run again.
  Loop frozen;
  RpcConnectionHandle connection;
  auto server = std::move(*RpcServer::listen(
      frozen, any_port, authority().node("m", "manager"),
      {.handler = [](const auto&...) {}, .is_revoked = {}, .on_refused = {}, .on_connection = {}}));
  rpc_connect(loop, server->local(),
              {.trust = authority().node("n"), .limits = {.max_queued_bytes = 4 << 20}},
              [&](Result<RpcConnectionHandle> r) { connection = *r; });
  const Instant end = loop.now() + 3s;
  while (!connection && loop.now() < end) {
    loop.run_until([] { return false; }, 1ms);
    frozen.run_until([] { return false; }, 1ms);
  }
  REQUIRE(connection);
  int refused = 0;
  for (int i = 0; i < 40; ++i) {
    connection->call("x", std::string(1 << 20, 'x'), 1h, [&](Result<std::string> r) {
      if (!r && r.error().message().find("does not keep up") != std::string::npos) ++refused;
    });
  }
  CHECK(loop.run_until([&] { return refused > 20; }, 2s));
}

TEST_CASE("another protocol gets its connections, from peers with a certificate only") {
  Manager manager;
  std::unique_ptr<TlsStream> taken;
  std::string heard;
  REQUIRE(manager.server->add_protocol("weft-sync", [&](std::unique_ptr<TlsStream> stream) {
    taken = std::move(stream);
    CHECK(taken->peer().node_id == "node-1");
    taken->set_callbacks({.on_open = {},
                          .on_data = [&](ByteView bytes) { heard += text_of(bytes); },
                          .on_close = {}});
  }));
  const auto connect = [&](const std::variant<TlsIdentity, Digest>& trust, const char* protocol,
                           bool& open, bool& closed) {
    return std::move(*TlsStream::connect(manager.loop, manager.server->local(),
                                         *TlsContext::client(trust, protocol),
                                         {.on_open = [&open] { open = true; },
                                          .on_data = {},
                                          .on_close = [&closed](const Error&) { closed = true; }},
                                         5s));
  };
  bool open = false, closed = false;
  auto stream = connect(authority().node("node-1"), "weft-sync", open, closed);
  REQUIRE(manager.loop.run_until([&] { return open; }, 2s));
  stream->write(view_of("hello"));
  CHECK(manager.loop.run_until([&] { return heard == "hello"; }, 2s));
  CHECK(*manager.call(*manager.connect(authority().node("node-2")), "echo", "x") == "x");

  closed = false;
  auto unknown = connect(authority().node("node-1"), "h2", open, closed);
  CHECK(manager.loop.run_until([&] { return closed; }, 2s));
  closed = false;
  auto anonymous =
      connect(*certificate_digest(authority().ca.certificate_pem), "weft-sync", open, closed);
  CHECK(manager.loop.run_until([&] { return closed; }, 2s));
  CHECK(manager.refused_with("protocol weft-sync needs a node certificate"));
}

TEST_CASE("a renewed certificate serves new connections while old ones go on") {
  Manager manager;
  const auto before = *manager.connect(authority().node("node-1"));
  REQUIRE(manager.server->set_identity(authority().node("manager-2", "manager")));
  const auto after = *manager.connect(authority().node("node-1"));
  CHECK(before->identity().node_id == "manager-1");
  CHECK(after->identity().node_id == "manager-2");
  CHECK(*manager.call(before, "echo", "x") == "x");
  CHECK(!manager.server->set_identity({"", "", ""}));
  CHECK(*manager.call(*manager.connect(authority().node("node-3")), "echo", "y") == "y");
}

TEST_CASE("more connections than allowed are refused, and peers without certificate go in time") {
  Manager manager({.max_connections = 2, .unauthenticated_lifetime = 1s});
  const auto first = *manager.connect(authority().node("node-1"));
  const auto second = *manager.connect(*certificate_digest(authority().ca.certificate_pem));
  CHECK(!manager.connect(authority().node("node-3")));
  CHECK(manager.refused_with("too many connections"));
  CHECK(manager.loop.run_until([&] { return !second->is_open(); }, 10s));
  CHECK(manager.connect(authority().node("node-3")));
  CHECK(first->is_open());
}
