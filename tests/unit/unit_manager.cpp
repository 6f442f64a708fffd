// SPDX-License-Identifier: Apache-2.0
#include "core/manage/state.h"
#include "unit/manager_world.h"

using namespace weft;
using test::World;
using Spread = std::map<int, size_t>;

namespace {

api::NameRequest named(const std::string& name) {
  api::NameRequest request;
  request.set_name(name);
  return request;
}

size_t owned_leases(World& w) {
  size_t count = 0;
  for (const auto& [id, lease] : w.manager->state().leases) count += !lease.owner().empty();
  return count;
}

}  // namespace

TEST_CASE("a cluster's story: from init to everything freed") {
  World w;
  w.cluster_of(3);
  CHECK(w.nodes[2].nodes.size() == 3);
  CHECK(w.nodes[2].networks.size() == 1);
  const size_t owned = owned_leases(w);
  REQUIRE(w.network("web"));
  CHECK(w.nodes[2].networks.size() == 1);  // nothing there concerns it yet
  REQUIRE(w.service("api", 3, "web"));
  CHECK(w.spread() == Spread{{1, 1}, {2, 1}, {3, 1}});
  CHECK(w.nodes[2].networks.size() == 2);
  w.work();
  for (const auto& [id, task] : w.manager->state().tasks) CHECK(task.state() == api::TASK_RUNNING);
  api::ServiceScaleRequest scale;
  scale.set_name("api");
  scale.set_replicas(6);
  REQUIRE(w.call<api::Service>("ServiceScale", scale, 2));
  CHECK(w.spread() == Spread{{1, 2}, {2, 2}, {3, 2}});
  w.work();
  // Node 3 falls silent.
  for (int i = 0; i < 3; i++) {
    w.pass(5s);
    w.beat(1);
    w.beat(2);
  }
  w.pass(1ms);
  CHECK(w.state_of(3) == api::NODE_DEAD);
  CHECK(!w.nodes[3].open);
  w.nodes[3].tasks.clear();
  CHECK(w.spread() == Spread{{1, 3}, {2, 3}, {3, 0}});
  w.work();
  // It comes back, is told what to stop, and stops it.
  w.connect(3);
  CHECK(w.state_of(3) == api::NODE_ALIVE);
  w.work();
  REQUIRE(w.call<api::Empty>("ServiceRemove", named("api")));
  w.work();
  CHECK(w.manager->state().services.empty());
  CHECK(w.manager->state().tasks.empty());
  CHECK(owned_leases(w) == owned + 1);  // the gateway of "web"
  REQUIRE(w.call<api::Empty>("NetworkRemove", named("web")));
  CHECK(owned_leases(w) == owned);
  CHECK(w.nodes[2].networks.size() == 1);
  CHECK(w.nodes[2].tasks.empty());
}

TEST_CASE("joining needs a valid secret, and a rotated one stops to work") {
  World w;
  w.init();
  CHECK(w.join(2, "guess").error().code() == ErrorCode::denied);
  const auto joined = w.join(2, "secret1");
  REQUIRE(joined);
  CHECK(joined->certificate_pem() == "certificate " + World::node_id(2) + " worker");
  CHECK(w.join(3, "secret2")->node().role() == api::MANAGER);
  api::TokenRequest token;
  token.set_role("worker");
  CHECK(w.call<api::TokenReply>("TokenShow", token)->token() == "WEFT-1-secret1");
  CHECK(w.call<api::TokenReply>("TokenRotate", token)->token() == "WEFT-1-secret3");
  CHECK(w.join(4, "secret1").error().code() == ErrorCode::denied);
  CHECK(w.join(4, "secret3"));
  CHECK(w.call<api::TokenReply>("TokenShow", token, 2, api::WORKER).error().code() ==
        ErrorCode::denied);
  token.set_role("king");
  CHECK(w.call<api::TokenReply>("TokenShow", token).error().message() ==
        "there is no join token for role 'king': ask for worker or manager");
  // A request that cannot be signed leaves no node behind.
  api::JoinRequest forged = World::join_request(5, "secret3");
  forged.set_csr_pem("junk");
  CHECK(!w.raw({}, "Join", forged.SerializeAsString()));
  CHECK(w.manager->state().nodes.size() == 4);
}

