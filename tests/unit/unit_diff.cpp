// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>
#include <rapidcheck.h>

#include <algorithm>
#include <chrono>
#include <set>

#include "core/diff/diff.h"
#include "core/diff/regions.h"
#include "core/plan/plan.h"
#include "golden/fake_kernel.h"
#include "golden/fixture.h"

using namespace weft;
using namespace weft::diff;
using fixture::Cluster;
using fixture::FakeKernel;

namespace {

constexpr Duration drain = 30s;

// An agent and its kernel.
struct Node {
  FakeKernel kernel;
  Held held;
  Memory memory;
  Instant now{1000s};
  Limits limits;
  std::vector<Operation> last;
  Instant deadline;
  std::vector<std::string> problems;
  std::string broken;  // first trouble a packet could have met

  // Plans and applies; stops before operation `fail_at`. True if all were applied.
  bool update(const plan::NodeView& view, size_t fail_at = SIZE_MAX) {
    auto step = diff::diff(plan::plan(view), held, memory, drain, now, limits);
    last = step.operations;
    deadline = step.deadline;
    problems = step.problems;
    for (size_t i = 0; i < last.size(); ++i) {
      if (i == fail_at) {
        memory = {};
        return false;
      }
      REQUIRE(kernel.apply(last[i]));
      held.note(last[i]);
      if (broken.empty()) broken = kernel.broken();
    }
    memory = std::move(step.memory);
    return true;
  }
  void restart() {
    held = kernel.read_back();
    memory = {};
  }
  uint32_t index_of(uint64_t id) const {
    for (const auto& [index, s] : held.services)
      if (s.id == id) return index;
    return WEFT_NO_SERVICE;
  }
};

// One service of `backends` endpoints in network 1 over three nodes, published on port 80.
void make_service(Cluster& c, unsigned backends) {
  c.nodes(3);
  c.network(0, "ingress");
  c.network(1, "front");
  c.service(1, "web", 1).ports.push_back({.published = 80, .target = 8080});
  for (unsigned i = 0; i < backends; ++i) {
    c.endpoint(1, 10 + i, 1 + i % 3, "svc1");
    c.endpoint(0, 10 + i, 1 + i % 3, "svc1");
  }
}

// Backend of a slot, as the MAC it leads to.
std::vector<Bytes> owners(const Node& node, const weft_service& service) {
  std::vector<Bytes> out;
  const Range slots = slots_of(service);
  for (uint32_t s = 0; s < slots.count; ++s) {
    const uint16_t primary = node.held.slot(slots.first + s).primary & 0x7fff;
    const weft_backend b = node.held.backend(service.backends + primary);
    out.emplace_back(b.mac, b.mac + 6);
  }
  return out;
}

weft_service service_in(const Node& node, uint32_t vni) {
  for (const auto& [index, s] : node.held.services)
    if (s.vni == vni) return s;
  return {};
}

// Any cluster state of three nodes, four services and up to a few dozen endpoints.
void any_state(Cluster& c) {
  c.nodes(4);
  c.network(0, "ingress");
  c.network(1, "front");
  c.network(2, "back");
  c.endpoint(1, 2, 1);  // keeps both networks present
  c.endpoint(2, 2, 1);
  for (unsigned s = 1; s <= 4; ++s) {
    if (*rc::gen::inRange(0, 5) == 0) continue;
    auto& service = c.service(s, "svc", 1 + s % 2);
    service.dnsrr = *rc::gen::inRange(0, 8) == 0;
    if (*rc::gen::inRange(0, 2) == 0)
      service.ports.push_back({.published = uint16_t(8000 + s), .target = 80});
    const unsigned count = *rc::gen::weightedOneOf<unsigned>(
        {{8, rc::gen::inRange(0u, 12u)}, {1, rc::gen::just(20u)}});
    for (unsigned i = 0; i < count; ++i) {
      if (*rc::gen::inRange(0, 4) == 0) continue;
      const unsigned node = 1 + (i * 7 + s) % 4;
      const auto state =
          *rc::gen::weightedElement<plan::EndpointState>({{6, plan::EndpointState::ready},
                                                          {1, plan::EndpointState::starting},
                                                          {2, plan::EndpointState::draining}});
      const auto id = c.keep("svc" + std::to_string(s));
      c.endpoint(1 + s % 2, s * 100 + i, node, id).state = state;
      if (!service.ports.empty()) c.endpoint(0, s * 100 + i, node, id).state = state;
    }
  }
  for (auto& m : c.view.members)
    m.state = *rc::gen::weightedElement<plan::MemberState>({{6, plan::MemberState::alive},
                                                            {1, plan::MemberState::suspect},
                                                            {1, plan::MemberState::dead}});
}

}  // namespace

