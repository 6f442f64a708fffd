// SPDX-License-Identifier: Apache-2.0
// The gossip of weftd alone: the same core, seal and sockets, nothing else. tests/bench/gossip runs
// many of them. Lines on standard input: set KEY, burst COUNT BYTES, expect RECORDS, leave. Lines
// on standard output, each with CLOCK_MONOTONIC in ns: record KEY, all RECORDS, STATE NODE, gone.
#include <unistd.h>

#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <string>

#include "io/loop.h"
#include "node/gossip_shell.h"

using namespace weft;
using cluster::Event;

namespace {

cluster::NodeId id_of(uint32_t number) {
  cluster::NodeId id;
  Rng rng(number);
  for (uint8_t& byte : id.bytes) byte = uint8_t(rng());
  for (size_t i = 0; i < 4; ++i) id.bytes[12 + i] = uint8_t(number >> (24 - 8 * i));
  return id;
}

uint32_t number_of(const cluster::NodeId& id) {
  return ByteReader(ByteView(id.bytes).subspan(12)).u32();
}

SocketAddress address_of(uint32_t number) {
  return {Address::v4(0x7f010000 + number), 7946};  // 127.1.0.1 and on
}

class Node {
 public:
  explicit Node(uint32_t number) : number_(number) {}

  Result<> start() {
    cluster::Gossip::Self self{id_of(number_), 1, {}};
    self.info.name = "n" + std::to_string(number_);
    self.info.node_index = number_;
    self.info.gossip = address_of(number_);
    self.info.underlay = self.info.gossip.address;
    const node::GossipKeys keys{{{1, std::string(32, 'k')}}, 1};
    shell_ = TRY(
        node::GossipShell::start(loop_, self.info.gossip, std::move(self), keys,
                                 [this](const std::vector<Event>& events) { on_events(events); }));
    shell_->core().baseline_complete(shell_->now());
    std::vector<SocketAddress> seeds;
    if (number_ != 1) seeds.push_back(address_of(1));
    shell_->core().join(shell_->now(), seeds);
    shell_->flush();
    input_ = loop_.watch_read(STDIN_FILENO, [this] { on_input(); });
    return Ok;
  }

  void run() { loop_.run(); }

 private:
  void say(const std::string& what) {
    std::printf("%s %lld\n", what.c_str(), (long long)loop_.now().since_start.count());
    std::fflush(stdout);
  }

  void on_events(const std::vector<Event>& events) {
    for (const Event& event : events) {
      const std::string member = std::to_string(number_of(event.member));
      switch (event.kind) {
        case Event::Kind::record_set:
          ++records_;
          if (event.key.starts_with("change")) say("record " + event.key);
          if (records_ == expected_) say("all " + std::to_string(records_));
          break;
        case Event::Kind::member_alive:
          say("alive " + member);
          break;
        case Event::Kind::member_suspect:
          say("suspect " + member);
          break;
        case Event::Kind::member_dead:
          say("dead " + member);
          break;
        case Event::Kind::member_left:
          say("left " + member);
          break;
        default:
          break;
      }
    }
  }

  void on_input() {
    char chunk[4096];
    const ssize_t size = ::read(STDIN_FILENO, chunk, sizeof chunk);
    if (size <= 0) return loop_.stop();
    text_.append(chunk, size_t(size));
    for (size_t end; (end = text_.find('\n')) != std::string::npos; text_.erase(0, end + 1)) {
      on_command(text_.substr(0, end));
    }
    shell_->flush();
  }

  void on_command(const std::string& line) {
    cluster::Gossip& core = shell_->core();
    char word[16] = {};
    char key[64] = {};
    unsigned count = 0, bytes = 0;
    if (std::sscanf(line.c_str(), "set %63s", key) == 1) {
      (void)core.set(shell_->now(), 0, key, std::string(100, 'v'));
    } else if (std::sscanf(line.c_str(), "burst %u %u", &count, &bytes) == 2) {
      for (unsigned k = 0; k < count; ++k) {
        (void)core.set(shell_->now(), 0, "k" + std::to_string(k), std::string(bytes, 'v'));
      }
    } else if (std::sscanf(line.c_str(), "expect %u", &count) == 1) {
      expected_ = records_ + count;
    } else if (std::sscanf(line.c_str(), "%15s", word) == 1 && word == std::string("leave")) {
      core.leave(shell_->now());
      end_ = loop_.after(400ms, [this] { loop_.stop(); });
    } else {
      std::fprintf(stderr, "gossip_node: unknown command '%s'\n", line.c_str());
    }
  }

  uint32_t number_;
  io::Loop loop_;
  std::unique_ptr<node::GossipShell> shell_;
  io::Watch input_;
  io::Timer end_;
  std::string text_;
  size_t records_ = 0, expected_ = 0;
};

}  // namespace

int main(int argc, char** argv) {
  const int number = argc == 2 ? std::atoi(argv[1]) : 0;
  if (number < 1 || number > 60000) {
    std::fprintf(stderr, "usage: gossip_node NUMBER: the number of this node, from 1\n");
    return 2;
  }
  Node node{uint32_t(number)};
  if (auto started = node.start(); !started) {
    std::fprintf(stderr, "gossip_node: %s\n", started.error().message().c_str());
    return 1;
  }
  node.run();
  return 0;
}
