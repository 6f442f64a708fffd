// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>
#include <rapidcheck.h>

#include "base/address.h"
#include "core/manage/assignment.h"
#include "unit/manage_cluster.h"

using namespace weft;
using test::Cluster;
using namespace weft::manage;

TEST_CASE("a new cluster has its first manager and the ingress network") {
  Cluster c(1);
  REQUIRE(c.state.networks.size() == 1);
  const api::Network& ingress = c.state.networks.begin()->second;
  CHECK(ingress.name() == "ingress");
  CHECK(ingress.vni() == 4096);
  CHECK(ingress.subnet4() == "10.0.0.0/20");
  CHECK(ingress.mtu_bytes() == 1450);
  const api::Node& node = c.state.nodes.begin()->second;
  CHECK(node.index() == 1);
  CHECK(node.role() == api::MANAGER);
  CHECK(node.ingress_address4() == "10.0.0.2");
  CHECK(node.ingress_mac() == "02:42:0a:00:00:02");
  CHECK(c.state.cluster.begin()->second.gossip_keys_size() == 1);
}

TEST_CASE("networks get VNI, subnet and gateway in turn, around routes and other networks") {
  Cluster c(2);
  c.state.nodes.at(Cluster::node_id(2)).add_routes("10.0.17.0/24");
  c.state.nodes.at(Cluster::node_id(2)).add_routes("0.0.0.0/0");
  const api::Network a = *c.network("a");
  CHECK(a.vni() == 4097);
  CHECK(a.subnet4() == "10.0.16.0/24");
  CHECK(a.gateway4() == "10.0.16.1");
  CHECK(a.subnet6().empty());
  const api::Network b = *c.network("b");
  CHECK(b.vni() == 4098);
  CHECK(b.subnet4() == "10.0.18.0/24");
  // Not given out again at once.
  REQUIRE(c.remove("NetworkRemove", "a"));
  CHECK(c.network("c")->subnet4() == "10.0.19.0/24");
}

TEST_CASE("bad network requests are refused in one sentence and change nothing") {
  Cluster c(2);
  c.state.nodes.at(Cluster::node_id(2)).add_routes("172.16.0.0/16");
  REQUIRE(c.network("web", "10.9.0.0/24"));
  const auto refused = [&](auto fill, const char* text) {
    api::NetworkCreateRequest request;
    request.set_name("x");
    fill(request);
    const auto result = c.call<api::Network>("NetworkCreate", request);
    REQUIRE(!result);
    CHECK(result.error().message() == text);
  };
  refused([](auto& r) { r.set_name("a b"); },
          "'a b' is not a valid network name: use up to 63 letters, digits, '-', '_' and '.', "
          "starting with a letter or digit");
  refused([](auto& r) { r.set_name("web"); }, "network 'web' already exists");
  refused([](auto& r) { r.add_subnets("10.9.0.128/25"); },
          "subnet 10.9.0.128/25 overlaps subnet 10.9.0.0/24 of network 'web': choose another "
          "--subnet");
  refused([](auto& r) { r.add_subnets("172.16.4.0/24"); },
          "subnet 172.16.4.0/24 overlaps route 172.16.0.0/16 of node 'n2': choose another "
          "--subnet");
  refused([](auto& r) { r.add_subnets("192.168.0.0/24"); },
          "subnet 192.168.0.0/24 overlaps address 192.168.0.1 of node 'n1': choose another "
          "--subnet");
  refused(
      [](auto& r) {
        r.add_subnets("10.3.0.0/24");
        r.add_gateways("10.4.0.1");
      },
      "gateway 10.4.0.1 is outside subnet 10.3.0.0/24: choose one inside");
  refused([](auto& r) { r.add_gateways("10.4.0.1"); },
          "gateway 10.4.0.1 needs a subnet of its family: add --subnet");
  refused(
      [](auto& r) {
        r.add_subnets("10.3.0.0/24");
        (*r.mutable_aux_addresses())["a"] = "10.3.0.1";
      },
      "aux address a: network 'x': address 10.3.0.1 is already in use: choose another, or leave it "
      "out to get a free one");
  refused([](auto& r) { r.add_subnets("10.3.0.0/31"); },
          "subnet 10.3.0.0/31 is too small for a gateway and an endpoint: use /30 or larger");
  refused([](auto& r) { r.add_subnets("banana"); },
          "--subnet: 'banana' is not an address block such as 10.0.0.0/24");
  refused([](auto& r) { (*r.mutable_options())["multicast"] = "true"; },
          "option multicast is not available in this version: leave it out");
  refused([](auto& r) { (*r.mutable_options())["vxlan_id"] = "4095"; },
          "vxlan_id '4095' is not a number from 4096 to 16777215");
  refused([](auto& r) { (*r.mutable_options())["vxlan_id"] = "4096"; },
          "vxlan_id 4096 is already used by network 'ingress'");
  refused([](auto& r) { (*r.mutable_options())["mtu"] = "1451"; },
          "mtu 1451 is too large: at most 1450 bytes fit into the overlay through the uplink of "
          "node 'n1'");
  refused([](auto& r) { r.set_driver("weave"); },
          "there is no network driver 'weave': use overlay");
}

