// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "base/instant.h"
#include "base/result.h"
#include "base/rng.h"
#include "manager/authority.h"
#include "manager/session_sink.h"
#include "store/store.h"

namespace weft::api {
class ClusterInitRequest;
class JoinRequest;
}  // namespace weft::api

namespace weft::manage {
struct Caller;
struct ClusterState;
}  // namespace weft::manage

namespace weft::manager {

struct Config {
  Duration heartbeat = 5s;
  int heartbeats_missed = 3;  // then a node is dead
  Duration logs_timeout = 5s;
  Duration ports_timeout = 1s;  // a node that is slower is not asked about its ports
};

// Both clocks at the time of a call.
struct Now {
  Instant instant;
  WallTime wall;
};

using Reply = std::function<void(Result<std::string>)>;

// The managers' leader: one actor, all on one thread. Takes requests one after the other, decides
// (core/manage), commits, and only when the store has acknowledged changes its memory, answers, and
// tells the nodes. May be killed at any moment: what was acknowledged is loaded again, and
// orchestration goes on from there.
class Manager {
 public:
  Manager(store::Store& store, Authority& authority, Rng rng, Config config = {});
  ~Manager();
  Manager(const Manager&) = delete;
  Manager& operator=(const Manager&) = delete;

  // Before anything else. Error: the store cannot be read.
  Result<> load(Now now);
  bool has_cluster() const;
  // What the store has acknowledged; valid until the next call.
  const manage::ClusterState& state() const;

  // Makes the cluster, with `node` as its first manager. Reply: ClusterInitReply.
  void init(Now now, const std::string& cluster_id, const api::ClusterInitRequest& request,
            const api::JoinRequest& node, Reply reply);

  // This node's place in the store that it now leads. To be called after load(), with every change.
  void adopt_store(Now now, const std::string& node_id, uint64_t member_id,
                   const std::string& generation);
  // The store has this node's member now.
  void confirm_manager(Now now, const std::string& node_id, uint64_t member_id, Reply reply);
  // For a cluster that was restored from a backup: `node` takes the place of nodes with its name or
  // address, as a manager. Reply: JoinReply.
  void take_over(Now now, const api::JoinRequest& node, Reply reply);

  // LEADER methods of service Control and the methods of service Manager, by their names in
  // weft.proto, but Session. `reply` may be called from within.
  void handle(Now now, const manage::Caller& caller, std::string_view method,
              const std::string& payload, Reply reply);
  // Manager.Session. After the reply the full assignment goes to `sink`, then changes in order.
  void open_session(Now now, const manage::Caller& caller, const std::string& payload,
                    std::unique_ptr<SessionSink> sink, Reply reply);
  // The connection of the session is gone. Unknown ids are ignored.
  void session_lost(Now now, const std::string& session_id);
  // What gossip says of a member: a dead one is down before its heartbeats are missed.
  void member_state(Now now, const std::string& node_id, bool alive);

  // To be called at next_deadline(), or earlier at will.
  void tick(Now now);
  Instant next_deadline() const;

 private:
  class Actor;
  std::unique_ptr<Actor> actor_;
};

}  // namespace weft::manager
