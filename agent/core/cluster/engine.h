// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <unordered_map>

#include "base/result.h"
#include "base/rng.h"
#include "core/cluster/gossip.h"
#include "core/cluster/member_table.h"
#include "core/cluster/suspicion.h"
#include "core/cluster/table.h"

namespace weft::cluster {

// The state behind Gossip. One class, for its parts are one invariant (what is visible depends on
// members, attachments and logs together), in files by subject: engine.cpp (construction, timers,
// packing), members.cpp (who is alive), probe.cpp (failure detection), attachments.cpp (who takes
// part, what is visible), records.cpp (tables), compare.cpp and sync.cpp (anti-entropy).
class Engine {
 public:
  Engine(const Config& config, Gossip::Self self, Rng rng, Instant now);

  void on_packet(Instant now, const SocketAddress& from, const NodeId& sender, ByteView plaintext);
  void on_port_refused(Instant now, const SocketAddress& address);
  Bytes on_stream_request(Instant now, const SocketAddress& from, const NodeId& sender,
                          ByteView request);
  void on_stream_reply(Instant now, uint64_t id, const NodeId& sender, ByteView reply);
  void on_stream_failed(uint64_t id);
  void on_watch_lost(Instant now, const NodeId& id);
  void on_timer(Instant now);
  Instant next_timer() const;
  void join(Instant now, std::span<const SocketAddress> seeds);
  void leave(Instant now);
  bool has_left(Instant now) const;
  void update_self(Instant now, MemberInfo info);
  void revoke(Instant now, std::set<NodeId> removed);
  Result<> enter_scope(Instant now, ScopeId scope);
  void leave_scope(Instant now, ScopeId scope);
  Result<> set(Instant now, ScopeId scope, std::string_view key, std::string_view value);
  Result<> erase(Instant now, ScopeId scope, std::string_view key);
  void baseline_complete(Instant now);
  void set_keys(Instant now, KeyRingState keys);
  Effects take(Instant now);

  std::vector<MemberView> members() const;
  std::vector<RecordView> records(ScopeId scope) const;
  std::vector<NodeId> scope_members(ScopeId scope) const;
  bool in_scope(ScopeId scope) const { return scopes_.contains(scope); }
  size_t alive_members() const { return members_.reachable() + (left_at_ ? 0 : 1); }
  bool synced(ScopeId scope) const;
  KeyProgress key_progress(uint32_t epoch) const;
  uint64_t hash_of(ScopeId scope);
  const Counters& counters() const { return counters_; }
  uint32_t local_health() const { return health_.score(); }
  double loss() const { return loss_.estimate(); }
  size_t stored_bytes() const;

 private:
  // A log's owner takes part in a scope since its write `base` there.
  struct Attachment {
    uint64_t boot_epoch = 0;
    uint64_t base = 1;
  };
  // The last write of a stay that has ended; if it is not known, all that we have are of it.
  struct StayEnd {
    uint64_t boot_epoch = UINT64_MAX;
    uint64_t sequence = UINT64_MAX;
  };
  struct Scope {
    std::map<NodeId, OriginLog> logs;
    uint64_t hash = 0;
    bool hash_valid = false;
    std::vector<NodeId> peers;  // reachable members that take part
    bool peers_valid = false;
    std::map<NodeId, Instant> agreed;  // when a peer last showed our hash
    Instant synced{};
    bool compared = false;    // it has equalled a peer's: Event::scope_synced was told
    bool tombstones = false;  // some log has some: `agreed` is worth keeping
  };
  struct Probe {
    NodeId target;
    uint64_t boot_epoch = 0;  // of the target then: a failure says nothing about a later boot
    Instant sent, direct_deadline, deadline;
    bool escalated = false;
    uint32_t nacks_expected = 0, nacks = 0;
  };
  struct RelayedProbe {
    SocketAddress requester;
    uint32_t requester_probe = 0;
    NodeId target;
    Instant nack_at, expires;
    bool nacked = false;
  };
  struct Lazy {
    uint32_t round = 0;
    Instant due;
  };
  struct Rumor {
    NodeId member;
    Bytes message;
    uint32_t remaining;
  };
  struct Eager {
    ScopeId scope;
    NodeId source;  // not sent back to it
    Bytes message;
  };
  struct Stream {
    NodeId member;
    SocketAddress to;
    Instant started;
    uint32_t probe = 0;  // this stream carries a ping
  };
  // Where answers of one conversation go: packets to `to`, or the reply of a stream.
  struct Sink {
    SocketAddress to;
    NodeId peer;
    std::vector<Bytes> messages;
    size_t bytes = 0;
    void add(const wire::Message& message) { add(wire::encode(message)); }
    void add(Bytes message) {
      bytes += message.size();
      messages.push_back(std::move(message));
    }
  };
  using LogPlace = std::pair<ScopeId, NodeId>;
  // Keeps stored_bytes_ right over a change of one log, which must outlive it.
  class Metered {
   public:
    Metered(size_t& total, const OriginLog& log)
        : total_(total), log_(log), before_(log.stored_bytes()) {}
    ~Metered() { total_ += log_.stored_bytes() - before_; }
    Metered(const Metered&) = delete;

