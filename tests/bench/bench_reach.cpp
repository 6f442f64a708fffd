// SPDX-License-Identifier: Apache-2.0
//
//   bench_reach --socket WEFTD-SOCKET --network NETWORK --target NETNS --probe NETNS...
//               [--samples N] [--json FILE]
//
// How long after its creation a new endpoint answers. Each sample attaches the target namespace
// through the control API, under a name of its own; meanwhile every probe, a container on another
// node, asks its name server for that name once a millisecond until it gets an address, then sends
// datagrams there until one comes back. An endpoint is created when its link appears in the
// namespace.
#include <arpa/inet.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>
#include <vector>

#include "base/bytes.h"
#include "base/fd.h"
#include "bench/load.h"
#include "cli/client.h"
#include "drivers/link/monitor.h"
#include "drivers/netns/netns.h"

using namespace weft;
using namespace weft::bench;

namespace {

using Clock = std::chrono::steady_clock;
using Time = Clock::time_point;
constexpr uint16_t echo_port = 7777;
constexpr auto patience = std::chrono::seconds(10);  // for one sample
constexpr double target_seconds = 0.050;             // p99

struct Options {
  std::string socket, network, target, json;
  std::vector<std::string> probes;
  int samples = 200;
};

[[noreturn]] void give_up(const std::string& what) {
  errno = 0;
  fail(what);
}

Fd udp_socket() {
  Fd out(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!out) fail("open a socket");
  return out;
}

// Sends `packet` to `to` every millisecond until `good` accepts a reply.
template <typename Good>
bool ask(const Fd& socket, const sockaddr_in& to, ByteView packet, Time deadline, Good good) {
  uint8_t reply[1500];
  while (Clock::now() < deadline) {
    // No route yet, or nobody there: asked again.
    (void)::sendto(socket.get(), packet.data(), packet.size(), 0,
                   reinterpret_cast<const sockaddr*>(&to), sizeof to);
    pollfd wait{socket.get(), POLLIN, 0};
    while (::poll(&wait, 1, 1) > 0) {
      const ssize_t size = ::recv(socket.get(), reply, sizeof reply, MSG_DONTWAIT);
      if (size > 0 && good(ByteView(reply, size_t(size)))) return true;
      if (size < 0) break;
    }
  }
  return false;
}

// One question for an A record (RFC 1035 4.1).
Bytes question_for(const std::string& name) {
  Bytes out = {0x12, 0x34, 0x01, 0, 0, 1, 0, 0, 0, 0, 0, 0};
  out.push_back(uint8_t(name.size()));
  out.insert(out.end(), name.begin(), name.end());
  out.insert(out.end(), {0, 0, 1, 0, 1});
  return out;
}

// The address at the end of an answer with one A record; it has no more sections.
bool address_in(ByteView answer, size_t question_size, in_addr& address) {
  if (answer.size() < question_size + 14 || (answer[3] & 15) != 0 || answer[7] == 0) return false;
  std::memcpy(&address, answer.data() + answer.size() - 4, 4);
  return true;
}

// Waits until the name has an address and the address answers.
Time probe(const std::string& netns, const std::string& name) {
  enter_netns(netns);
  const Time deadline = Clock::now() + patience;
  const Fd dns = udp_socket(), echo = udp_socket();
  const Bytes question = question_for(name);
  sockaddr_in to = make_address("127.0.0.11", 53);
  in_addr address{};
  if (!ask(dns, to, question, deadline,
           [&](ByteView answer) { return address_in(answer, question.size(), address); }))
    give_up("no address for " + name + " in " + netns);
  to.sin_addr = address;
  to.sin_port = htons(echo_port);
  const Bytes greeting(name.begin(), name.end());
  if (!ask(echo, to, greeting, deadline, [&](ByteView reply) {
        return std::equal(reply.begin(), reply.end(), greeting.begin(), greeting.end());
      }))
    give_up(name + " does not answer in " + netns);
  return Clock::now();
}

// Sends everything back, in the target's namespace, for as long as the process lives.
void start_echo(const std::string& netns) {
  std::atomic<bool> listening{false};
  std::thread([&listening, netns] {
    enter_netns(netns);
    const Fd socket = udp_socket();
    const sockaddr_in own = make_address("0.0.0.0", echo_port);
    if (::bind(socket.get(), reinterpret_cast<const sockaddr*>(&own), sizeof own) != 0)
      fail("bind");
    listening = true;
    listening.notify_one();
    for (;;) {
      uint8_t bytes[256];
      sockaddr_in from{};
      socklen_t length = sizeof from;
      const ssize_t size = ::recvfrom(socket.get(), bytes, sizeof bytes, 0,
                                      reinterpret_cast<sockaddr*>(&from), &length);
      if (size > 0)
        (void)::sendto(socket.get(), bytes, size_t(size), 0,
                       reinterpret_cast<const sockaddr*>(&from), length);
    }
  }).detach();
  listening.wait(false);
}

struct Sample {
  double from_call = 0, from_link = 0;  // seconds
};

// When the next link appears.
Time link_time(link::Monitor& monitor) {
  const Time deadline = Clock::now() + patience;
  while (Clock::now() < deadline) {
    pollfd wait{monitor.fd(), POLLIN, 0};
    ::poll(&wait, 1, 100);
    const Time now = Clock::now();
    const auto changes = monitor.read();
    if (!changes) give_up(changes.error().message());
    for (const link::Change& change : *changes)
      if (change.kind == link::ChangeKind::link && !change.removed && change.name != "lo")
        return now;
  }
  give_up("no link appears in the target");
}

Sample measure(const Options& options, const cli::Client& client, int number) {
  const std::string name = "reach-" + std::to_string(number);
  const Fd netns = [&] {
    auto opened = netns::open_netns(options.target);
    if (!opened) give_up(opened.error().message());
    return std::move(*opened);
  }();
  auto monitor = link::Monitor::open(netns.get());
  if (!monitor) give_up(monitor.error().message());
  std::vector<Time> reached(options.probes.size());
  std::vector<std::thread> threads;
  for (size_t i = 0; i < reached.size(); i++)
    threads.emplace_back([&, i] { reached[i] = probe(options.probes[i], name); });
  Time created;
  threads.emplace_back([&] { created = link_time(*monitor); });
  const Time begun = Clock::now();
  const auto made = client.post(
      "/v1/endpoints", {{"netns", options.target}, {"network", options.network}, {"name", name}});
  if (!made) give_up(made.error().message());
  for (std::thread& thread : threads) thread.join();
  const auto gone = client.remove(cli::path_of("endpoints", name));
  if (!gone) give_up(gone.error().message());
  const Time last = *std::max_element(reached.begin(), reached.end());
  return {std::chrono::duration<double>(last - begun).count(),
          std::chrono::duration<double>(last - created).count()};
}

double quantile(std::vector<double> values, double part) {
  std::sort(values.begin(), values.end());
  return values[std::min(values.size() - 1, size_t(part * double(values.size())))];
}

void report(const Options& options, const std::vector<Sample>& samples) {
  std::vector<double> created, called;
  for (const Sample& s : samples) {
    created.push_back(s.from_link);
    called.push_back(s.from_call);
  }
  struct Row {
    const char* metric;
    const std::vector<double>& values;
    double part;
  };
  const Row rows[] = {{"created_p50", created, 0.5},
                      {"created_p99", created, 0.99},
                      {"called_p50", called, 0.5},
                      {"called_p99", called, 0.99}};
  std::FILE* file = options.json.empty() ? nullptr : std::fopen(options.json.c_str(), "w");
  if (!options.json.empty() && !file) fail(options.json);
  const char* before = "[";
  std::printf("%-8s %-14s %10s %10s %6s\n", "bench", "metric", "ms", "target", "");
  for (const Row& row : rows) {
    const double value = quantile(row.values, row.part);
    const bool judged = std::string(row.metric) == "created_p99";
    std::printf("%-8s %-14s %10.1f %10s %6s\n", "reach", row.metric, value * 1e3,
                judged ? "50.0" : "-",
                !judged                   ? ""
                : value <= target_seconds ? "ok"
                                          : "above");
    if (!file) continue;
    std::fprintf(file,
                 "%s\n{\"bench\":\"reach\",\"metric\":\"%s\",\"subject\":\"weft\","
                 "\"reference\":\"target\",\"ratio\":%.4f,\"subject_median\":%.6g,"
                 "\"reference_median\":%.6g,\"rounds\":%zu}",
                 before, row.metric, value / target_seconds, value, target_seconds, samples.size());
    before = ",";
  }
  if (file) std::fprintf(file, "\n]\n");
  if (file && std::fclose(file) != 0) fail(options.json);
}

Options parse(int argc, char** argv) {
  Options out;
  for (int i = 1; i + 1 < argc; i += 2) {
    const std::string key = argv[i], value = argv[i + 1];
    if (key == "--socket")
      out.socket = value;
    else if (key == "--network")
      out.network = value;
    else if (key == "--target")
      out.target = value;
    else if (key == "--probe")
      out.probes.push_back(value);
    else if (key == "--samples")
      out.samples = std::atoi(value.c_str());
    else if (key == "--json")
      out.json = value;
    else
      give_up("unknown option " + key);
  }
  if (out.probes.empty() || out.target.empty() || out.samples < 1)
    give_up(
        "use: bench_reach --socket S --network N --target NETNS --probe NETNS... [--samples N]");
  return out;
}

}  // namespace

int main(int argc, char** argv) {
  const Options options = parse(argc, argv);
  const auto client = cli::Client::of(options.socket);
  if (!client) give_up(client.error().message());
  start_echo(options.target);
  std::vector<Sample> samples;
  for (int i = 0; i < options.samples; i++) samples.push_back(measure(options, *client, i));
  report(options, samples);
}
