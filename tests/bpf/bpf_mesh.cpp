// SPDX-License-Identifier: Apache-2.0
// Port 8080 published on every node, target port 80, task B (10.0.0.3) on node 2. An outside client
// 192.168.1.50 calls node 1.
#include <doctest/doctest.h>

#include "harness/bpf_check.h"

using namespace weft;
using namespace weft::test;

namespace {

const Address a4 = ip("10.0.0.2"), b4 = ip("10.0.0.3"), c4 = ip("10.0.0.4");
const Address client = ip("192.168.1.50");
const Mac mac_a = Mac::from_v4(a4), mac_b = Mac::from_v4(b4), mac_c = Mac::from_v4(c4);
const Mac client_mac{{2, 0, 0, 0, 9, 9}}, gateway_mac{{2, 0, 0, 0, 0xee, 1}};
constexpr uint32_t service = 1;
enum : uint16_t { B, C };

struct Mesh {
  Node one{1}, two{2};
  weft_port a, b, c, host1, host2;

  Mesh() {
    a = one.add_port(1, a4, {}, 0);
    c = one.add_port(3, c4, {}, WEFT_PORT_BACKEND);
    b = two.add_port(2, b4, {}, WEFT_PORT_BACKEND);
    host1 = one.add_port(9, Node::host_address(1), {}, WEFT_PORT_HOST, Node::ingress_vni);
    host2 = two.add_port(9, Node::host_address(2), {}, WEFT_PORT_HOST, Node::ingress_vni);
    for (Node* node : {&one, &two}) {
      uint16_t other = node == &one ? 2 : 1;
      node->add_vtep(node->number(), WEFT_VTEP_KNOWN | WEFT_VTEP_SELF);
      node->add_vtep(other);
      for (uint32_t network : {Node::vni, Node::ingress_vni}) node->add_peer(other, network);
      node->add_endpoint(Node::ingress_vni, Node::host_address(other), WEFT_ENDPOINT_REMOTE,
                         Node::host_mac(other), other);
      node->add_endpoint(Node::ingress_vni, Node::host_gateway(), WEFT_ENDPOINT_GATEWAY, {},
                         node->number());
      node->add_network(Node::vni, *Prefix::parse("10.0.0.0/24"));
      node->add_network(Node::ingress_vni, *Prefix::parse("10.255.0.0/24"));
      for (auto protocol : {WEFT_PROTOCOL_TCP, WEFT_PROTOCOL_UDP})
        node->add_published(8080, protocol, service, 80);
      node->add_published(9900, WEFT_PROTOCOL_SCTP, service, 9900);
      node->add_published(9901, WEFT_PROTOCOL_SCTP, service, 80);
    }
    slots({{B}});
  }
  void slots(const std::vector<Node::Slot>& slots, uint32_t flags = 0) {
    for (Node* node : {&one, &two})
      node->set_service(service, {}, {{mac_b, 2}, {mac_c, 1}}, slots, Node::vni, flags);
  }
};

Packet from_client(uint16_t node = 1) {
  return Packet().ethernet(Node::uplink_mac(node), client_mac);
}
IpOptions ttl(uint8_t value) { return {.ttl = value}; }

}  // namespace

TEST_CASE(
    "a published port of a node without the task reaches it with the client's address, and back") {
  Mesh m;
  struct Call {
    Frame request, carried, translated, answer, restored;
  };
  auto build = [&](auto&& forward, auto&& back) {
    return Call{
        forward(from_client().ip(client, Node::underlay(1)), 8080).build(),
        forward(Packet().ethernet(mac_b, client_mac).ip(client, Node::underlay(1), ttl(63)), 8080)
            .build(),
        forward(Packet().ethernet(mac_b, client_mac).ip(client, b4, ttl(63)), 80).build(),
        back(Packet().ethernet(gateway_mac, mac_b).ip(b4, client), 80).build(),
        back(Packet().ethernet(Node::host_mac(1), mac_b).ip(Node::underlay(1), client), 8080)
            .build()};
  };
  std::vector<Call> calls = {
      build([](Packet p, uint16_t to) { return p.tcp(5000, to, TcpSyn, 1400); },
            [](Packet p, uint16_t from) { return p.tcp(from, 5000, TcpSyn | TcpAck, 1400); }),
      build([](Packet p, uint16_t to) { return p.udp(5000, to).payload(11); },
            [](Packet p, uint16_t from) { return p.udp(from, 5000).payload(12); })};
  for (auto& t : calls) {
    auto by_tc = m.one.from_underlay(t.request);
    CHECK(by_tc.action == tc_redirect);
    CHECK(vni_of(by_tc.frame) == Node::ingress_vni);
    CHECK_FRAME(inner(by_tc.frame), t.carried);
    auto by_xdp = m.one.xdp_underlay(t.request);
    CHECK(by_xdp.action == xdp_tx);
    CHECK_FRAME(inner(by_xdp.frame), t.carried);
    CHECK_FRAME(by_xdp.frame, by_tc.frame);

    auto arrived = m.two.from_underlay(by_xdp.frame);
    CHECK(arrived.action == tc_redirect);
    CHECK_FRAME(arrived.frame, t.translated);

    auto answered = m.two.from_container(m.b, t.answer);
    CHECK(answered.action == tc_redirect);
    CHECK(vni_of(answered.frame) == Node::ingress_vni);
    CHECK_FRAME(inner(answered.frame), t.restored);

    auto left = m.one.from_underlay(answered.frame);
    CHECK(left.action == tc_redirect);
    Frame routed = left.frame;  // the route's MACs are the machine's
    CHECK(routed.at(22) == 63);
    CHECK(check_checksums(routed) == "");
    CHECK(std::equal(routed.begin() + 26, routed.end(), t.restored.begin() + 26));
  }
  CHECK(m.one.flows().empty());
}

