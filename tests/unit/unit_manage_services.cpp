// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include "unit/manage_cluster.h"

using namespace weft;
using test::Cluster;
using namespace weft::manage;

TEST_CASE("a service has a VIP per network, and none with dnsrr") {
  Cluster c(1);
  REQUIRE(c.network("web", "10.9.0.0/24"));
  REQUIRE(c.network("db", "10.8.0.0/24"));
  api::ServiceSpec spec = Cluster::spec("api", 0, "web");
  spec.add_networks("db");
  const api::Service service = *c.service(spec);
  REQUIRE(service.vips_size() == 2);
  CHECK(service.vips(0).address4() == "10.9.0.2");
  CHECK(service.vips(1).address4() == "10.8.0.2");
  // To dnsrr: the VIPs are gone, not left behind to answer.
  spec.set_endpoint_mode(api::DNSRR);
  CHECK(c.update(spec, "endpoint_mode")->vips_size() == 0);
  CHECK(c.state.leases.at(service.vips(0).network_id() + "/10.9.0.2").owner().empty());
  // Off one network, onto it again.
  spec.set_endpoint_mode(api::VIP);
  REQUIRE(c.update(spec, "endpoint_mode"));
  spec.clear_networks();
  spec.add_networks("db");
  const api::Service less = *c.update(spec, "networks");
  REQUIRE(less.vips_size() == 1);
  CHECK(less.spec().networks_size() == 1);
}

TEST_CASE("a service in the routing mesh is on the ingress network, others are not") {
  Cluster c(1);
  REQUIRE(c.network("web"));
  api::ServiceSpec spec = Cluster::spec("pub", 1, "web");
  *spec.add_ports() = Cluster::port(8080, 80);
  const api::Service pub = *c.service(spec);
  REQUIRE(pub.spec().networks_size() == 2);
  CHECK(c.state.networks.at(pub.spec().networks(0)).ingress());
  CHECK(c.live("pub")[0].attachments_size() == 2);
  CHECK(c.service(Cluster::spec("plain", 1, "web"))->spec().networks_size() == 1);
  // Not published any more: off it again.
  CHECK(c.update(Cluster::spec("pub", 1), "ports")->spec().networks_size() == 1);
  // A host-mode port only needs some way outside.
  api::ServiceSpec host = Cluster::spec("host", 1, "web");
  *host.add_ports() = Cluster::port(9000, 80, "tcp", api::HOST);
  CHECK(c.service(host)->spec().networks_size() == 1);
  host.set_name("host2");
  host.clear_networks();
  CHECK(c.service(host)->spec().networks_size() == 1);
}

TEST_CASE("published ports: dynamic ones are chosen and kept, protocols are apart") {
  Cluster c(1);
  api::ServiceSpec spec = Cluster::spec("pub", 0);
  *spec.add_ports() = Cluster::port(0, 80);
  *spec.add_ports() = Cluster::port(0, 53, "udp");
  *spec.add_ports() = Cluster::port(8081, 81);
  const api::Service pub = *c.service(spec);
  CHECK(pub.spec().ports(0).published() == 30000);
  CHECK(pub.spec().ports(1).published() == 30001);
  // The same request again keeps the numbers.
  *spec.add_ports() = Cluster::port(0, 82);
  const api::Service more = *c.update(spec, "ports");
  CHECK(more.spec().ports(0).published() == 30000);
  CHECK(more.spec().ports(1).published() == 30001);
  CHECK(more.spec().ports(3).published() == 30002);
  api::ServiceSpec other = Cluster::spec("other", 0);
  *other.add_ports() = Cluster::port(8081, 80, "udp");
  CHECK(c.service(other));
}

