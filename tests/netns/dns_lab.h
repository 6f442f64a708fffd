// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <arpa/inet.h>
#include <doctest/doctest.h>
#include <fcntl.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <mutex>
#include <optional>
#include <set>
#include <thread>

#include "core/dns/answer.h"
#include "core/dns/message.h"
#include "io/dns/server.h"

// What the name server's tests share: namespaces, clients, resolvers that misbehave.
//
//   node namespace (the test's process)        container namespaces
//     fake upstreams 127.0.0.1:PORT  <-- DnsServer --  127.0.0.11:53 <-- clients, dig
//
namespace weft::dns::lab {

using Clock = std::chrono::steady_clock;

inline bool set_lo_up() {
  Fd socket(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  ifreq request{};
  std::copy_n("lo", 3, request.ifr_name);
  request.ifr_flags = IFF_UP | IFF_RUNNING;
  return ::ioctl(socket.get(), SIOCSIFFLAGS, &request) == 0;
}

inline Fd open_own_netns() { return Fd(::open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC)); }

// The test's process leaves the machine's namespace before anything else happens.
inline void enter_node_namespace() {
  static const bool entered = [] {
    if (::geteuid() != 0 || ::unshare(CLONE_NEWNET) != 0) {
      std::printf("skipped: network namespaces need root\n");
      std::fflush(stdout);
      std::_Exit(77);
    }
    return set_lo_up();
  }();
  REQUIRE(entered);
}

inline Fd make_netns(bool lo_up = true) {
  Fd out;
  std::thread([&] {
    if (::unshare(CLONE_NEWNET) == 0 && (!lo_up || set_lo_up())) out = open_own_netns();
  }).join();
  REQUIRE(out);
  return out;
}

inline void in_netns(const Fd& netns, const std::function<void()>& run) {
  int entered = -1;
  std::thread([&] {
    entered = ::setns(netns.get(), CLONE_NEWNET);
    if (entered == 0) run();
  }).join();
  REQUIRE(entered == 0);
}

inline bool wait_until(const std::function<bool()>& condition) {
  const auto deadline = Clock::now() + 5s;
  while (!condition()) {
    if (Clock::now() > deadline) return false;
    ::poll(nullptr, 0, 1);
  }
  return true;
}

inline sockaddr_in address_of(uint32_t host, uint16_t port) {
  sockaddr_in out{};
  out.sin_family = AF_INET;
  out.sin_port = htons(port);
  out.sin_addr.s_addr = htonl(host);
  return out;
}

// A socket in a container, connected to its name server.
inline Fd dial(const Fd& netns, int type) {
  Fd out;
  in_netns(netns, [&] {
    Fd socket(::socket(AF_INET, type | SOCK_CLOEXEC, 0));
    const timeval limit{6, 0};
    ::setsockopt(socket.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    const sockaddr_in server = address_of(0x7f00000b, 53);
    if (::connect(socket.get(), reinterpret_cast<const sockaddr*>(&server), sizeof server) == 0)
      out = std::move(socket);
  });
  return out;
}

inline void send_all(const Fd& socket, ByteView bytes) {
  REQUIRE(::send(socket.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL) == ssize_t(bytes.size()));
}

inline Bytes receive(const Fd& socket) {
  Bytes out(65535);
  const ssize_t got = ::recv(socket.get(), out.data(), out.size(), 0);
  out.resize(got > 0 ? size_t(got) : 0);
  return out;
}

inline Bytes framed(const Bytes& message) {
  Bytes out;
  ByteWriter(out).u16(uint16_t(message.size()));
  ByteWriter(out).raw(message);
  return out;
}

// One length-prefixed message, empty when the server closed.
inline Bytes receive_frame(const Fd& socket) {
  uint8_t head[2];
  if (::recv(socket.get(), head, 2, MSG_WAITALL) != 2) return {};
  Bytes out(size_t(head[0]) << 8 | head[1]);
  if (::recv(socket.get(), out.data(), out.size(), MSG_WAITALL) != ssize_t(out.size())) return {};
  return out;
}

inline Message ask(const Fd& netns, const Bytes& query, int type = SOCK_DGRAM) {
  const Fd socket = dial(netns, type);
  REQUIRE(socket);
  send_all(socket, type == SOCK_DGRAM ? query : framed(query));
  auto message = decode_message(type == SOCK_DGRAM ? receive(socket) : receive_frame(socket));
  REQUIRE(message);
  CHECK(message->id == uint16_t(query[0] << 8 | query[1]));
  return *message;
}

inline Message ask(const Fd& netns, const char* name, Type type = Type::a,
                   int transport = SOCK_DGRAM) {
  return ask(netns, *encode_query(name, type, 0x4711), transport);
}

inline std::set<std::string> data_of(const Message& message) {
  std::set<std::string> out;
  for (const Record& record : message.answers) out.insert(record.data);
  return out;
}

using Data = std::set<std::string>;

// An answer to `query`: one A record 192.0.2.N, or a bare rcode.
inline Bytes reply(const Bytes& query, uint8_t last_octet) {
  Query parsed;
  Bytes out;
  if (parse_query(query, parsed) != Parsed::query) return out;
  AnswerWriter writer(out, query, parsed, message_limit, true);
  writer.address(Section::answer, AnswerWriter::question_at, 60,
                 Address::v4(0xc0000200u + last_octet));
  writer.finish(Rcode::noerror, false);
  return out;
}

// A resolver in the node's namespace. Its handler gives the datagrams to send back.
class FakeUpstream {
 public:
  using Handler = std::function<std::vector<Bytes>(const Bytes& query, bool tcp)>;

  explicit FakeUpstream(Handler handler) : handler_(std::move(handler)) {
    enter_node_namespace();
    udp_ = bound(SOCK_DGRAM, 0);
    sockaddr_in own{};
    socklen_t size = sizeof own;
    ::getsockname(udp_.get(), reinterpret_cast<sockaddr*>(&own), &size);
    port_ = ntohs(own.sin_port);
    tcp_ = bound(SOCK_STREAM, port_);
    ::listen(tcp_.get(), 16);
    stop_ = Fd(::eventfd(0, EFD_CLOEXEC));
    thread_ = std::thread([this] { run(); });
  }
  ~FakeUpstream() {
    const uint64_t one = 1;
    (void)!::write(stop_.get(), &one, sizeof one);
    thread_.join();
  }

  SocketAddress address() const { return {Address::v4(0x7f000001), port_}; }
  std::vector<Bytes> seen() const {
    std::lock_guard lock(mutex_);
    return seen_;
  }
  std::vector<uint16_t> ports() const {
    std::lock_guard lock(mutex_);
    return ports_;
  }

 private:
  static Fd bound(int type, uint16_t port) {
    Fd socket(::socket(AF_INET, type | SOCK_CLOEXEC, 0));
    const sockaddr_in own = address_of(0x7f000001, port);
    REQUIRE(::bind(socket.get(), reinterpret_cast<const sockaddr*>(&own), sizeof own) == 0);
    return socket;
  }
  void record(const Bytes& query, uint16_t port) {
    std::lock_guard lock(mutex_);
    seen_.push_back(query);
    ports_.push_back(port);
  }
  void run() {
    for (;;) {
      pollfd ready[] = {{stop_.get(), POLLIN, 0}, {udp_.get(), POLLIN, 0}, {tcp_.get(), POLLIN, 0}};
      ::poll(ready, 3, -1);
      if (ready[0].revents) return;
      if (ready[1].revents) serve_udp();
      if (ready[2].revents) serve_tcp();
    }
  }
  void serve_udp() {
    sockaddr_in peer{};
    socklen_t size = sizeof peer;
    Bytes query(65535);
    const ssize_t got = ::recvfrom(udp_.get(), query.data(), query.size(), 0,
                                   reinterpret_cast<sockaddr*>(&peer), &size);
    if (got < 0) return;
    query.resize(size_t(got));
    record(query, ntohs(peer.sin_port));
    for (const Bytes& answer : handler_(query, false))
      ::sendto(udp_.get(), answer.data(), answer.size(), 0, reinterpret_cast<sockaddr*>(&peer),
               size);
  }
  void serve_tcp() {
    const Fd socket(::accept4(tcp_.get(), nullptr, nullptr, SOCK_CLOEXEC));
    const Bytes query = receive_frame(socket);
    record(query, 0);
    for (const Bytes& answer : handler_(query, true)) {
      const Bytes frame = framed(answer);
      ::send(socket.get(), frame.data(), frame.size(), MSG_NOSIGNAL);
    }
  }

  Handler handler_;
  Fd udp_, tcp_, stop_;
  uint16_t port_ = 0;
  mutable std::mutex mutex_;
  std::vector<Bytes> seen_;
  std::vector<uint16_t> ports_;
  std::thread thread_;
};

inline FakeUpstream::Handler answers(uint8_t last_octet) {
  return [last_octet](const Bytes& query, bool) {
    return std::vector<Bytes>{reply(query, last_octet)};
  };
}
inline FakeUpstream::Handler fails(Rcode rcode) {
  return
      [rcode](const Bytes& query, bool) { return std::vector<Bytes>{error_answer(query, rcode)}; };
}
inline std::vector<Bytes> stay_silent(const Bytes&, bool) { return {}; }

inline std::shared_ptr<const DnsView> make_view(uint8_t vip = 100) {
  NetworkInput n1{.id = "1", .name = "n1", .subnets = {*Prefix::parse("10.1.0.0/16")}};
  n1.services = {{.name = "web", .vips = {Address::v4(0x0a010000u + vip)}}, {.name = "big"}};
  n1.endpoints = {
      {.addresses = {Address::v4(0x0a010002)}, .service = "web", .slot = "1", .task_id = "t1"}};
  for (uint32_t i = 0; i < 200; ++i)
    n1.endpoints.push_back({.name = "b" + std::to_string(i),
                            .addresses = {Address::v4(0x0a010200 + i)},
                            .service = "big"});
  NetworkInput n2{.id = "2", .name = "n2"};
  n2.endpoints = {{.name = "web", .addresses = {Address::v4(0x0a020002)}},
                  {.name = "only", .addresses = {Address::v4(0x0a020003)}}};
  return std::make_shared<const DnsView>(
      ViewInput{.networks = {NetworkNames::build(n1), NetworkNames::build(n2)}});
}

inline DnsServerOptions quick() { return {.try_timeout = 100ms, .total_timeout = 400ms}; }

// A server with one container on network 1.
struct Lab {
  explicit Lab(DnsServerOptions options = quick(), bool with_view = true) {
    enter_node_namespace();
    container = make_netns();
    if (with_view) views.put(make_view());
    server = *DnsServer::start(views, options);
    add("c1", container, {.networks = {"1"}});
  }
  void add(const char* key, const Fd& netns, Asker asker) {
    server->add(key, *open_dns_sockets(netns.get()), std::move(asker));
  }
  // Upstreams are in force once the commands before this one are done.
  void upstreams(std::vector<SocketAddress> list) { server->set_upstreams(std::move(list)); }

  Fd container;
  Mailbox<DnsView> views;
  std::unique_ptr<DnsServer> server;
};

// dig's output, run in a container.
inline std::string dig(const Fd& netns, std::vector<const char*> arguments) {
  int ends[2];
  REQUIRE(::pipe2(ends, O_CLOEXEC) == 0);
  Fd out(ends[0]), in(ends[1]);
  arguments.insert(arguments.begin(), {"dig", "@127.0.0.11", "+time=3", "+tries=1"});
  arguments.push_back(nullptr);
  const pid_t child = ::fork();
  if (child == 0) {
    if (::setns(netns.get(), CLONE_NEWNET) != 0 || ::dup2(in.get(), 1) < 0) ::_exit(126);
    ::execvp("dig", const_cast<char* const*>(arguments.data()));
    ::_exit(127);
  }
  in.reset();
  std::string text;
  char buffer[4096];
  for (ssize_t got; (got = ::read(out.get(), buffer, sizeof buffer)) > 0;)
    text.append(buffer, size_t(got));
  int status = 0;
  ::waitpid(child, &status, 0);
  CHECK(status == 0);
  return text;
}

}  // namespace weft::dns::lab
