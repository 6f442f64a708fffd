// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <set>
#include <span>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/rng.h"
#include "core/cluster/types.h"

namespace weft::cluster {

class Engine;
struct MemberList;

// Membership and record tables of one node: SWIM with Lifeguard, epidemic dissemination and
// anti-entropy (README.md). No sockets and no clock: the shell hands in what happened, with `now`
// from one monotonic clock, and carries out what take() returns.
//
// The shell's loop, after any batch of calls (a socket drained, an API call, a timer):
//
//     Effects effects = gossip.take(now);
//     for (Packet& p : effects.packets) socket.send_to(p.to, sealer.seal(p.bytes));
//     for (StreamRequest& s : effects.streams) start_stream(std::move(s));
//     for (Event& e : effects.events) state.apply(e);
//     if (effects.watch) watch(*effects.watch);
//     timer.expires_at(gossip.next_timer());
//
// Calls only queue, take() packs: a burst of set() fills packets, and nothing waits for a tick, so
// take() must follow every batch. Calling a batch one call costs only more, smaller packets.
class Gossip {
 public:
  struct Self {
    NodeId id;
    uint64_t boot_epoch = 0;  // strictly greater than in every former boot of this id
    MemberInfo info;
    // Members that this node knows to begin with, itself included or not; may be null.
    std::shared_ptr<const MemberList> known{};
  };

  Gossip(const Config& config, Self self, Rng rng, Instant now);
  ~Gossip();
  Gossip(Gossip&&) noexcept;
  Gossip& operator=(Gossip&&) noexcept;

  // --- from the network ---

  // An opened (replay-checked) datagram of the authenticated `sender`. Any bytes are safe.
  void on_packet(Instant now, const SocketAddress& from, const NodeId& sender, ByteView plaintext);
  // ECONNREFUSED (ICMP port unreachable) for a datagram sent to `address`: a vote that the member
  // there is dead. Callers should pass on what the kernel's error queue says, nothing else.
  void on_port_refused(Instant now, const SocketAddress& address);
  // Serves a stream: returns what to answer. `from` is the peer as the connection shows it.
  Bytes on_stream_request(Instant now, const SocketAddress& from, const NodeId& sender,
                          ByteView request);
  // How the stream `id` of a StreamRequest ended. Exactly one of them per request; one that never
  // comes counts as failed after Config::stream_timeout.
  void on_stream_reply(Instant now, uint64_t id, const NodeId& sender, ByteView reply);
  void on_stream_failed(Instant now, uint64_t id);
  // The connection of the WatchRequest for `member` could not be made, or has ended.
  void on_watch_lost(Instant now, const NodeId& member);

  // --- time ---

  // To be called at or after next_timer(); earlier does no harm. A call that comes very late (this
  // process was stopped) postpones verdicts on others.
  void on_timer(Instant now);
  Instant next_timer() const;

  // --- from this node ---

  // Contacts the seeds until one answers, and again when this node knows nobody alive or a seed
  // is no member (a split cluster finds itself again). May be called more than once.
  void join(Instant now, std::span<const SocketAddress> seeds);
  // Says good-bye. Keep the loop running until has_left(), about Config::leave_linger.
  void leave(Instant now);
  bool has_left(Instant now) const;
  void update_self(Instant now, MemberInfo info);
  // Removed nodes: ignored, and their records erased. The set replaces the former one.
  void revoke(Instant now, std::set<NodeId> removed);

  // This node takes part in a network: it learns its records and may write some. Errors:
  // exhausted (too many scopes), invalid (a reserved number).
  Result<> enter_scope(Instant now, ScopeId scope);
  // Erases this node's records there for everybody, and forgets the others' here.
  void leave_scope(Instant now, ScopeId scope);
  // Writes this node's record. Keys are this node's own: another node may use the same key for
  // another record. Keys are not empty and do not start with a zero byte. Errors: not_found (scope
  // not entered), invalid (sizes), exhausted (Limits::records_per_owner).
  Result<> set(Instant now, ScopeId scope, std::string_view key, std::string_view value);
  // Errors: not_found.
  Result<> erase(Instant now, ScopeId scope, std::string_view key);
  // After a start, call this once everything that this node still holds has been written again.
  // Until then (or Config::baseline_grace) the records of its former boot stay visible elsewhere;
  // after that, those not written again vanish everywhere at once.
  void baseline_complete(Instant now);

  // Tells everybody which keys this node holds.
  void set_keys(Instant now, KeyRingState keys);

  // --- effects and queries ---

  Effects take(Instant now);

  // Sorted by id, this node included.
  std::vector<MemberView> members() const;
  // The visible records of the scope, sorted by owner and key.
  std::vector<RecordView> records(ScopeId scope) const;
  // Who takes part in a scope (alive, suspect, dead or left), sorted; this node included.
  std::vector<NodeId> scope_members(ScopeId scope) const;
  bool in_scope(ScopeId scope) const;
  size_t alive_members() const;  // suspects and this node included
  // Equal on two nodes that see the same (alive) members / the same logs of alive owners.
  uint64_t members_hash() const;
  uint64_t scope_hash(ScopeId scope) const;
  // What this node knows of the scope has equalled what a peer knows: see Event::scope_synced.
  bool synced(ScopeId scope) const;
  // A rotation by whoever leads it, each step when all have done the former: (1) everybody gets
  // key e as `next`, until staged == members; (2) everybody seals with e, until sealing == members;
  // (3) everybody drops the key before. No packet meets a node that cannot open it.
  KeyProgress key_progress(uint32_t epoch) const;
  const Counters& counters() const;
  uint32_t local_health() const;  // 0 healthy .. 8
  double loss() const;            // estimated share of lost round trips
  size_t stored_bytes() const;    // records of all owners and scopes, roughly

 private:
  std::unique_ptr<Engine> engine_;
};

}  // namespace weft::cluster
