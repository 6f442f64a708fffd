// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string_view>
#include <variant>
#include <vector>

#include "core/cluster/types.h"

// The gossip's messages. A packet (and the body of a stream) is a header and any number of
// messages; each is framed (type, length, body), so that a node skips what a newer version says.
// Decoding is total: any bytes give a message or nothing, and never more work than their length.
// The layout is in README.md.
namespace weft::cluster::wire {

// 2: the sender is known from the seal; pings carry one hash over everything; key rings.
inline constexpr uint8_t version = 2;
inline constexpr size_t header_bytes = 1;

enum class Type : uint8_t {
  ping = 1,
  ack = 2,
  relay = 3,
  relayed = 4,
  nack = 5,
  member = 6,
  hashes = 7,
  record = 8,
  digest = 9,
  vector = 10,
  pull = 11,
  delta = 12,
  compare = 13,
};

// Loss is a share of 255: what the sender measures on its own probes.
struct Ping {
  uint32_t probe = 0;
  uint32_t target = 0;  // tag_of() the target; 0: whoever listens there (a seed)
  uint8_t loss = 0;
  uint64_t shared = 0;  // hash over all that sender and target keep both; 0: not told
};
struct Ack {
  uint32_t probe = 0;
  uint8_t loss = 0;
};
// "Ping `target` for me, and say nack if it has not answered within `timeout_ms`."
struct Relay {
  uint32_t probe = 0;
  NodeId target;
  SocketAddress address;
  uint16_t timeout_ms = 0;
};
struct Relayed {
  uint32_t probe = 0;
};
struct Nack {
  uint32_t probe = 0;
};
// `info` is present for alive, `accuser` is set for suspect and dead.
struct Member {
  MemberState state = MemberState::alive;
  NodeId id;
  Incarnation incarnation;
  NodeId accuser;
  MemberInfo info;
};
struct ScopeHash {
  ScopeId scope = 0;
  uint64_t hash = 0;
};
struct Hashes {
  std::vector<ScopeHash> scopes;
};
// "Tell me your hashes of these, equal or not."
struct Compare {
  std::vector<ScopeHash> scopes;
};

enum class RecordKind : uint8_t {
  value = 0,
  tombstone = 1,
  baseline = 2,  // the owner's log of this boot is complete up to here; the key is empty
};
struct Record {
  uint64_t sequence = 0;
  RecordKind kind = RecordKind::value;
  std::string_view key;
  std::string_view value;
};
struct RecordNews {
  ScopeId scope = 0;
  NodeId origin;
  uint64_t boot_epoch = 0;
  Record record;
};

// 2^log2_buckets salted hashes of the scope's version vector, by bucket_of(origin).
struct Digest {
  ScopeId scope = 0;
  uint32_t salt = 0;
  uint8_t log2_buckets = 0;
  std::vector<uint16_t> hashes;
};
struct Version {
  NodeId origin;
  uint64_t boot_epoch = 0;
  uint64_t mark = 0;  // everything up to this sequence is known; members: the counter
  auto operator<=>(const Version&) const = default;
};
// Part of a version vector. With `buckets` it is complete for these: what is not listed, the sender
// does not have. Without, it only tells of what it lists.
struct Vector {
  ScopeId scope = 0;
  uint8_t log2_buckets = 0;
  std::vector<uint16_t> buckets;
  std::vector<Version> versions;
};
// "Send me what is newer than this."
struct Pull {
  ScopeId scope = 0;
  std::vector<Version> versions;
};
// Everything of one origin's log in (from, through] that has not been replaced since. With a floor
// (from == 0) it is a snapshot: what it does not list does not exist up to `through`, and the
// sender has collected tombstones up to `floor`.
struct Delta {
  ScopeId scope = 0;
  NodeId origin;
  uint64_t boot_epoch = 0;
  uint64_t from = 0;
  uint64_t through = 0;
  uint64_t floor = 0;
  std::vector<Record> records;
};

using Message = std::variant<Ping, Ack, Relay, Relayed, Nack, Member, Hashes, RecordNews, Digest,
                             Vector, Pull, Delta, Compare>;

// One framed message. Views in it must stay valid during the call only.
Bytes encode(const Message& message);
void append_header(Bytes& out);
// Four bytes that tell a node from others, for pings; never 0.
uint32_t tag_of(const NodeId& id);

// Walks a packet. Views in the messages point into `packet`.
class Reader {
 public:
  // nullopt: not ours (empty, or another version).
  static std::optional<Reader> open(ByteView packet);
  // The next message of a known type; nullopt at the end. A message that does not decode is
  // skipped and counted; a broken frame ends the packet.
  std::optional<Message> next();
  uint64_t malformed() const { return malformed_; }

 private:
  explicit Reader(ByteView body) : in_(body) {}
  ByteReader in_;
  uint64_t malformed_ = 0;
};

// Encoded size of one record inside a delta, at most.
size_t record_size_bound(const Record& record);

}  // namespace weft::cluster::wire