TEST_CASE("an IPv6 network has a ULA /64 of the cluster's own block") {
  Cluster c(1);
  api::NetworkCreateRequest request;
  request.set_name("six");
  request.set_ipv6(true);
  const auto network = c.call<api::Network>("NetworkCreate", request);
  REQUIRE(network);
  CHECK(Prefix::parse(c.state.cluster.begin()->second.default_pool6())
            ->contains(*Prefix::parse(network->subnet6())));
  CHECK(network->gateway6().ends_with("::1"));
}

TEST_CASE("networks follow the smallest uplink unless they have an mtu of their own") {
  Cluster c(1);
  api::NetworkCreateRequest request;
  request.set_name("fixed");
  (*request.mutable_options())["mtu"] = "1300";
  REQUIRE(c.call<api::Network>("NetworkCreate", request));
  const std::string a = c.network("a")->id();
  (void)c.change([&](Draft& d) -> Result<std::string> {
    api::JoinRequest small = Cluster::join_request(2);
    small.set_uplink_mtu_bytes(1400);
    TRY(join_node(d, small, api::WORKER));
    return std::string();
  });
  CHECK(c.state.networks.at(a).mtu_bytes() == 1350);
  api::NetworkCreateRequest encrypted;
  encrypted.set_name("secret");
  encrypted.set_encrypted(true);
  const auto refused = c.call<api::Network>("NetworkCreate", encrypted);
  REQUIRE(!refused);
  CHECK(refused.error().message() ==
        "encrypted networks are not available in this version: leave --encrypted out");
}

TEST_CASE("a network in use is not removed, and the error names the user") {
  Cluster c(1);
  REQUIRE(c.network("web"));
  REQUIRE(c.service(Cluster::spec("api", 1, "web")));
  CHECK(c.remove("NetworkRemove", "web").error().message() ==
        "network 'web' is in use by service 'api': remove it first");
  CHECK(!c.remove("NetworkRemove", "ingress"));
  CHECK(c.remove("NetworkRemove", "nope").error().message() ==
        "there is no network 'nope': 'weft network ls' shows all");
}

TEST_CASE("objects are found by id, name, and the start of an id if it is the only one") {
  Cluster c(1);
  std::vector<std::string> ids;
  for (int i = 0; i < 30; i++) ids.push_back(c.network("net" + std::to_string(i))->id());
  api::NameRequest request;
  request.set_name(ids[3]);
  CHECK(c.call<api::Network>("NetworkShow", request)->name() == "net3");
  request.set_name(ids[3].substr(0, 12));
  CHECK(c.call<api::Network>("NetworkShow", request)->name() == "net3");
  // 30 ids start with one of six letters.
  std::map<char, int> starts;
  for (const std::string& id : ids) starts[id[0]]++;
  starts[c.state.networks.begin()->first[0]] += 0;
  const char common = std::max_element(starts.begin(), starts.end(), [](auto& a, auto& b) {
                        return a.second < b.second;
                      })->first;
  request.set_name(std::string(1, common));
  const auto ambiguous = c.call<api::Network>("NetworkShow", request);
  REQUIRE(!ambiguous);
  CHECK(ambiguous.error().message().find("give more digits") != std::string::npos);
}

TEST_CASE("node indices are unique and rest after removal") {
  Cluster c(3);
  api::NodeRemoveRequest request;
  request.set_name("n3");
  CHECK(c.call<api::Empty>("NodeRemove", request).error().message() ==
        "node 'n3' is alive: let it leave with 'weft cluster leave' on it, or remove it with "
        "--force");
  c.set_state(3, api::NODE_DEAD);
  REQUIRE(c.call<api::Empty>("NodeRemove", request));
  request.set_name("n1");
  request.set_force(true);
  CHECK(c.call<api::Empty>("NodeRemove", request).error().message() ==
        "node 'n1' is the last manager: without it the cluster cannot be changed any more");
  const auto join = [&](int n) {
    return c.change([&](Draft& d) -> Result<std::string> {
      return std::to_string(TRY(join_node(d, Cluster::join_request(n), api::WORKER)).index());
    });
  };
  CHECK(*join(4) == "4");
  CHECK(join(3).error().code() == ErrorCode::denied);
}