TEST_CASE("applying a difference gives exactly the desired state, and a second one is empty") {
  CHECK(rc::check([] {
    Node node;
    for (int step = 0; step < 4; ++step) {
      Cluster c;
      any_state(c);
      node.now = node.now + std::chrono::seconds(*rc::gen::inRange(0, 40));
      RC_ASSERT(node.update(c.view));
      RC_ASSERT(node.problems.empty());
      RC_ASSERT(node.broken == std::string());
      RC_ASSERT(node.update(c.view));
      RC_ASSERT(node.last.empty());

      const plan::DesiredState desired = plan::plan(c.view);
      const auto equal = [](const auto& want, const auto& have) {
        return std::equal(want.begin(), want.end(), have.begin(), have.end(),
                          [](const auto& a, const auto& b) {
                            return bytes_of(a.first) == bytes_of(b.first) &&
                                   bytes_of(a.second) == bytes_of(b.second);
                          });
      };
      RC_ASSERT(equal(desired.ports, node.held.ports));
      RC_ASSERT(equal(desired.local_macs, node.held.local_macs));
      RC_ASSERT(equal(desired.networks, node.held.networks));
      RC_ASSERT(equal(desired.subnets, node.held.subnets));
      RC_ASSERT(equal(desired.vteps, node.held.vteps));
      RC_ASSERT(equal(desired.peers, node.held.peers));
      RC_ASSERT(node.held.services.size() == desired.services.size());
    }
  }));
}

TEST_CASE(
    "whichever operation fails, packets meet no half-made service and the next diff converges") {
  CHECK(rc::check([] {
    Node node;
    Cluster before;
    any_state(before);
    RC_ASSERT(node.update(before.view));
    Cluster after;
    any_state(after);
    Node whole = node;
    RC_ASSERT(whole.update(after.view));
    const size_t steps = whole.last.size();
    for (size_t fail = 0; fail < steps; fail += 1 + steps / 5) {
      Node torn = node;
      RC_ASSERT(!torn.update(after.view, fail));
      if (fail % 2 == 0) torn.restart();
      RC_ASSERT(torn.update(after.view));
      RC_ASSERT(torn.broken == std::string());
      RC_ASSERT(torn.problems.empty());
      RC_ASSERT(torn.update(after.view));
      RC_ASSERT(torn.last.empty());
      for (const MapId map :
           {MapId::ports, MapId::networks, MapId::peers, MapId::published, MapId::node_addresses})
        RC_ASSERT(torn.kernel.map(map).size() >= whole.kernel.map(map).size());
      RC_ASSERT(torn.held.endpoints.size() == whole.held.endpoints.size());
      for (const auto& [index, service] : whole.held.services) {
        const uint32_t at = torn.index_of(service.id);
        RC_ASSERT(at != WEFT_NO_SERVICE);
        RC_ASSERT(owners(torn, torn.held.services.at(at)) == owners(whole, service));
      }
    }
  }));
}

TEST_CASE("a restarted agent finds its services in place and changes nothing") {
  Cluster c;
  make_service(c, 7);
  Node node;
  REQUIRE(node.update(c.view));
  const FakeKernel before = node.kernel;
  node.restart();
  REQUIRE(node.update(c.view));
  CHECK(node.last.empty());
  CHECK(node.kernel == before);
}

TEST_CASE("another agent with the same state gives each slot to the same backend") {
  Cluster a, b;
  make_service(a, 5);
  make_service(b, 9);
  Node one, two;
  REQUIRE(one.update(a.view));
  // The other node got there by another way.
  REQUIRE(two.update(b.view));
  REQUIRE(two.update(a.view));
  CHECK(owners(one, service_in(one, 4097)) == owners(two, service_in(two, 4097)));
}

