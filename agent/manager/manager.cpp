// SPDX-License-Identifier: Apache-2.0
#include "manager/manager.h"

#include "manager/actor.h"

namespace weft::manager {

Manager::Manager(store::Store& store, Authority& authority, Rng rng, Config config)
    : actor_(new Actor(store, authority, rng, config)) {}
Manager::~Manager() = default;

Result<> Manager::load(Now now) {
  actor_->now = now;
  return actor_->load();
}
bool Manager::has_cluster() const { return actor_->has_cluster(); }
const manage::ClusterState& Manager::state() const { return actor_->state(); }

void Manager::init(Now now, const std::string& cluster_id, const api::ClusterInitRequest& request,
                   const api::JoinRequest& node, Reply reply) {
  actor_->now = now;
  actor_->init(cluster_id, request, node, std::move(reply));
}

void Manager::adopt_store(Now now, const std::string& node_id, uint64_t member_id,
                          const std::string& generation) {
  actor_->now = now;
  actor_->adopt_store(node_id, member_id, generation);
}

void Manager::confirm_manager(Now now, const std::string& node_id, uint64_t member_id,
                              Reply reply) {
  actor_->now = now;
  actor_->confirm_manager(node_id, member_id, std::move(reply));
}

void Manager::take_over(Now now, const api::JoinRequest& node, Reply reply) {
  actor_->now = now;
  actor_->take_over(node, std::move(reply));
}

void Manager::handle(Now now, const manage::Caller& caller, std::string_view method,
                     const std::string& payload, Reply reply) {
  actor_->now = now;
  actor_->handle(caller, method, payload, std::move(reply));
}

void Manager::open_session(Now now, const manage::Caller& caller, const std::string& payload,
                           std::unique_ptr<SessionSink> sink, Reply reply) {
  actor_->now = now;
  actor_->open_session(caller, payload, std::move(sink), std::move(reply));
}

void Manager::session_lost(Now now, const std::string& session_id) {
  actor_->now = now;
  actor_->session_lost(session_id);
}

void Manager::member_state(Now now, const std::string& node_id, bool alive) {
  actor_->now = now;
  actor_->member_state(node_id, alive);
}

void Manager::tick(Now now) {
  actor_->now = now;
  actor_->tick();
}

Instant Manager::next_deadline() const { return actor_->next_deadline(); }

}  // namespace weft::manager