   private:
    size_t& total_;
    const OriginLog& log_;
    size_t before_;
  };

  // engine.cpp
  void handle(Instant now, ByteView content, Sink& sink);
  std::optional<WatchRequest> next_watch(Instant now);
  void dispatch(Instant now, const wire::Message& message, Sink& sink);
  void flush(Instant now, Sink& sink);
  void send(const SocketAddress& to, const Bytes& message);
  void open_stream(Instant now, const SocketAddress& to, const NodeId& member,
                   const std::vector<Bytes>& messages, uint32_t probe);
  void send_eager();
  void event(Event::Kind kind, const NodeId& member, ScopeId scope = cluster_scope,
             std::string_view key = {}, std::string_view value = {});
  Duration jitter(Duration d);
  void sweep(Instant now);

  // members.cpp
  const Member* find(const NodeId& id) const { return members_.find(id); }
  wire::Member news_of(const Member& member) const;
  wire::Member news_of_self() const;
  void on_member(Instant now, const wire::Member& news, Sink& sink);
  void on_news_of_self(Instant now, const wire::Member& news);
  void on_alive(Instant now, const Member& known, const wire::Member& news, Sink& sink);
  void on_suspect(Instant now, const Member& known, const wire::Member& news);
  void on_gone(Instant now, const Member& known, const wire::Member& news);
  Member* add_member(Instant now, const wire::Member& news);
  void suspect(Instant now, const Member& known, bool refused);
  void set_state(Instant now, Member& member, MemberState state);
  void forget(Instant now, const NodeId& id);
  void spread_member(Instant now, const wire::Member& news, const NodeId& source);
  void announce_self(Instant now);
  void add_rumors(const SocketAddress& to);
  void check_suspicions(Instant now);
  SuspicionTimes suspicion_now() const;
  static Instant death_of(const Member& member, const SuspicionTimes& times);
  void expire_members(Instant now);
  void tell_keys();

  // probe.cpp
  void on_ping(Instant now, const wire::Ping& ping, Sink& sink);
  void on_ack(Instant now, uint32_t probe, const wire::Ack* ack, const NodeId& sender);
  void on_relay(Instant now, const wire::Relay& relay, Sink& sink);
  void on_nack(uint32_t probe);
  void start_round(Instant now);
  void probe_successor(Instant now);
  void probe_random(Instant now);
  void start_probe(Instant now, const Member& member);
  void escalate(Instant now, uint32_t number, Probe& probe);
  void finish_failed(Instant now, const Probe& probe);
  void send_ping(const SocketAddress& to, const NodeId& target, uint32_t probe);
  void probe_timers(Instant now);
  void reconnect(Instant now);
  void contact_seeds(Instant now);
  uint8_t loss_byte() const;
  uint32_t next_probe_number();
  Instant probe_timer() const;

  // attachments.cpp
  bool owner_reachable(const NodeId& owner) const;
  bool active(ScopeId scope, const NodeId& owner) const;
  void refresh(Instant now, ScopeId scope, const NodeId& owner);
  void refresh_owner(Instant now, const NodeId& owner);
  void detach(Instant now, ScopeId scope, const NodeId& owner, StayEnd end);
  void end_stay(Instant now, ScopeId scope, const NodeId& owner, OriginLog& log, StayEnd end);
  void begin_stay(Instant now, ScopeId scope, const NodeId& owner, OriginLog& log,
                  const Attachment& stay, bool fresh);
  void void_writes(ScopeId scope, const NodeId& owner, OriginLog& log, uint64_t base);
  void attachment_changed(Instant now, const NodeId& owner, const wire::Record& record,
                          uint64_t boot_epoch);
  const std::vector<NodeId>& peers_of(ScopeId scope);
  std::vector<const Member*> pick(ScopeId scope, size_t count, const NodeId& except);

