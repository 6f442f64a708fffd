// SPDX-License-Identifier: Apache-2.0
// A service 10.0.0.100 (fd00::100): client A (10.0.0.2) and task C (10.0.0.4) on node 1, tasks B
// (10.0.0.3) on node 2 and D (10.0.0.5) on node 3.
#include <doctest/doctest.h>

#include <set>

#include "harness/bpf_check.h"

using namespace weft;
using namespace weft::test;

namespace {

const Address a4 = ip("10.0.0.2"), b4 = ip("10.0.0.3"), c4 = ip("10.0.0.4"), d4 = ip("10.0.0.5");
const Address a6 = ip("fd00::2"), b6 = ip("fd00::3"), c6 = ip("fd00::4"), d6 = ip("fd00::5");
const Address vip4 = ip("10.0.0.100"), vip6 = ip("fd00::100"), other_vip = ip("10.0.0.101");
const Mac mac_a = Mac::from_v4(a4), mac_b = Mac::from_v4(b4), mac_c = Mac::from_v4(c4),
          mac_d = Mac::from_v4(d4), gateway_mac{{2, 0, 0, 0, 0xee, 1}};
constexpr uint32_t service = 1, other_service = 2;
// Backends by their index in the service.
enum : uint16_t { B, C, D };

struct Cluster {
  Node one{1}, two{2}, three{3};
  weft_port a, b, c, d;

  Cluster() {
    a = one.add_port(1, a4, a6, 0);
    c = one.add_port(3, c4, c6, WEFT_PORT_BACKEND);
    b = two.add_port(2, b4, b6, WEFT_PORT_BACKEND);
    d = three.add_port(4, d4, d6, WEFT_PORT_BACKEND);
    for (Node* node : nodes()) {
      remote(*node, a4, a6, mac_a, 1);
      remote(*node, c4, c6, mac_c, 1);
      remote(*node, b4, b6, mac_b, 2);
      remote(*node, d4, d6, mac_d, 3);
      for (uint16_t peer = 1; peer <= 3; peer++) {
        if (peer == node->number()) continue;
        node->add_vtep(peer);
        node->add_peer(peer, Node::vni);
      }
      node->add_network(Node::vni, *Prefix::parse("10.0.0.0/24"));
    }
    slots({{B}});
  }
  std::vector<Node*> nodes() { return {&one, &two, &three}; }
  void remote(Node& node, const Address& four, const Address& six, const Mac& mac, uint16_t where) {
    if (node.number() == where) return;
    node.add_endpoint(Node::vni, four, WEFT_ENDPOINT_REMOTE, mac, where);
    node.add_endpoint(Node::vni, six, WEFT_ENDPOINT_REMOTE, mac, where);
  }
  void slots(const std::vector<Node::Slot>& slots, uint16_t flags_b = WEFT_BACKEND_READY,
             uint32_t flags = 0) {
    std::vector<Node::Backend> backends = {{mac_b, 2, flags_b}, {mac_c, 1}, {mac_d, 3}};
    for (Node* node : nodes()) {
      node->set_service(service, vip4, backends, slots, Node::vni, flags);
      node->set_service(service, vip6, backends, slots, Node::vni, flags);
      node->set_service(other_service, other_vip, backends, slots, Node::vni, flags);
    }
  }
};

Packet to_vip() { return Packet().ethernet(gateway_mac, mac_a); }

uint16_t node_of(const Frame& outer) { return outer.at(33); }

struct Protocol {
  const char* name;
  Frame request, translated, answer, restored;
};

// What A sends to the VIP, what B sees, what B answers, what A gets.
std::vector<Protocol> round_trips() {
  std::vector<Protocol> all;
  for (bool four : {true, false}) {
    auto a = four ? a4 : a6, b = four ? b4 : b6, vip = four ? vip4 : vip6;
    auto add = [&](const char* name, auto&& request, auto&& reply) {
      all.push_back({name,
                     request(Packet().ethernet(gateway_mac, mac_a).ip(a, vip)).payload(31).build(),
                     request(Packet().ethernet(mac_b, mac_a).ip(a, b)).payload(31).build(),
                     reply(Packet().ethernet(mac_a, mac_b).ip(b, a)).payload(77).build(),
                     reply(Packet().ethernet(mac_a, mac_b).ip(vip, a)).payload(77).build()});
    };
    add(
        four ? "TCP" : "TCP in IPv6", [](Packet p) { return p.tcp(5000, 80, TcpSyn); },
        [](Packet p) { return p.tcp(80, 5000, TcpSyn | TcpAck); });
    add(
        four ? "UDP" : "UDP in IPv6", [](Packet p) { return p.udp(5001, 53); },
        [](Packet p) { return p.udp(53, 5001); });
    add(
        four ? "SCTP" : "SCTP in IPv6", [](Packet p) { return p.sctp(5002, 99, 1); },
        [](Packet p) { return p.sctp(99, 5002, 2); });
    add(
        four ? "echo" : "echo in IPv6", [](Packet p) { return p.echo(true, 77); },
        [](Packet p) { return p.echo(false, 77); });
  }
  return all;
}

}  // namespace

