// SPDX-License-Identifier: Apache-2.0
//
//   node namespace (this process)               container namespaces
//     fake upstreams 127.0.0.1:PORT  ◀── DnsServer ──  127.0.0.11:53 ◀── clients, dig
//
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

using namespace weft;
using namespace weft::dns;

namespace {

using Clock = std::chrono::steady_clock;

bool set_lo_up() {
  Fd socket(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  ifreq request{};
  std::copy_n("lo", 3, request.ifr_name);
  request.ifr_flags = IFF_UP | IFF_RUNNING;
  return ::ioctl(socket.get(), SIOCSIFFLAGS, &request) == 0;
}

Fd open_own_netns() { return Fd(::open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC)); }

// The test's process leaves the machine's namespace before anything else happens.
void enter_node_namespace() {
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

Fd make_netns(bool lo_up = true) {
  Fd out;
  std::thread([&] {
    if (::unshare(CLONE_NEWNET) == 0 && (!lo_up || set_lo_up())) out = open_own_netns();
  }).join();
  REQUIRE(out);
  return out;
}

void in_netns(const Fd& netns, const std::function<void()>& run) {
  int entered = -1;
  std::thread([&] {
    entered = ::setns(netns.get(), CLONE_NEWNET);
    if (entered == 0) run();
  }).join();
  REQUIRE(entered == 0);
}

bool wait_until(const std::function<bool()>& condition) {
  const auto deadline = Clock::now() + 5s;
  while (!condition()) {
    if (Clock::now() > deadline) return false;
    ::poll(nullptr, 0, 1);
  }
  return true;
}

sockaddr_in address_of(uint32_t host, uint16_t port) {
  sockaddr_in out{};
  out.sin_family = AF_INET;
  out.sin_port = htons(port);
  out.sin_addr.s_addr = htonl(host);
  return out;
}

// A socket in a container, connected to its name server.
Fd dial(const Fd& netns, int type) {
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

void send_all(const Fd& socket, ByteView bytes) {
  REQUIRE(::send(socket.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL) == ssize_t(bytes.size()));
}

Bytes receive(const Fd& socket) {
  Bytes out(65535);
  const ssize_t got = ::recv(socket.get(), out.data(), out.size(), 0);
  out.resize(got > 0 ? size_t(got) : 0);
  return out;
}

Bytes framed(const Bytes& message) {
  Bytes out;
  ByteWriter(out).u16(uint16_t(message.size()));
  ByteWriter(out).raw(message);
  return out;
}

// One length-prefixed message, empty when the server closed.
Bytes receive_frame(const Fd& socket) {
  uint8_t head[2];
  if (::recv(socket.get(), head, 2, MSG_WAITALL) != 2) return {};
  Bytes out(size_t(head[0]) << 8 | head[1]);
  if (::recv(socket.get(), out.data(), out.size(), MSG_WAITALL) != ssize_t(out.size())) return {};
  return out;
}

Message ask(const Fd& netns, const Bytes& query, int type = SOCK_DGRAM) {
  const Fd socket = dial(netns, type);
  REQUIRE(socket);
  send_all(socket, type == SOCK_DGRAM ? query : framed(query));
  auto message = decode_message(type == SOCK_DGRAM ? receive(socket) : receive_frame(socket));
  REQUIRE(message);
  CHECK(message->id == uint16_t(query[0] << 8 | query[1]));
  return *message;
}

Message ask(const Fd& netns, const char* name, Type type = Type::a, int transport = SOCK_DGRAM) {
  return ask(netns, *encode_query(name, type, 0x4711), transport);
}

std::set<std::string> data_of(const Message& message) {
  std::set<std::string> out;
  for (const Record& record : message.answers) out.insert(record.data);
  return out;
}

using Data = std::set<std::string>;

// An answer to `query`: one A record 192.0.2.N, or a bare rcode.
Bytes reply(const Bytes& query, uint8_t last_octet) {
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

FakeUpstream::Handler answers(uint8_t last_octet) {
  return [last_octet](const Bytes& query, bool) {
    return std::vector<Bytes>{reply(query, last_octet)};
  };
}
FakeUpstream::Handler fails(Rcode rcode) {
  return
      [rcode](const Bytes& query, bool) { return std::vector<Bytes>{error_answer(query, rcode)}; };
}
std::vector<Bytes> stay_silent(const Bytes&, bool) { return {}; }

std::shared_ptr<const DnsView> make_view(uint8_t vip = 100) {
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

DnsServerOptions quick() { return {.try_timeout = 100ms, .total_timeout = 400ms}; }

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
std::string dig(const Fd& netns, std::vector<const char*> arguments) {
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

}  // namespace

TEST_CASE("a container's service name is answered over UDP and TCP") {
  Lab lab;
  for (int type : {SOCK_DGRAM, SOCK_STREAM}) {
    const Message message = ask(lab.container, "web", Type::a, type);
    CHECK(message.authoritative());
    CHECK(data_of(message) == Data{"10.1.0.100"});
  }
  CHECK(lab.server->counters().answered == 2);
  CHECK(lab.server->counters().tcp_connections == 1);
}

TEST_CASE("dig understands the answers, and comes over TCP for what does not fit") {
  Lab lab;
  CHECK(dig(lab.container, {"+short", "WEB.n1"}) == "10.1.0.100\n");
  CHECK(dig(lab.container, {"+short", "+tcp", "tasks.web"}) == "10.1.0.2\n");
  CHECK(dig(lab.container, {"+short", "-x", "10.1.0.2"}) == "web.1.t1.n1.\n");
  CHECK(dig(lab.container, {"web", "AAAA"}).find("status: NOERROR") != std::string::npos);
  CHECK(dig(lab.container, {"only"}).find("status: NXDOMAIN") != std::string::npos);
  CHECK(dig(lab.container, {"CH", "TXT", "version.bind"}).find("status: REFUSED") !=
        std::string::npos);
  const std::string big = dig(lab.container, {"+short", "big"});
  CHECK(std::count(big.begin(), big.end(), '\n') == 200);
  CHECK(lab.server->counters().truncated == 1);
}

TEST_CASE("each container sees its own networks, and a change of them") {
  Lab lab;
  const Fd second = make_netns();
  lab.add("c2", second, {.networks = {"2"}});
  CHECK(data_of(ask(lab.container, "web")) == Data{"10.1.0.100"});
  CHECK(data_of(ask(second, "web")) == Data{"10.2.0.2"});
  CHECK(lab.server->counters().containers == 2);
  lab.server->update("c1", {.networks = {"2"}});
  CHECK(wait_until([&] { return data_of(ask(lab.container, "web")) == Data{"10.2.0.2"}; }));
}

TEST_CASE("the newest view answers") {
  Lab lab;
  CHECK(data_of(ask(lab.container, "web")) == Data{"10.1.0.100"});
  lab.views.put(make_view(101));
  CHECK(data_of(ask(lab.container, "web")) == Data{"10.1.0.101"});
}

TEST_CASE("without a view nothing is forwarded") {
  FakeUpstream upstream(answers(1));
  Lab lab(quick(), false);
  lab.upstreams({upstream.address()});
  CHECK(ask(lab.container, "web").rcode == Rcode::servfail);
  CHECK(ask(lab.container, "example.com").rcode == Rcode::servfail);
  CHECK(upstream.seen().empty());
}

TEST_CASE("a removed container's server is gone") {
  Lab lab;
  CHECK(data_of(ask(lab.container, "web")) == Data{"10.1.0.100"});
  const Fd open = dial(lab.container, SOCK_STREAM);
  CHECK(wait_until([&] { return lab.server->counters().tcp_open == 1; }));
  lab.server->remove("c1");
  CHECK(receive_frame(open).empty());
  CHECK(wait_until([&] { return lab.server->counters().containers == 0; }));
  CHECK(lab.server->counters().tcp_open == 0);
  CHECK_FALSE(dial(lab.container, SOCK_STREAM));
  // The port is free again.
  CHECK(open_dns_sockets(lab.container.get()));
}

TEST_CASE("sockets cannot be opened twice, nor in what is not a namespace") {
  Lab lab;
  const auto twice = open_dns_sockets(lab.container.get());
  REQUIRE_FALSE(twice);
  CHECK(twice.error().system_error() == EADDRINUSE);
  CHECK_FALSE(open_dns_sockets(-1));
}

TEST_CASE("sockets are refused while lo is down") {
  enter_node_namespace();
  const Fd down = make_netns(false);
  const auto refused = open_dns_sockets(down.get());
  REQUIRE_FALSE(refused);
  CHECK(refused.error().message() == "open the name server's sockets: lo is down");
  in_netns(down, [] { set_lo_up(); });
  CHECK(open_dns_sockets(down.get()));
}

TEST_CASE("a foreign name is forwarded and the answer comes back as it was") {
  FakeUpstream upstream([](const Bytes& query, bool) {
    Bytes answer = error_answer(query, Rcode::nxdomain);
    return std::vector<Bytes>{answer};
  });
  Lab lab;
  lab.upstreams({upstream.address()});
  const Bytes query = *encode_query("No.Example.com", Type::mx, 0x0102);
  const Message message = ask(lab.container, query);
  CHECK(message.rcode == Rcode::nxdomain);
  CHECK_FALSE(message.authoritative());
  REQUIRE(upstream.seen().size() == 1);
  const Bytes seen = upstream.seen()[0];
  CHECK(std::equal(query.begin() + 2, query.end(), seen.begin() + 2, seen.end()));
  CHECK(lab.server->counters().forwarded == 1);
  CHECK(lab.server->counters().failed == 0);
}

TEST_CASE("forwarded queries have changing ids and source ports") {
  FakeUpstream upstream(answers(1));
  Lab lab;
  lab.upstreams({upstream.address()});
  for (int i = 0; i < 8; ++i)
    CHECK(data_of(ask(lab.container, "a.example.com")) == Data{"192.0.2.1"});
  std::set<uint16_t> ids;
  for (const Bytes& query : upstream.seen()) ids.insert(uint16_t(query[0] << 8 | query[1]));
  const auto ports = upstream.ports();
  CHECK(ids.size() > 4);
  CHECK(std::set<uint16_t>(ports.begin(), ports.end()).size() > 4);
}

TEST_CASE("nothing internal reaches an upstream") {
  FakeUpstream upstream(answers(1));
  Lab lab;
  lab.upstreams({upstream.address()});
  for (const char* name : {"web", "only", "only.n2", "gone.n1", "tasks.gone", "web.9.t9",
                           "9.9.1.10.in-addr.arpa", "_80._tcp.web"})
    for (Type type : {Type::a, Type::aaaa, Type::txt, Type::any, Type::ns, Type::ptr, Type::srv})
      ask(lab.container, name, type);
  CHECK(upstream.seen().empty());
  ask(lab.container, "example.com");
  CHECK(upstream.seen().size() == 1);
}

TEST_CASE("the next upstream is asked on SERVFAIL, REFUSED, a closed port and silence") {
  FakeUpstream good(answers(7));
  FakeUpstream servfail(fails(Rcode::servfail));
  FakeUpstream refused(fails(Rcode::refused));
  FakeUpstream silent(stay_silent);
  std::optional<FakeUpstream> closed(answers(9));
  const SocketAddress nobody = closed->address();
  closed.reset();
  for (const SocketAddress& bad :
       {servfail.address(), refused.address(), nobody, silent.address()}) {
    CAPTURE(bad.to_string());
    for (int type : {SOCK_DGRAM, SOCK_STREAM}) {
      Lab lab;
      lab.upstreams({bad, good.address()});
      CHECK(data_of(ask(lab.container, "example.com", Type::a, type)) == Data{"192.0.2.7"});
    }
  }
  CHECK(good.seen().size() == 8);
  CHECK(silent.seen().size() == 2);
}

TEST_CASE("an upstream that was silent is not asked first again") {
  FakeUpstream silent(stay_silent);
  FakeUpstream good(answers(7));
  Lab lab;
  lab.upstreams({silent.address(), good.address()});
  for (int i = 0; i < 3; ++i)
    CHECK(data_of(ask(lab.container, "example.com")) == Data{"192.0.2.7"});
  CHECK(silent.seen().size() == 1);
  CHECK(good.seen().size() == 3);
}

TEST_CASE("a silent upstream is asked again until the time is over, then SERVFAIL") {
  FakeUpstream silent(stay_silent);
  Lab lab;
  lab.upstreams({silent.address()});
  const auto start = Clock::now();
  CHECK(ask(lab.container, "example.com").rcode == Rcode::servfail);
  CHECK(Clock::now() - start >= 400ms);
  CHECK(Clock::now() - start < 3s);
  CHECK(silent.seen().size() >= 2);
  CHECK(lab.server->counters().failed == 1);
  CHECK(lab.server->counters().forwards_pending == 0);
}

TEST_CASE("when every upstream fails the last one's answer is passed on") {
  FakeUpstream refused(fails(Rcode::refused));
  Lab lab;
  lab.upstreams({refused.address()});
  CHECK(ask(lab.container, "example.com").rcode == Rcode::refused);
  CHECK(refused.seen().size() == 1);
}

TEST_CASE("without an upstream, or with our own address as the only one, SERVFAIL comes at once") {
  Lab lab(DnsServerOptions{});
  const auto start = Clock::now();
  CHECK(ask(lab.container, "example.com").rcode == Rcode::servfail);
  lab.upstreams({{Address::v4(0x7f00000b), 53}, {Address::v4(0), 53}});
  CHECK(ask(lab.container, "example.com").rcode == Rcode::servfail);
  CHECK(ask(lab.container, "example.com", Type::a, SOCK_STREAM).rcode == Rcode::servfail);
  CHECK(Clock::now() - start < 1s);
  CHECK(lab.server->counters().failed == 3);
}

TEST_CASE("answers with another id, question or direction are not believed") {
  FakeUpstream upstream([](const Bytes& query, bool) {
    Bytes wrong_id = reply(query, 1);
    wrong_id[0] ^= 0xff;
    Bytes wrong_name = reply(query, 2);
    wrong_name[13] ^= 1;
    Bytes wrong_type = reply(query, 3);
    wrong_type[wrong_type.size() - 16 - opt_size - 3] ^= 1;
    Bytes other_case = reply(query, 5);
    other_case[13] ^= 0x20;
    return std::vector<Bytes>{wrong_id, wrong_name, wrong_type, query, Bytes{1}, other_case};
  });
  Lab lab;
  lab.upstreams({upstream.address()});
  CHECK(data_of(ask(lab.container, "example.com")) == Data{"192.0.2.5"});
}

TEST_CASE("a query over TCP is forwarded over TCP, and TC is passed on over UDP") {
  FakeUpstream upstream([](const Bytes& query, bool tcp) {
    Bytes answer = reply(query, tcp ? 2 : 1);
    if (!tcp) answer[2] |= 2;
    return std::vector<Bytes>{answer};
  });
  Lab lab;
  lab.upstreams({upstream.address()});
  CHECK(ask(lab.container, "example.com").truncated());
  const Message whole = ask(lab.container, "example.com", Type::a, SOCK_STREAM);
  CHECK_FALSE(whole.truncated());
  CHECK(data_of(whole) == Data{"192.0.2.2"});
}

TEST_CASE("an answer over the asker's size is cut and marked") {
  FakeUpstream upstream([](const Bytes& query, bool) {
    Bytes answer = reply(query, 1);
    answer.resize(2000);
    return std::vector<Bytes>{answer};
  });
  Lab lab;
  lab.upstreams({upstream.address()});
  const Message message = ask(lab.container, "example.com");
  CHECK(message.truncated());
  CHECK(message.answers.empty());
  CHECK(message.questions[0].name == "example.com.");
}

TEST_CASE("forwards over the cap are refused with SERVFAIL, and the cluster's names still answer") {
  FakeUpstream silent(stay_silent);
  DnsServerOptions options;
  options.max_forwards = 4;
  Lab lab(options);
  lab.upstreams({silent.address()});
  const Fd socket = dial(lab.container, SOCK_DGRAM);
  for (uint16_t i = 0; i < 6; ++i) send_all(socket, *encode_query("example.com", Type::a, i));
  std::set<uint16_t> refused;
  for (int i = 0; i < 2; ++i) {
    const Message message = *decode_message(receive(socket));
    CHECK(message.rcode == Rcode::servfail);
    refused.insert(message.id);
  }
  CHECK(refused == std::set<uint16_t>{4, 5});
  CHECK(lab.server->counters().forwards_pending == 4);
  CHECK(data_of(ask(lab.container, "web")) == Data{"10.1.0.100"});
  lab.server->remove("c1");
  CHECK(wait_until([&] { return lab.server->counters().forwards_pending == 0; }));
}

TEST_CASE("one TCP connection carries many queries, in one piece or byte by byte") {
  FakeUpstream upstream(answers(1));
  Lab lab;
  lab.upstreams({upstream.address()});
  const Fd socket = dial(lab.container, SOCK_STREAM);
  Bytes all;
  for (uint16_t id = 0; id < 300; ++id) {
    const Bytes frame = framed(*encode_query(id % 10 == 0 ? "example.com" : "web", Type::a, id));
    all.insert(all.end(), frame.begin(), frame.end());
  }
  send_all(socket, all);
  std::set<uint16_t> ids;
  for (int i = 0; i < 300; ++i) {
    auto message = decode_message(receive_frame(socket));
    REQUIRE(message);
    CHECK(data_of(*message) == (message->id % 10 == 0 ? Data{"192.0.2.1"} : Data{"10.1.0.100"}));
    ids.insert(message->id);
  }
  CHECK(ids.size() == 300);
  for (uint8_t byte : framed(*encode_query("web", Type::a, 9))) send_all(socket, Bytes{byte});
  CHECK(decode_message(receive_frame(socket))->id == 9);
  CHECK(lab.server->counters().tcp_connections == 1);
}

TEST_CASE("a client that closes its half still gets its answers, then the end") {
  FakeUpstream upstream(answers(1));
  Lab lab;
  lab.upstreams({upstream.address()});
  const Fd socket = dial(lab.container, SOCK_STREAM);
  send_all(socket, framed(*encode_query("example.com", Type::a, 5)));
  ::shutdown(socket.get(), SHUT_WR);
  CHECK(decode_message(receive_frame(socket))->id == 5);
  CHECK(receive_frame(socket).empty());
  CHECK(wait_until([&] { return lab.server->counters().tcp_open == 0; }));
}

TEST_CASE("idle TCP connections are closed, even if they trickle bytes") {
  DnsServerOptions options = quick();
  options.tcp_idle_timeout = 200ms;
  Lab lab(options);
  const Fd idle = dial(lab.container, SOCK_STREAM);
  const Fd trickle = dial(lab.container, SOCK_STREAM);
  send_all(trickle, Bytes{0});
  CHECK(receive_frame(idle).empty());
  CHECK(receive_frame(trickle).empty());
  CHECK(lab.server->counters().tcp_connections == 2);
}

TEST_CASE("TCP connections over a container's cap are closed, the others live") {
  DnsServerOptions options = quick();
  options.max_tcp_connections_per_container = 2;
  Lab lab(options);
  const Fd first = dial(lab.container, SOCK_STREAM);
  const Fd second = dial(lab.container, SOCK_STREAM);
  const Fd third = dial(lab.container, SOCK_STREAM);
  CHECK(receive_frame(third).empty());
  send_all(second, framed(*encode_query("web", Type::a, 3)));
  CHECK(decode_message(receive_frame(second))->id == 3);
  CHECK(lab.server->counters().tcp_refused == 1);
}

TEST_CASE("a client that never reads does not stop the server or fill its memory") {
  Lab lab;
  const Fd socket = dial(lab.container, SOCK_STREAM);
  ::fcntl(socket.get(), F_SETFL, O_NONBLOCK);
  const Bytes frame = framed(*encode_query("big", Type::a, 1));
  size_t sent = 0;
  CHECK(wait_until([&] {
    while (::send(socket.get(), frame.data(), frame.size(), MSG_NOSIGNAL) > 0) ++sent;
    return data_of(ask(lab.container, "web")) == Data{"10.1.0.100"} && sent > 1000;
  }));
  // Far fewer answers than queries: the rest waits in the sockets.
  CHECK(lab.server->counters().queries < sent);
}

TEST_CASE("garbage is dropped or refused and the server goes on") {
  Lab lab;
  const Fd socket = dial(lab.container, SOCK_DGRAM);
  send_all(socket, Bytes{1, 2, 3});
  send_all(socket, Bytes(5000, 0));
  Bytes response = *encode_query("web", Type::a, 1);
  response[2] |= 0x80;
  send_all(socket, response);
  Bytes malformed = *encode_query("web", Type::a, 2);
  malformed.resize(20);
  send_all(socket, malformed);
  const Message message = *decode_message(receive(socket));
  CHECK(message.rcode == Rcode::formerr);
  CHECK(message.id == 2);
  CHECK(lab.server->counters().dropped == 3);
  CHECK(data_of(ask(lab.container, "web")) == Data{"10.1.0.100"});
}