TEST_CASE("published ports that clash are refused, host-mode ports of two services are not") {
  Cluster c(1);
  api::ServiceSpec pub = Cluster::spec("pub", 0);
  *pub.add_ports() = Cluster::port(8081, 80);
  REQUIRE(c.service(pub));
  const auto refused = [&](auto fill, const char* text) {
    api::ServiceSpec spec = Cluster::spec("x", 0);
    fill(spec);
    const auto result = c.service(spec);
    REQUIRE(!result);
    CHECK(result.error().message() == text);
  };
  refused([](auto& s) { *s.add_ports() = Cluster::port(8081, 80); },
          "port tcp/8081 is already published by service 'pub': choose another");
  refused([](auto& s) { *s.add_ports() = Cluster::port(8081, 80, "tcp", api::HOST); },
          "port tcp/8081 is already published by service 'pub': choose another");
  refused(
      [](auto& s) {
        *s.add_ports() = Cluster::port(9000, 80);
        *s.add_ports() = Cluster::port(9000, 81);
      },
      "port tcp/9000 is published twice by this service: leave one out");
  refused(
      [](auto& s) {
        s.set_endpoint_mode(api::DNSRR);
        *s.add_ports() = Cluster::port(9000, 80);
      },
      "a service of endpoint mode dnsrr has no VIP for the routing mesh: publish its ports with "
      "mode=host, or use endpoint mode vip");
  refused([](auto& s) { *s.add_ports() = Cluster::port(70000, 80); },
          "published port 70000 is not a port: use 1 to 65535");
  refused([](auto& s) { *s.add_ports() = Cluster::port(80, 80, "icmp"); },
          "protocol 'icmp' cannot be published: use tcp, udp or sctp");
  for (const uint32_t published : {0u, 9000u})
    refused([&](auto& s) { *s.add_ports() = Cluster::port(published, 80, "sctp"); },
            "an SCTP port is published as itself, its checksum covers the port: use 80:80/sctp");
  for (const char* name : {"h1", "h2"}) {
    api::ServiceSpec host = Cluster::spec(name, 0);
    *host.add_ports() = Cluster::port(9100, 80, "tcp", api::HOST);
    CHECK(c.service(host));
  }
  // One address each: no clash; every address: clash.
  api::ServiceSpec a = Cluster::spec("a", 0), b = Cluster::spec("b", 0);
  *a.add_ports() = Cluster::port(9200, 80);
  a.mutable_ports(0)->set_address("192.168.0.1");
  b.add_ports()->CopyFrom(a.ports(0));
  b.mutable_ports(0)->set_address("192.168.0.2");
  CHECK(c.service(a));
  CHECK(c.service(b));
  api::ServiceSpec all = Cluster::spec("all", 0);
  *all.add_ports() = Cluster::port(9200, 80);
  CHECK(c.service(all).error().message().starts_with(
      "port tcp/9200 is already published by service '"));
}

TEST_CASE("bad services are refused in one sentence and change nothing") {
  Cluster c(1);
  REQUIRE(c.network("web"));
  REQUIRE(c.service(Cluster::spec("api", 0)));
  const auto refused = [&](auto fill, const char* text) {
    api::ServiceSpec spec = Cluster::spec("x", 1);
    fill(spec);
    const auto result = c.service(spec);
    REQUIRE(!result);
    CHECK(result.error().message() == text);
  };
  refused([](auto& s) { s.set_name("api"); }, "service 'api' already exists");
  refused([](auto& s) { s.add_networks("nope"); },
          "there is no network 'nope': 'weft network ls' shows all");
  refused(
      [](auto& s) {
        s.add_networks("web");
        s.add_networks("web");
      },
      "network 'web' is given twice");
  refused([](auto& s) { s.add_networks("ingress"); },
          "network 'ingress' is joined by publishing a port: leave it out");
  refused([](auto& s) { s.set_global(true); },
          "a global service has one task on every node: leave --replicas out");
  refused([](auto& s) { s.clear_command(); },
          "a service of runtime netns needs a command: add -- COMMAND [ARGUMENT...]");
  refused([](auto& s) { s.set_runtime("podman"); },
          "there is no runtime 'podman': use netns or none");
  refused([](auto& s) { s.add_constraints("node.cpu==4"); },
          "constraint 'node.cpu==4' is on 'node.cpu': only node.id, node.name, node.hostname, "
          "node.role and node.labels.KEY can be compared");
  refused([](auto& s) { s.add_constraints("node.role=manager"); },
          "constraint 'node.role=manager' has neither == nor !=: write it like "
          "node.labels.disk==ssd");
  refused([](auto& s) { s.add_environment("A"); }, "environment 'A' is not KEY=VALUE");
  refused([](auto& s) { (*s.mutable_options())["affinity"] = "yes"; },
          "option 'affinity=yes' is not known: use affinity=client or direct-return=true");
  CHECK(c.scale("nope", 1).error().message() ==
        "there is no service 'nope': 'weft service ls' shows all");
  CHECK(c.update(Cluster::spec("api", 1), "colour").error().message() ==
        "a service has no field 'colour'");
}

TEST_CASE("a network that is too small for the tasks says so on the task, and the rest runs") {
  Cluster c(1);
  REQUIRE(c.network("small", "10.9.0.0/29"));  // gateway, VIP, four tasks
  REQUIRE(c.service(Cluster::spec("api", 6, "small")));
  c.settle();
  int running = 0, pending = 0;
  for (const api::Task& task : c.live("api")) {
    if (task.state() == api::TASK_RUNNING) running++;
    if (task.state() != api::TASK_PENDING) continue;
    pending++;
    CHECK(task.message() ==
          "no address is left on network 'small': all 6 addresses of 10.9.0.0/29 are in use; "
          "remove endpoints or use a larger network");
  }
  CHECK(running == 4);
  CHECK(pending == 2);
}