TEST_CASE("the packet keeps its VIP until the backend's node, and the answer gets it back") {
  Cluster k;
  for (auto& t : round_trips()) {
    INFO(std::string(t.name));
    auto sent = k.one.from_container(k.a, t.request);
    REQUIRE(sent.action == tc_redirect);
    REQUIRE(sent.frame.size() == t.request.size() + 50);
    CHECK(node_of(sent.frame) == 2);
    CHECK(vni_of(sent.frame) == Node::vni);
    Frame kept = t.request;  // only the inner destination MAC names the choice
    std::copy(mac_b.bytes.begin(), mac_b.bytes.end(), kept.begin());
    CHECK_FRAME(inner(sent.frame), kept);

    auto arrived = k.two.from_underlay(sent.frame);
    CHECK(arrived.action == tc_redirect);
    CHECK_FRAME(arrived.frame, t.translated);

    auto answered = k.two.from_container(k.b, t.answer);
    CHECK(answered.action == tc_redirect);
    CHECK(node_of(answered.frame) == 1);
    CHECK_FRAME(inner(answered.frame), t.restored);

    auto got = k.one.from_underlay(answered.frame);
    CHECK(got.action == tc_redirect);
    CHECK_FRAME(got.frame, t.restored);
  }
  CHECK(k.one.flows().empty());
  CHECK(k.two.flows().size() == round_trips().size());
}

TEST_CASE("a backend of the same node is reached at once") {
  Cluster k;
  k.slots({{C}});
  auto sent = k.one.from_container(k.a, to_vip().ip(a4, vip4).tcp(5000, 80, TcpSyn).build());
  CHECK(sent.action == tc_redirect);
  CHECK_FRAME(sent.frame, Packet().ethernet(mac_c, mac_a).ip(a4, c4).tcp(5000, 80, TcpSyn).build());
  auto answer = k.one.from_container(
      k.c, Packet().ethernet(mac_a, mac_c).ip(c4, a4).tcp(80, 5000, TcpSyn | TcpAck).build());
  CHECK(answer.action == tc_redirect);
  CHECK_FRAME(answer.frame,
              Packet().ethernet(mac_a, mac_c).ip(vip4, a4).tcp(80, 5000, TcpSyn | TcpAck).build());
}

TEST_CASE("a task reaches its own VIP: it sees the VIP as its client") {
  Cluster k;
  k.slots({{C}});
  auto sent = k.one.from_container(
      k.c, Packet().ethernet(gateway_mac, mac_c).ip(c4, vip4).tcp(5000, 80, TcpSyn).build());
  CHECK(sent.action == tc_redirect);
  CHECK_FRAME(sent.frame,
              Packet().ethernet(mac_c, mac_c).ip(vip4, c4).tcp(5000, 80, TcpSyn).build());
  auto answer = k.one.from_container(
      k.c,
      Packet().ethernet(gateway_mac, mac_c).ip(c4, vip4).tcp(80, 5000, TcpSyn | TcpAck).build());
  CHECK(answer.action == tc_redirect);
  CHECK_FRAME(answer.frame,
              Packet().ethernet(mac_c, mac_c).ip(vip4, c4).tcp(80, 5000, TcpSyn | TcpAck).build());
}

TEST_CASE("flows spread over the backends, and every packet of a flow goes the same way") {
  Cluster k;
  k.slots({{B}, {D}});
  std::map<uint16_t, int> spread;
  for (uint16_t port = 2000; port < 2200; port++) {
    auto syn = k.one.from_container(k.a, to_vip().ip(a4, vip4).tcp(port, 80, TcpSyn).build());
    auto ack =
        k.one.from_container(k.a, to_vip().ip(a4, vip4).tcp(port, 80, TcpAck).payload(9).build());
    CHECK(node_of(syn.frame) == node_of(ack.frame));
    spread[node_of(syn.frame)]++;
  }
  CHECK(spread[2] > 60);
  CHECK(spread[3] > 60);
}