  // records.cpp
  OriginLog* log_for(Instant now, ScopeId scope, const NodeId& owner, uint64_t boot_epoch);
  bool refuses(ScopeId scope, const NodeId& owner, uint64_t boot_epoch) const;
  void on_record(Instant now, const wire::RecordNews& news, const NodeId& sender);
  void on_delta(Instant now, const wire::Delta& delta);
  bool apply(Instant now, ScopeId scope, const NodeId& owner, OriginLog& log,
             const wire::Record& record);
  void vanish(Instant now, ScopeId scope, const NodeId& owner, const OriginLog& log,
              const std::string& key);
  void settle(Instant now, ScopeId scope, const NodeId& owner, OriginLog& log);
  void drop_log(Instant now, ScopeId scope, const NodeId& owner);
  void write_own(Instant now, ScopeId scope, wire::RecordKind kind, std::string_view key,
                 std::string_view value);
  void expire_records(Instant now);

  // compare.cpp
  void on_shared(Instant now, uint64_t theirs, Sink& sink);
  void on_hashes(Instant now, const wire::Hashes& hashes, Sink& sink);
  void on_compare(const wire::Compare& compare, Sink& sink);
  uint64_t shared_hash(const NodeId& peer);
  wire::Hashes hashes_for(const NodeId& peer, size_t limit);
  void equal(Instant now, ScopeId scope, const NodeId& peer);
  void compare_soon(Instant now);
  void compare(Instant now);

  // sync.cpp
  void on_digest(Instant now, const wire::Digest& digest, Sink& sink);
  void on_vector(Instant now, const wire::Vector& vector, Sink& sink);
  void on_pull(const wire::Pull& pull, Sink& sink);
  void begin_sync(ScopeId scope, Sink& sink);
  std::vector<wire::Version> versions_of(ScopeId scope);
  std::optional<wire::Version> version_of(ScopeId scope, const NodeId& origin);
  void send_newer(ScopeId scope, const wire::Version& theirs, Sink& sink);
  void send_log(ScopeId scope, const NodeId& origin, const OriginLog& log, uint64_t from,
                Sink& sink);
  void changed(Instant now, ScopeId scope, const NodeId& owner);
  void lazy_rounds(Instant now);

  Config config_;
  NodeId id_;
  Incarnation incarnation_;
  MemberInfo info_;
  Rng rng_;
  Instant started_, last_timer_;

  MemberTable members_;                      // all but this node
  std::map<NodeId, Incarnation> forgotten_;  // up to this incarnation they stay forgotten
  std::set<NodeId> revoked_;
  std::set<NodeId> suspects_;
  std::deque<Rumor> rumors_;

  bool ring_turn_ = false;  // whom the next probe is for
  uint32_t probe_number_;
  std::map<uint32_t, Probe> probes_;
  std::map<uint32_t, RelayedProbe> relayed_;
  LocalHealth health_;
  LossMeter loss_;

  std::vector<SocketAddress> seeds_;
  bool contacted_ = false;  // somebody has answered since join
  uint32_t join_attempts_ = 0;
  std::optional<Instant> left_at_;

  std::map<ScopeId, Scope> scopes_;
  std::map<ScopeId, std::map<NodeId, Attachment>> attachments_;
  std::map<ScopeId, uint64_t> left_sequences_;  // of scopes this node has left
  bool baseline_done_ = false;
  size_t stored_bytes_ = 0;
  size_t rotation_ = 0;

  Instant members_synced_{};
  uint32_t comparisons_ = 0;  // since there was something new to compare

  bool ring_changed_ = true;  // somebody came or went: the next in the circle may be another
  std::optional<WatchRequest> watch_;
  NodeId watch_lost_;
  Instant watch_again_ = Instant::never();

  bool keys_changed_ = false;
  KeyRingState keys_told_;

  Instant next_probe_, next_reconnect_, next_sweep_, next_expiry_, next_join_, next_compare_;
  std::map<LogPlace, Lazy> lazy_;
  Instant lazy_due_ = Instant::never();

  std::vector<Eager> eager_;
  std::map<SocketAddress, std::vector<Bytes>> outbox_;
  std::map<uint64_t, Stream> streams_;
  uint64_t stream_number_ = 0;
  std::vector<StreamRequest> stream_requests_;
  std::vector<Event> events_;
  Counters counters_;
};

}  // namespace weft::cluster