TEST_CASE("a published port of the task's own node is translated at once") {
  Mesh m;
  Frame call = from_client(2).ip(client, Node::underlay(2)).tcp(5000, 8080, TcpSyn).build();
  CHECK(m.two.xdp_underlay(call).action == xdp_pass);
  auto got = m.two.from_underlay(call);
  CHECK(got.action == tc_redirect);
  CHECK_FRAME(
      got.frame,
      Packet().ethernet(mac_b, client_mac).ip(client, b4, ttl(63)).tcp(5000, 80, TcpSyn).build());
  auto answer = m.two.from_container(
      m.b,
      Packet().ethernet(gateway_mac, mac_b).ip(b4, client).tcp(80, 5000, TcpSyn | TcpAck).build());
  CHECK(answer.action == tc_redirect);
  CHECK(port_at(answer.frame, 34) == 8080);
  CHECK(check_checksums(answer.frame) == "");
}

TEST_CASE("a client that comes back through another node keeps its connection") {
  Mesh m;
  auto first = m.one.from_underlay(
      from_client().ip(client, Node::underlay(1)).tcp(5000, 8080, TcpSyn).build());
  m.two.from_underlay(first.frame);
  auto flows = m.two.flows();
  REQUIRE(flows.size() == 1);
  CHECK(flows[0].node == 1);
  CHECK(flows[0].flags == WEFT_FLOW_OUTSIDE);
}

TEST_CASE("one client port to two nodes stays two connections, answered through each") {
  Mesh m;
  auto first = m.one.from_underlay(
      from_client().ip(client, Node::underlay(1)).tcp(5000, 8080, TcpSyn).build());
  CHECK(port_at(m.two.from_underlay(first.frame).frame, 34) == 5000);
  auto second = m.two.from_underlay(
      from_client(2).ip(client, Node::underlay(2)).tcp(5000, 8080, TcpSyn).build());
  uint16_t port = port_at(second.frame, 34);
  CHECK(port != 5000);
  CHECK(check_checksums(second.frame) == "");
  auto back = [&](uint16_t to) {
    return m.two
        .from_container(
            m.b, Packet().ethernet(gateway_mac, mac_b).ip(b4, client).tcp(80, to, TcpAck).build())
        .frame;
  };
  CHECK_FRAME(inner(back(5000)), Packet()
                                     .ethernet(Node::host_mac(1), mac_b)
                                     .ip(Node::underlay(1), client)
                                     .tcp(8080, 5000, TcpAck)
                                     .build());
  Frame direct = back(port);
  CHECK(port_at(direct, 36) == 5000);
  CHECK(
      std::equal(direct.begin() + 26, direct.begin() + 30, Node::underlay(2).bytes().begin() + 12));
}

