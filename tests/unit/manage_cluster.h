// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <doctest/doctest.h>

#include <set>
#include <string>

#include "core/manage/decide.h"
#include "core/manage/orchestrate.h"

namespace weft::test {

using namespace weft::manage;

// A cluster without store and nodes: requests are decided, orchestrated and applied at once.
struct Cluster {
  ClusterState state;
  Rng rng{7};
  int64_t now_ms = 1'000'000;
  std::optional<WallTime> next;

  static std::string node_id(int n) {
    std::string digits = std::to_string(n);
    return std::string(32 - digits.size(), '0') + digits;
  }
  static api::JoinRequest join_request(int n) {
    api::JoinRequest request;
    request.set_node_id(node_id(n));
    request.set_name("n" + std::to_string(n));
    request.set_address("192.168.0." + std::to_string(n));
    request.set_gossip_port(7946);
    request.set_uplink_mtu_bytes(1500);
    return request;
  }

  // n1 is the manager; all nodes are up.
  explicit Cluster(int nodes = 3) {
    (void)change([&](Draft& draft) -> Result<std::string> {
      ClusterBirth birth{
          "c0ffee", "worker-secret", "manager-secret", std::string(32, 'k'), "CA", "CA key",
          {},       join_request(1)};
      TRY(init_cluster(draft, birth));
      return std::string();
    });
    for (int n = 1; n <= nodes; n++) {
      if (n > 1)
        (void)change([&](Draft& d) -> Result<std::string> {
          TRY(join_node(d, join_request(n), api::WORKER));
          return std::string();
        });
      up(n);
    }
  }

  template <typename F>
  Result<std::string> change(F decide_it) {
    Draft draft(state, WallTime{now_ms}, rng);
    auto result = decide_it(draft);
    if (!result) return result;
    next = orchestrate(draft);
    const Transaction transaction = draft.finish("op", *result);
    check_claims(transaction);
    state.apply(transaction);
    return result;
  }
  // As the store's UNIQUE constraint: claims of all objects together.
  void check_claims(const Transaction& transaction) {
    ClusterState after = state;
    after.apply(transaction);
    std::set<Claim> seen;
    const auto add = [&](const auto& table) {
      for (const auto& [id, object] : table)
        for (const Claim& claim : claims_of(object)) {
          INFO(claim.space, " ", claim.value);
          CHECK(seen.insert(claim).second);
        }
    };
    add(after.nodes);
    add(after.networks);
    add(after.services);
    add(after.leases);
  }
  void orchestrate_now() {
    (void)change([](Draft&) -> Result<std::string> { return std::string(); });
  }
  void up(int n) {
    (void)change([&](Draft& d) -> Result<std::string> {
      set_node_state(d, node_id(n), api::NODE_ALIVE);
      return std::string();
    });
  }
  void set_state(int n, api::NodeState s) {
    (void)change([&](Draft& d) -> Result<std::string> {
      set_node_state(d, node_id(n), s);
      return std::string();
    });
  }

  template <typename Reply, typename Request>
  Result<Reply> call(const char* method, const Request& request, int node = 1) {
    const Caller caller{node_id(node), api::MANAGER, true, ""};
    const std::string before = fingerprint();
    auto bytes =
        change([&](Draft& d) { return decide(d, caller, method, request.SerializeAsString()); });
    if (!bytes) {
      CHECK(fingerprint() == before);
      return std::move(bytes).error();
    }
    Reply reply;
    REQUIRE(reply.ParseFromString(*bytes));
    return reply;
  }
  std::string fingerprint() const {
    std::string out;
    const auto add = [&](const auto& table) {
      for (const auto& [id, object] : table) out += id + serialize(object);
    };
    add(state.cluster);
    add(state.nodes);
    add(state.networks);
    add(state.services);
    add(state.tasks);
    add(state.endpoints);
    add(state.leases);
    return out;
  }

