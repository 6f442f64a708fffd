// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>

#include "drivers/link/monitor.h"
#include "drivers/link/uplink.h"
#include "drivers/netns/netns.h"
#include "harness/netns.h"

using namespace weft;
using namespace weft::link;
using weft::test::TestNetns;
using weft::test::value;
using weft::test::wait_for;

namespace {

Address address(const char* text) { return *Address::parse(text); }

// An ordinary program of the node that wants the port; 0 or errno.
int bind_like_a_program(const TestNetns& netns, int type, const char* where, uint16_t port) {
  int number = 0;
  netns.run([&]() -> Result<> {
    const Fd socket(::socket(AF_INET, type, 0));
    const int on = 1;
    setsockopt(socket.get(), SOL_SOCKET, SO_REUSEADDR, &on, type == SOCK_STREAM ? sizeof on : 0);
    sockaddr_in in{};
    in.sin_family = AF_INET;
    in.sin_port = htons(port);
    in.sin_addr.s_addr = htonl(address(where).to_v4());
    if (bind(socket.get(), reinterpret_cast<sockaddr*>(&in), sizeof in) < 0) number = errno;
    if (number == 0 && type == SOCK_STREAM && listen(socket.get(), 1) < 0) number = errno;
    return Ok;
  });
  return number;
}

}  // namespace

//   node up0 192.0.2.1/24 ───── up0 192.0.2.2/24 peer
TEST_CASE("the uplink is found by address and by default route") {
  const TestNetns node, peer;
  weft::test::connect(node, "up0", "192.0.2.1/24", peer, "up0", "192.0.2.2/24");
  Links links = value(Links::open(node.fd()));
  CHECK(value(find_uplink(links, address("192.0.2.1"))).link.name == "up0");
  const auto none = find_uplink(links);
  REQUIRE(!none.has_value());
  CHECK(none.error().message().find("no default route") != std::string::npos);
  const auto foreign = find_uplink(links, address("192.0.2.9"));
  REQUIRE(!foreign.has_value());
  CHECK(foreign.error().code() == ErrorCode::not_found);
  node.shell("ip route add default via 192.0.2.2 dev up0");
  const Uplink uplink = value(find_uplink(links));
  CHECK(uplink.link.name == "up0");
  CHECK(uplink.address.to_string() == "192.0.2.1/24");
  CHECK(uplink.link.mtu_bytes == 1500);
}

TEST_CASE("a next hop is unresolved until its neighbour answers, and true from then on") {
  const TestNetns node, peer;
  weft::test::connect(node, "up0", "192.0.2.1/24", peer, "up0", "192.0.2.2/24");
  Links links = value(Links::open(node.fd()));
  const auto nowhere = next_hop(links, address("198.51.100.1"));
  REQUIRE(!nowhere.has_value());
  CHECK(nowhere.error().code() == ErrorCode::not_found);
  CHECK(value(next_hop(links, address("192.0.2.1"))).local);

  Monitor monitor = value(Monitor::open(node.fd()));
  const NextHop before = value(next_hop(links, address("192.0.2.2")));
  CHECK(!before.resolved);
  REQUIRE(keep_neighbour(links, before.ifindex, before.neighbour).has_value());
  bool told = false;
  const auto resolved = [&] {
    for (const Change& change : value(monitor.read()))
      told |= change.kind == ChangeKind::neighbour && change.address == address("192.0.2.2");
    return told && value(next_hop(links, address("192.0.2.2"))).resolved;
  };
  CHECK(wait_for(resolved));
  const NextHop after = value(next_hop(links, address("192.0.2.2")));
  Links there = value(Links::open(peer.fd()));
  CHECK(after.destination == value(there.get("up0")).mac);
  CHECK(after.source == value(links.get("up0")).mac);
  CHECK(after.mtu_bytes == 1500);
  // The kernel refreshes it by itself from now on.
  CHECK(node.shell("ip neigh show dev up0").find("managed") != std::string::npos);
  REQUIRE(keep_neighbour(links, before.ifindex, before.neighbour).has_value());
  REQUIRE(drop_neighbour(links, before.ifindex, before.neighbour).has_value());
  REQUIRE(drop_neighbour(links, before.ifindex, before.neighbour).has_value());
  CHECK(!value(next_hop(links, address("192.0.2.2"))).resolved);
}

