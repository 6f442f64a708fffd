// SPDX-License-Identifier: Apache-2.0
#include "core/manage/state.h"
#include "unit/manager_world.h"

using namespace weft;
using test::World;

TEST_CASE("a restarted manager knows what it acknowledged and goes on") {
  World w;
  w.cluster_of(3);
  REQUIRE(w.network("web"));
  REQUIRE(w.service("api", 3, "web"));
  w.work();
  const auto tasks = w.manager->state().tasks;
  w.restart();
  w.pass(1ms);
  for (int n = 1; n <= 3; n++) w.connect(n);
  REQUIRE(w.manager->state().tasks.size() == 3);
  for (const auto& [id, task] : tasks)
    CHECK(w.manager->state().tasks.at(id).node_id() == task.node_id());
  // A node that does not come back is found dead although it never had a session here.
  w.restart();
  for (int n = 1; n <= 2; n++) w.connect(n);
  for (int i = 0; i < 4; i++) {
    w.pass(5s);
    w.beat(1);
    w.beat(2);
  }
  CHECK(w.state_of(3) == api::NODE_DEAD);
}

TEST_CASE("nothing is answered, sent or remembered before the store has acknowledged") {
  World w;
  w.cluster_of(2);
  REQUIRE(w.network("web"));
  w.store.hold = true;
  const int messages = w.nodes[2].messages;
  CHECK(w.service("api", 2, "web").error().message() == "no answer");
  CHECK(w.manager->state().services.empty());
  CHECK(w.nodes[2].messages == messages);
  SUBCASE("then it is") {
    w.store.answer_all();
    w.settle_messages();
    CHECK(w.manager->state().services.size() == 1);
    CHECK(w.nodes[2].tasks.size() == 1);
  }
  SUBCASE("the manager is killed in between: the store decides") {
    w.store.hold = false;
    w.restart();
    CHECK(w.manager->state().services.size() == 1);
    w.connect(2);
    CHECK(w.nodes[2].tasks.size() == 1);
  }
}

TEST_CASE("a full disk refuses the request, changes nothing, and the next one works") {
  World w;
  w.cluster_of(1);
  w.store.fail_at = w.store.commits;
  const auto refused = w.network("web");
  REQUIRE(!refused);
  CHECK(refused.error().message() == "write store: the disk is full");
  CHECK(w.manager->state().networks.size() == 1);
  CHECK(w.network("web")->vni() == 4097);
}

TEST_CASE(
    "a disk that stays full is tried again in peace, and the dead node is found when it works") {
  World w;
  w.cluster_of(2);
  w.pass(14s);
  w.beat(1);
  const int commits = w.store.commits;
  for (int i = 0; i < 5; i++) {
    w.store.fail_at = w.store.commits;
    w.pass(1s);
    CHECK(w.manager->next_deadline() >= w.now.instant + 1s);
  }
  CHECK(w.store.commits <= commits + 5);
  CHECK(w.state_of(2) == api::NODE_ALIVE);
  w.pass(1s);
  CHECK(w.state_of(2) == api::NODE_DEAD);
}

TEST_CASE("an operation that is sent again is carried out once, also after a restart") {
  World w;
  w.cluster_of(2);
  REQUIRE(w.network("web"));
  api::AllocateEndpointRequest request;
  request.mutable_attach()->set_network("web");
  request.set_operation_id("op-1");
  const std::string first =
      w.call<api::Endpoint>("AllocateEndpoint", request, 2)->SerializeAsString();
  CHECK(w.call<api::Endpoint>("AllocateEndpoint", request, 2)->SerializeAsString() == first);
  w.restart();
  CHECK(w.call<api::Endpoint>("AllocateEndpoint", request, 2)->SerializeAsString() == first);
  CHECK(w.manager->state().endpoints.size() == 1);
  // Another node's operation of the same name is another operation.
  CHECK(w.call<api::Endpoint>("AllocateEndpoint", request, 1)->SerializeAsString() != first);
}

TEST_CASE("the store failing at any commit, with a restart there, ends in the same place") {
  for (int k = 0; k < 25; k++) {
    INFO("failing commit ", k);
    World w;
    w.store.fail_at = k;
    const auto again = [&](auto step) {
      if (step()) return;
      w.restart();
      for (auto& [n, node] : w.nodes) w.connect(n);
      REQUIRE(step());
    };
    const auto init = [&] {
      bool done = false;
      w.manager->init(w.now, "c0ffee", {}, World::join_request(1, ""),
                      [&](Result<std::string> r) { done = r.has_value(); });
      return done;
    };
    again(init);
    const std::string secret = w.manager->state().cluster.begin()->second.worker_secret();
    again([&] { return w.join(2, secret).has_value(); });
    // A session that could not be recorded is opened anew.
    for (int n = 1; n <= 2; n++) {
      test::FakeNode& node = w.nodes[n];
      node.id = World::node_id(n);
      again([&] {
        bool done = false;
        w.manager->open_session(w.now, {node.id, api::WORKER, true, ""}, "",
                                std::make_unique<test::FakeSink>(node),
                                [&](Result<std::string> r) { done = r.has_value(); });
        w.settle_messages();
        return done;
      });
    }
    again([&] { return w.network("web").has_value(); });
    again([&] { return w.service("api", 2, "web").has_value(); });
    w.pass(2s);
    std::set<std::string> addresses;
    for (const auto& [id, task] : w.manager->state().tasks)
      for (const auto& attachment : task.attachments())
        CHECK(addresses.insert(attachment.address4()).second);
    CHECK(addresses.size() == 2);
    CHECK(w.manager->state().services.size() == 1);
    CHECK(w.manager->state().networks.size() == 2);
  }
}
