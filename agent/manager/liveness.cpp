// SPDX-License-Identifier: Apache-2.0
#include "core/manage/tasks.h"
#include "manager/actor.h"

namespace weft::manager {

using manage::Caller;
using manage::Draft;

void Manager::Actor::open_session(const Caller& caller, const std::string& payload,
                                  std::unique_ptr<SessionSink> sink, Reply reply) {
  if (auto allowed = check_caller(caller); !allowed) return reply(std::move(allowed).error());
  api::SessionRequest request;
  if (!request.ParseFromString(payload))
    return reply(Error(ErrorCode::invalid, "the session request cannot be read"));
  auto decide = [id = caller.node_id, request](Draft& draft) -> Result<std::string> {
    TRY(manage::node_came_up(draft, id, request));
    manage::take_reports(draft, id, request.tasks());
    manage::adopt_endpoints(draft, id, request.endpoints());
    return std::string();
  };
  // std::function must be copyable: the sink waits in a box.
  auto box = std::make_shared<std::unique_ptr<SessionSink>>(std::move(sink));
  auto opened = [this, id = caller.node_id, box, reply](Result<std::string> result) {
    if (!result) return reply(std::move(result));
    api::SessionReply answer;
    answer.set_session_id(fresh_id());
    answer.set_heartbeat_ms(
        uint32_t(std::chrono::duration_cast<std::chrono::milliseconds>(config_.heartbeat).count()));
    sessions_.open(id, answer.session_id(), std::move(*box), now.instant);
    absent_since_.erase(id);
    reply(manage::serialize(answer));
    sessions_.flush(state_);
  };
  add("", std::move(decide), std::move(opened));
}

void Manager::Actor::session_lost(const std::string& session_id) {
  const std::string node_id = sessions_.node_of(session_id);
  if (node_id.empty()) return;
  sessions_.close(node_id);
  judge_nodes();
}

void Manager::Actor::member_state(const std::string& node_id, bool alive) {
  if (alive)
    member_dead_.erase(node_id);
  else if (state_.nodes.count(node_id) != 0)
    member_dead_.try_emplace(node_id, now.instant);
  judge_nodes();
}

void Manager::Actor::heartbeat(const Caller& caller, const std::string& payload,
                               const Reply& reply) {
  api::HeartbeatRequest request;
  Sessions::Session* session = sessions_.of_node(caller.node_id);
  if (!request.ParseFromString(payload) || !session || session->id != request.session_id())
    return reply(Error(ErrorCode::unavailable, "this session is over: open a new one"));
  session->heard = now.instant;
  judge_nodes();
  reply(std::string());
}

// Gossip is quick, and takes a node out of VIPs and DNS by itself. Its tasks are replaced only
// after a silence of several heartbeats: an agent that is being restarted is away for seconds, and
// its tasks serve on. Until then a node that gossip calls dead, or without a connection, gets
// nothing new to do.
api::NodeState Manager::Actor::verdict(const std::string& node_id) {
  const Duration grace = config_.heartbeat * config_.heartbeats_missed;
  if (const Sessions::Session* session = sessions_.of_node(node_id)) {
    if (now.instant - session->heard >= grace) return api::NODE_DEAD;
    return member_dead_.contains(node_id) ? api::NODE_SUSPECT : api::NODE_ALIVE;
  }
  const Instant since = absent_since_.try_emplace(node_id, now.instant).first->second;
  if (now.instant - since >= grace) return api::NODE_DEAD;
  const api::NodeState state = state_.nodes.at(node_id).state();
  return state == api::NODE_DEAD ? api::NODE_DEAD : api::NODE_SUSPECT;
}

void Manager::Actor::judge_nodes() {
  if (judging_ || quiet_until_ > now.instant) return;
  const auto verdicts = [this] {
    std::map<std::string, api::NodeState> changed;
    for (const auto& [id, node] : state_.nodes) {
      if (node.state() == api::NODE_UNKNOWN) continue;  // has never been up
      const api::NodeState now_is = verdict(id);
      if (now_is == node.state()) continue;
      changed[id] = now_is;
    }
    return changed;
  };
  const auto changed = verdicts();
  for (const auto& [id, state] : changed)
    if (const Sessions::Session* silent = sessions_.of_node(id);
        silent && state == api::NODE_DEAD) {
      // The verdict stands: it is absent since it was heard last.
      absent_since_[id] = silent->heard;
      sessions_.close(id);
    }
  for (auto* since : {&absent_since_, &member_dead_})
    std::erase_if(*since, [&](const auto& e) { return state_.nodes.count(e.first) == 0; });
  if (changed.empty()) return;
  judging_ = true;
  auto decide = [verdicts](Draft& draft) -> Result<std::string> {
    for (const auto& [id, state] : verdicts()) manage::set_node_state(draft, id, state);
    return std::string();
  };
  add("", std::move(decide), [this](Result<std::string>) { judging_ = false; });
}

}  // namespace weft::manager
