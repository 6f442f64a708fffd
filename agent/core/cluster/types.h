// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <bit>
#include <compare>
#include <cstdint>
#include <cstring>
#include <optional>
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

// Which keys a member holds, by epoch; 0: it has said nothing. A rotation waits for everybody (see
// Gossip::key_progress).
struct KeyRingState {
  uint32_t sealing = 0;  // its packets are sealed with this key
  uint32_t newest = 0;   // it can open packets up to this one
  auto operator<=>(const KeyRingState&) const = default;
};

// What a member says of itself.
struct MemberInfo {
  std::string name;  // at most Limits::name_bytes
  uint32_t node_index = 0;
  SocketAddress gossip;  // where its packets and streams arrive
  Address underlay;      // its VTEP
  std::string opaque;    // at most Limits::opaque_bytes; not looked at
  KeyRingState keys;     // see Gossip::set_keys
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

// Keep one connection to `to` open (ALPN weft-sync, nothing is sent on it) and tell on_watch_lost
// when it ends: the kernel of a node whose process is gone says so at once. `member` none: none is
// wanted now. The newest request replaces the former one.
struct WatchRequest {
  NodeId member;
  SocketAddress to;
  bool operator==(const WatchRequest&) const = default;
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
    // Since this node's start, or since it entered the scope: what it knows there has for the first
    // time equalled what `member` knows (none: there is nobody to learn from). Once per scope.
    scope_synced,
    keys_staged,   // every reachable member can open packets of key `epoch`
    keys_sealing,  // every reachable member seals with key `epoch` or a newer one
  };
  Kind kind{};
  NodeId member;  // the owner, for records
  ScopeId scope = cluster_scope;
  std::string key;
  std::string value;   // of record_set and record_restored
  uint32_t epoch = 0;  // of keys_staged and keys_sealing
};

// How far a rotation has come, over this node and all that are reachable.
struct KeyProgress {
  size_t members = 0;
  size_t staged = 0;           // can open packets of that epoch
  size_t sealing = 0;          // seal with it, or with a newer one
  std::vector<NodeId> behind;  // cannot open them yet; sorted, at most 100
};

// What should happen, in order. `events` describe changes of this node's view, its own included.
struct Effects {
  std::vector<Packet> packets;
  std::vector<StreamRequest> streams;
  std::vector<Event> events;
  std::optional<WatchRequest> watch;
  bool empty() const { return packets.empty() && streams.empty() && events.empty() && !watch; }
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
  uint64_t watches_lost = 0;     // connections to watched members that ended
};

// Timers. The defaults are for a data centre; tests shorten some. SWIM's protocol period and its
// k = 3 relays (Das, Gupta, Motivala 2002, sections 3.1 and 5); suspicion after Lifeguard (Dadgar,
// Phillips, Currey 2018, section 4) and its implementation, memberlist; the rest is measured in
// weft-sim (tests/sim/README.md).
struct Config {
  Duration probe_interval = 500ms;    // SWIM's protocol period T'
  Duration probe_timeout_min = 60ms;  // direct answer; otherwise from the measured round trip
  Duration probe_timeout_max = 150ms;
  Duration probe_deadline = 350ms;        // including indirect probes and the stream
  Duration probe_deadline_lossy = 900ms;  // the same where a fifth of the round trips is lost
  Duration suspicion_fast = 850ms;        // minimum on a network without loss
  Duration suspicion_unit = 1s;           // memberlist's formula: 4 * max(1, log10 n) * unit
  Duration reconnect_interval = 1s;       // one dead member is tried
  Duration rejoin_interval = 15s;         // one seed that is no member is tried
  Duration watch_pause = 1s;              // before a watch that ended is asked for again
  Duration forget_dead_after = 24h;
  Duration forget_left_after = 30min;
  Duration tombstone_lifetime = 30min;
  Duration orphan_lifetime = 30s;  // records of owners that are not in the scope
  Duration baseline_grace = 30s;   // see Gossip::baseline_complete
  Duration stream_timeout = 10s;
  Duration leave_linger = 300ms;
  size_t fan_out = 4;  // Demers 1987 and our simulation: 98 % of all nodes in the eager phase
  size_t relays = 3;
};

}  // namespace weft::cluster
