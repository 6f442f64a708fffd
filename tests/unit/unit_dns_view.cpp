// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include "core/dns/view.h"
#include "core/dns/wire.h"

using namespace weft;
using namespace weft::dns;

namespace {

Address ip(const char* text) { return *Address::parse(text); }

using Addresses = std::vector<Address>;

Addresses v4_of(const NetworkNames& names, const char* name) {
  const auto* entry = names.find(*wire_name(name));
  REQUIRE(entry);
  const auto list = names.v4(*entry);
  return {list.begin(), list.end()};
}

EndpointInput task(const char* service, const char* slot, const char* id, const char* address,
                   EndpointState state = EndpointState::ready) {
  return {
      .addresses = {ip(address)}, .state = state, .service = service, .slot = slot, .task_id = id};
}

NetworkInput network() { return {.id = "id1", .name = "n1"}; }

}  // namespace

TEST_CASE("an endpoint answers to its name, hostname, short id and aliases") {
  NetworkInput input = network();
  input.endpoints = {{.name = "Box",
                      .id = "0123456789abcdef0123",
                      .hostname = "host",
                      .aliases = {"db", "cache.x"},
                      .addresses = {ip("fd00::2"), ip("10.0.0.2")}}};
  const auto names = NetworkNames::build(input);
  for (const char* name : {"box", "host", "0123456789ab", "db", "cache.x"}) {
    CAPTURE(name);
    CHECK(v4_of(*names, name) == Addresses{ip("10.0.0.2")});
    CHECK(names->v6(*names->find(*wire_name(name))).size() == 1);
  }
  CHECK_FALSE(names->find(*wire_name("0123456789abc")));
  CHECK(names->unusable().empty());
}

TEST_CASE("a task answers as SERVICE.SLOT and SERVICE.SLOT.TASKID") {
  NetworkInput input = network();
  input.endpoints = {task("web", "1", "abc", "10.0.0.2")};
  const auto names = NetworkNames::build(input);
  CHECK(v4_of(*names, "web.1") == Addresses{ip("10.0.0.2")});
  CHECK(v4_of(*names, "web.1.abc") == Addresses{ip("10.0.0.2")});
}

TEST_CASE("a VIP service answers its VIP, tasks. and dnsrr answer the ready tasks only") {
  NetworkInput input = network();
  input.services = {{.name = "web", .aliases = {"www"}, .vips = {ip("10.0.0.100")}},
                    {.name = "rr", .aliases = {"robin"}}};
  for (const char* service : {"web", "rr"}) {
    const bool web = service[0] == 'w';
    input.endpoints.push_back(task(service, "1", "a", web ? "10.0.0.2" : "10.0.0.12"));
    input.endpoints.push_back(task(service, "2", "b", web ? "10.0.0.3" : "10.0.0.13"));
    input.endpoints.push_back(task(service, "3", "c", "10.0.0.4", EndpointState::starting));
    input.endpoints.push_back(task(service, "4", "d", "10.0.0.5", EndpointState::draining));
    input.endpoints.push_back(task(service, "5", "e", "10.0.0.6", EndpointState::suspect));
    input.endpoints.push_back(task(service, "6", "f", "10.0.0.7", EndpointState::dead));
  }
  const auto names = NetworkNames::build(input);
  CHECK(v4_of(*names, "web") == Addresses{ip("10.0.0.100")});
  CHECK(v4_of(*names, "www") == Addresses{ip("10.0.0.100")});
  const Addresses ready = {ip("10.0.0.2"), ip("10.0.0.3")};
  CHECK(v4_of(*names, "tasks.web") == ready);
  CHECK(v4_of(*names, "tasks.www") == ready);
  const Addresses robin = {ip("10.0.0.12"), ip("10.0.0.13")};
  CHECK(v4_of(*names, "rr") == robin);
  CHECK(v4_of(*names, "robin") == robin);
  CHECK(v4_of(*names, "tasks.rr") == robin);
  for (const char* gone : {"web.3", "web.4", "web.5", "web.6"}) CHECK(v4_of(*names, gone).empty());
}

TEST_CASE("a VIP is answered while a backend is ready or suspect, and not otherwise") {
  const auto vips = [](EndpointState state) {
    NetworkInput input = network();
    input.services = {{.name = "web", .vips = {ip("10.0.0.100")}}};
    input.endpoints = {task("web", "1", "a", "10.0.0.2", state)};
    return v4_of(*NetworkNames::build(input), "web").size();
  };
  CHECK(vips(EndpointState::ready) == 1);
  CHECK(vips(EndpointState::suspect) == 1);
  CHECK(vips(EndpointState::starting) == 0);
  CHECK(vips(EndpointState::draining) == 0);
  CHECK(vips(EndpointState::dead) == 0);
}

