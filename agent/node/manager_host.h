// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>

#include "base/result.h"
#include "node/config.h"
#include "node/identity.h"

namespace weft::api {
class ClusterInitReply;
class ClusterInitRequest;
class JoinRequest;
}  // namespace weft::api

namespace weft::node {

// The managers' part of this agent, on a thread of its own: store, decisions, and the TLS port
// where nodes (this one included) connect.
class ManagerHost {
 public:
  // Serves an existing cluster.
  static Result<std::unique_ptr<ManagerHost>> start(const Config& config, const Identity& identity);
  // Makes a new cluster with this node as its first manager, and serves it. Fills in the identity's
  // certificate.
  static Result<std::unique_ptr<ManagerHost>> init(const Config& config, Identity& identity,
                                                   const api::ClusterInitRequest& request,
                                                   const api::JoinRequest& self,
                                                   api::ClusterInitReply& reply);
  // Stops serving and closes the store.
  ~ManagerHost();

  // What gossip says of a member. From any thread.
  void member_state(const std::string& node_id, bool alive);

 private:
  struct State;
  explicit ManagerHost(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace weft::node
