// SPDX-License-Identifier: Apache-2.0
// Containers of one network on two nodes: 10.0.0.2 (A) on node 1, 10.0.0.3 (B) on node 2, 10.0.0.4
// (C) on node 1.
#include <doctest/doctest.h>

#include <set>

#include "harness/bpf_check.h"

using namespace weft;
using namespace weft::test;

namespace {

const Address a4 = ip("10.0.0.2"), b4 = ip("10.0.0.3"), c4 = ip("10.0.0.4");
const Address a6 = ip("fd00::2"), b6 = ip("fd00::3"), c6 = ip("fd00::4");
const Mac mac_a = Mac::from_v4(a4), mac_b = Mac::from_v4(b4), mac_c = Mac::from_v4(c4);
const Address gateway = ip("10.0.0.1"), outside = ip("8.8.8.8");

struct Overlay {
  Node one{1}, two{2};
  weft_port a, b, c;

  Overlay() {
    a = one.add_port(1, a4, a6, 0);
    c = one.add_port(3, c4, c6, 0);
    b = two.add_port(2, b4, b6, 0);
    for (auto* address : {&b4, &b6})
      one.add_endpoint(Node::vni, *address, WEFT_ENDPOINT_REMOTE, mac_b, 2);
    for (auto* address : {&a4, &a6})
      two.add_endpoint(Node::vni, *address, WEFT_ENDPOINT_REMOTE, mac_a, 1);
    one.add_vtep(2);
    two.add_vtep(1);
    one.add_peer(2, Node::vni);
    two.add_peer(1, Node::vni);
    for (auto* node : {&one, &two}) {
      node->add_network(Node::vni, *Prefix::parse("10.0.0.0/24"));
      node->add_network(5000, *Prefix::parse("10.9.0.0/24"));
    }
  }
};

Overlay& overlay() {
  static Overlay instance;
  return instance;
}

Frame outer(const Frame& got, const Frame& inside, uint16_t from = 1, uint16_t to = 2,
            uint32_t vni = Node::vni) {
  return Packet()
      .ethernet(Node::uplink_mac(to), Node::uplink_mac(from))
      .ip(Node::underlay(from), Node::underlay(to))
      .udp(port_at(got, 34), 4789, true)
      .vxlan(vni)
      .payload(inside)
      .build();
}

}  // namespace

TEST_CASE("a packet to another node's container travels in VXLAN and arrives unchanged") {
  auto& o = overlay();
  std::vector<Frame> frames = {
      Packet().ethernet(mac_b, mac_a).ip(a4, b4).tcp(1000, 80, TcpSyn, 1410).build(),
      Packet().ethernet(mac_b, mac_a).ip(a4, b4).udp(1000, 53).payload(100).build(),
      Packet().ethernet(mac_b, mac_a).ip(a4, b4).echo(true, 7).payload(56).build(),
      Packet().ethernet(mac_b, mac_a).ip(a4, b4).protocol(47).build(),
      Packet().ethernet(mac_b, mac_a).ip(a6, b6).tcp(1000, 80, TcpAck).payload(33).build(),
      Packet().ethernet(mac_b, mac_a).ip(a6, b6).echo(true, 9).payload(8).build()};
  for (const Frame& frame : frames) {
    auto sent = o.one.from_container(o.a, frame);
    CHECK(sent.action == tc_redirect);
    REQUIRE(sent.frame.size() == frame.size() + 50);
    CHECK(port_at(sent.frame, 34) >= 32768);
    CHECK_FRAME(sent.frame, outer(sent.frame, frame));
    auto received = o.two.from_underlay(sent.frame);
    CHECK(received.action == tc_redirect);
    CHECK_FRAME(received.frame, frame);
  }
}

TEST_CASE("flows of one pair of containers differ in their outer source port") {
  auto& o = overlay();
  std::set<uint16_t> ports;
  for (uint16_t port = 1000; port < 1032; port++)
    ports.insert(port_at(
        o.one.from_container(o.a, Packet().ethernet(mac_b, mac_a).ip(a4, b4).udp(port, 53).build())
            .frame,
        34));
  CHECK(ports.size() > 28);
}

