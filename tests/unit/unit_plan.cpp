// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <algorithm>

#include "base/rng.h"
#include "core/plan/plan.h"
#include "golden/fixture.h"

using namespace weft;
using namespace weft::plan;
using fixture::address;
using fixture::Cluster;

namespace {

template <typename K, typename V>
const V* find(const MapContents<K, V>& contents, const K& key) {
  for (const auto& [k, v] : contents)
    if (std::memcmp(&k, &key, sizeof(K)) == 0) return &v;
  return nullptr;
}

const weft_endpoint* endpoint_at(const DesiredState& d, uint32_t vni, const char* at) {
  weft_endpoint_key key{.vni = vni};
  std::memcpy(key.address, address(at).bytes().data(), 16);
  return find(d.endpoints, key);
}

bool is_peer(const DesiredState& d, uint32_t vni, const char* at) {
  weft_peer_key key{.vni = vni};
  std::memcpy(key.address, address(at).bytes().data(), 16);
  return find(d.peers, key) != nullptr;
}

const PlannedService* service_of(const DesiredState& d, const char* id, uint32_t vni) {
  for (const PlannedService& s : d.services)
    if (s.service_id == id && s.vni == vni) return &s;
  return nullptr;
}

// Three nodes, two networks; node 1 has a container in network 1 only.
void small(Cluster& c) {
  c.nodes(3);
  c.network(0, "ingress");
  c.network(1, "front");
  c.network(2, "back");
  c.endpoint(1, 2, 1);
  c.endpoint(1, 3, 2);
  c.endpoint(2, 2, 3);
}

template <typename T>
bool same(const std::vector<T>& a, const std::vector<T>& b) {
  return a.size() == b.size() &&
         std::equal(a.begin(), a.end(), b.begin(), [](const T& x, const T& y) {
           return std::memcmp(&x.first, &y.first, sizeof(x.first)) == 0 &&
                  std::memcmp(&x.second, &y.second, sizeof(x.second)) == 0;
         });
}

}  // namespace

TEST_CASE("a network is present only while an endpoint of it is attached here; ingress always is") {
  Cluster c;
  small(c);
  DesiredState d = plan::plan(c.view);
  CHECK(find(d.networks, 4096u) != nullptr);
  CHECK(find(d.networks, 4097u) != nullptr);
  CHECK(find(d.networks, 4098u) == nullptr);
  CHECK(endpoint_at(d, 4098, "10.2.0.2") == nullptr);
  CHECK(d.subnets.size() == 3);  // all of the cluster: none of them is the outside
  CHECK(d.routes.size() == 2);
  c.detach("ep1-2");
  d = plan::plan(c.view);
  CHECK(d.networks.size() == 1);
  CHECK(d.ports.size() == 1);  // the node's own
  CHECK(d.routes == std::vector<Route>{{Prefix{address("10.0.0.0"), 16}, 4096}});
}

TEST_CASE(
    "an address leads to its link here, to its node elsewhere, and the gateway to this node") {
  Cluster c;
  small(c);
  const DesiredState d = plan::plan(c.view);
  const weft_endpoint* here = endpoint_at(d, 4097, "10.1.0.2");
  REQUIRE(here != nullptr);
  CHECK(here->kind == WEFT_ENDPOINT_LOCAL);
  CHECK(here->ifindex == 100);
  const weft_endpoint* there = endpoint_at(d, 4097, "10.1.0.3");
  REQUIRE(there != nullptr);
  CHECK(there->kind == WEFT_ENDPOINT_REMOTE);
  CHECK(there->node == 2);
  CHECK(Mac{{there->mac[0], there->mac[1], there->mac[2], there->mac[3], there->mac[4],
             there->mac[5]}} == fixture::mac("02:42:0a:01:00:03"));
  const weft_endpoint* gateway = endpoint_at(d, 4097, "10.1.0.1");
  REQUIRE(gateway != nullptr);
  CHECK(gateway->kind == WEFT_ENDPOINT_GATEWAY);
  CHECK(endpoint_at(d, 4096, "10.0.254.1")->kind == WEFT_ENDPOINT_LOCAL);
  CHECK(endpoint_at(d, 4096, "10.0.254.3")->node == 3);
}