TEST_CASE("a service is complete before its VIP and published port, and outlives them") {
  Cluster c;
  make_service(c, 3);
  Node node;
  REQUIRE(node.update(c.view));
  const auto first = [&](MapId map) {
    return std::find_if(node.last.begin(), node.last.end(),
                        [&](const Operation& op) { return op.map == map; }) -
           node.last.begin();
  };
  const auto last = [&](MapId map) {
    return node.last.rend() -
           std::find_if(node.last.rbegin(), node.last.rend(),
                        [&](const Operation& op) { return op.map == map; }) -
           1;
  };
  CHECK(last(MapId::backends) < last(MapId::service_slots));
  CHECK(last(MapId::service_slots) < last(MapId::services));
  CHECK(last(MapId::services) < first(MapId::published));
  CHECK(last(MapId::services) < last(MapId::endpoints));  // the VIP
  CHECK(node.last.back().map == MapId::published);

  c.view.services.clear();
  REQUIRE(node.update(c.view));
  CHECK(node.last.front().map == MapId::published);
  CHECK(last(MapId::published) < first(MapId::services));
  CHECK(first(MapId::endpoints) < first(MapId::services));
  CHECK(node.held.services.empty());
  CHECK(node.held.published.empty());
  CHECK(node.broken.empty());
}

TEST_CASE("a changed backend set is switched to by one store of the table") {
  Cluster c;
  make_service(c, 3);
  Node node;
  REQUIRE(node.update(c.view));
  const weft_service before = service_in(node, 4097);
  c.endpoint(1, 50, 2, "svc1");
  REQUIRE(node.update(c.view));
  const weft_service after = service_in(node, 4097);
  CHECK(slots_of(after).first != slots_of(before).first);
  CHECK(after.backends == before.backends);
  std::vector<MapId> order;
  for (const Operation& op : node.last) order.push_back(op.map);
  CHECK(order == std::vector<MapId>{MapId::endpoints, MapId::backends, MapId::service_slots,
                                    MapId::services});
}

TEST_CASE("backends keep their offsets when others come and go, even into a larger region") {
  Cluster c;
  make_service(c, 3);
  Node node;
  REQUIRE(node.update(c.view));
  const auto offsets = [&] {
    std::map<Bytes, uint32_t> out;
    const weft_service s = service_in(node, 4097);
    for (uint32_t o = 0; o < s.backend_count; ++o) {
      const weft_backend b = node.held.backend(s.backends + o);
      if (b.flags != 0) out[Bytes(b.mac, b.mac + 6)] = o;
    }
    return out;
  };
  for (unsigned round = 0; round < 30; ++round) {
    const auto before = offsets();
    c.endpoint(1, 100 + round, 1 + round % 3, "svc1");
    if (round % 3 == 2) c.detach(c.keep("ep1-" + std::to_string(100 + round / 2)));
    REQUIRE(node.update(c.view));
    const auto after = offsets();
    for (const auto& [mac, offset] : after)
      if (before.contains(mac)) CHECK(before.at(mac) == offset);
    // The entry of the one that left is not given away in the same step.
    for (const auto& [mac, offset] : after)
      for (const auto& [gone, at] : before)
        if (!before.contains(mac) && !after.contains(gone)) CHECK(offset != at);
  }
  CHECK(offsets().size() == 23);
  CHECK(service_in(node, 4097).backend_count > 16);
  CHECK(node.broken.empty());
}

TEST_CASE("moving bits go after the drain time by a rewrite in place, at the deadline told") {
  Cluster c;
  make_service(c, 3);
  Node node;
  REQUIRE(node.update(c.view));
  CHECK(node.deadline == Instant::never());
  c.endpoint(1, 50, 2, "svc1");
  REQUIRE(node.update(c.view));
  CHECK(node.deadline == node.now + drain);
  const auto moving = [&] {
    size_t count = 0;
    const Range slots = slots_of(service_in(node, 4097));
    for (uint32_t s = 0; s < slots.count; ++s)
      count += (node.held.slot(slots.first + s).primary & WEFT_SLOT_MOVING) != 0;
    return count;
  };
  CHECK(moving() > 150);
  node.now = node.deadline - 1s;
  REQUIRE(node.update(c.view));
  CHECK(node.last.empty());
  CHECK(node.deadline == node.now + 1s);
  node.now = node.deadline;
  REQUIRE(node.update(c.view));
  REQUIRE(node.last.size() == 1);
  CHECK(node.last[0].map == MapId::service_slots);
  CHECK(moving() == 0);
  CHECK(node.deadline == Instant::never());
}