TEST_CASE("only nodes of the cluster are served") {
  World w;
  CHECK(w.call<api::NodeList>("NodeList", api::Empty()).error().code() == ErrorCode::unavailable);
  w.cluster_of(2);
  CHECK(w.raw({}, "NodeList", "").error().code() == ErrorCode::denied);
  CHECK(w.call<api::NodeList>("NodeList", api::Empty(), 9).error().code() == ErrorCode::denied);
  CHECK(w.call<api::NodeList>("NodeList", api::Empty(), 2)->nodes_size() == 2);
  CHECK(w.raw({World::node_id(1), api::MANAGER, true, ""}, "NetworkCreate", "\xff\xff")
            .error()
            .message() ==
        "the request cannot be read as a NetworkCreateRequest: caller and manager may differ in "
        "version");
  CHECK(w.raw({World::node_id(1), api::MANAGER, true, ""}, "Fly", "").error().code() ==
        ErrorCode::not_found);
  api::NodeRemoveRequest remove;
  remove.set_name("n2");
  remove.set_force(true);
  REQUIRE(w.call<api::Empty>("NodeRemove", remove));
  CHECK(!w.nodes[2].open);
  CHECK(w.call<api::NodeList>("NodeList", api::Empty(), 2).error().code() == ErrorCode::denied);
  CHECK(w.join(2, "secret1").error().code() == ErrorCode::denied);
}

TEST_CASE("gossip makes a node suspect at once, and only a long silence replaces its tasks") {
  World w;
  w.cluster_of(3);
  REQUIRE(w.network("web"));
  REQUIRE(w.service("api", 3, "web"));
  w.work();
  w.pass(1s);
  w.manager->member_state(w.now, World::node_id(3), false);
  w.settle_messages();
  CHECK(w.state_of(3) == api::NODE_SUSPECT);
  CHECK(w.spread() == Spread{{1, 1}, {2, 1}, {3, 1}});
  SUBCASE("it still sends heartbeats: nothing is taken from it") {
    w.pass(4s);
    for (int n = 1; n <= 3; n++) w.beat(n);
    w.pass(2s);
    CHECK(w.state_of(3) == api::NODE_SUSPECT);
    w.manager->member_state(w.now, World::node_id(3), true);
    CHECK(w.state_of(3) == api::NODE_ALIVE);
  }
  SUBCASE("its connection breaks too, as when its agent is restarted: its tasks stay for 15 s") {
    w.manager->session_lost(w.now, w.nodes[3].session);
    w.settle_messages();
    CHECK(w.state_of(3) == api::NODE_SUSPECT);
    CHECK(w.manager->next_deadline() <= w.now.instant + 15s);
    for (int i = 0; i < 3; i++) {
      CHECK(w.spread() == Spread{{1, 1}, {2, 1}, {3, 1}});
      w.pass(5s);
      for (int n = 1; n <= 2; n++) w.beat(n);
    }
    CHECK(w.state_of(3) == api::NODE_DEAD);
    CHECK(w.spread()[1] + w.spread()[2] == 3);
  }
}

TEST_CASE("a slow node gets one message at a time, and all that changed meanwhile as one") {
  World w;
  w.cluster_of(2);
  w.nodes[2].slow = true;
  const int before = w.nodes[2].messages;
  for (int i = 0; i < 5; i++) REQUIRE(w.network("net" + std::to_string(i)));
  CHECK(w.nodes[2].messages == before + 1);
  REQUIRE(w.service("api", 4, "net0"));
  CHECK(w.nodes[2].messages == before + 1);
  w.nodes[2].slow = false;
  w.settle_messages();
  CHECK(w.nodes[2].messages == before + 2);
  CHECK(w.nodes[2].tasks.size() == 2);
}