TEST_CASE("a record of this node without a link answers nowhere") {
  Cluster c;
  small(c);
  c.endpoint(1, 9, 1);
  c.view.local_endpoints.pop_back();
  const DesiredState d = plan::plan(c.view);
  CHECK(endpoint_at(d, 4097, "10.1.0.9") == nullptr);
}

TEST_CASE("peers of a network are the nodes with an endpoint in it, of ingress all") {
  Cluster c;
  small(c);
  c.endpoint(2, 3, 1);
  const DesiredState d = plan::plan(c.view);
  CHECK(is_peer(d, 4097, "192.168.0.2"));
  CHECK(!is_peer(d, 4097, "192.168.0.3"));
  CHECK(is_peer(d, 4098, "192.168.0.3"));
  CHECK(!is_peer(d, 4098, "192.168.0.2"));
  CHECK(is_peer(d, 4096, "192.168.0.2"));
  CHECK(is_peer(d, 4096, "192.168.0.3"));
  CHECK(!is_peer(d, 4097, "192.168.0.1"));
}

TEST_CASE("what is gone is hidden, and nothing but its VTEP stays") {
  Cluster c;
  small(c);
  c.service(1, "web", 1);
  c.endpoint(1, 10, 2, "svc1");
  c.member(2).state = MemberState::gone;
  const DesiredState d = plan::plan(c.view);
  CHECK(endpoint_at(d, 4097, "10.1.0.3") == nullptr);
  CHECK(!is_peer(d, 4097, "192.168.0.2"));
  CHECK(!is_peer(d, 4096, "192.168.0.2"));
  CHECK(service_of(d, "svc1", 4097)->backends.empty());
  CHECK(find(d.vteps, 2u) != nullptr);
}

TEST_CASE("a dead node's backends keep open connections and get no new ones, even without others") {
  Cluster c;
  small(c);
  c.service(1, "web", 1);
  c.endpoint(1, 10, 2, "svc1");
  c.member(2).state = MemberState::dead;
  const DesiredState d = plan::plan(c.view);
  CHECK(endpoint_at(d, 4097, "10.1.0.3") != nullptr);
  CHECK(is_peer(d, 4097, "192.168.0.2"));
  CHECK(is_peer(d, 4096, "192.168.0.2"));
  const auto& backends = service_of(d, "svc1", 4097)->backends;
  REQUIRE(backends.size() == 1);
  CHECK(backends[0].state == lb::BackendState::draining);
  CHECK(backends[0].value.flags == (WEFT_BACKEND_DRAINING | WEFT_BACKEND_LOST));
}

TEST_CASE("a suspect's backends drain while there are others, and serve when there are none") {
  Cluster c;
  small(c);
  c.service(1, "web", 1);
  c.endpoint(1, 10, 2, "svc1");
  c.endpoint(1, 11, 3, "svc1");
  c.member(2).state = MemberState::suspect;
  const auto states = [&] {
    const DesiredState d = plan::plan(c.view);
    std::vector<std::pair<unsigned, lb::BackendState>> out;
    for (const auto& b : service_of(d, "svc1", 4097)->backends)
      out.emplace_back(b.value.node, b.state);
    CHECK(endpoint_at(d, 4097, "10.1.0.10") != nullptr);
    return out;
  };
  using lb::BackendState;
  CHECK(states() == std::vector<std::pair<unsigned, BackendState>>{{2, BackendState::draining},
                                                                   {3, BackendState::ready}});
  c.member(3).state = MemberState::suspect;
  CHECK(states() == std::vector<std::pair<unsigned, BackendState>>{{2, BackendState::ready},
                                                                   {3, BackendState::ready}});
}

TEST_CASE("a starting endpoint can be reached but is no backend, a draining one keeps its flows") {
  Cluster c;
  small(c);
  c.service(1, "web", 1);
  c.endpoint(1, 10, 2, "svc1").state = EndpointState::starting;
  c.endpoint(1, 11, 1, "svc1").state = EndpointState::draining;
  const DesiredState d = plan::plan(c.view);
  CHECK(endpoint_at(d, 4097, "10.1.0.10") != nullptr);
  const auto& backends = service_of(d, "svc1", 4097)->backends;
  REQUIRE(backends.size() == 1);
  CHECK(backends[0].state == lb::BackendState::draining);
  CHECK(backends[0].value.flags == (WEFT_BACKEND_DRAINING | WEFT_BACKEND_LOCAL));
  CHECK(backends[0].value.ifindex == 101);
  CHECK(backends[0].id == lb::stable_id("ep1-11"));
}