TEST_CASE("a next hop behind a gateway has the gateway's address and the route's MTU") {
  const TestNetns node, gateway;
  weft::test::connect(node, "up0", "192.0.2.1/24", gateway, "up0", "192.0.2.2/24");
  node.shell("ip route add 198.51.100.0/24 via 192.0.2.2 mtu 1400");
  Links links = value(Links::open(node.fd()));
  const NextHop hop = value(next_hop(links, address("198.51.100.7")));
  CHECK(hop.neighbour == address("192.0.2.2"));
  CHECK(hop.mtu_bytes == 1400);
}

TEST_CASE("the monitor tells of links, addresses and routes that come and go") {
  const TestNetns node;
  Monitor monitor = value(Monitor::open(node.fd()));
  CHECK(value(monitor.read()).empty());
  node.shell(
      "ip link add x0 type veth peer name x1; ip link set x0 up; ip link set x1 up;"
      "ip addr add 192.0.2.1/24 dev x0; ip route add 198.51.100.0/24 dev x0;"
      "ip link del x0");
  std::vector<Change> all;
  const auto seen = [&](ChangeKind kind, bool removed) {
    return std::any_of(all.begin(), all.end(), [&](const Change& change) {
      return change.kind == kind && change.removed == removed;
    });
  };
  CHECK(wait_for([&] {
    for (Change& change : value(monitor.read())) all.push_back(std::move(change));
    return seen(ChangeKind::link, true);
  }));
  CHECK(seen(ChangeKind::link, false));
  CHECK(seen(ChangeKind::address, false));
  CHECK(seen(ChangeKind::address, true));
  CHECK(std::any_of(all.begin(), all.end(), [](const Change& change) {
    return change.kind == ChangeKind::route && !change.removed &&
           change.destination == *Prefix::parse("198.51.100.0/24");
  }));
}

TEST_CASE("a held port is refused to other programs, and free again after") {
  const TestNetns node;
  node.shell("ip addr add 192.0.2.1/24 dev lo; ip addr add 192.0.2.2/24 dev lo");
  for (const auto& [protocol, type] :
       {std::pair(PortProtocol::tcp, SOCK_STREAM), std::pair(PortProtocol::udp, SOCK_DGRAM)}) {
    {
      const Fd held = value(hold_port({}, 8080, protocol, node.fd()));
      CHECK(bind_like_a_program(node, type, "0.0.0.0", 8080) == EADDRINUSE);
      CHECK(bind_like_a_program(node, type, "192.0.2.1", 8080) == EADDRINUSE);
      CHECK(bind_like_a_program(node, type, "0.0.0.0", 8081) == 0);
      const auto twice = hold_port({}, 8080, protocol, node.fd());
      REQUIRE(!twice.has_value());
      CHECK(twice.error().code() == ErrorCode::conflict);
      CHECK(twice.error().message().find("port 8080 is in use by another program") !=
            std::string::npos);
    }
    CHECK(bind_like_a_program(node, type, "0.0.0.0", 8080) == 0);
    const Fd one = value(hold_port(address("192.0.2.1"), 8080, protocol, node.fd()));
    CHECK(bind_like_a_program(node, type, "192.0.2.1", 8080) == EADDRINUSE);
    CHECK(bind_like_a_program(node, type, "192.0.2.2", 8080) == 0);
    const auto foreign = hold_port(address("198.51.100.9"), 8080, protocol, node.fd());
    REQUIRE(!foreign.has_value());
    CHECK(foreign.error().code() == ErrorCode::not_found);
  }
}
