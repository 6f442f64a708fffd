// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>
#include <netinet/in.h>
#include <stdlib.h>

#include <filesystem>

#include "node/cluster_view.h"
#include "node/config.h"
#include "node/flow_count.h"
#include "node/identity.h"
#include "node/known_state.h"

using namespace weft;
using namespace weft::node;

namespace {

struct Folder {
  std::string path;
  Folder() {
    char name[] = "/tmp/weft-unit-node-XXXXXX";
    path = ::mkdtemp(name);
  }
  ~Folder() { std::filesystem::remove_all(path); }
};

std::string error_of(const std::string& text) {
  Config config;
  auto done = apply_config_file(config, "/etc/weft/weftd.json", text);
  return done ? "" : done.error().message();
}

Result<CommandLine> parse(std::vector<const char*> words) {
  words.insert(words.begin(), "weftd");
  return parse_command_line(int(words.size()), words.data());
}

}  // namespace

TEST_CASE("a configuration file names its errors by line and key") {
  CHECK(error_of("{\n\"name\": \"n1\",\n\"vin\": 3\n}") ==
        "/etc/weft/weftd.json: line 3: unknown key 'vin'");
  CHECK(error_of("{\n\"name\": \n}") == "/etc/weft/weftd.json: line 3: not valid JSON");
  CHECK(error_of("{\"gossip-port\": 99999}") ==
        "/etc/weft/weftd.json: line 1: gossip-port: '99999' is not a port");
  CHECK(error_of("{\"xdp\": \"fast\"}") ==
        "/etc/weft/weftd.json: line 1: xdp: 'fast' is not one of auto, native, generic, off");
  CHECK(error_of("[]") == "/etc/weft/weftd.json: line 1: must be one JSON object");
  CHECK(error_of("{\"resolver\": [\"10.0.0.1\", \"10.0.0.2\"], \"vxlan-port\": 4790}").empty());
}

TEST_CASE("flags win over defaults, and what is no flag is an error") {
  const auto good = parse({"--name", "n7", "--gossip-port", "7000", "--resolver", "1.1.1.1"});
  REQUIRE(good);
  CHECK(good->config.name == "n7");
  CHECK(good->config.gossip_port == 7000);
  CHECK(good->config.resolvers == std::vector<std::string>{"1.1.1.1"});
  CHECK(!parse({"--nonsense"}));
  CHECK(!parse({"word"}));
  CHECK(parse({"--advertise-address", "x"}).error().message() ==
        "--advertise-address: 'x' is not an IP address");
  CHECK(parse({"--config", "/nowhere/weftd.json"})
            .error()
            .message()
            .starts_with("cannot read /nowhere/weftd.json"));
}

TEST_CASE("a configuration file that cannot be read, and a value that is empty, are errors") {
  CHECK(parse({"--config", "/tmp"}).error().message() == "cannot read /tmp: Is a directory");
  CHECK(parse({"--state", ""}).error().message() == "--state: must not be empty");
  CHECK(error_of("{\"name\": \"\"}") == "/etc/weft/weftd.json: line 1: name: must not be empty");
}

TEST_CASE("boot epochs grow over restarts") {
  Folder folder;
  IdentityStore store(folder.path);
  CHECK(*store.next_boot_epoch() == 1);
  CHECK(*IdentityStore(folder.path).next_boot_epoch() == 2);
  CHECK(store.load().error().code() == ErrorCode::not_found);
}

TEST_CASE("changes to an assignment set and remove what they name, and a file keeps the sum") {
  Folder folder;
  KnownState known;
  api::Assignment full;
  full.set_full(true);
  full.mutable_self()->set_index(3);
  full.add_networks()->set_id("a");
  full.add_networks()->set_id("b");
  known.apply(full);
  api::Assignment change;
  change.add_removed_networks("a");
  change.add_networks()->set_id("c");
  change.mutable_networks(0)->set_name("see");
  known.apply(change);
  REQUIRE(known.networks.size() == 2);
  CHECK(known.network("see")->id() == "c");
  REQUIRE(known.save(folder.path + "/x"));
  const auto again = KnownState::load(folder.path + "/x");
  REQUIRE(again);
  CHECK(again->known());
  CHECK(again->networks.size() == 2);
  CHECK(again->networks.contains("b"));
}

TEST_CASE("the option forward_unknown of a network reaches its names") {
  KnownState known;
  api::Network& network = known.networks["a"];
  network.set_id("a");
  network.set_name("dev");
  const auto forwards = [&] {
    return ClusterView().build(known, {}, {}).networks.at(0).forward_unknown;
  };
  CHECK(!forwards());
  (*network.mutable_options())["forward_unknown"] = "true";
  CHECK(forwards());
}

TEST_CASE("flows are counted while they are in use, by the endpoint that serves them") {
  constexpr unsigned ticks = 250;
  const auto at = [](int seconds) { return seen_clock(std::chrono::seconds(seconds), ticks); };
  FlowCount count(at(10000), ticks);
  weft_flow_set set{};
  const auto put = [&](int way, uint32_t port, uint8_t protocol, int seen, uint8_t flags) {
    set.tag[way] = 7;
    set.seen[way] = at(seen);
    set.way[way] = {.port_id = port, .protocol = weft_protocol(protocol), .flags = flags};
  };
  put(0, 2, IPPROTO_TCP, 9000, WEFT_FLOW_REPLIED);
  put(1, 2, IPPROTO_UDP, 9990, 0);
  put(2, 3, IPPROTO_UDP, 10003, 0);  // after the clock was read
  count.add(set);
  put(0, 2, IPPROTO_TCP, 6000, 0);                  // its host died
  put(1, 2, IPPROTO_TCP, 9999, WEFT_FLOW_CLOSING);  // over
  put(2, 3, IPPROTO_UDP, 9900, 0);                  // silent
  put(3, 3, IPPROTO_UDP, 9999, 0);
  set.tag[3] = WEFT_FLOW_BUSY;  // being written
  count.add(set);
  CHECK(count.by_port() == std::map<uint32_t, uint64_t>{{2, 2}, {3, 1}});
}

TEST_CASE("a dead member's endpoints stay known, one that left is gone") {
  ClusterView view;
  cluster::Event event;
  event.member.bytes[0] = 7;
  event.kind = cluster::Event::Kind::record_set;
  event.scope = 4097;
  event.key = "e1";
  codec::EndpointRecord record;
  record.mac = *Mac::parse("02:42:0a:00:00:02");
  event.value = codec::encode(record);
  view.on_event(event);
  event.kind = cluster::Event::Kind::member_dead;
  view.on_event(event);
  event.kind = cluster::Event::Kind::record_hidden;
  view.on_event(event);
  CHECK(view.endpoints().size() == 1);
  CHECK(view.member_state(event.member.to_string()) == plan::MemberState::dead);
  event.kind = cluster::Event::Kind::member_left;
  view.on_event(event);
  CHECK(view.member_state(event.member.to_string()) == plan::MemberState::gone);
  event.kind = cluster::Event::Kind::record_erased;
  view.on_event(event);
  CHECK(view.endpoints().empty());
  event.kind = cluster::Event::Kind::record_set;
  event.value = "garbage";
  view.on_event(event);
  CHECK(view.undecodable() == 1);
}