TEST_CASE("a container and the node's own processes call a published port of their node") {
  Mesh m;
  // The container.
  auto call = m.one.from_container(m.a, Packet()
                                            .ethernet(gateway_mac, mac_a)
                                            .ip(a4, Node::underlay(1))
                                            .tcp(5000, 8080, TcpSyn)
                                            .build());
  CHECK(call.action == tc_redirect);
  CHECK(vni_of(call.frame) == Node::ingress_vni);
  auto seen = m.two.from_underlay(call.frame);
  CHECK_FRAME(seen.frame,
              Packet().ethernet(mac_b, mac_a).ip(a4, b4, ttl(63)).tcp(5000, 80, TcpSyn).build());
  auto answer = m.two.from_container(
      m.b, Packet().ethernet(gateway_mac, mac_b).ip(b4, a4).tcp(80, 5000, TcpAck).build());
  auto got = m.one.from_underlay(answer.frame);
  CHECK(got.action == tc_redirect);
  CHECK_FRAME(
      got.frame,
      Packet().ethernet(mac_a, mac_b).ip(Node::underlay(1), a4).tcp(8080, 5000, TcpAck).build());
  // A process of the node: by the gateway of the ingress network, from the node's own endpoint.
  Address host = Node::host_address(1), gateway = Node::host_gateway();
  call = m.one.from_container(m.host1, Packet()
                                           .ethernet(gateway_mac, Node::host_mac(1))
                                           .ip(host, gateway)
                                           .tcp(6000, 8080, TcpSyn)
                                           .build());
  CHECK(call.action == tc_redirect);
  seen = m.two.from_underlay(call.frame);
  CHECK_FRAME(seen.frame, Packet()
                              .ethernet(mac_b, Node::host_mac(1))
                              .ip(host, b4, ttl(63))
                              .tcp(6000, 80, TcpSyn)
                              .build());
  answer = m.two.from_container(
      m.b, Packet().ethernet(gateway_mac, mac_b).ip(b4, host).tcp(80, 6000, TcpAck).build());
  got = m.one.from_underlay(answer.frame);
  CHECK(got.action == tc_redirect);
  CHECK_FRAME(got.frame, Packet()
                             .ethernet(Node::host_mac(1), mac_b)
                             .ip(gateway, host)
                             .tcp(8080, 6000, TcpAck)
                             .build());
  // What is not published is nobody's.
  CHECK(m.one
            .from_container(m.host1, Packet()
                                         .ethernet(gateway_mac, Node::host_mac(1))
                                         .ip(host, gateway)
                                         .tcp(6000, 9999, TcpSyn)
                                         .build())
            .action == tc_shot);
}

TEST_CASE("a process of the node reaches a task of the same node and gets its answer") {
  Mesh m;
  Address host = Node::host_address(2), gateway = Node::host_gateway();
  auto call = m.two.from_container(m.host2, Packet()
                                                .ethernet(gateway_mac, Node::host_mac(2))
                                                .ip(host, gateway)
                                                .tcp(6000, 8080, TcpSyn)
                                                .build());
  CHECK_FRAME(call.frame, Packet()
                              .ethernet(mac_b, Node::host_mac(2))
                              .ip(host, b4, ttl(63))
                              .tcp(6000, 80, TcpSyn)
                              .build());
  auto answer = m.two.from_container(
      m.b, Packet().ethernet(gateway_mac, mac_b).ip(b4, host).tcp(80, 6000, TcpAck).build());
  CHECK(answer.action == tc_redirect);
  CHECK_FRAME(answer.frame, Packet()
                                .ethernet(Node::host_mac(2), mac_b)
                                .ip(gateway, host)
                                .tcp(8080, 6000, TcpAck)
                                .build());
}

TEST_CASE("a port of one address answers there only") {
  Mesh m;
  m.one.add_published(9090, WEFT_PROTOCOL_TCP, service, 80, 0, Node::underlay(1));
  m.one.add_published(9091, WEFT_PROTOCOL_TCP, service, 80, 0, ip("192.168.7.7"));
  auto call = [&](uint16_t port) {
    return m.one
        .from_underlay(from_client().ip(client, Node::underlay(1)).tcp(5000, port, TcpSyn).build())
        .action;
  };
  CHECK(call(9090) == tc_redirect);
  CHECK(call(9091) == tc_pass);
}

TEST_CASE("mode=host serves tasks of the node only") {
  Mesh m;
  m.one.add_published(7070, WEFT_PROTOCOL_TCP, service, 80, WEFT_PUBLISHED_HOST);
  m.two.add_published(7070, WEFT_PROTOCOL_TCP, service, 80, WEFT_PUBLISHED_HOST);
  CHECK(
      m.two.from_underlay(from_client(2).ip(client, Node::underlay(2)).tcp(1, 7070, TcpSyn).build())
          .action == tc_redirect);
  CHECK(
      m.one.from_underlay(from_client(1).ip(client, Node::underlay(1)).tcp(1, 7070, TcpSyn).build())
          .action == tc_shot);
  CHECK(m.one.dropped(WEFT_DROP_NO_BACKEND) == 1);
}

