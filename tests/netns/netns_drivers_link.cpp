// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <algorithm>

#include "drivers/link/endpoint.h"
#include "drivers/link/link.h"
#include "drivers/link/sysctl.h"
#include "drivers/netns/netns.h"
#include "harness/netns.h"

WEFT_NETNS_TESTS;

using namespace weft;
using namespace weft::link;
using weft::test::ChildProcess;
using weft::test::TestNetns;
using weft::test::value;

namespace {

const std::string endpoint_id = "0123456789abcdef0123456789abcdef";

Links links_of(const TestNetns& netns) { return value(Links::open(netns.fd())); }
Prefix host_prefix(const char* address, uint8_t length) {
  return {*Address::parse(address), length};
}

EndpointSpec endpoint(const TestNetns& container) {
  EndpointSpec spec;
  spec.endpoint_id = endpoint_id;
  spec.netns = container.fd();
  spec.interface = "eth0";
  spec.mac = *Mac::parse("02:42:0a:01:00:05");
  spec.host_mac = *Mac::parse("02:57:00:00:00:01");
  spec.mtu_bytes = 1450;
  spec.addresses = {host_prefix("10.1.0.5", 24), host_prefix("fd00:1::5", 64)};
  spec.gateways = {*Address::parse("10.1.0.1"), *Address::parse("fd00:1::1")};
  return spec;
}

}  // namespace

//   node                          container
//   wf0123456789a  ────────────── eth0 10.1.0.5/24 fd00:1::5/64
TEST_CASE("an endpoint is made once, however often it is asked for") {
  const TestNetns node, container;
  Links links = links_of(node);
  const auto first = value(ensure_endpoint(links, node.fd(), endpoint(container)));
  CHECK(first.host.name == "wf0123456789a");
  CHECK(first.host.alias == endpoint_id);
  CHECK(first.host.mtu_bytes == 1450);
  CHECK(first.host.running());
  CHECK(first.host.mac.to_string() == "02:57:00:00:00:01");
  CHECK(first.inside.name == "eth0");
  CHECK(first.inside.mac.to_string() == "02:42:0a:01:00:05");
  CHECK(first.inside.peer_index == first.host.index);
  const auto again = value(ensure_endpoint(links, node.fd(), endpoint(container)));
  CHECK(again.host.index == first.host.index);
  CHECK(again.inside.index == first.inside.index);
  const std::string addresses = container.shell("ip -o addr show dev eth0");
  CHECK(addresses.find("10.1.0.5/24") != std::string::npos);
  CHECK(addresses.find("fd00:1::5/64") != std::string::npos);
  CHECK(addresses.find("tentative") == std::string::npos);
  CHECK(container.shell("ip route get 8.8.8.8").find("via 10.1.0.1 dev eth0") != std::string::npos);
  CHECK(container.shell("ip -6 route get 2001:db8::1").find("via fd00:1::1 dev eth0") !=
        std::string::npos);
  CHECK(node.shell("ip -6 -o addr show dev wf0123456789a").empty());
  CHECK(remove_endpoint(links, endpoint_id, container.fd()).has_value());
  CHECK(container.shell("ip -o link").find("eth0") == std::string::npos);
  CHECK(container.shell("ip rule").find("5700") == std::string::npos);
  CHECK(remove_endpoint(links, endpoint_id, container.fd()).has_value());
}

TEST_CASE("an endpoint that somebody changed is repaired") {
  const TestNetns node, container;
  Links links = links_of(node);
  const auto first = value(ensure_endpoint(links, node.fd(), endpoint(container)));
  container.shell(
      "ip addr flush dev eth0; ip addr add 10.1.0.77/24 dev eth0; ip link set eth0 mtu 1400");
  node.shell("ip link set wf0123456789a down");
  const auto repaired = value(ensure_endpoint(links, node.fd(), endpoint(container)));
  CHECK(repaired.host.index == first.host.index);
  CHECK(repaired.host.running());
  CHECK(repaired.inside.mtu_bytes == 1450);
  const std::string addresses = container.shell("ip -o addr show dev eth0");
  CHECK(addresses.find("10.1.0.5/24") != std::string::npos);
  CHECK(addresses.find("10.1.0.77") == std::string::npos);
}

TEST_CASE("an endpoint moves when its container has a new namespace") {
  const TestNetns node, old_container, new_container;
  Links links = links_of(node);
  value(ensure_endpoint(links, node.fd(), endpoint(old_container)));
  const auto moved = value(ensure_endpoint(links, node.fd(), endpoint(new_container)));
  CHECK(moved.host.running());
  CHECK(old_container.shell("ip -o link").find("eth0") == std::string::npos);
  CHECK(new_container.shell("ip -o link").find("eth0") != std::string::npos);
}