TEST_CASE("a packet to a container of the same node is delivered as it is") {
  auto& o = overlay();
  auto before = o.one.counted(WEFT_COUNT_LOCAL);
  Frame frame = Packet().ethernet(mac_c, mac_a).ip(a4, c4).tcp(1, 2, TcpAck).build();
  auto sent = o.one.from_container(o.a, frame);
  CHECK(sent.action == tc_redirect);
  CHECK_FRAME(sent.frame, frame);
  CHECK(o.one.counted(WEFT_COUNT_LOCAL) == before + 1);
}

TEST_CASE("a node without a resolved next hop is reached by the kernel's device") {
  Overlay o;
  o.one.add_vtep(2, WEFT_VTEP_KNOWN);
  Frame frame = Packet().ethernet(Mac{{2, 9, 9, 9, 9, 9}}, mac_a).ip(a4, b4).udp(1, 2).build();
  auto sent = o.one.from_container(o.a, frame);
  CHECK(sent.action == tc_redirect);
  CHECK_FRAME(sent.frame, Packet().ethernet(mac_b, mac_a).ip(a4, b4).udp(1, 2).build());
  CHECK(o.one.counted(WEFT_COUNT_KERNEL_WAY) == 1);
}

TEST_CASE("ARP is answered for the gateway, every endpoint and every VIP, and for nobody else") {
  auto& o = overlay();
  o.one.add_endpoint(Node::vni, ip("10.0.0.9"), WEFT_ENDPOINT_VIP, {}, WEFT_NO_NODE, 1);
  Mac host;
  std::copy(o.a.host_mac, o.a.host_mac + 6, host.bytes.begin());
  auto request = [&](const Address& target) {
    return o.one.from_container(o.a, Packet()
                                         .ethernet(Mac{{255, 255, 255, 255, 255, 255}}, mac_a)
                                         .arp(1, mac_a, a4, {}, target)
                                         .build());
  };
  auto answer = [&](const Mac& mac, const Address& target) {
    return Packet().ethernet(mac_a, mac).arp(2, mac, target, mac_a, a4).build();
  };
  for (auto& [address, mac] : std::vector<std::pair<Address, Mac>>{
           {gateway, host}, {b4, mac_b}, {c4, mac_c}, {ip("10.0.0.9"), host}}) {
    auto got = request(address);
    CHECK(got.action == tc_redirect);
    CHECK_FRAME(got.frame, answer(mac, address));
  }
  auto dropped = o.one.dropped(WEFT_DROP_NO_ENDPOINT);
  CHECK(request(ip("10.0.0.77")).action == tc_shot);
  CHECK(o.one.dropped(WEFT_DROP_NO_ENDPOINT) == dropped + 1);
  // Its own address: nobody objects.
  CHECK(request(a4).action == tc_shot);
}

TEST_CASE("neighbour solicitations are answered like ARP") {
  auto& o = overlay();
  Mac group{{0x33, 0x33, 0xff, 0, 0, 3}};
  IpOptions hop{.ttl = 255};
  auto got = o.one.from_container(o.a, Packet()
                                           .ethernet(group, mac_a)
                                           .ip(a6, ip("ff02::1:ff00:3"), hop)
                                           .neighbour_solicit(b6, mac_a)
                                           .build());
  CHECK(got.action == tc_redirect);
  CHECK_FRAME(got.frame,
              Packet().ethernet(mac_a, mac_b).ip(b6, a6, hop).neighbour_advert(b6, mac_b).build());
  // Without the option, as the kernel probes.
  Frame probe =
      Packet().ethernet(mac_b, mac_a).ip(a6, b6, hop).icmp(135, 0, 0).payload(b6.bytes()).build();
  got = o.one.from_container(o.a, probe);
  CHECK(got.action == tc_redirect);
  CHECK_FRAME(got.frame,
              Packet().ethernet(mac_a, mac_b).ip(b6, a6, hop).neighbour_advert(b6, mac_b).build());
}

TEST_CASE("the gateway answers echo") {
  auto& o = overlay();
  Mac host;
  std::copy(o.a.host_mac, o.a.host_mac + 6, host.bytes.begin());
  auto port = o.a;
  o.one.add_endpoint(Node::vni, gateway, WEFT_ENDPOINT_GATEWAY, {}, 1);
  auto got = o.one.from_container(
      port, Packet().ethernet(host, mac_a).ip(a4, gateway).echo(true, 5).payload(20).build());
  CHECK(got.action == tc_redirect);
  CHECK_FRAME(got.frame,
              Packet().ethernet(mac_a, host).ip(gateway, a4).echo(false, 5).payload(20).build());
}