TEST_CASE("a task heard of before its service answers for it") {
  NetworkInput input = network();
  input.endpoints = {task("web", "1", "a", "10.0.0.2")};
  const auto names = NetworkNames::build(input);
  CHECK(v4_of(*names, "web") == Addresses{ip("10.0.0.2")});
  CHECK(v4_of(*names, "tasks.web") == Addresses{ip("10.0.0.2")});
}

TEST_CASE("an alias is shared by its endpoints but never takes a service's name") {
  NetworkInput input = network();
  input.services = {{.name = "web", .vips = {ip("10.0.0.100")}}};
  input.endpoints = {task("web", "1", "a", "10.0.0.2"),
                     {.name = "x", .aliases = {"db", "web"}, .addresses = {ip("10.0.0.3")}},
                     {.name = "y", .aliases = {"db", "x"}, .addresses = {ip("10.0.0.4")}}};
  const auto in_order = NetworkNames::build(input);
  std::swap(input.endpoints[0], input.endpoints[2]);
  const auto reversed = NetworkNames::build(input);
  for (const auto& names : {in_order, reversed}) {
    CHECK(v4_of(*names, "db") == Addresses{ip("10.0.0.3"), ip("10.0.0.4")});
    CHECK(v4_of(*names, "web") == Addresses{ip("10.0.0.100")});
    CHECK(v4_of(*names, "x") == Addresses{ip("10.0.0.3")});
  }
}

TEST_CASE("names that do not fit into DNS are left out and reported") {
  NetworkInput input = network();
  const std::string longest(64, 'a');
  input.endpoints = {{.name = longest, .aliases = {"ok"}, .addresses = {ip("10.0.0.2")}}};
  const auto names = NetworkNames::build(input);
  CHECK(names->unusable() == std::vector<std::string>{longest});
  CHECK(v4_of(*names, "ok").size() == 1);
}

TEST_CASE("an address leads back to the endpoint's own name, a VIP to its service") {
  NetworkInput input = network();
  input.services = {{.name = "web", .vips = {ip("10.0.0.100")}}};
  input.endpoints = {task("web", "1", "a", "10.0.0.2"),
                     {.name = "box", .aliases = {"db"}, .addresses = {ip("fd00::9")}}};
  const auto names = NetworkNames::build(input);
  const auto back = [&](const char* address) {
    std::string out;
    for (uint32_t index : names->reverse(ip(address)))
      out += dotted_name(names->name(names->entry(index)));
    return out;
  };
  CHECK(back("10.0.0.2") == "web.1.a.");
  CHECK(back("10.0.0.100") == "web.");
  CHECK(back("fd00::9") == "box.");
  CHECK(back("10.0.0.3") == "");
}

TEST_CASE("a view knows names, networks and subnets of the whole cluster") {
  NetworkInput other = network();
  other.id = "id2";
  other.name = "n.two";
  other.subnets = {*Prefix::parse("10.2.0.0/16")};
  other.endpoints = {{.name = "box", .addresses = {ip("10.2.0.2")}}};
  const DnsView view({.networks = {NetworkNames::build(other), NetworkNames::build(network())},
                      .known_names = {"Far"},
                      .known_networks = {"n3"},
                      .known_subnets = {*Prefix::parse("10.3.0.0/24")}});
  CHECK(view.network("id2")->domain() == *wire_name("n.two"));
  CHECK(view.network("id3") == nullptr);
  CHECK(view.known(*wire_name("box")));
  CHECK(view.known(*wire_name("far")));
  CHECK_FALSE(view.known(*wire_name("near")));
  CHECK(view.domain(*wire_name("n3")) == DnsView::Domain::ours);
  CHECK(view.domain(*wire_name("two")) == DnsView::Domain::unknown);
  CHECK(view.in_known_subnet(*Prefix::parse("10.2.3.0/24")));
  CHECK(view.in_known_subnet(*Prefix::parse("10.3.0.1/32")));
  CHECK_FALSE(view.in_known_subnet(*Prefix::parse("10.0.0.0/8")));
}

TEST_CASE("10,000 endpoints are all found") {
  NetworkInput input = network();
  for (uint32_t i = 0; i < 10'000; ++i)
    input.endpoints.push_back(
        {.name = "box" + std::to_string(i), .addresses = {Address::v4(0x0a000000 + i)}});
  const auto names = NetworkNames::build(input);
  CHECK(names->size() == 10'000);
  size_t found = 0;
  for (uint32_t i = 0; i < 10'000; ++i) {
    const auto* entry = names->find(*wire_name("box" + std::to_string(i)));
    found += entry && names->v4(*entry)[0] == Address::v4(0x0a000000 + i);
  }
  CHECK(found == 10'000);
}