TEST_CASE("a packet whose time is over is not carried on") {
  Mesh m;
  Frame call = from_client().ip(client, Node::underlay(1), ttl(1)).tcp(5000, 8080, TcpSyn).build();
  CHECK(m.one.from_underlay(call).action == tc_shot);
  CHECK(m.one.xdp_underlay(call).action == xdp_drop);
  CHECK(m.one.dropped(WEFT_DROP_TTL) == 2);
}

TEST_CASE("a node answers for its own published ports only") {
  Mesh m;
  auto reply = [&](const Address& source, uint16_t port) {
    Frame inside = Packet()
                       .ethernet(Node::host_mac(1), mac_b)
                       .ip(source, client)
                       .tcp(port, 5000, TcpAck)
                       .build();
    return m.one
        .from_underlay(Packet()
                           .ethernet(Node::uplink_mac(1), Node::uplink_mac(2))
                           .ip(Node::underlay(2), Node::underlay(1))
                           .udp(40000, 4789, true)
                           .vxlan(Node::ingress_vni)
                           .payload(inside)
                           .build())
        .action;
  };
  CHECK(reply(Node::underlay(1), 8080) == tc_redirect);
  CHECK(reply(Node::underlay(1), 22) == tc_shot);
  CHECK(reply(ip("1.2.3.4"), 8080) == tc_shot);
  CHECK(m.one.dropped(WEFT_DROP_MESH_REPLY) == 2);
}

TEST_CASE("the MSS of a SYN is held to what the overlay carries") {
  Mesh m;
  auto tc = m.one.from_underlay(
      from_client().ip(client, Node::underlay(1)).tcp(5000, 8080, TcpSyn, 1460).build());
  CHECK_FRAME(inner(tc.frame), Packet()
                                   .ethernet(mac_b, client_mac)
                                   .ip(client, Node::underlay(1), ttl(63))
                                   .tcp(5000, 8080, TcpSyn, 1410)
                                   .build());
  auto xdp = m.one.xdp_underlay(
      from_client().ip(client, Node::underlay(1)).tcp(5000, 8080, TcpSyn, 1460).build());
  CHECK_FRAME(inner(xdp.frame), inner(tc.frame));
}

TEST_CASE("a connection that moved in the mesh is answered through the node that was called") {
  Mesh m;
  m.slots({{B}});
  auto syn = m.one.from_underlay(
      from_client().ip(client, Node::underlay(1)).tcp(5000, 8080, TcpSyn).build());
  m.two.from_underlay(syn.frame);
  m.slots({{C, B, true}});
  // C is on the called node itself: the packet makes no detour but to node 2.
  auto middle = m.one.from_underlay(
      from_client().ip(client, Node::underlay(1)).tcp(5000, 8080, TcpAck).build());
  CHECK(middle.action == tc_redirect);
  CHECK(mark_of(middle.frame) == WEFT_VXLAN_SECOND_CHANCE);
  auto seen = m.two.from_underlay(middle.frame);
  CHECK_FRAME(
      seen.frame,
      Packet().ethernet(mac_b, client_mac).ip(client, b4, ttl(63)).tcp(5000, 80, TcpAck).build());
  auto flows = m.two.flows();
  REQUIRE(flows.size() == 1);
  CHECK(flows[0].node == 1);
}

TEST_CASE("SCTP is carried under its own port, and not where its checksum would break") {
  Mesh m;
  Frame request = from_client().ip(client, Node::underlay(1)).sctp(5000, 9900, 1).build();
  Frame carried = m.one.xdp_underlay(request).frame;
  CHECK_FRAME(carried, m.one.from_underlay(request).frame);
  CHECK_FRAME(
      m.two.from_underlay(carried).frame,
      Packet().ethernet(mac_b, client_mac).ip(client, b4, ttl(63)).sctp(5000, 9900, 1).build());
  Frame other = from_client().ip(client, Node::underlay(1)).sctp(5000, 9901, 1).build();
  CHECK(m.two.from_underlay(m.one.from_underlay(other).frame).action == tc_shot);
  CHECK(m.two.dropped(WEFT_DROP_CONFLICT) == 1);
}