TEST_CASE("every refusal has its reason") {
  auto& o = overlay();
  auto base = [] { return Packet().ethernet(mac_b, mac_a); };
  struct Case {
    const char* what;
    weft_drop_reason reason;
    Frame frame;
  };
  Frame cut = base().ip(a4, b4).udp(1, 2).build();
  cut.resize(38);
  std::vector<Case> cases = {
      {"cut short", WEFT_DROP_MALFORMED, cut},
      {"another's MAC", WEFT_DROP_SPOOFED_MAC,
       Packet().ethernet(mac_b, mac_c).ip(a4, b4).udp(1, 2).build()},
      {"another's address", WEFT_DROP_SPOOFED_ADDRESS, base().ip(c4, b4).udp(1, 2).build()},
      {"another's address in IPv6", WEFT_DROP_SPOOFED_ADDRESS, base().ip(c6, b6).udp(1, 2).build()},
      {"ARP for another", WEFT_DROP_SPOOFED_ADDRESS, base().arp(1, mac_a, c4, {}, b4).build()},
      {"ARP with another's MAC", WEFT_DROP_SPOOFED_MAC, base().arp(1, mac_c, a4, {}, b4).build()},
      {"nobody there", WEFT_DROP_NO_ENDPOINT, base().ip(a4, ip("10.0.0.88")).udp(1, 2).build()},
      {"another network", WEFT_DROP_OTHER_NETWORK, base().ip(a4, ip("10.9.0.5")).udp(1, 2).build()},
      {"broadcast", WEFT_DROP_BROADCAST, base().ip(a4, ip("255.255.255.255")).udp(68, 67).build()},
      {"multicast", WEFT_DROP_BROADCAST, base().ip(a4, ip("224.0.0.251")).udp(1, 2).build()},
  };
  Frame strange = cut;
  strange.resize(60);
  strange[14] = 1;
  strange[12] = 0x88;
  strange[13] = 0xcc;
  cases.push_back({"not IP", WEFT_DROP_NOT_IP, strange});
  for (auto& c : cases) {
    INFO(c.what);
    auto before = o.one.dropped(c.reason);
    CHECK(o.one.from_container(o.a, c.frame).action == tc_shot);
    CHECK(o.one.dropped(c.reason) == before + 1);
  }
}

TEST_CASE("the outside is left to the host, unless the network is internal") {
  auto& o = overlay();
  Frame frame = Packet().ethernet(mac_b, mac_a).ip(a4, outside).udp(1, 53).build();
  auto got = o.one.from_container(o.a, frame);
  CHECK(got.action == tc_pass);
  CHECK_FRAME(got.frame, frame);
  auto internal = o.a;
  internal.flags |= WEFT_PORT_INTERNAL;
  auto before = o.one.dropped(WEFT_DROP_INTERNAL);
  CHECK(o.one.from_container(internal, frame).action == tc_shot);
  CHECK(o.one.dropped(WEFT_DROP_INTERNAL) == before + 1);
}

TEST_CASE("overlay packets are taken from known nodes of that network only") {
  auto& o = overlay();
  Frame inside = Packet().ethernet(mac_b, mac_a).ip(a4, b4).udp(1, 2).build();
  auto from = [&](uint16_t node, uint32_t vni, const Frame& frame) {
    return Packet()
        .ethernet(Node::uplink_mac(2), Node::uplink_mac(node))
        .ip(Node::underlay(node), Node::underlay(2))
        .udp(40000, 4789, true)
        .vxlan(vni)
        .payload(frame)
        .build();
  };
  auto refuse = [&](weft_drop_reason reason, const Frame& frame) {
    auto before = o.two.dropped(reason);
    CHECK(o.two.from_underlay(frame).action == tc_shot);
    CHECK(o.two.dropped(reason) == before + 1);
  };
  CHECK(o.two.from_underlay(from(1, Node::vni, inside)).action == tc_redirect);
  refuse(WEFT_DROP_UNKNOWN_VTEP, from(3, Node::vni, inside));
  refuse(WEFT_DROP_UNKNOWN_VNI, from(1, 7777, inside));
  o.two.add_peer(1, 5000);
  refuse(WEFT_DROP_OTHER_NETWORK, from(1, 5000, inside));
  refuse(WEFT_DROP_NO_ENDPOINT,
         from(1, Node::vni, Packet().ethernet(mac_c, mac_a).ip(a4, c4).udp(1, 2).build()));
  refuse(WEFT_DROP_NO_ENDPOINT,
         from(1, Node::vni, Packet().ethernet(mac_b, mac_a).ip(a4, c4).udp(1, 2).build()));
  Frame bad = from(1, Node::vni, inside);
  bad[42] = 0;
  refuse(WEFT_DROP_BAD_VXLAN, bad);
  Frame cut = from(1, Node::vni, inside);
  cut.resize(70);
  refuse(WEFT_DROP_MALFORMED, cut);
}