TEST_CASE("logs are collected from all nodes, with a warning for those that do not answer") {
  World w;
  w.cluster_of(3);
  REQUIRE(w.network("web"));
  REQUIRE(w.service("api", 3, "web"));
  w.work();
  w.nodes[1].log_text = "longer";
  w.nodes[2].log_text = "short";
  api::ServiceLogsRequest request;
  request.set_name("api");
  Result<std::string> result = Error("no answer");
  w.manager->handle(w.now, {World::node_id(1), api::MANAGER, true, ""}, "ServiceLogs",
                    request.SerializeAsString(),
                    [&](Result<std::string> r) { result = std::move(r); });
  w.settle_messages();
  CHECK(!result);
  w.pass(5s);
  REQUIRE(result);
  api::LogReply logs;
  REQUIRE(logs.ParseFromString(*result));
  REQUIRE(logs.lines_size() == 2);
  CHECK(logs.lines(0).text() == "short");
  CHECK(logs.lines(0).node() == "n2");
  REQUIRE(logs.warnings_size() == 1);
  CHECK(logs.warnings(0) == "node 'n3' did not answer in time: its lines are missing");
  request.set_name("nope");
  CHECK(w.call<api::LogReply>("ServiceLogs", request).error().code() == ErrorCode::not_found);
}

TEST_CASE("a port that a program of some node has is not published, and an older one is told of") {
  World w;
  w.cluster_of(3);
  REQUIRE(w.network("web"));
  w.nodes[3].busy_ports = {8080};
  api::ServiceCreateRequest create;
  create.mutable_spec()->set_name("api");
  create.mutable_spec()->add_command("server");
  create.mutable_spec()->add_networks("web");
  api::PublishedPort& port = *create.mutable_spec()->add_ports();
  port.set_published(8080);
  port.set_target(80);
  const std::string sentence =
      "tcp port 8080 is in use by another program on node 'n3': stop it there, or publish another "
      "port";
  auto refused = w.call<api::Service>("ServiceCreate", create);
  REQUIRE(!refused);
  CHECK(refused.error().message() == sentence);
  CHECK(w.manager->state().services.empty());
  port.set_mode(api::HOST);  // only where a task runs
  CHECK(w.call<api::Service>("ServiceCreate", create));
  api::ServiceUpdateRequest update;
  update.set_name("api");
  update.add_fields("ports");
  *update.mutable_spec()->add_ports() = port;
  update.mutable_spec()->mutable_ports(0)->set_mode(api::INGRESS);
  CHECK(w.call<api::Service>("ServiceUpdate", update).error().message() == sentence);
  w.nodes[3].busy_ports.clear();
  CHECK(w.call<api::Service>("ServiceUpdate", update));
  // Taken while the node's agent was down.
  w.nodes[2].busy_ports = {8080};
  api::NameRequest show;
  show.set_name("api");
  const auto shown = w.call<api::Service>("ServiceShow", show);
  REQUIRE(shown);
  REQUIRE(shown->problems_size() == 1);
  CHECK(shown->problems(0).find("node 'n2'") != std::string::npos);
  // A node that is silent holds nobody up for long.
  w.nodes[1].slow = true;
  auto late = std::make_shared<Result<std::string>>(Error("no answer"));
  w.manager->handle(w.now, {World::node_id(1), api::MANAGER, true, ""}, "ServiceShow",
                    show.SerializeAsString(),
                    [late](Result<std::string> r) { *late = std::move(r); });
  w.settle_messages();
  CHECK(!*late);
  w.pass(1s);
  CHECK(*late);
}

TEST_CASE("who waits for nodes' answers is told when the manager no longer leads") {
  World w;
  w.cluster_of(2);
  REQUIRE(w.network("web"));
  REQUIRE(w.service("api", 1, "web"));
  w.work();
  w.nodes[1].slow = w.nodes[2].slow = true;
  api::ServiceLogsRequest request;
  request.set_name("api");
  auto answer = std::make_shared<Result<std::string>>(Error("no answer"));
  w.manager->handle(w.now, {World::node_id(1), api::MANAGER, true, ""}, "ServiceLogs",
                    request.SerializeAsString(),
                    [answer](Result<std::string> r) { *answer = std::move(r); });
  w.restart();
  REQUIRE(!*answer);
  CHECK(answer->error().code() == ErrorCode::unavailable);
}

TEST_CASE("a node leaves and is forgotten, the last manager does not") {
  World w;
  w.cluster_of(2);
  REQUIRE(w.call<api::Empty>("Leave", api::LeaveRequest(), 2));
  CHECK(w.manager->state().nodes.size() == 1);
  CHECK(w.call<api::Empty>("Leave", api::LeaveRequest(), 1).error().message() ==
        "node 'n1' is the last manager: without it the cluster cannot be changed any more; use "
        "--force to give the cluster up");
}
