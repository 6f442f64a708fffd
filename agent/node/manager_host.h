// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>

#include "base/result.h"
#include "node/config.h"
#include "node/identity.h"

namespace weft::api {
class ClusterInitReply;
class ClusterInitRequest;
class JoinReply;
class JoinRequest;
}  // namespace weft::api

namespace weft::node {

// This node's place in the managers' replicated store.
struct StoreMember {
  uint64_t id = 0;
  std::string generation;
};

// The managers' part of this agent, on a thread of its own: the replicated store, the TLS port
// where nodes (this one included) and other managers connect, and, while this manager leads, the
// decisions. A manager that does not lead only tells who does.
class ManagerHost {
 public:
  using Done = std::function<void(Result<>)>;

  // Serves what is in the state folder; without a store yet it waits for join().
  static Result<std::unique_ptr<ManagerHost>> start(const Config& config, const Identity& identity);
  // Makes a new cluster with this node as its first manager, and serves it. `ca` and the identity
  // belong together; fills in the identity's certificate.
  static Result<std::unique_ptr<ManagerHost>> init(const Config& config, Identity& identity,
                                                   const std::string& ca_key_pem,
                                                   const api::ClusterInitRequest& request,
                                                   const api::JoinRequest& self,
                                                   api::ClusterInitReply& reply);
  // A cluster out of a backup, in an empty state folder, with this node in the place of nodes with
  // its name or address. Fills in the rest of the identity.
  static Result<std::unique_ptr<ManagerHost>> restore(const Config& config, Identity& identity,
                                                      const std::string& backup,
                                                      const api::JoinRequest& self);
  // Stops serving and closes the store.
  ~ManagerHost();

  // All of these may be called from any thread; answers are given on the host's own.

  // What gossip says of a member.
  void member_state(const std::string& node_id, bool alive);
  // Nodes that are managers now: the store takes connections of no others.
  void set_managers(std::set<std::string> node_ids);
  // A renewed certificate.
  void set_identity(const Identity& identity);
  // None: no store yet.
  std::optional<StoreMember> member() const;
  // Address of the manager that leads; empty: nobody is known.
  std::string leader() const;
  // A new store that waits to be added by the leader. What was there before is thrown away.
  void join(const StoreMember& member, Done done);
  // A complete copy of the store in a new file.
  void backup(const std::string& path, Done done);
  // The other managers are lost for good: this one goes on alone with what it has.
  void recover(Done done);

  static bool has_store(const Config& config);
  static Result<> erase_store(const Config& config);

 private:
  struct State;
  explicit ManagerHost(std::unique_ptr<State> state);
  static Result<std::unique_ptr<State>> listen(const Config& config, const Identity& identity);
  std::unique_ptr<State> state_;
};

}  // namespace weft::node
