// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <doctest/doctest.h>

#include <deque>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>

#include "core/manage/decide.h"
#include "manager/manager.h"

namespace weft::test {

using manager::Manager;
using manager::Now;

// Keeps what it is given; fails or loses the answer on demand.
struct MemoryStore : store::Store {
  std::map<std::pair<std::string, std::string>, manage::StoredObject> objects;
  std::map<manage::Claim, std::string> claims;
  std::map<std::string, std::string> results;
  int commits = 0;
  int fail_at = -1;   // number of the commit that fails
  bool hold = false;  // answers wait for answer_all()
  std::deque<std::function<void()>> held;

  Result<store::Snapshot> load() override {
    store::Snapshot snapshot;
    for (const auto& [key, object] : objects) snapshot.objects.push_back(object);
    snapshot.results = results;
    return snapshot;
  }
  Result<store::Committed> run(const manage::Transaction& t) {
    if (commits++ == fail_at) return Error("write store: the disk is full");
    if (const auto known = results.find(t.operation_id); known != results.end())
      return store::Committed{true, known->second};
    for (const manage::Write& w : t.writes) {
      const auto found = objects.find({w.kind, w.id});
      const uint64_t version = found == objects.end() ? 0 : found->second.version;
      if (version != w.expected_version) return Error(ErrorCode::conflict, "stale " + w.id);
    }
    for (const manage::Write& w : t.writes)
      std::erase_if(claims, [&](const auto& c) { return c.second == w.kind + w.id; });
    for (const manage::Write& w : t.writes) {
      if (w.remove) {
        objects.erase({w.kind, w.id});
        continue;
      }
      objects[{w.kind, w.id}] = {w.kind, w.id, w.expected_version + 1, w.bytes};
      for (const manage::Claim& claim : w.claims)
        REQUIRE(claims.emplace(claim, w.kind + w.id).second);
    }
    results[t.operation_id] = t.result;
    return store::Committed{false, t.result};
  }
  void commit(const manage::Transaction& t, Answer answer) override {
    auto result = run(t);
    if (!hold) return answer(std::move(result));
    held.push_back([answer = std::move(answer), result = std::move(result)] { answer(result); });
  }
  void answer_all() {
    while (!held.empty()) {
      auto next = std::move(held.front());
      held.pop_front();
      next();
    }
  }
};

struct TestAuthority : manager::Authority {
  int secrets = 0;
  Result<manager::Joined> sign(const std::string& csr, const std::string& node_id,
                               const std::string& role, const std::string&) override {
    if (csr != "csr") return Error(ErrorCode::invalid, "the signing request is not valid");
    return manager::Joined{"certificate " + node_id + " " + role, "ca"};
  }
  std::string new_join_secret() override { return "secret" + std::to_string(++secrets); }
  std::string join_token(const std::string& secret) override { return "WEFT-1-" + secret; }
  std::string random_bytes(size_t count) override { return std::string(count, 'r'); }
};

// What a node knows, from the assignments it was sent.
struct FakeNode {
  std::string id, session;
  std::map<std::string, api::Task> tasks;
  std::map<std::string, api::Network> networks;
  std::map<std::string, api::Node> nodes;
  uint64_t sequence = 0;
  int messages = 0;
  bool open = false;
  bool slow = false;  // does not acknowledge assignments
  std::deque<std::function<void(Result<>)>> unanswered;
  std::deque<std::function<void()>> answers;  // to questions, not given yet
  std::string log_text;                       // empty: does not answer
  std::set<uint32_t> busy_ports;              // of other programs

