// SPDX-License-Identifier: Apache-2.0
//
// Answers per second of a container's name server against a responder that sends one fixed answer
// (recvfrom, sendto, nothing else), in the same namespace, with the same client, interleaved.
//
//   container namespace:  client ──▶ 127.0.0.11:53  DnsServer
//                                ──▶ 127.0.0.12:53  fixed answer
//
#include <arpa/inet.h>
#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <thread>

#include "core/dns/message.h"
#include "io/dns/server.h"

using namespace weft;
using namespace weft::dns;

namespace {

using Clock = std::chrono::steady_clock;
constexpr int rounds = 9;
constexpr auto round_time = 300ms;

[[noreturn]] void fail(const char* what) {
  std::fprintf(stderr, "bench_dns: %s: %s\n", what, std::strerror(errno));
  std::exit(1);
}

sockaddr_in address_of(uint32_t host) {
  sockaddr_in out{};
  out.sin_family = AF_INET;
  out.sin_port = htons(53);
  out.sin_addr.s_addr = htonl(host);
  return out;
}

void enter_new_namespace() {
  if (::unshare(CLONE_NEWNET) != 0) fail("a network namespace (root?)");
  const Fd socket(::socket(AF_INET, SOCK_DGRAM, 0));
  ifreq request{};
  std::strcpy(request.ifr_name, "lo");
  request.ifr_flags = IFF_UP | IFF_RUNNING;
  if (::ioctl(socket.get(), SIOCSIFFLAGS, &request) != 0) fail("lo up");
}

// The reference: the least that a UDP server can do.
class FixedResponder {
 public:
  FixedResponder() : socket_(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0)) {
    const sockaddr_in own = address_of(0x7f00000c);
    if (::bind(socket_.get(), reinterpret_cast<const sockaddr*>(&own), sizeof own) != 0)
      fail("bind 127.0.0.12:53");
    thread_ = std::thread([this] { run(); });
  }
  ~FixedResponder() {
    // Wakes the blocked recvfrom.
    stop_ = true;
    const Fd socket(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    const sockaddr_in own = address_of(0x7f00000c);
    ::sendto(socket.get(), "", 0, 0, reinterpret_cast<const sockaddr*>(&own), sizeof own);
    thread_.join();
  }

 private:
  void run() {
    std::array<uint8_t, 2048> query;
    std::array<uint8_t, 60> answer{};
    answer[2] = 0x84;
    while (!stop_) {
      sockaddr_in peer{};
      socklen_t size = sizeof peer;
      if (::recvfrom(socket_.get(), query.data(), query.size(), 0,
                     reinterpret_cast<sockaddr*>(&peer), &size) < 2)
        continue;
      answer[0] = query[0];
      answer[1] = query[1];
      ::sendto(socket_.get(), answer.data(), answer.size(), 0, reinterpret_cast<sockaddr*>(&peer),
               size);
    }
  }
  Fd socket_;
  std::atomic<bool> stop_ = false;
  std::thread thread_;
};

// Answers per second with `window` queries in flight.
double measure(uint32_t server, const Bytes& query, int window) {
  const Fd socket(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  const sockaddr_in peer = address_of(server);
  const timeval limit{1, 0};
  ::setsockopt(socket.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  if (::connect(socket.get(), reinterpret_cast<const sockaddr*>(&peer), sizeof peer) != 0)
    fail("connect");
  const auto send = [&] {
    if (::send(socket.get(), query.data(), query.size(), 0) < 0) fail("send");
  };
  std::array<uint8_t, 2048> answer;
  for (int i = 0; i < window; ++i) send();
  const auto start = Clock::now();
  uint64_t answers = 0;
  while (Clock::now() - start < round_time) {
    if (::recv(socket.get(), answer.data(), answer.size(), 0) < 12) fail("an answer is missing");
    ++answers;
    send();
  }
  const std::chrono::duration<double> time = Clock::now() - start;
  for (int i = 0; i < window; ++i)
    if (::recv(socket.get(), answer.data(), answer.size(), 0) < 12) fail("an answer is missing");
  return double(answers) / time.count();
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

// 1,000 services with 10 tasks each.
std::shared_ptr<const DnsView> make_view() {
  NetworkInput network{.id = "1", .name = "bench"};
  for (uint32_t s = 0; s < 1000; ++s) {
    const std::string name = "service" + std::to_string(s);
    network.services.push_back({.name = name, .vips = {Address::v4(0x0a010000 + s)}});
    for (uint32_t t = 0; t < 10; ++t)
      network.endpoints.push_back({.addresses = {Address::v4(0x0a020000 + s * 10 + t)},
                                   .service = name,
                                   .slot = std::to_string(t),
                                   .task_id = std::to_string(s * 10 + t)});
  }
  return std::make_shared<const DnsView>(ViewInput{.networks = {NetworkNames::build(network)}});
}

struct Row {
  const char* metric;
  double ratio, subject, reference;
};

Row compare(const char* metric, const char* name, int window) {
  const Bytes query = *encode_query(name, Type::a, 1);
  std::vector<double> subject, reference, ratios;
  for (int i = 0; i < rounds; ++i) {
    reference.push_back(measure(0x7f00000c, query, window));
    subject.push_back(measure(0x7f00000b, query, window));
    ratios.push_back(subject.back() / reference.back());
  }
  const Row row{metric, median(ratios), median(subject), median(reference)};
  std::printf("%-28s %12.0f %12.0f %8.2f\n", metric, row.subject, row.reference, row.ratio);
  return row;
}

void write_json(const char* path, const std::vector<Row>& rows) {
  FILE* file = std::fopen(path, "w");
  if (!file) fail(path);
  std::fprintf(file, "[\n");
  for (const Row& row : rows)
    std::fprintf(file,
                 "  {\"bench\": \"dns\", \"metric\": \"%s\", \"subject\": \"weft\", "
                 "\"reference\": \"fixed-answer\", \"ratio\": %.4f, \"subject_median\": %.1f, "
                 "\"reference_median\": %.1f, \"rounds\": %d}%s\n",
                 row.metric, row.ratio, row.subject, row.reference, rounds,
                 &row == &rows.back() ? "" : ",");
  std::fprintf(file, "]\n");
  if (std::fclose(file) != 0) fail(path);
}

}  // namespace

int main(int argc, char** argv) {
  const bool json = argc == 3 && std::string(argv[1]) == "--json";
  if (argc != 1 && !json) {
    std::fprintf(stderr, "usage: bench_dns [--json FILE]\n");
    return 2;
  }
  enter_new_namespace();
  Mailbox<DnsView> views;
  views.put(make_view());
  auto server = DnsServer::start(views);
  const Fd here(::open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC));
  auto sockets = open_dns_sockets(here.get());
  if (!server || !sockets) fail("the name server");
  (*server)->add("bench", *std::move(sockets), {.networks = {"1"}});
  const FixedResponder fixed;

  std::printf("%-28s %12s %12s %8s\n", "answers/s", "weft", "fixed-answer", "ratio");
  const std::vector<Row> rows = {
      compare("vip, 1 in flight", "service500", 1),
      compare("vip, 32 in flight", "service500.bench", 32),
      compare("10 tasks, 32 in flight", "tasks.service500", 32),
  };
  if (json) write_json(argv[2], rows);
  return 0;
}