TEST_CASE("joining twice works before the node was up, and never takes over another identity") {
  Cluster c(2);
  const auto join = [&](api::JoinRequest request, api::NodeRole role) {
    return c.change([&](Draft& d) -> Result<std::string> {
      return TRY(join_node(d, request, role)).ingress_address4();
    });
  };
  const auto first = join(Cluster::join_request(3), api::WORKER);
  CHECK(*join(Cluster::join_request(3), api::WORKER) == *first);
  CHECK(!join(Cluster::join_request(3), api::MANAGER));
  CHECK(join(Cluster::join_request(2), api::WORKER).error().code() == ErrorCode::conflict);
  api::JoinRequest same_name = Cluster::join_request(4);
  same_name.set_name("n2");
  CHECK(join(same_name, api::WORKER).error().message().find("already in the cluster") !=
        std::string::npos);
}

TEST_CASE("a join secret gives its role and no other text does") {
  Cluster c(1);
  const api::Cluster& cluster = c.state.cluster.begin()->second;
  CHECK(*role_of_secret(cluster, "worker-secret") == api::WORKER);
  CHECK(*role_of_secret(cluster, "manager-secret") == api::MANAGER);
  for (const char* bad : {"", "worker-secreT", "worker-secret ", "worker"})
    CHECK(role_of_secret(cluster, bad).error().code() == ErrorCode::denied);
}

TEST_CASE("endpoints get addresses on attachable networks, idempotent by id") {
  Cluster c(2);
  REQUIRE(c.network("web", "10.9.0.0/24", true));
  REQUIRE(c.network("closed"));
  api::AllocateEndpointRequest request;
  request.mutable_attach()->set_network("web");
  request.mutable_attach()->set_id("cni-1");
  const auto first = c.call<api::Endpoint>("AllocateEndpoint", request, 2);
  REQUIRE(first);
  CHECK(first->address4() == "10.9.0.2");
  CHECK(first->mac() == "02:42:0a:09:00:02");
  CHECK(first->node() == "n2");
  CHECK(c.call<api::Endpoint>("AllocateEndpoint", request, 2)->address4() == "10.9.0.2");
  CHECK(c.call<api::Endpoint>("AllocateEndpoint", request, 1).error().code() ==
        ErrorCode::conflict);
  request.mutable_attach()->set_id("cni-2");
  request.mutable_attach()->set_address4("10.9.0.2");
  CHECK(c.call<api::Endpoint>("AllocateEndpoint", request).error().message() ==
        "network 'web': address 10.9.0.2 is already in use: choose another, or leave it out to get "
        "a free one");
  request.mutable_attach()->set_address4("10.8.0.2");
  CHECK(c.call<api::Endpoint>("AllocateEndpoint", request).error().message() ==
        "network 'web': address 10.8.0.2 is outside subnet 10.9.0.0/24");
  request.mutable_attach()->clear_address4();
  request.mutable_attach()->set_network("closed");
  CHECK(c.call<api::Endpoint>("AllocateEndpoint", request).error().message() ==
        "network 'closed' is not attachable: create it with --attachable, or run a service on it");
  api::ReleaseEndpointRequest release;
  release.set_endpoint_id("cni-1");
  CHECK(c.call<api::Empty>("ReleaseEndpoint", release, 1).error().code() == ErrorCode::denied);
  const size_t owned = c.owned_leases();
  CHECK(c.call<api::Empty>("ReleaseEndpoint", release, 2));
  CHECK(c.call<api::Empty>("ReleaseEndpoint", release, 2));
  CHECK(c.owned_leases() == owned - 1);
}

TEST_CASE("a node is told everything once, and after that what changed") {
  Cluster c(3);
  REQUIRE(c.network("web"));
  REQUIRE(c.network("other"));
  const std::string n2 = Cluster::node_id(2);
  Told told;
  const api::Assignment first = Assigner(c.state).for_node(n2, told, {});
  CHECK(first.full());
  CHECK(first.nodes_size() == 3);
  CHECK(first.networks_size() == 1);  // ingress
  CHECK(first.gossip_epoch() == 1);
  CHECK(std::find(first.known_names().begin(), first.known_names().end(), "other") !=
        first.known_names().end());
  const Told at_first = told;
  const ClusterState before = c.state;
  REQUIRE(c.service(Cluster::spec("api", 3, "web")));
  const api::Assignment change = Assigner(c.state).for_node(n2, told, {});
  CHECK(!change.full());
  CHECK(change.nodes_size() == 0);
  CHECK(change.networks_size() == 1);
  CHECK(change.services_size() == 1);
  CHECK(change.tasks_size() == 1);
  CHECK(change.gossip_keys_size() == 0);
  CHECK(is_empty(Assigner(c.state).for_node(n2, told, {})));
  const Changed renamed = {{"node", Cluster::node_id(3)}, {"lease", "x"}};
  const api::Assignment node = Assigner(c.state).for_node(n2, told, renamed);
  CHECK(node.nodes_size() == 1);
  CHECK(node.services_size() == 0);
  const api::Assignment back = Assigner(before).for_node(n2, told, {});
  CHECK(back.removed_tasks_size() == 1);
  CHECK(back.removed_networks_size() == 1);
  CHECK(back.removed_services_size() == 1);
  CHECK(told.services == at_first.services);
  CHECK(!assignment_for("nobody", c.state).full());
}

