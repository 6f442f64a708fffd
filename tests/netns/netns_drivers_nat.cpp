// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include "drivers/link/endpoint.h"
#include "drivers/link/nat.h"
#include "harness/netns.h"

WEFT_NETNS_TESTS;

using namespace weft;
using namespace weft::link;
using weft::test::TestNetns;
using weft::test::value;

namespace {

//   container           node                                   outside
//   eth0 10.1.0.5 ───── wf0123456789a     up0 192.0.2.1 ────── up0 192.0.2.2
//                       weft0 ── weft0h
// Without programs the kernel answers ARP for the gateway, and replies are routed to the
// container's link: the test gives the node the gateway's address for that.
struct Site {
  TestNetns container, node, outside;
  Site() {
    weft::test::connect(node, "up0", "192.0.2.1/24", outside, "up0", "192.0.2.2/24");
    node.shell("ip addr add 2001:db8::1/64 dev up0 nodad");
    outside.shell("ip addr add 2001:db8::2/64 dev up0 nodad");
    Links links = value(Links::open(node.fd()));
    EndpointSpec spec;
    spec.endpoint_id = "0123456789abcdef";
    spec.netns = container.fd();
    spec.interface = "eth0";
    spec.mac = *Mac::parse("02:42:0a:01:00:05");
    spec.addresses = {{*Address::parse("10.1.0.5"), 24}, {*Address::parse("fd00:1::5"), 64}};
    spec.gateways = {*Address::parse("10.1.0.1"), *Address::parse("fd00:1::1")};
    value(ensure_endpoint(links, node.fd(), spec));
    value(prepare_node(node.fd(), "up0"));
    node.shell(
        "ip addr add 10.1.0.1/24 dev wf0123456789a;"
        "ip addr add fd00:1::1/64 dev wf0123456789a nodad");
  }
  bool reaches(const char* address) const {
    int status = 0;
    container.shell(std::string("ping -n -c 1 -W 1 ") + address, &status);
    return status == 0;
  }
  std::string ruleset() const { return node.shell("nft list ruleset"); }
};

NatSpec spec(bool outgoing) {
  NatSpec out;
  out.subnets = {*Prefix::parse("10.1.0.0/24"), *Prefix::parse("10.2.0.0/24"),
                 *Prefix::parse("fd00:1::/64")};
  if (outgoing) out.outgoing = {*Prefix::parse("10.1.0.0/24"), *Prefix::parse("fd00:1::/64")};
  return out;
}

}  // namespace

TEST_CASE("containers reach the outside with the node's address, in both families") {
  const Site site;
  CHECK(!site.reaches("192.0.2.2"));  // nobody out there knows the way to 10.1.0.5
  CHECK(value(apply_nat(site.node.fd(), spec(true))).empty());
  CHECK(site.reaches("192.0.2.2"));
  CHECK(site.reaches("2001:db8::2"));
  // An internal network is not translated.
  value(apply_nat(site.node.fd(), spec(false)));
  CHECK(!site.reaches("192.0.2.2"));
  REQUIRE(remove_nat(site.node.fd()).has_value());
  REQUIRE(remove_nat(site.node.fd()).has_value());
  CHECK(site.ruleset().empty());
}

TEST_CASE("a forward policy of DROP in another table does not stop containers") {
  const Site site;
  site.node.shell("iptables-nft -P FORWARD DROP; ip6tables-nft -P FORWARD DROP");
  REQUIRE(site.ruleset().find("policy drop") != std::string::npos);
  value(apply_nat(site.node.fd(), spec(true)));
  const std::string once = site.ruleset();
  CHECK(once.find("iifname \"wf*\" counter packets") != std::string::npos);
  value(apply_nat(site.node.fd(), spec(true)));
  // Not a second pair of rules.
  const std::string rules = site.node.shell("nft list chain ip filter FORWARD");
  CHECK(rules.find("comment \"weft\"",
                   rules.find("comment \"weft\"", rules.find("comment \"weft\"") + 1) + 1) ==
        std::string::npos);
  // The reply comes in over the link that stands in for weft0 here.
  site.node.shell("nft insert rule ip filter FORWARD oifname wf0123456789a accept");
  CHECK(site.reaches("192.0.2.2"));
  REQUIRE(remove_nat(site.node.fd()).has_value());
  CHECK(site.ruleset().find("weft") == std::string::npos);
  CHECK(site.node.shell("iptables-nft -S FORWARD").find("-P FORWARD DROP") != std::string::npos);
}

TEST_CASE("the outside opens no connection to a container's own address") {
  const Site site;
  site.outside.shell("ip route add 10.1.0.0/24 via 192.0.2.1");
  Links links = value(Links::open(site.node.fd()));
  const auto own = value(ensure_node_endpoint(links, site.node.fd(), {}));
  site.node.shell("ip addr del 10.1.0.1/24 dev wf0123456789a");
  value(sync_node_routes(links, own.inside.index, {*Prefix::parse("10.1.0.0/24")}, {}));
  site.node.shell(
      "nft add table ip probe; nft add chain ip probe sent "
      "'{ type filter hook postrouting priority 0; }';"
      "nft add rule ip probe sent oifname weft0 ip daddr 10.1.0.5 counter");
  const auto call = [&] {
    site.outside.shell("ping -n -c 1 -W 1 10.1.0.5");
    return site.node.shell(
        "nft -j list table ip probe | jq '.nftables[].rule.expr | .. | .packets?'"
        " | grep -v null");
  };
  CHECK(call() == "1");
  value(apply_nat(site.node.fd(), spec(true)));
  CHECK(call() == "1");
}
