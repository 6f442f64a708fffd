// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <algorithm>
#include <map>

#include "core/cluster/gossip.h"
#include "core/cluster/wire.h"

using namespace weft;
using namespace weft::cluster;

namespace {

NodeId node(uint8_t n) {
  NodeId id;
  id.bytes.fill(n);
  return id;
}
SocketAddress address(uint8_t n) { return {Address::v4(0x0a000000u + n), 7946}; }

// Some nodes on a network without delay or loss.
struct Net {
  Instant now{1h};
  std::map<uint8_t, Gossip> nodes;
  std::map<uint8_t, std::vector<Event>> events;
  size_t packets = 0;

  explicit Net(uint8_t count) {
    for (uint8_t n = 1; n <= count; ++n) add(n);
    settle();
  }
  void add(uint8_t n, uint64_t boot = 1) {
    nodes.insert_or_assign(
        n, Gossip(Config{},
                  {node(n), boot, {"n" + std::to_string(n), n, address(n), address(n).address, ""}},
                  Rng(n), now));
    const SocketAddress seeds[] = {address(1)};
    nodes.at(n).join(now, seeds);
    settle();
  }
  void settle() {
    for (bool busy = true; busy;) {
      busy = false;
      for (auto& [n, gossip] : nodes) {
        Effects effects = gossip.take(now);
        busy |= !effects.packets.empty() || !effects.streams.empty();
        packets += effects.packets.size();
        for (Event& event : effects.events) events[n].push_back(std::move(event));
        for (Packet& packet : effects.packets) {
          const auto to = uint8_t(packet.to.address.to_v4());
          if (nodes.contains(to)) nodes.at(to).on_packet(now, address(n), node(n), packet.bytes);
        }
        for (StreamRequest& stream : effects.streams) {
          const auto to = uint8_t(stream.to.address.to_v4());
          if (!nodes.contains(to)) {
            gossip.on_stream_failed(now, stream.id);
            continue;
          }
          const Bytes reply =
              nodes.at(to).on_stream_request(now, address(n), node(n), stream.request);
          gossip.on_stream_reply(now, stream.id, node(to), reply);
        }
      }
    }
  }
  void run(Duration d) {
    for (const Instant end = now + d; now < end; now = now + 5ms) {
      for (auto& [n, gossip] : nodes) {
        if (gossip.next_timer() <= now) gossip.on_timer(now);
      }
      settle();
    }
  }
  // What `from` has sent arrives at `to` now.
  std::vector<Event> arrive(uint8_t to, uint8_t from, const Effects& effects) {
    for (const Packet& packet : effects.packets) {
      nodes.at(to).on_packet(now, address(from), node(from), packet.bytes);
    }
    return nodes.at(to).take(now).events;
  }
  Gossip& operator[](uint8_t n) { return nodes.at(n); }
};

size_t count(const std::vector<Event>& events, Event::Kind kind) {
  return size_t(std::count_if(events.begin(), events.end(),
                              [&](const Event& event) { return event.kind == kind; }));
}

}  // namespace

TEST_CASE("nodes that join through one seed know each other") {
  Net net(5);
  net.run(1s);
  for (auto& [n, gossip] : net.nodes) {
    CHECK(gossip.alive_members() == 5);
    CHECK(gossip.members_hash() == net[1].members_hash());
    CHECK(gossip.members().size() == 5);
  }
  CHECK(net[2].members()[3].info.name == "n4");
}

TEST_CASE("a change leaves in the same turn, and a burst fills packets") {
  Net net(3);
  net.run(1s);
  for (int k = 0; k < 100; ++k) REQUIRE(net[1].set(net.now, 0, "k" + std::to_string(k), "v"));
  const Effects effects = net[1].take(net.now);
  // About 30 bytes each: three packets to each of two members, not a hundred.
  CHECK(effects.packets.size() >= 2);
  CHECK(effects.packets.size() <= 8);
  CHECK(count(effects.events, Event::Kind::record_set) == 100);
}