TEST_CASE("an endpoint in a network that its node knows is told without a look at anything else") {
  Cluster c(3);
  const auto network = c.network("web");
  REQUIRE(network);
  const std::string n2 = Cluster::node_id(2), id = "cafe0123";
  api::Endpoint endpoint;
  endpoint.set_id(id);
  endpoint.set_node_id(n2);
  endpoint.set_network_id(network->id());
  c.state.endpoints[id] = endpoint;
  Told told;
  Assigner(c.state).for_node(n2, told, {});
  const Changed changed = {{"endpoint", id}};
  const auto message = endpoints_made(c.state, n2, told, changed);
  REQUIRE(message.has_value());
  CHECK(message->endpoints_size() == 1);
  CHECK(concerns(c.state, n2, told, "endpoint", id));
  CHECK(!concerns(c.state, Cluster::node_id(3), Told(), "endpoint", id));
  CHECK(!concerns(c.state, n2, told, "lease", network->id() + "/10.0.0.2"));
  c.state.endpoints.erase(id);
  CHECK(concerns(c.state, n2, told, "endpoint", id));
  CHECK(!endpoints_made(c.state, n2, told, changed).has_value());
  Told nothing;
  c.state.endpoints[id] = endpoint;
  CHECK(!endpoints_made(c.state, n2, nothing, changed).has_value());
}

TEST_CASE("state survives the store's form, and a damaged object is refused") {
  Cluster c(2);
  REQUIRE(c.network("web"));
  REQUIRE(c.service(Cluster::spec("api", 2, "web")));
  ClusterState empty;
  Draft all(empty, WallTime{0}, c.rng);
  for (const auto& [id, o] : c.state.networks) all.put(o);
  for (const auto& [id, o] : c.state.tasks) all.put(o);
  std::vector<StoredObject> objects;
  for (const Write& w : all.finish("", "").writes) objects.push_back({w.kind, w.id, 1, w.bytes});
  const auto restored = ClusterState::restore(objects);
  REQUIRE(restored);
  CHECK(restored->tasks.size() == 2);
  objects[0].bytes = "\xff\xff\xff";
  CHECK(ClusterState::restore(objects).error().message().find("cannot be read") !=
        std::string::npos);
}

TEST_CASE("property: whatever is asked, every address, VNI, port and name has one owner") {
  CHECK(rc::check([] {
    Cluster c(2);
    const auto steps = *rc::gen::container<std::vector<int>>(40, rc::gen::inRange(0, 1000));
    for (const int step : steps) {
      const std::string a = "net" + std::to_string(step / 10 % 3);
      const std::string s = "svc" + std::to_string(step / 10 % 4);
      c.now_ms += step * 100;
      switch (step % 8) {
        case 0:
          (void)c.network(a, step % 3 ? "" : "10.77.0.0/29", true);
          break;
        case 1:
          (void)c.remove("NetworkRemove", a);
          break;
        case 2: {
          auto spec = Cluster::spec(s, step % 5, a);
          *spec.add_ports() = Cluster::port(step % 2 ? 0 : 8080 + step % 2, 80);
          (void)c.service(spec);
          break;
        }
        case 3:
          (void)c.scale(s, step % 6);
          break;
        case 4:
          (void)c.remove("ServiceRemove", s);
          break;
        case 5:
          c.settle();
          break;
        case 6: {
          api::AllocateEndpointRequest request;
          request.mutable_attach()->set_network(a);
          (void)c.call<api::Endpoint>("AllocateEndpoint", request, 1);
          break;
        }
        case 7: {
          const auto live = c.live();
          if (!live.empty() && !live[0].node_id().empty()) c.report(live[0], api::TASK_FAILED);
          break;
        }
      }
      // Every attachment's address is leased to its task.
      for (const auto& [id, task] : c.state.tasks)
        for (const auto& attachment : task.attachments())
          RC_ASSERT(
              c.state.leases.at(attachment.network_id() + "/" + attachment.address4()).owner() ==
              "task:" + id);
      c.orchestrate_now();
      const std::string once = c.fingerprint();
      c.orchestrate_now();
      RC_ASSERT(c.fingerprint() == once);
    }
  }));
}