TEST_CASE("a name that is taken in the container is a conflict and changes nothing") {
  const TestNetns node, container;
  Links links = links_of(node);
  container.shell("ip link add eth0 type veth peer name other");
  const auto failed = ensure_endpoint(links, node.fd(), endpoint(container));
  REQUIRE(!failed.has_value());
  CHECK(failed.error().code() == ErrorCode::conflict);
  CHECK(failed.error().message() ==
        "interface 'eth0' already exists in the container's network namespace");
  CHECK(!value(links.find("wf0123456789a")).has_value());
}

TEST_CASE("without IPv6 addresses an interface speaks no IPv6") {
  const TestNetns node, container;
  Links links = links_of(node);
  EndpointSpec spec = endpoint(container);
  spec.addresses.resize(1);
  spec.gateways.clear();
  value(ensure_endpoint(links, node.fd(), spec));
  CHECK(container.shell("ip -6 -o addr show dev eth0").empty());
  int status = 0;
  container.shell("ip route get 8.8.8.8", &status);
  CHECK(status != 0);  // internal: no default route
}

//   node      container
//   wf0123… ─ eth0 10.1.0.5/24  default
//   wf1123… ─ eth1 10.2.0.5/24
TEST_CASE("in a container with two networks replies leave where the request came in") {
  const TestNetns node, container;
  Links links = links_of(node);
  value(ensure_endpoint(links, node.fd(), endpoint(container)));
  EndpointSpec second = endpoint(container);
  second.endpoint_id = "1123456789abcdef";
  second.interface = "eth1";
  second.mac = *Mac::parse("02:42:0a:02:00:05");
  second.addresses = {host_prefix("10.2.0.5", 24)};
  second.gateways = {*Address::parse("10.2.0.1")};
  second.default_route = false;
  value(ensure_endpoint(links, node.fd(), second));
  CHECK(container.shell("ip route get 8.8.8.8").find("dev eth0") != std::string::npos);
  CHECK(container.shell("ip route get 8.8.8.8 from 10.2.0.5").find("via 10.2.0.1 dev eth1") !=
        std::string::npos);
  CHECK(container.shell("ip route get 10.2.0.9 from 10.2.0.5").find("dev eth1") !=
        std::string::npos);
  CHECK(value(read_sysctl(container.fd(), "net/ipv4/conf/eth1/rp_filter")) == "2");
  REQUIRE(remove_endpoint(links, second.endpoint_id, container.fd()).has_value());
  CHECK(container.shell("ip rule").find("10.2.0.5") == std::string::npos);
  CHECK(container.shell("ip rule").find("10.1.0.5") != std::string::npos);
}

//   weft0 10.0.0.2/32, NOARP ── weft0h      (both in the node's namespace)
TEST_CASE("the node's own endpoint carries exactly the routes of the overlay subnets") {
  const TestNetns node;
  Links links = links_of(node);
  NodeEndpointSpec spec;
  spec.addresses = {*Address::parse("10.0.0.2"), *Address::parse("fd00::2")};
  const auto own = value(ensure_node_endpoint(links, node.fd(), spec));
  CHECK(own.inside.name == "weft0");
  CHECK(own.host.name == "weft0h");
  CHECK(value(ensure_node_endpoint(links, node.fd(), spec)).inside.index == own.inside.index);
  CHECK(node.shell("ip link show weft0").find("NOARP") != std::string::npos);
  const auto a = *Prefix::parse("10.0.0.0/24"), b = *Prefix::parse("10.1.0.0/24"),
             c = *Prefix::parse("fd00:1::/64");
  CHECK(sync_node_routes(links, own.inside.index, {a, b, c}, spec.addresses).has_value());
  CHECK(node.shell("ip route get 10.1.0.9").find("dev weft0 src 10.0.0.2") != std::string::npos);
  CHECK(node.shell("ip -6 route get fd00:1::9").find("dev weft0 proto 87 src fd00::2") !=
        std::string::npos);
  CHECK(sync_node_routes(links, own.inside.index, {a, c}, spec.addresses).has_value());
  std::vector<Route> routes = value(links.routes(route_protocol));
  CHECK(routes.size() == 2);
  int status = 0;
  node.shell("ip route get 10.1.0.9", &status);
  CHECK(status != 0);
}