TEST_CASE("with affinity every flow of a client goes to one backend") {
  Cluster k;
  k.slots({{B}, {D}}, WEFT_BACKEND_READY, WEFT_SERVICE_AFFINITY);
  std::set<uint16_t> seen;
  for (uint16_t port = 2000; port < 2050; port++)
    seen.insert(node_of(
        k.one.from_container(k.a, to_vip().ip(a4, vip4).tcp(port, 80, TcpSyn).build()).frame));
  CHECK(seen.size() == 1);
}

TEST_CASE("one client port to two VIPs of one task stays two connections") {
  Cluster k;
  auto call = [&](const Address& vip) {
    auto sent = k.one.from_container(k.a, to_vip().ip(a4, vip).tcp(5000, 80, TcpSyn).build());
    return k.two.from_underlay(sent.frame).frame;
  };
  Frame first = call(vip4), second = call(other_vip);
  CHECK_FRAME(first, Packet().ethernet(mac_b, mac_a).ip(a4, b4).tcp(5000, 80, TcpSyn).build());
  uint16_t port = port_at(second, 34);
  CHECK(port != 5000);
  CHECK(port >= 1024);
  CHECK_FRAME(second, Packet().ethernet(mac_b, mac_a).ip(a4, b4).tcp(port, 80, TcpSyn).build());
  // Mid-flow it is found again, and the answer has the client's own port back.
  auto more = k.one.from_container(
      k.a, to_vip().ip(a4, other_vip).tcp(5000, 80, TcpAck).payload(3).build());
  CHECK_FRAME(k.two.from_underlay(more.frame).frame,
              Packet().ethernet(mac_b, mac_a).ip(a4, b4).tcp(port, 80, TcpAck).payload(3).build());
  for (auto& [seen, vip] :
       std::vector<std::pair<uint16_t, Address>>{{5000, vip4}, {port, other_vip}}) {
    auto answer = k.two.from_container(
        k.b, Packet().ethernet(mac_a, mac_b).ip(b4, a4).tcp(80, seen, TcpAck).build());
    CHECK_FRAME(inner(answer.frame),
                Packet().ethernet(mac_a, mac_b).ip(vip, a4).tcp(80, 5000, TcpAck).build());
  }
  CHECK(k.two.flows().size() == 2);
}

TEST_CASE("a connection that began before its slot moved keeps its backend") {
  Cluster k;
  k.slots({{B}});
  auto syn = k.one.from_container(k.a, to_vip().ip(a4, vip4).tcp(5000, 80, TcpSyn).build());
  k.two.from_underlay(syn.frame);
  // D takes the slot; B, the previous owner, is the secondary.
  k.slots({{D, B, true}});
  auto middle =
      k.one.from_container(k.a, to_vip().ip(a4, vip4).tcp(5000, 80, TcpAck).payload(5).build());
  CHECK(node_of(middle.frame) == 3);
  auto passed = k.three.from_underlay(middle.frame);
  CHECK(passed.action == tc_redirect);
  REQUIRE(passed.frame.size() == middle.frame.size());
  CHECK(node_of(passed.frame) == 2);
  CHECK(mark_of(passed.frame) == WEFT_VXLAN_SECOND_CHANCE);
  CHECK(check_checksums(passed.frame) == "");
  CHECK(k.three.counted(WEFT_COUNT_SECOND_CHANCE) == 1);
  // Node 3 speaks for a client of node 1 here.
  auto arrived = k.two.from_underlay(passed.frame);
  CHECK_FRAME(arrived.frame,
              Packet().ethernet(mac_b, mac_a).ip(a4, b4).tcp(5000, 80, TcpAck).payload(5).build());
  CHECK(k.three.flows().empty());
}

TEST_CASE("a connection stays whole when the picker knows of a move before the new owner's node") {
  Cluster k;
  k.slots({{D}});
  auto syn = k.one.from_container(k.a, to_vip().ip(a4, vip4).sctp(5000, 80, 1).build());
  k.three.from_underlay(syn.frame);
  k.one.set_service(service, vip4, {{mac_b, 2}, {mac_c, 1}, {mac_d, 3}}, {{B, D, true}});
  auto middle = k.one.from_container(k.a, to_vip().ip(a4, vip4).sctp(5000, 80, 0).build());
  CHECK(node_of(middle.frame) == 2);
  auto passed = k.two.from_underlay(middle.frame);
  CHECK(passed.action == tc_redirect);
  CHECK(node_of(passed.frame) == 3);
  CHECK(mark_of(passed.frame) == WEFT_VXLAN_SECOND_CHANCE);
  auto arrived = k.three.from_underlay(passed.frame);
  CHECK_FRAME(arrived.frame, Packet().ethernet(mac_d, mac_a).ip(a4, d4).sctp(5000, 80, 0).build());
  CHECK(k.two.flows().empty());
}