TEST_CASE("dnsrr has no VIP, and a VIP beats an endpoint that claims its address") {
  Cluster c;
  small(c);
  c.service(1, "web", 1);
  c.service(2, "rr", 1).dnsrr = true;
  c.view.services[0].vips[0].address4 = address("10.1.0.3");
  const DesiredState d = plan::plan(c.view);
  CHECK(service_of(d, "svc1", 4097)->vip4 == address("10.1.0.3"));
  CHECK(endpoint_at(d, 4097, "10.1.0.3") == nullptr);
  CHECK(service_of(d, "svc2", 4097) == nullptr);
}

TEST_CASE("a published port is on every node with all backends of the ingress network, and held") {
  Cluster c;
  small(c);
  c.service(1, "web", 2).ports.push_back({.published = 8080, .target = 80});
  c.endpoint(0, 10, 2, "svc1");
  c.endpoint(0, 11, 3, "svc1");
  const DesiredState d = plan::plan(c.view);
  const PlannedService* mesh = service_of(d, "svc1", 4096);
  REQUIRE(mesh != nullptr);
  CHECK(mesh->backends.size() == 2);
  CHECK(mesh->vip4.is_none());
  REQUIRE(mesh->published.size() == 1);
  CHECK(mesh->published[0].key.port == __builtin_bswap16(8080));
  CHECK(mesh->published[0].target_port == __builtin_bswap16(80));
  CHECK(mesh->published[0].key.protocol == WEFT_PROTOCOL_TCP);
  CHECK(d.held_ports == std::vector<HeldPort>{{Address(), 8080, 6}});
}

TEST_CASE("mode=host publishes this node's backends only, and nothing where there are none") {
  Cluster c;
  small(c);
  c.service(1, "web", 1)
      .ports.push_back(
          {.published = 53, .target = 5353, .protocol = Protocol::udp, .mode = PublishMode::host});
  c.endpoint(0, 10, 2, "svc1");
  CHECK(plan::plan(c.view).held_ports.empty());
  CHECK(service_of(plan::plan(c.view), "svc1", 4096) == nullptr);
  c.endpoint(0, 11, 1, "svc1");
  const DesiredState d = plan::plan(c.view);
  const PlannedService* host = service_of(d, "svc1", 4096);
  REQUIRE(host != nullptr);
  REQUIRE(host->backends.size() == 1);
  CHECK(host->backends[0].value.node == 1);
  CHECK(host->published[0].flags == WEFT_PUBLISHED_HOST);
  CHECK(d.held_ports == std::vector<HeldPort>{{Address(), 53, 17}});
}

TEST_CASE("of two services with one published port or VIP the smaller id has it") {
  Cluster c;
  small(c);
  c.service(2, "b", 1).ports.push_back({.published = 80, .target = 2});
  c.service(1, "a", 1).ports.push_back({.published = 80, .target = 1});
  for (Service& s : c.view.services) s.vips[0].address4 = address("10.1.128.1");
  const DesiredState d = plan::plan(c.view);
  CHECK(d.held_ports.size() == 1);
  CHECK(service_of(d, "svc1", 4096)->published[0].target_port == __builtin_bswap16(1));
  CHECK(service_of(d, "svc2", 4096) == nullptr);
  CHECK(service_of(d, "svc1", 4097)->vip4 == address("10.1.128.1"));
  CHECK(service_of(d, "svc2", 4097)->vip4.is_none());
}

TEST_CASE("of two endpoints with one address the alive and ready one has it, else the smaller id") {
  Cluster c;
  small(c);
  c.endpoint(1, 20, 2).id = "b";
  c.endpoint(1, 20, 3).id = "a";
  const auto winner = [&] { return endpoint_at(plan::plan(c.view), 4097, "10.1.0.20")->node; };
  CHECK(winner() == 3);
  c.view.endpoints.back().state = EndpointState::draining;
  CHECK(winner() == 2);
  c.member(2).state = MemberState::suspect;
  CHECK(winner() == 3);
}