  void take(const api::Assignment& a) {
    messages++;
    if (a.full()) {
      tasks.clear();
      networks.clear();
      nodes.clear();
      sequence = a.sequence() - 1;
    }
    CHECK(a.sequence() == ++sequence);
    for (const auto& o : a.tasks()) tasks[o.id()] = o;
    for (const auto& o : a.networks()) networks[o.id()] = o;
    for (const auto& o : a.nodes()) nodes[o.id()] = o;
    for (const auto& id : a.removed_tasks()) REQUIRE(tasks.erase(id) == 1);
    for (const auto& id : a.removed_networks()) REQUIRE(networks.erase(id) == 1);
    for (const auto& id : a.removed_nodes()) REQUIRE(nodes.erase(id) == 1);
  }
};

struct FakeSink : manager::SessionSink {
  FakeNode& node;
  explicit FakeSink(FakeNode& n) : node(n) { node.open = true; }
  void assign(const api::Assignment& a, std::function<void(Result<>)> done) override {
    CHECK(node.unanswered.empty());  // one at a time
    node.take(a);
    node.unanswered.push_back(std::move(done));
  }
  void check_ports(const std::string& payload, std::function<void(Result<std::string>)> reply) {
    api::PortCheckRequest request;
    REQUIRE(request.ParseFromString(payload));
    api::PortCheckReply answer;
    for (const auto& port : request.ports())
      if (node.busy_ports.contains(port.published())) *answer.add_taken() = port;
    node.answers.push_back([reply, bytes = answer.SerializeAsString()] { reply(bytes); });
  }
  void call(std::string_view method, const std::string& payload,
            std::function<void(Result<std::string>)> reply) override {
    if (method == "PortCheck") return check_ports(payload, std::move(reply));
    CHECK(method == "LocalLogs");
    if (node.log_text.empty()) return;
    api::LogReply lines;
    api::LogLine& line = *lines.add_lines();
    line.set_text(node.log_text);
    line.set_at_ms(int64_t(node.log_text.size()));
    node.answers.push_back([reply, bytes = lines.SerializeAsString()] { reply(bytes); });
  }
  void close() override { node.open = false; }
};

// A manager, its store and its nodes, in one process and virtual time.
struct World {
  MemoryStore store;
  TestAuthority authority;
  std::unique_ptr<Manager> manager;
  std::map<int, FakeNode> nodes;
  Now now{{}, {1'000'000}};

  World() { start(); }
  void start() {
    manager = std::make_unique<Manager>(store, authority, Rng(uint64_t(store.commits) + 1));
    REQUIRE(manager->load(now));
  }
  // kill -9 of the manager and a new start: sessions are gone.
  void restart() {
    manager.reset();
    for (auto& [n, node] : nodes) {
      node.open = false;
      node.unanswered.clear();
    }
    store.held.clear();
    start();
  }
  void pass(Duration time) {
    now.instant = now.instant + time;
    now.wall.milliseconds += std::chrono::duration_cast<std::chrono::milliseconds>(time).count();
    manager->tick(now);
    settle_messages();
  }
  // Nodes acknowledge what they were sent.
  void settle_messages() {
    for (bool again = true; again;) {
      again = false;
      for (auto& [n, node] : nodes) {
        if (node.slow) continue;
        for (const auto& answer : std::exchange(node.answers, {})) {
          if (node.open) answer();
          again = true;
        }
        if (node.unanswered.empty()) continue;
        auto done = std::move(node.unanswered.front());
        node.unanswered.pop_front();
        if (node.open) done(Ok);
        again = true;
      }
    }
  }

