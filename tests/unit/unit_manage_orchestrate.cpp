// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include "unit/manage_cluster.h"

using namespace weft;
using test::Cluster;
using namespace weft::manage;
using Spread = std::map<std::string, int>;

TEST_CASE("tasks are spread over the nodes, with addresses and names") {
  Cluster c(3);
  REQUIRE(c.network("web"));
  REQUIRE(c.service(Cluster::spec("api", 6, "web")));
  CHECK(c.spread() == Spread{{"n1", 2}, {"n2", 2}, {"n3", 2}});
  for (const api::Task& task : c.live()) {
    CHECK(task.state() == api::TASK_ASSIGNED);
    REQUIRE(task.attachments_size() == 1);
    CHECK(!task.attachments(0).address4().empty());
    CHECK(task.name() == "api." + std::to_string(task.slot()) + "." + task.id());
  }
}

TEST_CASE("scaling down stops the newest, scaling up fills the lowest slots") {
  Cluster c(2);
  REQUIRE(c.service(Cluster::spec("api", 2)));
  c.settle();
  c.now_ms += 1000;
  REQUIRE(c.scale("api", 4));
  c.settle();
  REQUIRE(c.scale("api", 2));
  std::set<uint32_t> slots;
  for (const api::Task& task : c.live()) slots.insert(task.slot());
  CHECK(slots == std::set<uint32_t>{1, 2});
  c.settle();
  REQUIRE(c.scale("api", 3));
  slots.clear();
  for (const api::Task& task : c.live()) slots.insert(task.slot());
  CHECK(slots == std::set<uint32_t>{1, 2, 3});
}

TEST_CASE("a global service runs once on every node that meets its constraints") {
  Cluster c(3);
  api::ServiceSpec spec = Cluster::spec("agent", 0);
  spec.set_global(true);
  spec.add_constraints("node.role!=manager");
  REQUIRE(c.service(spec));
  CHECK(c.spread() == Spread{{"n2", 1}, {"n3", 1}});
  c.settle();
  // A dead node keeps its task for when it comes back.
  c.set_state(3, api::NODE_DEAD);
  CHECK(c.spread() == Spread{{"n2", 1}, {"n3", 1}});
  c.set_state(3, api::NODE_ALIVE);
  CHECK(c.state.tasks.size() == 2);
  spec.clear_constraints();
  REQUIRE(c.update(spec, "constraints"));
  CHECK(c.spread() == Spread{{"n1", 1}, {"n2", 1}, {"n3", 1}});
}

TEST_CASE("constraints, drain and pause decide where tasks go") {
  Cluster c(3);
  const auto set = [&](const char* node, api::Availability availability, const char* label) {
    api::NodeUpdateRequest request;
    request.set_name(node);
    request.set_set_availability(true);
    request.set_availability(availability);
    if (label) (*request.mutable_labels_add())["disk"] = label;
    REQUIRE(c.call<api::Node>("NodeUpdate", request));
  };
  set("n2", api::ACTIVE, "ssd");
  api::ServiceSpec fast = Cluster::spec("fast", 2);
  fast.add_constraints("node.labels.disk == ssd");
  REQUIRE(c.service(fast));
  CHECK(c.spread("fast") == Spread{{"n2", 2}});
  set("n3", api::PAUSE, nullptr);
  REQUIRE(c.service(Cluster::spec("any", 2)));
  CHECK(c.spread("any") == Spread{{"n1", 1}, {"n2", 1}});
  c.settle();
  set("n2", api::DRAIN, nullptr);
  CHECK(c.spread("fast") == Spread{{"-", 2}});
  CHECK(c.live("fast")[0].message() ==
        "no node can run it: 1 drained, 1 outside the constraints, 1 paused");
  set("n3", api::ACTIVE, "ssd");
  CHECK(c.spread("fast") == Spread{{"n3", 2}});
}

TEST_CASE("host-mode ports keep tasks on different nodes") {
  Cluster c(2);
  api::ServiceSpec spec = Cluster::spec("edge", 3);
  *spec.add_ports() = Cluster::port(80, 80, "tcp", api::HOST);
  REQUIRE(c.service(spec));
  CHECK(c.spread() == Spread{{"-", 1}, {"n1", 1}, {"n2", 1}});
}

TEST_CASE("a failed task is replaced in its slot after the delay, with history kept short") {
  Cluster c(1);
  REQUIRE(c.network("web"));
  REQUIRE(c.service(Cluster::spec("api", 1, "web")));
  for (int i = 0; i < 8; i++) {
    c.settle();
    const api::Task task = c.live().at(0);
    c.report(task, api::TASK_FAILED);
    CHECK(c.live().empty());
    CHECK(c.state.leases.at(task.attachments(0).network_id() + "/" + task.attachments(0).address4())
              .owner()
              .empty());
    REQUIRE(c.next);
    CHECK(c.next->milliseconds == c.now_ms + 5000);
    c.now_ms += 4999;
    c.orchestrate_now();
    CHECK(c.live().empty());
    c.now_ms += 1;
    c.orchestrate_now();
    REQUIRE(c.live().size() == 1);
    CHECK(c.live()[0].slot() == 1);
  }
  CHECK(c.state.tasks.size() == 1 + task_history);
}

TEST_CASE("a task that a node refuses goes to another") {
  Cluster c(2);
  REQUIRE(c.service(Cluster::spec("api", 1)));
  const std::string first = c.live().at(0).node_id();
  c.report(c.live()[0], api::TASK_REJECTED);
  c.now_ms += 5000;
  c.orchestrate_now();
  CHECK(c.live().at(0).node_id() != first);
}