TEST_CASE("bad requests are refused and change nothing") {
  Net net(2);
  Gossip& g = net[1];
  const uint64_t hash = g.scope_hash(0);
  CHECK(g.set(net.now, 99, "k", "v").error().code() == ErrorCode::not_found);
  CHECK(g.set(net.now, 0, "", "v").error().code() == ErrorCode::invalid);
  CHECK(g.set(net.now, 0, std::string_view("\0k", 2), "v").error().code() == ErrorCode::invalid);
  CHECK(g.set(net.now, 0, "k", std::string(2000, 'v')).error().code() == ErrorCode::invalid);
  CHECK(g.erase(net.now, 0, "k").error().code() == ErrorCode::not_found);
  CHECK(g.enter_scope(net.now, members_scope).error().code() == ErrorCode::invalid);
  CHECK(g.scope_hash(0) == hash);
}

TEST_CASE("new metadata reaches everybody") {
  Net net(4);
  net.run(500ms);
  net.events.clear();
  net[2].update_self(net.now, {"renamed", 2, address(2), address(2).address, "opaque"});
  net.settle();
  for (uint8_t n : {1, 3, 4}) {
    CHECK(net[n].members()[1].info.name == "renamed");
    CHECK(count(net.events[n], Event::Kind::member_metadata) == 1);
  }
}

TEST_CASE("a dead member's records are hidden, and restored when it is heard again") {
  Net net(4);
  REQUIRE(net[3].set(net.now, 0, "k", "v"));
  net.run(1s);
  Gossip away = std::move(net[3]);
  net.nodes.erase(3);
  net.run(6s);
  CHECK(net[1].members()[2].state == MemberState::dead);
  CHECK(net[1].records(0).empty());
  CHECK(count(net.events[1], Event::Kind::record_hidden) == 1);
  CHECK(count(net.events[1], Event::Kind::record_erased) == 0);
  net.nodes.insert_or_assign(3, std::move(away));
  net.run(5s);
  CHECK(net[1].members()[2].state == MemberState::alive);
  REQUIRE(net[1].records(0).size() == 1);
  CHECK(count(net.events[1], Event::Kind::record_restored) == 1);
  CHECK(net[3].counters().refutations > 0);
}

TEST_CASE("a refused port makes a suspect at once, and an answer clears it") {
  Net net(4);
  net.run(1s);
  net[1].on_port_refused(net.now, address(2));
  CHECK(net[1].members()[1].state == MemberState::suspect);
  net.settle();  // it hears of it and refutes
  CHECK(net[1].members()[1].state == MemberState::alive);
  CHECK(net[1].alive_members() == 4);
}

TEST_CASE("a removed node is ignored and its records are erased") {
  Net net(3);
  REQUIRE(net[2].set(net.now, 0, "k", "v"));
  net.run(500ms);
  for (uint8_t n : {1, 3}) net[n].revoke(net.now, {node(2)});
  net.run(2s);
  CHECK(net[1].records(0).empty());
  CHECK(net[1].members().size() == 2);
  CHECK(count(net.events[1], Event::Kind::member_forgotten) == 1);
  CHECK(count(net.events[1], Event::Kind::record_erased) == 1);
  CHECK(net[1].counters().from_revoked > 0);
}

TEST_CASE("somebody else's copy of our identity is noticed, not believed") {
  Net net(2);
  wire::Member clone{MemberState::alive, node(1), {9, 9}, node(1), {}};
  clone.info = {"clone", 1, address(9), address(9).address, ""};
  Bytes packet;
  wire::append_header(packet);
  const Bytes message = wire::encode(clone);
  packet.insert(packet.end(), message.begin(), message.end());
  net[1].on_packet(net.now, address(2), node(2), packet);
  CHECK(net[1].counters().identity_conflicts == 1);
  CHECK(net[1].members()[0].info.name == "n1");
}

TEST_CASE("garbage is counted and changes nothing") {
  Net net(2);
  net.run(500ms);
  const uint64_t hash = net[1].members_hash();
  Rng rng(1);
  for (int i = 0; i < 2000; ++i) {
    Bytes bytes(rng.below(200));
    for (uint8_t& byte : bytes) byte = uint8_t(rng());
    net[1].on_packet(net.now, address(2), node(2), bytes);
  }
  net[1].on_packet(net.now, address(2), node(2), Bytes(Limits::packet_bytes + 1));
  CHECK(net[1].counters().malformed > 1900);
  CHECK(net[1].members_hash() == hash);
}

TEST_CASE("a process that stood still does not blame others") {
  Net net(3);
  net.run(1s);
  net.now = net.now + 60s;  // all were stopped, as by a suspended machine
  net.run(5s);
  for (auto& [n, gossip] : net.nodes) {
    CHECK(gossip.alive_members() == 3);
    CHECK(gossip.counters().deaths_declared == 0);
  }
}