TEST_CASE("the VXLAN device is made once and a port that is taken is explained") {
  const TestNetns node;
  Links links = links_of(node);
  const auto device = value(links.ensure_vxlan({.port = 4789, .mtu_bytes = 1500}));
  REQUIRE(device.vxlan.has_value());
  CHECK(device.vxlan->collect_metadata);
  CHECK(device.vxlan->port == 4789);
  CHECK(device.up());
  const std::string details = node.shell("ip -d link show weft-vx");
  CHECK(details.find("external") != std::string::npos);
  CHECK(details.find("nolearning") != std::string::npos);
  CHECK(value(links.ensure_vxlan({.port = 4789, .mtu_bytes = 1500})).index == device.index);
  CHECK(value(links.ensure_vxlan({.port = 5789, .mtu_bytes = 1500})).vxlan->port == 5789);

  node.shell("ip link add other type vxlan id 7 dstport 4790 dev lo; ip link set other up");
  const auto clash = links.ensure_vxlan({.name = "weft-vy", .port = 4790});
  REQUIRE(!clash.has_value());
  CHECK(clash.error().code() == ErrorCode::conflict);
  CHECK(clash.error().message() ==
        "UDP port 4790 is taken by the VXLAN device 'other'; remove it or choose another "
        "--vxlan-port");
  CHECK(!value(links.find("weft-vy")).has_value());
}

TEST_CASE("links that are not ours are never taken over or swept") {
  const TestNetns node;
  Links links = links_of(node);
  node.shell(
      "ip link add weft-vx type veth peer name wfother; ip link add wf0123456789z type bridge");
  CHECK(!links.ensure_vxlan({}).has_value());
  node.shell(
      "ip route add 10.77.0.0/24 dev wfother; ip link set wfother up;"
      "ip route add 10.77.0.0/24 dev wfother");
  value(sweep_links(links, {"weft-vx"}));
  CHECK(value(links.find("wfother")).has_value());
  CHECK(value(links.find("wf0123456789z")).has_value());
  CHECK(node.shell("ip route").find("10.77.0.0/24") != std::string::npos);
}

TEST_CASE("what a killed agent left is found and swept, what is wanted stays") {
  const TestNetns node, container, wanted;
  ChildProcess agent([&] {
    auto links = Links::open(node.fd());
    if (!links) return 1;
    EndpointSpec kept = endpoint(wanted);
    kept.endpoint_id = "fedcba98765432100";
    NodeEndpointSpec own;
    own.addresses = {*Address::parse("10.0.0.2")};
    if (!ensure_endpoint(*links, node.fd(), endpoint(container))) return 2;
    if (!ensure_endpoint(*links, node.fd(), kept)) return 3;
    auto made = ensure_node_endpoint(*links, node.fd(), own);
    if (!made) return 4;
    if (!sync_node_routes(*links, made->inside.index, {*Prefix::parse("10.1.0.0/24")},
                          own.addresses))
      return 5;
    if (!links->ensure_vxlan({})) return 6;
    ChildProcess::ready_and_wait();
  });
  REQUIRE(agent.wait_until_ready() == "ready");
  agent.kill_now();

  Links links = links_of(node);
  CHECK(value(leftover_links(links, {})).size() == 5);
  value(sweep_links(links, {"wffedcba98765"}));
  CHECK(value(leftover_links(links, {})) == std::vector<std::string>{"wffedcba98765"});
  CHECK(wanted.shell("ip -o link").find("eth0") != std::string::npos);
  CHECK(container.shell("ip -o link").find("eth0") == std::string::npos);
  value(sweep_links(links, {}));
  CHECK(node.shell("ip -o link | grep -v ' lo:'").empty());
  CHECK(value(sweep_links(links, {})).empty());
}

TEST_CASE("a node forwards and still listens to its router's advertisements") {
  const TestNetns node, outside;
  weft::test::connect(node, "up0", "192.0.2.1/24", outside, "up0", "192.0.2.2/24");
  REQUIRE(prepare_node(node.fd(), "up0").has_value());
  CHECK(value(read_sysctl(node.fd(), "net/ipv4/ip_forward")) == "1");
  CHECK(value(read_sysctl(node.fd(), "net/ipv6/conf/all/forwarding")) == "1");
  CHECK(value(read_sysctl(node.fd(), "net/ipv6/conf/up0/accept_ra")) == "2");
  const auto missing = write_sysctl(node.fd(), "net/ipv4/conf/none/rp_filter", "2");
  REQUIRE(!missing.has_value());
  CHECK(missing.error().code() == ErrorCode::not_found);
}