  static std::string node_id(int n) {
    std::string digits = std::to_string(n);
    return std::string(32 - digits.size(), '0') + digits;
  }
  static api::JoinRequest join_request(int n, const std::string& secret) {
    api::JoinRequest request;
    request.set_secret(secret);
    request.set_csr_pem("csr");
    request.set_node_id(node_id(n));
    request.set_name("n" + std::to_string(n));
    request.set_address("192.168.0." + std::to_string(n));
    return request;
  }
  Result<std::string> raw(const manage::Caller& caller, const char* method,
                          const std::string& payload) {
    // The answer may come after this has returned.
    auto result = std::make_shared<Result<std::string>>(Error("no answer"));
    manager->handle(now, caller, method, payload,
                    [result](Result<std::string> r) { *result = std::move(r); });
    settle_messages();
    return *result;
  }
  template <typename Reply, typename Request>
  Result<Reply> call(const char* method, const Request& request, int node = 1,
                     api::NodeRole role = api::MANAGER, const std::string& operation = "") {
    const std::string bytes =
        TRY(raw({node_id(node), role, true, operation}, method, request.SerializeAsString()));
    Reply reply;
    REQUIRE(reply.ParseFromString(bytes));
    return reply;
  }
  void init() {
    Result<std::string> result = Error("no answer");
    manager->init(now, "c0ffee", {}, join_request(1, ""),
                  [&](Result<std::string> r) { result = std::move(r); });
    REQUIRE(result);
  }
  Result<api::JoinReply> join(int n, const std::string& secret) {
    const std::string bytes = TRY(raw({}, "Join", join_request(n, secret).SerializeAsString()));
    api::JoinReply reply;
    REQUIRE(reply.ParseFromString(bytes));
    return reply;
  }
  void connect(int n) {
    FakeNode& node = nodes[n];
    node.id = node_id(n);
    node.unanswered.clear();
    api::SessionRequest request;
    for (const auto& [id, task] : node.tasks) {
      api::TaskStatus& status = *request.add_tasks();
      status.set_task_id(id);
      status.set_state(task.state());
    }
    manager->open_session(now, {node.id, api::WORKER, true, ""}, request.SerializeAsString(),
                          std::make_unique<FakeSink>(node), [&](Result<std::string> reply) {
                            REQUIRE(reply);
                            api::SessionReply session;
                            REQUIRE(session.ParseFromString(*reply));
                            node.session = session.session_id();
                          });
    settle_messages();
  }
  void beat(int n) {
    api::HeartbeatRequest request;
    request.set_session_id(nodes.at(n).session);
    CHECK(call<api::Empty>("Heartbeat", request, n));
  }
  void cluster_of(int count) {
    init();
    for (int n = 2; n <= count; n++) REQUIRE(join(n, "secret1"));
    for (int n = 1; n <= count; n++) connect(n);
  }
  // Nodes run and stop what they are told, and say so.
  void work() {
    for (int round = 0; round < 20; round++) {
      bool quiet = true;
      for (auto& [n, node] : nodes) {
        if (!node.open) continue;
        api::TaskStatusReport report;
        for (const auto& [id, task] : node.tasks) {
          const auto wanted =
              task.desired() == api::TASK_SHUTDOWN ? api::TASK_SHUTDOWN : api::TASK_RUNNING;
          if (task.state() == wanted) continue;
          api::TaskStatus& status = *report.add_tasks();
          status.set_task_id(id);
          status.set_state(wanted);
        }
        if (report.tasks().empty()) continue;
        quiet = false;
        REQUIRE(call<api::Empty>("ReportTasks", report, n));
      }
      if (quiet) return;
    }
    FAIL("the nodes do not settle");
  }
  Result<api::Network> network(const std::string& name) {
    api::NetworkCreateRequest request;
    request.set_name(name);
    request.set_attachable(true);
    return call<api::Network>("NetworkCreate", request);
  }
  Result<api::Service> service(const std::string& name, uint32_t replicas,
                               const std::string& network) {
    api::ServiceCreateRequest request;
    request.mutable_spec()->set_name(name);
    request.mutable_spec()->set_replicas(replicas);
    request.mutable_spec()->add_command("server");
    request.mutable_spec()->add_networks(network);
    return call<api::Service>("ServiceCreate", request);
  }
  std::map<int, size_t> spread() const {
    std::map<int, size_t> out;
    for (const auto& [n, node] : nodes) {
      size_t count = 0;
      for (const auto& [id, task] : node.tasks) count += task.desired() == api::TASK_RUNNING;
      out[n] = count;
    }
    return out;
  }
  api::NodeState state_of(int n) {
    api::NameRequest request;
    request.set_name("n" + std::to_string(n));
    return call<api::Node>("NodeShow", request)->state();
  }
};

}  // namespace weft::test