TEST_CASE("a flow that nobody knows comes back to the first choice, which takes it") {
  Cluster k;
  k.slots({{D, B, true}});
  for (const Frame& request : {to_vip().ip(a4, vip4).tcp(5000, 80, TcpAck).build(),
                               to_vip().ip(a4, vip4).udp(5000, 53).build()}) {
    auto sent = k.one.from_container(k.a, request);
    auto passed = k.three.from_underlay(sent.frame);
    CHECK(node_of(passed.frame) == 2);
    auto returned = k.two.from_underlay(passed.frame);
    CHECK(returned.action == tc_redirect);
    CHECK(node_of(returned.frame) == 3);
    CHECK(mark_of(returned.frame) == WEFT_VXLAN_FINAL);
    auto taken = k.three.from_underlay(returned.frame);
    CHECK(taken.action == tc_redirect);
    CHECK(taken.frame.size() == request.size());
    CHECK(check_checksums(taken.frame) == "");
  }
  CHECK(k.two.flows().empty());
  CHECK(k.three.flows().size() == 2);
}

TEST_CASE("a new connection of a moving slot is remembered, and survives the next move") {
  Cluster k;
  k.slots({{B, D, true}});
  CHECK(node_of(
            k.one.from_container(k.a, to_vip().ip(a4, vip4).tcp(5000, 80, TcpSyn).build()).frame) ==
        2);
  k.slots({{D, C, true}});
  CHECK(node_of(
            k.one.from_container(k.a, to_vip().ip(a4, vip4).tcp(5000, 80, TcpAck).build()).frame) ==
        2);
  // Another one takes the new owner.
  CHECK(node_of(
            k.one.from_container(k.a, to_vip().ip(a4, vip4).tcp(5001, 80, TcpSyn).build()).frame) ==
        3);
}

TEST_CASE("a draining backend keeps its flows and gets no new ones") {
  Cluster k;
  k.slots({{B, D}}, WEFT_BACKEND_DRAINING);
  CHECK(node_of(
            k.one.from_container(k.a, to_vip().ip(a4, vip4).tcp(5000, 80, TcpAck).build()).frame) ==
        2);
  CHECK(node_of(
            k.one.from_container(k.a, to_vip().ip(a4, vip4).tcp(5000, 80, TcpSyn).build()).frame) ==
        3);
}

TEST_CASE("everything leaves a dead backend at once") {
  Cluster k;
  k.slots({{B, D}}, 0);
  for (const Frame& frame : {to_vip().ip(a4, vip4).tcp(5000, 80, TcpSyn).build(),
                             to_vip().ip(a4, vip4).tcp(5000, 80, TcpAck).build(),
                             to_vip().ip(a4, vip4).udp(5000, 80).build()})
    CHECK(node_of(k.one.from_container(k.a, frame).frame) == 3);
}

TEST_CASE("a service without backends and a protocol that a VIP does not carry are refused") {
  Cluster k;
  CHECK(k.one.from_container(k.a, to_vip().ip(a4, vip4).protocol(47).build()).action == tc_shot);
  CHECK(k.one.dropped(WEFT_DROP_PROTOCOL) == 1);
  k.slots({});
  CHECK(k.one.from_container(k.a, to_vip().ip(a4, vip4).udp(1, 2).build()).action == tc_shot);
  k.slots({{B}}, 0);
  CHECK(k.one.from_container(k.a, to_vip().ip(a4, vip4).udp(1, 2).build()).action == tc_shot);
  CHECK(k.one.dropped(WEFT_DROP_NO_BACKEND) == 2);
}