TEST_CASE("a VTEP's template is the outer header of a VXLAN packet to that node") {
  Cluster c;
  small(c);
  c.member(2).path_mtu_bytes = 1400;
  c.member(3).next_hop.reset();
  const DesiredState d = plan::plan(c.view);
  const weft_vtep* vtep = find(d.vteps, 2u);
  REQUIRE(vtep != nullptr);
  CHECK(vtep->flags == (WEFT_VTEP_KNOWN | WEFT_VTEP_FAST));
  CHECK(vtep->mtu_bytes == 1400);
  const __u8 expected[50] = {
      0x52, 0x54, 0,         0,           0,   2,   0x52, 0x54, 0,  0,  0, 1, 0x08, 0x00,  //
      0x45, 0,    0,         0,           0,   0,   0x40, 0,    64, 17, 0, 0,              //
      192,  168,  0,         1,           192, 168, 0,    2,                               //
      0,    0,    4789 >> 8, 4789 & 0xff, 0,   0,   0,    0,                               //
      0x08, 0,    0,         0,           0,   0,   0,    0};
  CHECK(std::memcmp(vtep->header, expected, 50) == 0);
  // With the total length added and complemented it is the header's checksum (RFC 1071).
  uint32_t sum = vtep->ip_checksum + uint32_t(__builtin_bswap16(1234));
  sum = (sum & 0xffff) + (sum >> 16);
  const uint16_t checksum = uint16_t(~((sum & 0xffff) + (sum >> 16)));
  uint32_t check = checksum + uint32_t(__builtin_bswap16(1234));
  for (int i = 14; i < 34; i += 2) check += uint32_t(vtep->header[i] | vtep->header[i + 1] << 8);
  while (check > 0xffff) check = (check & 0xffff) + (check >> 16);
  CHECK(check == 0xffff);

  CHECK(find(d.vteps, 3u)->flags == WEFT_VTEP_KNOWN);
  CHECK(find(d.vteps, 3u)->mtu_bytes == 1500);
  CHECK(find(d.vteps, 1u)->flags == (WEFT_VTEP_KNOWN | WEFT_VTEP_SELF));
}

TEST_CASE("internal networks have no way outside") {
  Cluster c;
  small(c);
  c.view.networks[1].internal = true;
  const DesiredState d = plan::plan(c.view);
  CHECK(d.masqueraded == std::vector<Prefix>{{address("10.0.0.0"), 16}});
  CHECK(find(d.networks, 4097u)->flags == WEFT_NETWORK_INTERNAL);
  CHECK((find(d.ports, 100u)->flags & WEFT_PORT_INTERNAL) != 0);
}

TEST_CASE("IPv6 addresses, subnets and VIPs are planned beside IPv4") {
  Cluster c;
  small(c);
  c.view.networks[1].subnet6 = Prefix{address("fd00:1::"), 64};
  c.view.networks[1].gateway6 = address("fd00:1::1");
  c.view.endpoints[0].address6 = address("fd00:1::2");
  const DesiredState d = plan::plan(c.view);
  CHECK(endpoint_at(d, 4097, "fd00:1::2")->kind == WEFT_ENDPOINT_LOCAL);
  CHECK(endpoint_at(d, 4097, "fd00:1::1")->kind == WEFT_ENDPOINT_GATEWAY);
  weft_subnet_key key{.prefix_bits = 64};
  std::memcpy(key.address, address("fd00:1::").bytes().data(), 16);
  CHECK(find(d.subnets, key) != nullptr);
  CHECK(find(d.ports, 100u)->prefix6 == 64);
}

