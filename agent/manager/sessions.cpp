// SPDX-License-Identifier: Apache-2.0
#include "manager/sessions.h"

#include <vector>

namespace weft::manager {

Sessions::~Sessions() {
  *alive_ = nullptr;
  for (auto& [node_id, session] : std::exchange(sessions_, {})) session.sink->close();
}

void Sessions::open(const std::string& node_id, const std::string& session_id,
                    std::unique_ptr<SessionSink> sink, Instant now) {
  close(node_id);
  Session& session = sessions_[node_id];
  session.id = session_id;
  session.sink = std::move(sink);
  session.heard = now;
}

void Sessions::close(const std::string& node_id) {
  const auto found = sessions_.find(node_id);
  if (found == sessions_.end()) return;
  // Out of the map first: closing may call back.
  const Session gone = std::move(found->second);
  sessions_.erase(found);
  gone.sink->close();
}

Sessions::Session* Sessions::of_node(const std::string& node_id) {
  const auto found = sessions_.find(node_id);
  return found == sessions_.end() ? nullptr : &found->second;
}

std::string Sessions::node_of(const std::string& session_id) const {
  for (const auto& [node_id, session] : sessions_)
    if (session.id == session_id) return node_id;
  return "";
}

void Sessions::note(const manage::ClusterState& state, const manage::Transaction& transaction) {
  for (auto& [node_id, session] : sessions_)
    for (const manage::Write& write : transaction.writes)
      if (manage::concerns(state, node_id, session.told, write.kind, write.id))
        session.changed.emplace(write.kind, write.id);
}

void Sessions::note_all() {
  for (auto& [node_id, session] : sessions_) {
    const manage::Told& told = session.told;
    for (const auto& [ids, kind] : {std::pair(&told.nodes, manage::kind_of<api::Node>),
                                    std::pair(&told.networks, manage::kind_of<api::Network>),
                                    std::pair(&told.services, manage::kind_of<api::Service>),
                                    std::pair(&told.tasks, manage::kind_of<api::Task>),
                                    std::pair(&told.endpoints, manage::kind_of<api::Endpoint>)})
      for (const std::string& id : *ids) session.changed.emplace(kind, id);
    session.changed.emplace(manage::kind_of<api::Cluster>, manage::cluster_key);
  }
}

void Sessions::flush(const manage::ClusterState& state) {
  state_ = &state;
  std::optional<manage::Assigner> assigner;
  std::vector<std::string> nodes;
  for (const auto& [node_id, session] : sessions_) nodes.push_back(node_id);
  for (const std::string& node_id : nodes) {
    Session* session = of_node(node_id);
    if (!session) continue;
    if (state.nodes.count(node_id) == 0)
      close(node_id);
    else if (!session->in_flight)
      send(node_id, *session, assigner);
  }
}

void Sessions::send(const std::string& node_id, Session& session,
                    std::optional<manage::Assigner>& assigner) {
  const bool first = session.sequence == 0;
  if (!first && session.changed.empty()) return;
  std::optional<api::Assignment> message;
  if (!first) message = manage::endpoints_made(*state_, node_id, session.told, session.changed);
  if (!message) {
    if (!assigner) assigner.emplace(*state_);
    message = assigner->for_node(node_id, session.told, session.changed);
  }
  session.changed.clear();
  if (manage::is_empty(*message)) return;
  message->set_sequence(++session.sequence);
  session.in_flight = true;
  session.sink->assign(*message, [alive = alive_, node_id, id = session.id](Result<> result) {
    if (*alive) (*alive)->answered(node_id, id, std::move(result));
  });
}

void Sessions::answered(const std::string& node_id, const std::string& session_id,
                        Result<> result) {
  Session* session = of_node(node_id);
  if (!session || session->id != session_id) return;
  session->in_flight = false;
  // What the node knows now is unclear: it opens a new session and is told everything.
  if (!result) {
    close(node_id);
    return;
  }
  if (state_->nodes.count(node_id) == 0) return;
  std::optional<manage::Assigner> assigner;
  send(node_id, *session, assigner);
}

}  // namespace weft::manager