TEST_CASE("with direct return the task's node answers outside clients itself") {
  Mesh m;
  m.slots({{B}}, WEFT_SERVICE_DIRECT_RETURN);
  Frame request = from_client().ip(client, Node::underlay(1)).tcp(5000, 8080, TcpSyn).build();
  m.two.from_underlay(m.one.from_underlay(request).frame);
  auto answer = m.two.from_container(
      m.b,
      Packet().ethernet(gateway_mac, mac_b).ip(b4, client).tcp(80, 5000, TcpSyn | TcpAck).build());
  CHECK(answer.action == tc_redirect);
  Frame expected =
      from_client().ip(Node::underlay(1), client, ttl(63)).tcp(8080, 5000, TcpSyn | TcpAck).build();
  REQUIRE(answer.frame.size() == expected.size());
  CHECK(std::equal(answer.frame.begin() + 14, answer.frame.end(), expected.begin() + 14));

  // A container of the cluster is known to its own node only.
  m.two.from_underlay(m.one
                          .from_container(m.a, Packet()
                                                   .ethernet(gateway_mac, mac_a)
                                                   .ip(a4, Node::underlay(1))
                                                   .tcp(6000, 8080, TcpSyn)
                                                   .build())
                          .frame);
  auto inside = m.two.from_container(
      m.b, Packet().ethernet(gateway_mac, mac_b).ip(b4, a4).tcp(80, 6000, TcpSyn | TcpAck).build());
  CHECK(inside.action == tc_redirect);
  CHECK(vni_of(inside.frame) == Node::ingress_vni);
}

TEST_CASE("what the node's NAT has turned back reaches its own container, and no other node's") {
  Mesh m;
  m.one.add_endpoint(Node::vni, b4, WEFT_ENDPOINT_REMOTE, mac_b, 2);
  auto answer = [&](const Address& to) {
    return Packet()
        .ethernet(gateway_mac, Node::host_mac(1))
        .ip(client, to)
        .udp(53, 5000)
        .payload(9)
        .build();
  };
  auto got = m.one.from_container(m.host1, answer(a4));
  CHECK(got.action == tc_redirect);
  Frame expected = answer(a4);
  std::copy(mac_a.bytes.begin(), mac_a.bytes.end(), expected.begin());
  CHECK_FRAME(got.frame, expected);
  CHECK(m.one.from_container(m.host1, answer(b4)).action == tc_shot);
}

TEST_CASE("ICMP errors cross the mesh both ways") {
  Mesh m;
  Frame request = from_client().ip(client, Node::underlay(1)).udp(5000, 8080).payload(20).build();
  Frame seen = m.two.from_underlay(m.one.from_underlay(request).frame).frame;
  // The task refuses.
  auto refused = m.two.from_container(m.b, Packet()
                                               .ethernet(gateway_mac, mac_b)
                                               .ip(b4, client)
                                               .icmp(3, 3, 0)
                                               .payload(std::span(seen).subspan(14))
                                               .build());
  REQUIRE(refused.action == tc_redirect);
  auto left = m.one.from_underlay(refused.frame);
  CHECK(left.action == tc_redirect);
  CHECK(check_checksums(left.frame) == "");
  CHECK(std::equal(left.frame.begin() + 26, left.frame.begin() + 30,
                   Node::underlay(1).bytes().begin() + 12));
  CHECK(port_at(left.frame, 14 + 20 + 8 + 20 + 2) == 8080);
  // The client refuses an answer.
  Frame answer = Packet()
                     .ethernet(client_mac, Node::uplink_mac(1))
                     .ip(Node::underlay(1), client)
                     .udp(8080, 5000)
                     .payload(30)
                     .build();
  auto error = m.one.from_underlay(from_client()
                                       .ip(client, Node::underlay(1))
                                       .icmp(3, 3, 0)
                                       .payload(std::span(answer).subspan(14))
                                       .build());
  REQUIRE(error.action == tc_redirect);
  auto got = m.two.from_underlay(error.frame);
  CHECK(got.action == tc_redirect);
  CHECK(check_checksums(got.frame) == "");
  CHECK(std::equal(got.frame.begin() + 30, got.frame.begin() + 34, b4.bytes().begin() + 12));
  CHECK(port_at(got.frame, 14 + 20 + 8 + 20) == 80);
}

TEST_CASE(
    "a call that does not fit into the overlay is refused to the client, by the address it "
    "called") {
  Mesh m;
  Frame call = from_client().ip(client, Node::underlay(1)).udp(5000, 8080).payload(1472).build();
  CHECK(m.one.xdp_underlay(call).action == xdp_pass);
  auto got = m.one.from_underlay(call);
  CHECK(got.action == tc_redirect);
  Frame quoted =
      from_client().ip(client, Node::underlay(1), ttl(63)).udp(5000, 8080).payload(1472).build();
  CHECK_FRAME(got.frame, Packet()
                             .ethernet(client_mac, Node::uplink_mac(1))
                             .ip(Node::underlay(1), client, {.dont_fragment = false})
                             .icmp(3, 4, 1450)
                             .payload(std::span(quoted).subspan(14, 68))
                             .build());
}