TEST_CASE("other traffic of the uplink passes untouched") {
  auto& o = overlay();
  for (const Frame& frame :
       {Packet()
            .ethernet(Node::uplink_mac(2), Node::uplink_mac(1))
            .ip(Node::underlay(1), Node::underlay(2))
            .tcp(1, 22, TcpSyn)
            .build(),
        Packet()
            .ethernet(Node::uplink_mac(2), Node::uplink_mac(1))
            .arp(1, Node::uplink_mac(1), Node::underlay(1), {}, Node::underlay(2))
            .build(),
        Packet()
            .ethernet(Node::uplink_mac(2), Node::uplink_mac(1))
            .ip(Node::underlay(1), ip("192.168.1.99"))
            .udp(1, 4789)
            .payload(60)
            .build(),
        // A fragment of an outer packet: the kernel puts it together.
        Packet()
            .ethernet(Node::uplink_mac(2), Node::uplink_mac(1))
            .ip(Node::underlay(1), Node::underlay(2), {.more_fragments = true})
            .udp(1, 4789, true)
            .vxlan(Node::vni)
            .payload(60)
            .build()}) {
    auto tc = o.two.from_underlay(frame);
    CHECK(tc.action == tc_pass);
    CHECK(tc.frame == frame);
    auto xdp = o.two.xdp_underlay(frame);
    CHECK(xdp.action == xdp_pass);
    CHECK(xdp.frame == frame);
  }
}

TEST_CASE("a kernel that cannot change the protocol decapsulates IPv6 itself") {
  Overlay o;
  Node old{2, 0};
  old.add_port(2, b4, b6, 0);
  old.add_peer(1, Node::vni);
  auto sent =
      o.one.from_container(o.a, Packet().ethernet(mac_b, mac_a).ip(a6, b6).udp(1, 2).build());
  auto got = old.from_underlay(sent.frame);
  CHECK(got.action == tc_pass);
  CHECK(got.frame == sent.frame);
  CHECK(old.counted(WEFT_COUNT_KERNEL_WAY) == 1);
}

TEST_CASE("a packet that the overlay cannot carry is refused with the size that fits") {
  auto& o = overlay();
  for (bool four : {true, false}) {
    auto a = four ? a4 : a6, b = four ? b4 : b6;
    size_t header = four ? 20 : 40, quote = four ? 68 : 128;
    auto request = [&](size_t bytes) {
      return Packet()
          .ethernet(mac_b, mac_a)
          .ip(a, b)
          .udp(1000, 53)
          .payload(bytes - header - 8)
          .build();
    };
    Frame big = request(1451);
    CHECK(o.one.from_container(o.a, request(1450)).frame.size() == 1450 + 14 + 50);
    auto got = o.one.from_container(o.a, big);
    CHECK(got.action == tc_redirect);
    CHECK_FRAME(got.frame, Packet()
                               .ethernet(mac_a, mac_b)
                               .ip(b, a, {.dont_fragment = false})
                               .icmp(four ? 3 : 2, four ? 4 : 0, 1450)
                               .payload(std::span(big).subspan(14, quote))
                               .build());
  }
  CHECK(o.one.counted(WEFT_COUNT_TOO_BIG_SENT) == 2);
}

TEST_CASE("a packet that may be fragmented and does not fit is left to the kernel's device") {
  auto& o = overlay();
  auto before = o.one.counted(WEFT_COUNT_KERNEL_WAY);
  Frame frame = Packet()
                    .ethernet(mac_b, mac_a)
                    .ip(a4, b4, {.dont_fragment = false})
                    .udp(1, 2)
                    .payload(1440)
                    .build();
  auto got = o.one.from_container(o.a, frame);
  CHECK(got.action == tc_redirect);
  CHECK_FRAME(got.frame, frame);
  CHECK(o.one.counted(WEFT_COUNT_KERNEL_WAY) == before + 1);
}
