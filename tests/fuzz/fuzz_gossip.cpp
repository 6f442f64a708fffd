// SPDX-License-Identifier: Apache-2.0
// Feeds bytes to the gossip: as packets of several senders, as stream requests and as stream
// replies, into nodes that hold members, networks and records. The first byte of each piece says
// what it is, so that the fuzzer can build conversations. Whatever comes, the node goes on, keeps
// its own records, and what it sends decodes.
#include <cstdint>
#include <cstdlib>

#include "core/cluster/gossip.h"
#include "core/cluster/wire.h"

using namespace weft;
using namespace weft::cluster;

namespace {

void require(bool condition) {
  if (!condition) std::abort();
}

NodeId node(uint8_t n) {
  NodeId id;
  id.bytes.fill(n);
  return id;
}
SocketAddress address(uint8_t n) { return {Address::v4(0x0a000000u + n), 7946}; }

Bytes with_header(ByteView body) {
  Bytes out;
  wire::append_header(out);
  out.insert(out.end(), body.begin(), body.end());
  return out;
}

// A body that frames `content` as one message of `type`: decoders are reached at once.
Bytes framed(uint8_t type, ByteView content) {
  Bytes out;
  ByteWriter w(out);
  w.u8(type);
  w.field(content);
  return out;
}

void introduce(Gossip& gossip, Instant now, uint8_t n) {
  wire::Member news{MemberState::alive, node(n), {1, 1}, node(n), {}};
  news.info = {"n", n, address(n), address(n).address, ""};
  gossip.on_packet(now, address(n), node(n), with_header(wire::encode(news)));
  const std::string key("\0\0\0\0\7", 5);
  const wire::RecordNews attached{0, node(n), 1, {1, wire::RecordKind::value, key, "\1"}};
  gossip.on_packet(now, address(n), node(n), with_header(wire::encode(attached)));
}

void check(const Effects& effects) {
  for (const Packet& packet : effects.packets) {
    require(packet.bytes.size() <= Limits::packet_bytes);
    auto reader = wire::Reader::open(packet.bytes);
    require(reader.has_value());
    while (reader->next()) {
    }
    require(reader->malformed() == 0);
  }
  for (const StreamRequest& stream : effects.streams) {
    auto reader = wire::Reader::open(stream.request);
    require(reader.has_value());
    while (reader->next()) {
    }
    require(reader->malformed() == 0);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  Instant now{1h};
  Gossip gossip(Config{}, {node(1), 5, {"self", 1, address(1), address(1).address, ""}}, Rng(1),
                now);
  for (uint8_t n = 2; n < 5; ++n) introduce(gossip, now, n);
  require(gossip.enter_scope(now, 7).has_value());
  require(gossip.set(now, 0, "mine", "value").has_value());
  require(gossip.set(now, 7, "mine", "value").has_value());
  uint64_t stream = 1;
  ByteReader in({data, size});
  for (int pieces = 0; in.remaining() > 3 && pieces < 64; ++pieces) {
    const uint8_t what = in.u8();
    const auto sender = uint8_t(2 + what % 4);
    const uint8_t type = in.u8() % 15;
    ByteView content = in.raw(std::min<size_t>(in.remaining(), in.u8() * 4));
    const Bytes body = what & 0x80 ? Bytes(content.begin(), content.end()) : framed(type, content);
    switch (what >> 4 & 7) {
      case 0:
        gossip.on_packet(now, address(sender), node(sender), content);
        break;
      case 1: {
        const Bytes reply =
            gossip.on_stream_request(now, address(sender), node(sender), with_header(body));
        require(wire::Reader::open(reply).has_value());
        break;
      }
      case 2:
        gossip.on_stream_reply(now, stream++, node(sender), with_header(body));
        break;
      case 3:
        now = std::max(now, gossip.next_timer());
        gossip.on_timer(now);
        break;
      default:
        gossip.on_packet(now, address(sender), node(sender), with_header(body));
        break;
    }
    check(gossip.take(now));
    now = now + 1ms;
  }
  // Nobody else writes this node's records.
  for (ScopeId scope : {0u, 7u}) {
    size_t mine = 0;
    for (const RecordView& record : gossip.records(scope)) {
      if (record.owner != node(1)) continue;
      require(record.key == "mine" && record.value == "value");
      ++mine;
    }
    require(mine == 1);
  }
  for (int i = 0; i < 6; ++i) {
    now = std::max(now, gossip.next_timer());
    gossip.on_timer(now);
    check(gossip.take(now));
  }
  return 0;
}