TEST_CASE("all fragments of a datagram reach the backend of the first") {
  Cluster k;
  k.slots({{B}, {D}});
  for (uint16_t port = 100; port < 110; port++) {
    IpOptions first{.id = port, .more_fragments = true}, later{.id = port, .fragment_offset = 800};
    auto one = k.one.from_container(
        k.a, to_vip().ip(a4, vip4, first).udp(port, 53).payload(792, 17).build());
    auto two = k.one.from_container(k.a, to_vip().ip(a4, vip4, later).payload(100, 17).build());
    REQUIRE(two.action == tc_redirect);
    CHECK(node_of(one.frame) == node_of(two.frame));
    Node& node = node_of(one.frame) == 2 ? k.two : k.three;
    Address task = node_of(one.frame) == 2 ? b4 : d4;
    CHECK(node.from_underlay(one.frame).action == tc_redirect);
    auto arrived = node.from_underlay(two.frame);
    CHECK_FRAME(
        arrived.frame,
        Packet().ethernet(Mac::from_v4(task), mac_a).ip(a4, task, later).payload(100, 17).build());
  }
  auto orphan = k.one.from_container(
      k.a, to_vip().ip(a4, vip4, {.id = 999, .fragment_offset = 800}).payload(100, 17).build());
  CHECK(orphan.action == tc_shot);
  CHECK(k.one.dropped(WEFT_DROP_FRAGMENT) == 1);
}

TEST_CASE("an existing flow table entry is given up for a new connection, never for nothing") {
  Cluster k;
  k.slots({{C}});
  constexpr uint32_t calls = 60000;
  for (uint32_t i = 0; i < calls; i++)
    k.one.from_container(
        k.a, to_vip().ip(a4, vip4).tcp(uint16_t(1024 + i), uint16_t(80 + i % 7), TcpSyn).build());
  auto kept = k.one.flows().size();
  CHECK(kept + k.one.counted(WEFT_COUNT_FLOW_EVICTED) == calls);
  CHECK(kept > calls * 99 / 100);
}

TEST_CASE(
    "what a task refuses comes back from the VIP, and quotes the call as the client made it") {
  Cluster k;
  for (bool four : {true, false}) {
    auto a = four ? a4 : a6, b = four ? b4 : b6, vip = four ? vip4 : vip6;
    Frame request =
        Packet().ethernet(gateway_mac, mac_a).ip(a, vip).udp(5000, 53).payload(20).build();
    Frame seen = k.two.from_underlay(k.one.from_container(k.a, request).frame).frame;
    auto error = [&](const Mac& to, const Address& from, const Frame& quoted) {
      return Packet()
          .ethernet(to, mac_b)
          .ip(from, a)
          .icmp(four ? 3 : 1, four ? 3 : 4, 0)
          .payload(std::span(quoted).subspan(14))
          .build();
    };
    auto got = k.two.from_container(k.b, error(mac_a, b, seen));
    CHECK(got.action == tc_redirect);
    // The quoted transport checksum is what the container saw.
    Frame quoted = request;
    size_t checksum = four ? 40 : 60;
    std::copy(seen.begin() + long(checksum), seen.begin() + long(checksum) + 2,
              quoted.begin() + long(checksum));
    CHECK_FRAME(inner(got.frame), error(mac_a, vip, quoted));
  }
}

TEST_CASE("an error about an answer reaches the task that sent it") {
  Cluster k;
  k.slots({{B}, {D}});
  for (bool four : {true, false})
    for (uint16_t port = 5000; port < 5008; port++) {
      auto a = four ? a4 : a6, vip = four ? vip4 : vip6;
      auto sent = k.one.from_container(
          k.a, Packet().ethernet(gateway_mac, mac_a).ip(a, vip).tcp(port, 80, TcpSyn).build());
      bool second = node_of(sent.frame) == 2;
      Node& node = second ? k.two : k.three;
      Address task = second ? (four ? b4 : b6) : (four ? d4 : d6);
      Mac task_mac = second ? mac_b : mac_d;
      node.from_underlay(sent.frame);
      // The client's side says that the answer is too big.
      auto error = [&](const Mac& to, const Address& called, const Frame& quoted) {
        return Packet()
            .ethernet(to, mac_a)
            .ip(a, called)
            .icmp(four ? 3 : 2, four ? 4 : 0, 1200)
            .payload(std::span(quoted).subspan(14))
            .build();
      };
      auto answer = [&](const Address& from) {
        return Packet()
            .ethernet(mac_a, task_mac)
            .ip(from, a)
            .tcp(80, port, TcpAck)
            .payload(40)
            .build();
      };
      auto passed = k.one.from_container(k.a, error(gateway_mac, vip, answer(vip)));
      REQUIRE(passed.action == tc_redirect);
      CHECK(node_of(passed.frame) == node.number());
      auto got = node.from_underlay(passed.frame);
      CHECK(got.action == tc_redirect);
      Frame quoted = answer(task), carried = answer(vip);
      size_t checksum = four ? 50 : 70;
      std::copy(carried.begin() + long(checksum), carried.begin() + long(checksum) + 2,
                quoted.begin() + long(checksum));
      CHECK_FRAME(got.frame, error(task_mac, task, quoted));
    }
}