TEST_CASE("the plan does not depend on the order in which the state is listed") {
  Cluster c;
  small(c);
  for (unsigned s = 1; s <= 3; ++s) {
    c.service(s, "s", 1).ports.push_back({.published = uint16_t(80 + s % 2), .target = 1});
    for (unsigned i = 0; i < 5; ++i) {
      c.endpoint(1, 10 * s + i, 1 + i % 3, c.keep("svc" + std::to_string(s)));
      c.endpoint(0, 10 * s + i, 1 + i % 3, c.keep("svc" + std::to_string(s)));
    }
  }
  const DesiredState before = plan::plan(c.view);
  const auto names = plan_names(c.view);
  Rng rng(7);
  for (int round = 0; round < 5; ++round) {
    std::shuffle(c.view.members.begin(), c.view.members.end(), rng);
    std::shuffle(c.view.networks.begin(), c.view.networks.end(), rng);
    std::shuffle(c.view.services.begin(), c.view.services.end(), rng);
    std::shuffle(c.view.endpoints.begin(), c.view.endpoints.end(), rng);
    std::shuffle(c.view.local_endpoints.begin(), c.view.local_endpoints.end(), rng);
    const DesiredState after = plan::plan(c.view);
    CHECK(same(before.ports, after.ports));
    CHECK(same(before.local_macs, after.local_macs));
    CHECK(same(before.endpoints, after.endpoints));
    CHECK(same(before.peers, after.peers));
    CHECK(same(before.vteps, after.vteps));
    CHECK(before.held_ports == after.held_ports);
    REQUIRE(before.services.size() == after.services.size());
    for (size_t s = 0; s < before.services.size(); ++s) {
      const auto &a = before.services[s], &b = after.services[s];
      CHECK(a.id == b.id);
      CHECK(a.published.size() == b.published.size());
      REQUIRE(a.backends.size() == b.backends.size());
      for (size_t i = 0; i < a.backends.size(); ++i) CHECK(a.backends[i].id == b.backends[i].id);
    }
    const auto names_after = plan_names(c.view);
    REQUIRE(names.size() == names_after.size());
    for (size_t n = 0; n < names.size(); ++n) {
      CHECK(names[n].id == names_after[n].id);
      REQUIRE(names[n].endpoints.size() == names_after[n].endpoints.size());
      for (size_t e = 0; e < names[n].endpoints.size(); ++e)
        CHECK(names[n].endpoints[e].id == names_after[n].endpoints[e].id);
    }
  }
}

TEST_CASE("names of present networks: VIPs, tasks with their slots, states and hidden dead") {
  Cluster c;
  small(c);
  c.service(1, "web", 1).ports.push_back({.published = 8080, .target = 80});
  c.service(2, "rr", 1).dnsrr = true;
  c.endpoint(1, 10, 2, "svc1");
  c.endpoint(1, 11, 3, "svc2").state = EndpointState::draining;
  c.endpoint(1, 12, 3, "svc2").slot = 0;
  c.member(2).state = MemberState::suspect;
  auto names = plan_names(c.view);
  REQUIRE(names.size() == 2);
  const dns::NetworkInput& front = names[1];
  CHECK(front.name == "front");
  CHECK(!front.forward_unknown);
  REQUIRE(front.services.size() == 2);
  CHECK(front.services[0].vips == std::vector<Address>{address("10.1.128.1")});
  CHECK(front.services[0].ports[0].target == 80);
  CHECK(front.services[1].vips.empty());
  REQUIRE(front.endpoints.size() == 5);
  const auto find_name = [&](const char* id) {
    return *std::find_if(front.endpoints.begin(), front.endpoints.end(),
                         [&](const auto& e) { return e.id == id; });
  };
  CHECK(find_name("ep1-10").state == dns::EndpointState::suspect);
  CHECK(find_name("ep1-10").service == "web");
  CHECK(find_name("ep1-10").slot == "10");
  CHECK(find_name("ep1-11").state == dns::EndpointState::draining);
  CHECK(find_name("ep1-12").slot == "node3");  // a global service's task
  CHECK(find_name("ep1-2").service.empty());
  const size_t all = names[1].endpoints.size();
  c.member(3).state = MemberState::dead;
  names = plan_names(c.view);
  REQUIRE(names[1].endpoints.size() == all);
  CHECK(std::count_if(names[1].endpoints.begin(), names[1].endpoints.end(), [](const auto& e) {
          return e.state == dns::EndpointState::dead;
        }) == long(all) - 3);
  for (Network& network : c.view.networks) network.forward_unknown = true;
  CHECK(plan_names(c.view)[1].forward_unknown);
  c.member(3).state = MemberState::gone;
  CHECK(plan_names(c.view)[1].endpoints.size() == 3);
}
