// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/fd.h"
#include "base/instant.h"
#include "store/store.h"

namespace weft::store {

// A voter counts for majorities; a standby has the data; a spare is only known.
enum class MemberRole { voter, standby, spare };

struct Member {
  uint64_t id = 0;  // never used again in this cluster, also not after the member was removed
  std::string address;
  MemberRole role = MemberRole::voter;
  bool operator==(const Member&) const = default;
};

// Who leads, as this member knows.
struct Leadership {
  bool self = false;
  uint64_t leader = 0;  // 0: nobody is known
  std::string address;
  bool operator==(const Leadership&) const = default;
};

// What a member keeps of itself: `directory`/member.
struct MemberIdentity {
  uint64_t id = 0;
  std::string address;
  // Random, made by create(), restore() and recover(), given to those who join. Members of another
  // one must not reach each other: see greeting().
  std::string generation;
};

// The replicated store: every manager has one, in process. Only the leader's takes transactions;
// the others refuse them with ErrorCode::unavailable and a sentence that names the leader. One
// manager alone is a cluster of one member and leads at once.
//
// How to use it
//  - The managers' port hands over connections of the protocol "weft-raft" (io::RpcServer::
//    add_protocol, role "manager") to an io::TlsTunnel, whose other end is connect_local().
//    `Settings::connect` is the tunnel's connect() to the manager port of a member's address. The
//    tunnel's greeting is greeting(). Destroy the store before the tunnel.
//  - When on_leadership says `self`, call load() (it sees everything acknowledged by any leader
//    before), build the managers' state from it, and serve. When it says otherwise, stop deciding;
//    answers of commits that are still out come as ErrorCode::unavailable.
//  - unavailable from commit() leaves open whether the transaction counts: the same operation id
//    tells, here or at the next leader.
//
// Threads: the library's (the log, the database, its disk), one that executes transactions and
// loads, one that watches the leader, one for member operations and dumps. All functions may be
// called from any thread and none but create(), open(), join(), load() and the destructor blocks.
// Answers and events are given to `Settings::post`; after the destructor none is given any more.
class DqliteStore final : public Store {
 public:
  struct Settings {
    std::string directory;  // made with mode 0700 if it is missing
    // Runs a function soon on the thread that owns the managers' state, in the order of the calls.
    std::function<void(std::function<void()>)> post;
    // A connected stream socket whose other end is the store of the member at this address. Called
    // from threads of the library; may block for a second, not longer.
    std::function<Result<Fd>(const std::string& address)> connect;
    std::function<void(const Leadership&)> on_leadership;  // may be empty
    // One sentence: a dump failed. May be empty.
    std::function<void(const Error&)> on_problem;
    // `directory`/backup.db is written so often if something has changed; 0: never.
    Duration dump_interval = 10min;
    // One way. Elections take 15 to 30 times as long. Less than 20 ms elects without need.
    Duration network_latency = 20ms;
  };
  using Done = std::function<void(Result<>)>;

  // A member was made in this directory before.
  static bool exists(const std::string& directory);
  // A new cluster of this one member; returns when it leads.
  static Result<std::unique_ptr<DqliteStore>> create(Settings settings, const std::string& address);
  // A member that the leader is about to add (add_member with the same id and address).
  // `generation`: the leader's identity().generation.
  static Result<std::unique_ptr<DqliteStore>> join(Settings settings, const Member& self,
                                                   const std::string& generation);
  // After a restart. Refuses damaged files and a half-removed directory, and changes nothing then.
  static Result<std::unique_ptr<DqliteStore>> open(Settings settings);
  ~DqliteStore() override;

  // With a write barrier. Waits a few seconds for an answer; ErrorCode::unavailable if this member
  // does not lead.
  Result<Snapshot> load() override;
  void load(std::function<void(Result<Snapshot>)> done);
  // Transactions that wait are committed together. Not answered from within.
  void commit(const manage::Transaction& transaction, Answer answer) override;

  const MemberIdentity& identity() const;
  // For io::TlsTunnel: members with another greeting belong to another store.
  std::string greeting() const;
  // An incoming connection's end at this store.
  Result<Fd> connect_local() const;
  Leadership leadership() const;
  // A peer's connection has ended: look soon who leads.
  void peer_lost();

  // On the leader only. Adding the same member again, or removing one that is gone, is Ok.
  void add_member(const Member& member, Done done);  // waits until it has caught up
  void set_role(uint64_t id, MemberRole role, Done done);
  // Not itself: transfer_leadership() first.
  void remove_member(uint64_t id, Done done);
  // To this voter, or with 0 to any.
  void transfer_leadership(uint64_t id, Done done);
  // On any member, as far as it knows.
  void members(std::function<void(Result<std::vector<Member>>)> done);
  // A complete copy as one sqlite file (also a SqliteStore), on any member, also without a leader.
  void backup(const std::string& path, Done done);

  // Random: an id for a member that is going to join.
  static uint64_t new_member_id();

  // For a directory that no store has open:
  // A fresh cluster of one member with what a backup holds. What was in `directory` is kept beside
  // it, with ".replaced" appended. All other members must join anew.
  static Result<> restore(const std::string& directory, const std::string& backup,
                          const std::string& address);
  // The majority is lost for good: this member goes on alone with what it has. All others must join
  // anew. What only lost members had acknowledged is gone.
  static Result<> recover(const std::string& directory);

 private:
  struct State;
  explicit DqliteStore(std::unique_ptr<State> state);
  static Result<std::unique_ptr<DqliteStore>> start(Settings settings, MemberIdentity self,
                                                    bool fresh);
  std::unique_ptr<State> state_;
};

}  // namespace weft::store