TEST_CASE("a draining backend stays in the table as secondary until it is gone") {
  Cluster c;
  make_service(c, 3);
  Node node;
  REQUIRE(node.update(c.view));
  const auto before = owners(node, service_in(node, 4097));
  plan::Endpoint* leaving = nullptr;
  for (auto& e : c.view.endpoints)
    if (e.id == "ep1-11") leaving = &e;
  REQUIRE(leaving != nullptr);
  const Bytes mac(leaving->mac.bytes.begin(), leaving->mac.bytes.end());
  leaving->state = plan::EndpointState::draining;
  REQUIRE(node.update(c.view));
  const weft_service service = service_in(node, 4097);
  const Range slots = slots_of(service);
  size_t moved = 0;
  for (uint32_t s = 0; s < slots.count; ++s) {
    const auto pair = node.held.slot(slots.first + s);
    const weft_backend second = node.held.backend(service.backends + pair.secondary);
    if (before[s] != mac) continue;
    ++moved;
    CHECK(Bytes(second.mac, second.mac + 6) == mac);
    CHECK(second.flags == WEFT_BACKEND_DRAINING);
  }
  CHECK(moved > 250);
  c.detach("ep1-11");
  REQUIRE(node.update(c.view));
  CHECK(service_in(node, 4097).backend_count == 3);
  CHECK(node.broken.empty());
}

TEST_CASE("a map that is full leaves the service as it was and says so") {
  Cluster c;
  make_service(c, 3);
  Node node;
  node.limits = {.services = 2, .backends = 16, .slots = 4096};
  REQUIRE(node.update(c.view));
  CHECK(node.problems.empty());
  c.service(2, "more", 1);
  c.endpoint(1, 200, 1, "svc2");
  REQUIRE(node.update(c.view));
  REQUIRE(node.problems.size() == 1);
  CHECK(node.problems[0] == "service svc2 has no entry: `services` is full");
  CHECK(node.broken.empty());

  node.limits.services = 8;
  REQUIRE(node.update(c.view));
  REQUIRE(node.problems.size() == 1);
  CHECK(node.problems[0] ==
        "service svc2 keeps its former backends: it has too many, or `backends` is full");
  CHECK(node.held.endpoints.size() == node.kernel.map(MapId::endpoints).size());

  node.limits = {};
  REQUIRE(node.update(c.view));
  CHECK(node.problems.empty());
  CHECK(node.held.services.size() == 3);
  CHECK(node.broken.empty());

  // Without room for a second table the slots are rewritten where they are.
  node.limits.slots = 3 * 1024;
  c.endpoint(1, 201, 2, "svc2");
  REQUIRE(node.update(c.view));
  CHECK(node.problems.empty());
  CHECK(service_in(node, 4097).id != 0);
}

TEST_CASE("regions are aligned, disjoint, inside the limit, and fill gaps") {
  Regions regions(1024);
  regions.occupy({0, 8});
  regions.occupy({24, 40});
  CHECK(regions.allocate(8) == Range{8, 8});
  CHECK(regions.allocate(8) == Range{16, 8});
  CHECK(regions.allocate(8) == Range{64, 8});
  CHECK(regions.allocate(512) == Range{512, 512});
  CHECK(regions.allocate(256) == Range{256, 256});
  CHECK(regions.allocate(256) == std::nullopt);
  CHECK(regions.allocate(128) == Range{128, 128});
  CHECK(regions.allocate(64) == std::nullopt);
  CHECK(regions.allocate(32) == Range{96, 32});
  CHECK(regions.allocate(16) == Range{80, 16});
  CHECK(regions.allocate(8) == Range{72, 8});
  CHECK(regions.allocate(8) == std::nullopt);
  Regions overlapping(64);
  overlapping.occupy({0, 32});
  overlapping.occupy({8, 8});
  CHECK(overlapping.allocate(8) == Range{32, 8});
}

TEST_CASE("nonsense read back from the kernel is replaced, not followed") {
  Cluster c;
  make_service(c, 3);
  Node node;
  REQUIRE(node.update(c.view));
  const weft_service good = service_in(node, 4097);
  const uint32_t index = node.index_of(good.id);
  for (int kind = 0; kind < 3; ++kind) {
    weft_service bad = good;
    if (kind == 0) bad.table = 77ull << 32 | 5;
    if (kind == 1) bad.backend_count = 0xffffffff;
    if (kind == 2) bad.backends = 0xfffffff0;
    Node broken = node;
    REQUIRE(broken.kernel.apply(set_of(MapId::services, index, bad)));
    broken.restart();
    REQUIRE(broken.update(c.view));
    CHECK(broken.kernel.broken() == "");
    CHECK(owners(broken, service_in(broken, 4097)) == owners(node, good));
  }
}
