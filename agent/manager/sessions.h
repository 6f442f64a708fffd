// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>

#include "base/instant.h"
#include "core/manage/assignment.h"
#include "manager/session_sink.h"

namespace weft::manager {

// Open sessions, by node: who was told what, and when each was last heard.
class Sessions {
 public:
  struct Session {
    std::string id;
    std::unique_ptr<SessionSink> sink;
    manage::Told told;
    manage::Changed changed;  // since the last message, as far as it may concern the node
    uint64_t sequence = 0;
    bool in_flight = false;
    Instant heard;
  };

  Sessions() : alive_(std::make_shared<Sessions*>(this)) {}
  // Closes all: the nodes look for the next leader.
  ~Sessions();
  Sessions(const Sessions&) = delete;
  Sessions& operator=(const Sessions&) = delete;

  // Replaces and closes an older session of the node.
  void open(const std::string& node_id, const std::string& session_id,
            std::unique_ptr<SessionSink> sink, Instant now);
  void close(const std::string& node_id);
  // Null if the node has none.
  Session* of_node(const std::string& node_id);
  // The node whose session this is, or empty.
  std::string node_of(const std::string& session_id) const;
  // What a transaction wrote, once it is part of `state`.
  void note(const manage::ClusterState& state, const manage::Transaction& transaction);
  // The state was loaded anew: whatever the nodes were told may have changed.
  void note_all();
  // Sends every node what changed for it, at most one message per node at a time: what changes
  // meanwhile goes out as one. Closes sessions of nodes that are no longer in the cluster.
  void flush(const manage::ClusterState& state);

  const std::map<std::string, Session>& all() const { return sessions_; }

 private:
  void send(const std::string& node_id, Session& session,
            std::optional<manage::Assigner>& assigner);
  void answered(const std::string& node_id, const std::string& session_id, Result<> result);

  std::map<std::string, Session> sessions_;
  const manage::ClusterState* state_ = nullptr;  // of the last flush
  // Answers that come after this object has gone find null.
  std::shared_ptr<Sessions*> alive_;
};

}  // namespace weft::manager