TEST_CASE("tasks of a dead node are replaced, and their addresses held until it is sure") {
  Cluster c(3);
  REQUIRE(c.network("web"));
  REQUIRE(c.service(Cluster::spec("api", 3, "web")));
  c.settle();
  const size_t owned = c.owned_leases();
  c.set_state(3, api::NODE_SUSPECT);
  CHECK(c.spread() == Spread{{"n1", 1}, {"n2", 1}, {"n3", 1}});
  c.set_state(3, api::NODE_DEAD);
  CHECK(c.spread() == Spread{{"n1", 2}, {"n2", 1}});
  CHECK(c.owned_leases() == owned + 1);
  SUBCASE("the node comes back and stops it") {
    c.set_state(3, api::NODE_ALIVE);
    c.settle();
    CHECK(c.owned_leases() == owned);
    CHECK(c.live().size() == 3);
  }
  SUBCASE("the node is removed") {
    api::NodeRemoveRequest request;
    request.set_name("n3");
    REQUIRE(c.call<api::Empty>("NodeRemove", request));
    CHECK(c.owned_leases() == owned - 2);  // its own ingress addresses too
  }
  SUBCASE("a day passes") {
    c.now_ms += 24 * 3600 * 1000;
    c.orchestrate_now();
    CHECK(c.owned_leases() == owned);
  }
}

TEST_CASE("an update replaces tasks step by step, and only if it concerns them") {
  Cluster c(2);
  api::ServiceSpec spec = Cluster::spec("api", 4);
  spec.set_update_parallelism(2);
  spec.set_update_delay_ms(3000);
  REQUIRE(c.service(spec));
  c.settle();
  const auto ids = [&] {
    std::set<std::string> out;
    for (const api::Task& task : c.live()) out.insert(task.id());
    return out;
  };
  const auto outdated = [&] {
    int count = 0;
    for (const api::Task& task : c.live()) count += task.spec().command(0) == "server";
    return count;
  };
  const auto before = ids();
  (*spec.mutable_labels())["a"] = "b";
  REQUIRE(c.update(spec, "labels"));
  CHECK(ids() == before);
  spec.set_command(0, "server2");
  c.now_ms += 60'000;
  REQUIRE(c.update(spec, "command"));
  CHECK(outdated() == 2);
  CHECK(c.live().size() == 4);
  c.orchestrate_now();
  CHECK(outdated() == 2);  // the new ones do not run yet
  c.settle();
  CHECK(outdated() == 2);  // they run, and now the delay
  REQUIRE(c.next);
  CHECK(c.next->milliseconds == c.now_ms + 3000);
  c.now_ms += 3000;
  c.orchestrate_now();
  CHECK(outdated() == 0);
  c.settle();
  CHECK(c.live().size() == 4);
}

TEST_CASE("an update whose tasks fail stops there, and the old ones go on") {
  Cluster c(1);
  api::ServiceSpec spec = Cluster::spec("api", 3);
  REQUIRE(c.service(spec));
  c.settle();
  spec.set_command(0, "broken");
  REQUIRE(c.update(spec, "command"));
  for (int i = 0; i < 5; i++) {
    for (const api::Task& task : c.live())
      if (task.spec().command(0) == "broken" && task.state() == api::TASK_ASSIGNED)
        c.report(task, api::TASK_FAILED);
    c.now_ms += 5000;
    c.orchestrate_now();
  }
  int old = 0;
  for (const api::Task& task : c.live()) old += task.spec().command(0) == "server";
  CHECK(old == 2);
}

TEST_CASE("removing a service stops its tasks first and then frees all it had") {
  Cluster c(2);
  REQUIRE(c.network("web"));
  const size_t owned = c.owned_leases();
  api::ServiceSpec spec = Cluster::spec("api", 3, "web");
  *spec.add_ports() = Cluster::port(8080, 80);
  REQUIRE(c.service(spec));
  c.settle();
  REQUIRE(c.remove("ServiceRemove", "api"));
  CHECK(c.state.services.size() == 1);
  CHECK(c.state.services.begin()->second.removing());
  CHECK(c.service(Cluster::spec("api", 1)).error().message() ==
        "service 'api' is being removed: try again when its tasks have stopped");
  c.settle();
  CHECK(c.state.services.empty());
  CHECK(c.state.tasks.empty());
  CHECK(c.owned_leases() == owned);
  CHECK(c.remove("NetworkRemove", "web"));
  // Addresses rest, then nothing is left of them.
  c.now_ms += 60'000;
  c.orchestrate_now();
  CHECK(c.state.leases.size() == c.owned_leases());
  REQUIRE(c.service(Cluster::spec("api", 1)));
}

TEST_CASE("a service of runtime none has no tasks and is joined by endpoints") {
  Cluster c(1);
  REQUIRE(c.network("web", "", true));
  api::ServiceSpec spec = Cluster::spec("pods", 0, "web");
  spec.clear_command();
  spec.set_runtime("none");
  const std::string id = c.service(spec)->id();
  CHECK(c.live().empty());
  api::AllocateEndpointRequest request;
  request.mutable_attach()->set_network("web");
  request.mutable_attach()->set_service("pods");
  const auto endpoint = c.call<api::Endpoint>("AllocateEndpoint", request);
  REQUIRE(endpoint);
  CHECK(endpoint->service_id() == id);
  CHECK(!c.remove("ServiceRemove", "pods"));
  CHECK(!c.scale("pods", 2));
}
