// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>
#include <poll.h>
#include <sys/socket.h>

#include <atomic>
#include <cstring>
#include <optional>
#include <thread>

#include "io/clock.h"
#include "io/rpc.h"
#include "io/tls_tunnel.h"

using namespace weft;
using namespace weft::io;

namespace {

constexpr const char* greeting = "the same\n";

struct Certificates {
  CertifiedKey ca = *create_cluster_ca("c1", clock_wall_now());
  TlsIdentity node(const std::string& id, const std::string& role) const {
    const std::string key = *create_key();
    return {ca.certificate_pem,
            *sign_node_certificate(ca, *create_signing_request(key), {id, role, "c1"},
                                   clock_wall_now()),
            key};
  }
};

const Certificates& certificates() {
  static const Certificates made;
  return made;
}

bool wait_until(const std::function<bool()>& done) {
  const auto deadline = std::chrono::steady_clock::now() + 10s;
  while (!done())
    if (std::chrono::steady_clock::now() > deadline) return false;
  return true;
}

std::unique_ptr<TlsTunnel> start(TlsTunnel::Settings settings, const std::string& name,
                                 const std::string& role = "manager") {
  settings.protocol = "weft-test";
  return *TlsTunnel::start(std::move(settings), certificates().node(name, role));
}

// The far side: a port, a tunnel, and the local sockets that it asked for.
struct Far {
  Loop loop;
  std::atomic<int> refused = 0, lost = 0, asked = 0;
  std::vector<std::string> port_refusals;  // on the loop's thread
  Fd sockets[2];                           // ours of each pair that was asked for
  std::unique_ptr<TlsTunnel> tunnel;
  std::unique_ptr<RpcServer> server;
  std::thread thread;

  explicit Far(const std::string& its_greeting = greeting, uint16_t port = 0) {
    TlsTunnel::Settings settings;
    settings.on_refused = [this](const Error&) { ++refused; };
    settings.on_lost = [this] { ++lost; };
    tunnel = start(std::move(settings), "far");
    tunnel->open(its_greeting, [this]() -> Result<Fd> {
      int ends[2];
      if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0)
        return errno_error("socketpair");
      sockets[asked % 2] = Fd(ends[0]);
      ++asked;
      return Fd(ends[1]);
    });
    server = *RpcServer::listen(
        loop, {Address::v4(0x7f000001), port}, certificates().node("far", "manager"),
        {.on_refused = [this](const Error& e) { port_refusals.push_back(e.message()); }});
    REQUIRE(server->add_protocol(
        "weft-test", [this](std::unique_ptr<TlsStream> s) { tunnel->accept(std::move(s)); },
        "manager"));
    thread = std::thread([this] { loop.run(); });
  }
  ~Far() { stop(); }
  void stop() {
    loop.stop();
    if (thread.joinable()) thread.join();
    server.reset();
    tunnel.reset();
  }
  int fd(int index = 0) {
    REQUIRE(wait_until([&] { return asked > index; }));
    return sockets[index].get();
  }
};

