// SPDX-License-Identifier: Apache-2.0
// Replicated stores, each in a process of its own, with TLS between them:
//
//   m1 127.x.y.1:2377 --- m2 127.x.y.2:2377
//              \            /
//               m3 127.x.y.3:2377 ...
#pragma once

#include <doctest/doctest.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <iterator>
#include <sstream>

#include "harness/store_process.h"
#include "io/clock.h"
#include "unit/store_cases.h"

namespace weft::test {

using store::DqliteStore;

using Clock = std::chrono::steady_clock;

inline double ms_since(Clock::time_point start) {
  return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
}

template <typename Done>
bool wait_until(Done done, Duration timeout = 15s) {
  const auto deadline = Clock::now() + timeout;
  while (!done())
    if (Clock::now() > deadline) return false;
  return true;
}

inline double percentile(std::vector<double> values, double share) {
  std::sort(values.begin(), values.end());
  return values[std::min(values.size() - 1, size_t(share * double(values.size())))];
}

inline std::set<std::string> words_of(const std::string& text) {
  std::istringstream in(text);
  return {std::istream_iterator<std::string>(in), {}};
}

class StoreCluster {
 public:
  struct Node {
    StoreProcess::Settings settings;
    uint64_t id = 1;
    std::unique_ptr<StoreProcess> process;
    StoreProcess* operator->() { return process.get(); }
  };

  // `disk`: a folder for all, empty: one in memory.
  explicit StoreCluster(size_t size = 1, const std::string& disk = "")
      : disk_(disk), ca_(*io::create_cluster_ca("c1", io::clock_wall_now())) {
    Node& first = make("m1");
    start(first, "create");
    for (size_t i = 2; i <= size; i++) grow();
  }

  Node& operator[](const std::string& name) { return nodes_.at(name); }
  std::vector<std::string> names() const {
    std::vector<std::string> names;
    for (const auto& [name, node] : nodes_) names.push_back(name);
    return names;
  }
  std::string file(const std::string& name) const {
    return (disk_.empty() ? folder_.path : disk_) + "/" + name;
  }
  std::string peer(const std::string& name) const {
    return name + "@" + nodes_.at(name).settings.address;
  }

  // A further voter.
  Node& grow() {
    Node& node = make("m" + std::to_string(++made_));
    join(node);
    return node;
  }

  Node& make(const std::string& name) {
    made_ = std::max(made_, size_t(std::stoi(name.substr(1))));
    Node& node = nodes_[name];
    const std::string key = *io::create_key();
    node.settings.name = name;
    node.settings.directory = file(name);
    // Of this process alone.
    node.settings.address = "127." + std::to_string(1 + ::getpid() % 250) + "." +
                            std::to_string(::getpid() / 250 % 250) + "." + std::to_string(made_) +
                            ":2377";
    node.settings.identity = {
        ca_.certificate_pem,
        *io::sign_node_certificate(ca_, *io::create_signing_request(key), {name, "manager", "c1"},
                                   io::clock_wall_now()),
        key};
    return node;
  }

  void start(Node& node, const std::string& how) {
    node.process.reset();
    node.process = std::make_unique<StoreProcess>(node.settings, how);
    if (!node->started().ok) FAIL(node->started().text);
  }

  void join(Node& node, const std::string& role = "voter") {
    node.id = DqliteStore::new_member_id();
    const std::string leading = leader();
    const std::string generation = nodes_.at(leading)->call("generation").text;
    start(node, "join " + std::to_string(node.id) + " " + generation);
    const StoreReply added = nodes_.at(leading)->call(
        "add " + std::to_string(node.id) + " " + node.settings.address + " " + role, 40s);
    CHECK(added.text == "done");
  }

  void forget(const std::string& name) { nodes_.erase(name); }

  // Among the running ones; waits until there is one.
  std::string leader(const std::set<std::string>& among = {}) {
    std::string found;
    const bool any = wait_until([&] {
      for (auto& [name, node] : nodes_)
        if (node.process && (among.empty() || among.contains(name)) && node->leads()) found = name;
      return !found.empty();
    });
    REQUIRE(any);
    return found;
  }

  // Asks leader after leader until the operation is acknowledged: as a client does.
  StoreReply put(const std::string& op, const std::string& rest,
                 const std::set<std::string>& among = {}, Duration timeout = 20s) {
    StoreReply reply;
    const bool done = wait_until(
        [&] {
          for (auto& [name, node] : nodes_) {
            if (!node.process || (!among.empty() && !among.contains(name))) continue;
            reply = node->call("put " + op + " " + rest, 5s);
            if (reply.ok || reply.code == "conflict") return true;
          }
          return false;
        },
        timeout);
    if (!done) FAIL("not acknowledged: " << reply.code << " " << reply.text);
    return reply;
  }

  std::set<std::string> list() { return words_of(nodes_.at(leader())->call("list").text); }

 private:
  StoreFolder folder_;
  std::string disk_;
  io::CertifiedKey ca_;
  size_t made_ = 0;
  std::map<std::string, Node> nodes_;
};

}  // namespace weft::test
