// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <bit>
#include <compare>
#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "base/address.h"
#include "base/bytes.h"
#include "base/instant.h"

namespace weft::cluster {

// 16 random bytes, chosen once in the life of a node and kept over restarts.
struct NodeId {
  std::array<uint8_t, 16> bytes{};

  bool is_none() const { return bytes == std::array<uint8_t, 16>{}; }
  std::string to_string() const;  // 32 hexadecimal digits
  bool operator==(const NodeId&) const = default;
  // By bytes, in two words: ids are compared more often than anything else is done.
  std::strong_ordering operator<=>(const NodeId& other) const {
    const uint64_t mine = word(0), theirs = other.word(0);
    return mine != theirs ? mine <=> theirs : word(8) <=> other.word(8);
  }

 private:
  uint64_t word(size_t offset) const {
    uint64_t value;
    std::memcpy(&value, bytes.data() + offset, sizeof value);
    return std::endian::native == std::endian::little ? __builtin_bswap64(value) : value;
  }
};

// A network's number (its VNI). Scope 0 is the cluster: every member is in it.
using ScopeId = uint32_t;
inline constexpr ScopeId cluster_scope = 0;
// The member list takes part in anti-entropy as if it were one more scope.
inline constexpr ScopeId members_scope = 0xffffffff;

// Orders what is said about a member: a later boot beats any counter of an earlier one. Only the
// member itself raises its incarnation, to refute a suspicion or to publish new metadata.
struct Incarnation {
  uint64_t boot_epoch = 0;
  uint64_t counter = 0;
  auto operator<=>(const Incarnation&) const = default;
};

enum class MemberState : uint8_t {
  alive = 0,
  suspect = 1,  // did not answer; its records stay visible, callers should prefer others
  dead = 2,     // its records are hidden, not deleted
  left = 3,     // said good-bye; as dead, but nobody tries to reach it
};
const char* to_string(MemberState state);

// What a member says of itself.
struct MemberInfo {
  std::string name;  // at most Limits::name_bytes
  uint32_t node_index = 0;
  SocketAddress gossip;  // where its packets and streams arrive
  Address underlay;      // its VTEP
  std::string opaque;    // at most Limits::opaque_bytes; not looked at
  bool operator==(const MemberInfo&) const = default;
};

struct MemberView {
  NodeId id;
  MemberState state = MemberState::alive;
  Incarnation incarnation;
  MemberInfo info;
  bool operator==(const MemberView&) const = default;
};

struct RecordView {
  NodeId owner;
  std::string key;
  std::string value;
  bool operator==(const RecordView&) const = default;
};

// What a hostile or broken peer can make a node keep is bounded by these. A value that its owner
// would not be allowed to set is counted and dropped by everybody else.
struct Limits {
  static constexpr size_t packet_bytes = 1312;  // plaintext; sealing adds at most 60
  static constexpr size_t stream_bytes = 4 << 20;
  static constexpr size_t name_bytes = 64;
  static constexpr size_t opaque_bytes = 400;
  static constexpr size_t key_bytes = 255;
  static constexpr size_t record_bytes = 1100;  // key and value together: one record fits a packet
  static constexpr size_t members = 16384;
  static constexpr size_t records_per_owner = 16384;  // in one scope
  static constexpr size_t scopes = 16384;             // that this node may enter
  static constexpr size_t unknown_owners = 1024;      // in one scope, kept hidden
  static constexpr size_t stored_bytes = 256 << 20;   // of other nodes' records, in total
  static constexpr size_t message_entries = 4096;     // in one decoded message of a packet
};

// One datagram for the shell to seal and send.
struct Packet {
  SocketAddress to;
  Bytes bytes;
};

// A larger exchange: connect to `to` (ALPN weft-sync), check that the peer is `member` unless that
// is none, send `request`, read the reply, and call on_stream_reply or on_stream_failed with `id`.
struct StreamRequest {
  uint64_t id = 0;
  SocketAddress to;
  NodeId member;
  Bytes request;
};

struct Event {
  enum class Kind : uint8_t {
    member_alive,  // new, or back from suspect, dead or left
    member_suspect,
    member_dead,
    member_left,
    member_forgotten,  // its id, and all its records, are gone
    member_metadata,   // name, index, address or opaque bytes differ
    scope_entered,     // `member` takes part in `scope`
    scope_left,
    record_set,       // new or changed
    record_erased,    // gone for good
    record_hidden,    // its owner is dead or left
    record_restored,  // visible again, or at last: carries the value, as record_set does
  };
  Kind kind{};
  NodeId member;  // the owner, for records
  ScopeId scope = cluster_scope;
  std::string key;
  std::string value;  // of record_set and record_restored
};

// What should happen, in order. `events` describe changes of this node's view, its own included.
struct Effects {
  std::vector<Packet> packets;
  std::vector<StreamRequest> streams;
  std::vector<Event> events;
  bool empty() const { return packets.empty() && streams.empty() && events.empty(); }
};

// For metrics and tests; they only grow.
struct Counters {
  uint64_t packets_in = 0;
  uint64_t packets_out = 0;
  uint64_t streams_in = 0;
  uint64_t streams_out = 0;
  uint64_t malformed = 0;     // a message that does not decode, or a packet of another version
  uint64_t from_revoked = 0;  // packets and news of removed nodes
  uint64_t identity_conflicts = 0;  // somebody speaks in our name with a later incarnation
  uint64_t over_limit = 0;          // records and members refused by Limits
  uint64_t probes = 0;
  uint64_t probes_failed = 0;
  uint64_t refutations = 0;
  uint64_t deaths_declared = 0;  // by this node's own time-out
  uint64_t syncs = 0;            // exchanges begun because hashes differed
};

// Timers. The defaults are for a data centre; tests shorten some.
struct Config {
  Duration probe_interval = 500ms;
  Duration probe_timeout_min = 60ms;  // direct answer; otherwise from the measured round trip
  Duration probe_timeout_max = 150ms;
  Duration probe_deadline = 350ms;   // including indirect probes and the stream
  Duration suspicion_fast = 850ms;   // minimum on a network without loss
  Duration suspicion_unit = 1s;      // memberlist's formula: 4 * max(1, log10 n) * unit
  Duration reconnect_interval = 1s;  // one dead member is tried
  Duration rejoin_interval = 15s;    // one seed that is no member is tried
  Duration backstop_interval = 10s;
  Duration forget_dead_after = 24h;
  Duration forget_left_after = 30min;
  Duration tombstone_lifetime = 30min;
  Duration orphan_lifetime = 30s;  // records of owners that are not in the scope
  Duration baseline_grace = 30s;   // see Gossip::baseline_complete
  Duration stream_timeout = 10s;
  Duration leave_linger = 300ms;
  size_t fan_out = 4;
  size_t relays = 3;
};

}  // namespace weft::cluster
