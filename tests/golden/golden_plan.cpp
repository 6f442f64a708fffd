// SPDX-License-Identifier: Apache-2.0
// Cluster state in, the text of all maps out. The expected texts are in expected/; a change shows
// as a diff there. WEFT_GOLDEN_UPDATE=1 writes them anew.
#include <doctest/doctest.h>

#include <cstdlib>
#include <ctime>
#include <fstream>
#include <iterator>

#include "core/diff/diff.h"
#include "core/plan/plan.h"
#include "golden/dump.h"
#include "golden/fixture.h"

using namespace weft;
using fixture::address;
using fixture::Cluster;
using fixture::Dump;

namespace {

constexpr Duration drain = 30s;
constexpr Instant start{1000s};

void check_golden(const std::string& name, const std::string& text) {
  const std::string path = "tests/golden/expected/" + name + ".txt";
  if (std::getenv("WEFT_GOLDEN_UPDATE") != nullptr) std::ofstream(path) << text;
  std::ifstream file(path);
  const std::string expected{std::istreambuf_iterator<char>(file), {}};
  INFO("run with WEFT_GOLDEN_UPDATE=1 and read the diff of ", path);
  CHECK(text == expected);
}

// A node whose operations all succeed.
struct Node {
  diff::Held held;
  diff::Memory memory;
  Instant now = start;
  std::string steps;

  size_t update(const plan::NodeView& view) {
    auto step = diff::diff(plan::plan(view), held, memory, drain, now);
    REQUIRE(step.problems.empty());
    for (const diff::Operation& op : step.operations) held.note(op);
    memory = std::move(step.memory);
    steps = Dump::of(step.operations);
    return step.operations.size();
  }
  std::string text() const { return "operations\n" + steps + Dump::of(held); }
};

// Three nodes; web runs on all of them with a VIP and a published port, db only on node 3.
void three_nodes(Cluster& c) {
  c.nodes(3);
  c.network(0, "ingress");
  auto& front = c.network(1, "front");
  front.subnet6 = Prefix{address("fd00:1::"), 64};
  front.gateway6 = address("fd00:1::1");
  c.network(2, "back").internal = true;
  auto& web = c.service(1, "web", 1);
  web.ports.push_back({.published = 8080, .target = 80});
  web.vips[0].address6 = address("fd00:1::8001");
  c.service(2, "db", 2).affinity = true;
  for (unsigned n = 1; n <= 3; ++n) {
    c.endpoint(1, 10 + n, n, "svc1").address6 = address("fd00:1::1" + std::to_string(n));
    c.endpoint(0, 10 + n, n, "svc1");
  }
  c.endpoint(2, 10, 3, "svc2");
  c.endpoint(2, 11, 1);
  c.view.addresses = {{address("192.168.0.1"), 2}, {address("127.0.0.1"), 1}};
}

}  // namespace

TEST_CASE("a node that knows nothing but itself") {
  Cluster c;
  c.nodes(1);
  Node node;
  node.update(c.view);
  check_golden("alone", node.text());
}

TEST_CASE("three nodes, two networks, two services, from nothing") {
  Cluster c;
  three_nodes(c);
  Node node;
  node.update(c.view);
  check_golden("three_nodes", node.text());
}

TEST_CASE("a backend more, seen as a change") {
  Cluster c;
  three_nodes(c);
  Node node;
  node.update(c.view);
  c.endpoint(1, 20, 2, "svc1");
  c.endpoint(0, 20, 2, "svc1");
  node.now = start + 10s;
  node.update(c.view);
  check_golden("scaled_up", node.text());
}

TEST_CASE("a draining task and a dead node, seen as a change") {
  Cluster c;
  three_nodes(c);
  Node node;
  node.update(c.view);
  for (auto& e : c.view.endpoints)
    if (e.id == "ep1-11" || e.id == "ep0-11") e.state = plan::EndpointState::draining;
  c.member(3).state = plan::MemberState::dead;
  node.update(c.view);
  check_golden("drain_and_death", node.text());
}

TEST_CASE("a service removed, seen as a change") {
  Cluster c;
  three_nodes(c);
  Node node;
  node.update(c.view);
  c.view.services.erase(c.view.services.begin());
  node.update(c.view);
  check_golden("service_removed", node.text());
}

TEST_CASE("mode=host, dnsrr, a suspect node, a kernel-way VTEP and two nodes without a network") {
  Cluster c;
  three_nodes(c);
  c.service(3, "log", 1).dnsrr = true;
  c.view.services.back().ports.push_back({.published = 514,
                                          .target = 5140,
                                          .protocol = plan::Protocol::udp,
                                          .mode = plan::PublishMode::host});
  c.endpoint(1, 30, 1, "svc3");
  c.endpoint(1, 31, 2, "svc3");
  c.network(3, "elsewhere");
  c.endpoint(3, 2, 2);
  c.member(2).state = plan::MemberState::suspect;
  c.member(3).next_hop.reset();
  Node node;
  node.update(c.view);
  check_golden("special", node.text());
}

TEST_CASE("ten thousand endpoints and a thousand services of ten backends are planned in time") {
  Cluster c;
  c.nodes(100);
  c.network(0, "ingress");
  c.network(1, "front");
  for (unsigned s = 0; s < 1000; ++s) c.service(s, "web", 1);
  for (unsigned e = 0; e < 10000; ++e)
    c.endpoint(1, 2 + e, 1 + e % 100, c.view.services[e / 10].id);

  Node node;
  // Processor time: what others do on the machine does not count.
  const auto ms = [](std::clock_t from, std::clock_t to) {
    return 1000.0 * double(to - from) / CLOCKS_PER_SEC;
  };
  const auto timed = [&](const std::string& what, double bound_ms) {
    const auto begin = std::clock();
    const plan::DesiredState desired = plan::plan(c.view);
    const auto planned = std::clock();
    auto step = diff::diff(desired, node.held, node.memory, drain, node.now);
    const auto end = std::clock();
    MESSAGE(what << ": plan " << ms(begin, planned) << " ms, diff " << ms(planned, end) << " ms, "
                 << step.operations.size() << " operations");
    CHECK(ms(begin, end) < bound_ms);
    for (const diff::Operation& op : step.operations) node.held.note(op);
    node.memory = std::move(step.memory);
    CHECK(step.problems.empty());
    return step.operations.size();
  };
  // Generous, for sanitizers and slow machines.
  CHECK(timed("from nothing", 2000) > 13000);
  CHECK(timed("no change", 500) == 0);
  c.endpoint(1, 20000, 2, c.view.services[0].id);
  CHECK(timed("one endpoint more", 500) == 4);
  const auto begin = std::clock();
  const auto names = plan::plan_names(c.view);
  MESSAGE("names: " << ms(begin, std::clock()) << " ms");
  CHECK(names.at(1).endpoints.size() == 10001);
}