// True: the socket's other end is closed.
bool closed(int fd) {
  pollfd ready{fd, POLLIN, 0};
  char byte;
  return ::poll(&ready, 1, 10'000) == 1 && ::recv(fd, &byte, 1, 0) <= 0;
}

std::string receive(int fd, size_t size) {
  std::string out(size, '\0');
  size_t got = 0;
  while (got < size) {
    pollfd ready{fd, POLLIN, 0};
    if (::poll(&ready, 1, 10'000) != 1) break;
    const ssize_t n = ::recv(fd, out.data() + got, size - got, 0);
    if (n <= 0) break;
    got += size_t(n);
  }
  out.resize(got);
  return out;
}

}  // namespace

TEST_CASE("bytes go both ways through a tunnel, as many as the reader takes") {
  Far far;
  const auto near = start({}, "near");
  near->open(greeting, nullptr);
  const Fd fd = *near->connect(far.server->local());
  std::string data;
  for (size_t i = 0; i < 8 << 20; i++) data += char(i * 7 + i / 251);
  for (const auto& [from, to] : {std::pair{fd.get(), far.fd()}, std::pair{far.fd(), fd.get()}}) {
    // Nobody reads: the writer is held back long before all is in memory on the way.
    size_t sent = 0;
    pollfd writable{from, POLLOUT, 0};
    while (sent < data.size() && ::poll(&writable, 1, 300) == 1) {
      const ssize_t n = ::send(from, data.data() + sent, data.size() - sent, MSG_DONTWAIT);
      if (n > 0) sent += size_t(n);
    }
    CHECK(sent < data.size());
    std::thread writer([&, from = from] {
      const ssize_t n = ::send(from, data.data() + sent, data.size() - sent, MSG_NOSIGNAL);
      if (n > 0) sent += size_t(n);
    });
    CHECK(receive(to, data.size()) == data);
    writer.join();
    CHECK(sent == data.size());
  }
}

TEST_CASE("the end of one side reaches the other after its last bytes") {
  Far far;
  const auto near = start({}, "near");
  near->open(greeting, nullptr);
  Fd fd = *near->connect(far.server->local());
  REQUIRE(::send(fd.get(), "last words", 10, 0) == 10);
  const int there = far.fd();
  fd.reset();
  CHECK(receive(there, 100) == "last words");
  CHECK(closed(there));
  CHECK(wait_until([&] { return far.lost == 1; }));
  fd = *near->connect(far.server->local());
  REQUIRE(wait_until([&] { return far.asked == 2; }));
  far.tunnel->drop("near");
  CHECK(closed(fd.get()));
}

TEST_CASE("a peer with another greeting gets nothing through") {
  Far far("another\n");
  std::atomic<int> refused = 0;
  TlsTunnel::Settings settings;
  settings.on_refused = [&](const Error& error) {
    if (error.message().find("belongs to another store") != std::string::npos) ++refused;
  };
  const auto near = start(std::move(settings), "near");
  near->open(greeting, nullptr);
  const Fd fd = *near->connect(far.server->local());
  (void)!::send(fd.get(), "hello", 5, MSG_NOSIGNAL);
  CHECK(closed(fd.get()));
  CHECK(wait_until([&] { return far.refused == 1; }));
  CHECK(far.asked == 0);
}

TEST_CASE("a worker is refused at a port that is for managers, and a worker's port by a manager") {
  Far far;
  const auto worker = start({}, "w", "worker");
  worker->open(greeting, nullptr);
  const auto fd = worker->connect(far.server->local());
  // The port closes after the handshake: whichever side notices first.
  if (fd) CHECK(closed(fd->get()));
  far.stop();
  CHECK(far.asked == 0);
  REQUIRE(far.port_refusals.size() >= 1);
  CHECK(far.port_refusals[0].find("protocol weft-test is for the role manager, not worker") !=
        std::string::npos);
  Far other;
  TlsTunnel::Settings settings;
  settings.peer_role = "worker";
  const auto picky = start(std::move(settings), "near");
  picky->open(greeting, nullptr);
  CHECK(picky->connect(other.server->local()).error().code() == ErrorCode::denied);
}

TEST_CASE("a tunnel that is not open connects nobody, and nobody answers in vain for long") {
  const auto near = start({}, "near");
  CHECK(!near->connect({Address::v4(0x7f000001), 1}));
  near->open(greeting, nullptr);
  const auto start = std::chrono::steady_clock::now();
  const auto nobody = near->connect({Address::v4(0x7f000001), 1}, 300ms);
  REQUIRE(!nobody);
  CHECK(nobody.error().message().find("connection refused") != std::string::npos);
  CHECK(std::chrono::steady_clock::now() - start >= 250ms);
  CHECK(std::chrono::steady_clock::now() - start < 5s);
}

TEST_CASE("a peer that begins to listen while we try is reached") {
  uint16_t port = 0;
  { port = Far().server->local().port; }
  const auto near = start({}, "near");
  near->open(greeting, nullptr);
  std::optional<Result<Fd>> fd;
  std::thread connecting([&] { fd = near->connect({Address::v4(0x7f000001), port}, 8s); });
  Far far(greeting, port);
  connecting.join();
  REQUIRE(*fd);
  REQUIRE(::send((*fd)->get(), "x", 1, 0) == 1);
  CHECK(receive(far.fd(), 1) == "x");
}