TEST_CASE("two nodes may use the same key for different records") {
  Net net(2);
  net.run(500ms);
  REQUIRE(net[1].set(net.now, 0, "k", "one"));
  REQUIRE(net[2].set(net.now, 0, "k", "two"));
  net.settle();
  REQUIRE(net[1].records(0).size() == 2);
  CHECK(net[1].records(0)[0].value == "one");
  CHECK(net[1].records(0)[1].value == "two");
  REQUIRE(net[1].erase(net.now, 0, "k"));
  net.settle();
  CHECK(net[2].records(0).size() == 1);
}

TEST_CASE("each node watches the next alive one, and a lost watch is followed by a ping") {
  Net net(3);
  net.run(1s);
  (void)net[1].take(net.now);
  net[1].on_watch_lost(net.now, node(3));  // it watches 2, not 3
  CHECK(net[1].counters().watches_lost == 0);
  net[1].on_watch_lost(net.now, node(2));
  CHECK(net[1].counters().watches_lost == 1);
  Effects effects = net[1].take(net.now);
  REQUIRE(effects.packets.size() == 1);
  CHECK(effects.packets[0].to == address(2));
  CHECK_FALSE(effects.watch.has_value());
  // Its port is refused: a suspect is not watched, the next one is.
  net[1].on_port_refused(net.now, address(2));
  effects = net[1].take(net.now);
  REQUIRE(effects.watch.has_value());
  CHECK(effects.watch->member == node(3));
}

TEST_CASE("a record of a new stay is not erased when the end of the former one comes late") {
  Net net(2);
  constexpr ScopeId network = 7;
  for (uint8_t n = 1; n <= 2; ++n) REQUIRE(net[n].enter_scope(net.now, network));
  REQUIRE(net[2].set(net.now, network, "old", "former stay"));
  net.run(1s);
  REQUIRE(net[1].records(network).size() == 1);
  // Node 2 leaves, enters again and writes; the packets overtake each other.
  net[2].leave_scope(net.now, network);
  const Effects leaves = net[2].take(net.now);
  REQUIRE(net[2].enter_scope(net.now, network));
  const Effects enters = net[2].take(net.now);
  REQUIRE(net[2].set(net.now, network, "new", "this stay"));
  const Effects writes = net[2].take(net.now);
  CHECK(count(net.arrive(1, 2, writes), Event::Kind::record_set) == 1);
  const std::vector<Event> left = net.arrive(1, 2, leaves);
  CHECK(net[1].records(network).empty());
  CHECK(count(left, Event::Kind::record_erased) == 1);
  CHECK(count(left, Event::Kind::record_hidden) == 1);
  CHECK(count(net.arrive(1, 2, enters), Event::Kind::record_restored) == 1);
  REQUIRE(net[1].records(network).size() == 1);
  CHECK(net[1].records(network)[0].key == "new");
}

TEST_CASE(
    "records of a former boot are told of as erased, not left hidden, when its end comes late") {
  Net net(2);
  constexpr ScopeId network = 7;
  for (uint8_t n = 1; n <= 2; ++n) REQUIRE(net[n].enter_scope(net.now, network));
  REQUIRE(net[2].set(net.now, network, "old", "former boot"));
  net.run(1s);
  net.add(2, 2);
  REQUIRE(net[1].records(network).size() == 1);
  (void)net[1].take(net.now);
  net[2].baseline_complete(net.now);
  const Effects completes = net[2].take(net.now);
  REQUIRE(net[2].enter_scope(net.now, network));
  const Effects enters = net[2].take(net.now);
  REQUIRE(net[2].set(net.now, network, "new", "this boot"));
  const Effects writes = net[2].take(net.now);
  CHECK(count(net.arrive(1, 2, writes), Event::Kind::record_set) == 1);
  CHECK(net[1].records(network).size() == 2);
  const std::vector<Event> ended = net.arrive(1, 2, completes);
  CHECK(net[1].records(network).empty());
  CHECK(count(ended, Event::Kind::record_erased) == 1);
  CHECK(count(ended, Event::Kind::record_hidden) == 1);
  CHECK(count(net.arrive(1, 2, enters), Event::Kind::record_restored) == 1);
  REQUIRE(net[1].records(network).size() == 1);
  CHECK(net[1].records(network)[0].key == "new");
}