  Result<api::Network> network(const std::string& name, const std::string& subnet = "",
                               bool attachable = false) {
    api::NetworkCreateRequest request;
    request.set_name(name);
    request.set_attachable(attachable);
    if (!subnet.empty()) request.add_subnets(subnet);
    return call<api::Network>("NetworkCreate", request);
  }
  static api::ServiceSpec spec(const std::string& name, uint32_t replicas,
                               const std::string& network = "") {
    api::ServiceSpec out;
    out.set_name(name);
    out.set_replicas(replicas);
    out.add_command("server");
    if (!network.empty()) out.add_networks(network);
    return out;
  }
  static api::PublishedPort port(uint32_t published, uint32_t target,
                                 const std::string& protocol = "tcp",
                                 api::PublishMode mode = api::INGRESS) {
    api::PublishedPort out;
    out.set_published(published);
    out.set_target(target);
    out.set_protocol(protocol);
    out.set_mode(mode);
    return out;
  }
  Result<api::Service> service(const api::ServiceSpec& spec) {
    api::ServiceCreateRequest request;
    *request.mutable_spec() = spec;
    return call<api::Service>("ServiceCreate", request);
  }
  Result<api::Service> update(const api::ServiceSpec& spec, const char* field) {
    api::ServiceUpdateRequest request;
    request.set_name(spec.name());
    *request.mutable_spec() = spec;
    request.add_fields(field);
    return call<api::Service>("ServiceUpdate", request);
  }
  Result<api::Service> scale(const std::string& name, uint32_t replicas) {
    api::ServiceScaleRequest request;
    request.set_name(name);
    request.set_replicas(replicas);
    return call<api::Service>("ServiceScale", request);
  }
  Result<api::Empty> remove(const char* method, const std::string& name) {
    api::NameRequest request;
    request.set_name(name);
    return call<api::Empty>(method, request);
  }

  // Tasks that are not finished and not told to stop.
  std::vector<api::Task> live(const std::string& service = "") const {
    std::vector<api::Task> out;
    for (const auto& [id, task] : state.tasks)
      if (!is_terminal(task) && task.desired() == api::TASK_RUNNING &&
          (service.empty() || task.spec().name() == service))
        out.push_back(task);
    return out;
  }
  std::map<std::string, int> spread(const std::string& service = "") const {
    std::map<std::string, int> out;
    for (const api::Task& task : live(service))
      out[task.node_id().empty() ? "-" : state.nodes.at(task.node_id()).name()]++;
    return out;
  }
  void report(const api::Task& task, api::TaskState task_state) {
    api::TaskStatusReport report;
    api::TaskStatus& status = *report.add_tasks();
    status.set_task_id(task.id());
    status.set_state(task_state);
    const Caller caller{task.node_id(), api::WORKER, true, ""};
    REQUIRE(change(
        [&](Draft& d) { return decide(d, caller, "ReportTasks", report.SerializeAsString()); }));
  }
  // The nodes do what they were told.
  void settle() {
    for (int round = 0; round < 20; round++) {
      std::vector<std::pair<api::Task, api::TaskState>> news;
      for (const auto& [id, task] : state.tasks) {
        if (is_terminal(task) || task.state() < api::TASK_ASSIGNED) continue;
        if (state.nodes.at(task.node_id()).state() != api::NODE_ALIVE) continue;
        if (task.desired() == api::TASK_SHUTDOWN)
          news.emplace_back(task, api::TASK_SHUTDOWN);
        else if (task.state() != api::TASK_RUNNING)
          news.emplace_back(task, api::TASK_RUNNING);
      }
      for (const auto& [task, task_state] : news) report(task, task_state);
      if (news.empty()) return;
    }
    FAIL("the tasks do not settle");
  }
  size_t owned_leases() const {
    size_t count = 0;
    for (const auto& [id, lease] : state.leases) count += !lease.owner().empty();
    return count;
  }
};

}  // namespace weft::test
