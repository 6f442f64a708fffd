// SPDX-License-Identifier: Apache-2.0
#include "manager/actor.h"

#include <algorithm>

#include "core/ipam/ipam.h"
#include "core/manage/orchestrate.h"

namespace weft::manager {

using manage::Caller;
using manage::Draft;
using manage::Transaction;

namespace {

// A commit that failed (full disk) is tried again by the next orchestration.
constexpr auto retry_after_failure = 1s;

Error no_longer_leads() {
  return Error(ErrorCode::unavailable, "this manager no longer leads: try again");
}

}  // namespace

Manager::Actor::Actor(store::Store& store, Authority& authority, Rng rng, Config config)
    : store_(store),
      authority_(authority),
      rng_(rng),
      config_(config),
      alive_(std::make_shared<Actor*>(this)) {}

Manager::Actor::~Actor() {
  *alive_ = nullptr;
  for (Job& job : std::exchange(jobs_, {})) job.reply(no_longer_leads());
  for (auto& [id, question] : std::exchange(questions_, {})) question.reply(no_longer_leads());
}

Result<> Manager::Actor::load() {
  store::Snapshot snapshot = TRY(store_.load());
  state_ = TRY(manage::ClusterState::restore(snapshot.objects));
  results_ = std::move(snapshot.results);
  result_order_.clear();
  for (const auto& [id, result] : results_) result_order_.push_back(id);
  for (const auto& [id, node] : state_.nodes) absent_since_.try_emplace(id, now.instant);
  // Whatever was under way when the last process ended goes on with the first tick.
  next_orchestration_ = now.instant;
  return Ok;
}

std::string Manager::Actor::fresh_id() {
  static constexpr char digits[] = "0123456789abcdef";
  std::string id;
  for (int word = 0; word < 2; word++) {
    uint64_t bits = rng_();
    for (int i = 0; i < 16; i++, bits >>= 4) id += digits[bits & 15];
  }
  return id;
}

void Manager::Actor::remember(const std::string& operation_id, const std::string& result) {
  if (!results_.emplace(operation_id, result).second) return;
  result_order_.push_back(operation_id);
  while (result_order_.size() > size_t(store::remembered_operations)) {
    results_.erase(result_order_.front());
    result_order_.pop_front();
  }
}

void Manager::Actor::add(std::string operation_id, Decide decide, Reply reply) {
  jobs_.push_back({std::move(operation_id), std::move(decide), std::move(reply)});
  run_jobs();
}

void Manager::Actor::run_jobs() {
  if (running_jobs_) return;  // an answer from within a commit: the loop below goes on
  running_jobs_ = true;
  while (!committing_ && !jobs_.empty()) {
    Job job = std::move(jobs_.front());
    jobs_.pop_front();
    run(std::move(job));
  }
  running_jobs_ = false;
}

void Manager::Actor::run(Job job) {
  if (const auto known = results_.find(job.operation_id);
      !job.operation_id.empty() && known != results_.end()) {
    job.reply(known->second);
    return;
  }
  Draft draft(state_, now.wall, rng_);
  auto result = job.decide(draft);
  if (!result) {
    job.reply(std::move(result));
    return;
  }
  if (draft.only_endpoints_changed()) {
    // No task depends on them; but the address of one that goes becomes free again.
    next_orchestration_ =
        std::min(next_orchestration_, now.instant + Duration(ipam::rest_after_release));
  } else {
    std::optional<WallTime> next;
    if (draft.find<api::Cluster>(manage::cluster_key)) next = manage::orchestrate(draft);
    plan_next(next);
  }
  const bool repeatable = !job.operation_id.empty();
  Transaction transaction =
      draft.finish(repeatable ? std::move(job.operation_id) : fresh_id(), std::move(*result));
  if (transaction.writes.empty()) {
    job.reply(std::move(transaction.result));
    return;
  }
  committing_ = true;
  auto shared = std::make_shared<const Transaction>(std::move(transaction));
  store_.commit(*shared, [alive = alive_, shared,
                          reply = std::move(job.reply)](Result<store::Committed> committed) {
    if (*alive)
      (*alive)->committed(*shared, std::move(committed), reply);
    else
      reply(no_longer_leads());
  });
}

void Manager::Actor::committed(const Transaction& transaction, Result<store::Committed> result,
                               const Reply& reply) {
  committing_ = false;
  if (result && !result->repeated) {
    state_.apply(transaction);
    sessions_.note(state_, transaction);
    remember(transaction.operation_id, transaction.result);
    reply(transaction.result);
  } else {
    // Memory and store differ: somebody else wrote, or an earlier answer was lost.
    const bool stale = result || result.error().code() == ErrorCode::conflict;
    Result<> fresh = stale ? load() : Result<>(Ok);
    if (stale && fresh) sessions_.note_all();
    quiet_until_ = now.instant + retry_after_failure;
    next_orchestration_ = std::min(next_orchestration_, quiet_until_);
    if (!fresh)
      reply(std::move(fresh).error());
    else if (result)
      reply(result->result);
    else
      reply(std::move(result).error());
  }
  if (jobs_.empty()) sessions_.flush(state_);
  run_jobs();
}

void Manager::Actor::plan_next(std::optional<WallTime> next) {
  next_orchestration_ = Instant::never();
  if (!next) return;
  const auto wait =
      std::chrono::milliseconds(std::max<int64_t>(0, next->milliseconds - now.wall.milliseconds));
  next_orchestration_ = now.instant + wait;
}

void Manager::Actor::init(const std::string& cluster_id, const api::ClusterInitRequest& request,
                          const api::JoinRequest& node, Reply reply) {
  manage::ClusterBirth birth{cluster_id,
                             authority_.new_join_secret(),
                             authority_.new_join_secret(),
                             authority_.random_bytes(32),
                             authority_.ca().certificate_pem,
                             authority_.ca().key_pem,
                             request,
                             node};
  auto decide = [this, birth](Draft& draft) -> Result<std::string> {
    TRY(manage::init_cluster(draft, birth));
    api::ClusterInitReply answer;
    answer.set_node_id(birth.node.node_id());
    answer.set_cluster_id(birth.cluster_id);
    answer.set_worker_token(authority_.join_token(birth.worker_secret));
    answer.set_manager_token(authority_.join_token(birth.manager_secret));
    return manage::serialize(answer);
  };
  add("", std::move(decide), std::move(reply));
}

Result<> Manager::Actor::check_caller(const Caller& caller) const {
  if (!has_cluster())
    return Error(ErrorCode::unavailable,
                 "there is no cluster yet: 'weft cluster init' makes one, 'weft cluster join' "
                 "enters one");
  if (!caller.authenticated)
    return Error(ErrorCode::denied, "only nodes of the cluster may ask for this: join first");
  if (state_.nodes.count(caller.node_id) == 0)
    return Error(ErrorCode::denied, "node " + caller.node_id +
                                        " is not part of the cluster, or was removed: join again "
                                        "as a new node");
  return Ok;
}

void Manager::Actor::adopt_store(const std::string& node_id, uint64_t member_id,
                                 const std::string& generation) {
  store_generation_ = generation;
  auto decide = [=](Draft& draft) -> Result<std::string> {
    manage::adopt_store(draft, node_id, member_id, generation);
    return std::string();
  };
  add("", std::move(decide), [](Result<std::string>) {});
}

void Manager::Actor::handle(const Caller& asking, std::string_view method,
                            const std::string& payload, Reply reply) {
  if (method == "Join") return join(asking, payload, std::move(reply));
  if (auto allowed = check_caller(asking); !allowed) return reply(std::move(allowed).error());
  // What it is now: its certificate may be older.
  Caller caller = asking;
  caller.role = state_.nodes.at(asking.node_id).role();
  if (method == "RenewCertificate") return renew(caller, payload, reply);
  if (method == "PrepareManager") return prepare(caller, payload, std::move(reply));
  if (method == "Session")
    return reply(Error(ErrorCode::invalid, "a session is opened on a connection"));
  if (method == "Heartbeat") return heartbeat(caller, payload, reply);
  if (method == "TokenShow") return token(caller, false, payload, std::move(reply));
  if (method == "TokenRotate") return token(caller, true, payload, std::move(reply));
  if (method == "ServiceLogs") return service_logs(payload, std::move(reply));
  if (method == "ServiceCreate") return create_service(caller, payload, std::move(reply));
  if (method == "ServiceUpdate") return update_service(caller, payload, std::move(reply));
  if (method == "ServiceShow") return show_service(caller, payload, std::move(reply));
  decide(caller, method, payload, std::move(reply));
}

void Manager::Actor::decide(const Caller& caller, std::string_view method,
                            const std::string& payload, Reply reply) {
  if (manage::is_query(method)) {
    Draft draft(state_, now.wall, rng_);
    return reply(manage::decide(draft, caller, method, payload));
  }
  std::string operation_id = caller.operation_id;
  if (method == "AllocateEndpoint") {
    api::AllocateEndpointRequest request;
    if (request.ParseFromString(payload) && !request.operation_id().empty())
      operation_id = request.operation_id();
  }
  // Ids of different nodes never meet.
  if (!operation_id.empty()) operation_id = caller.node_id + "/" + operation_id;
  auto decide = [caller, method = std::string(method), payload](Draft& draft) {
    return manage::decide(draft, caller, method, payload);
  };
  add(std::move(operation_id), std::move(decide), std::move(reply));
}

void Manager::Actor::join(const Caller& caller, const std::string& payload, Reply reply) {
  auto decide = [this, caller, payload](Draft& draft) -> Result<std::string> {
    if (!draft.find<api::Cluster>(manage::cluster_key))
      return Error(ErrorCode::unavailable,
                   "there is no cluster here: 'weft cluster init' makes one");
    api::JoinRequest request;
    if (!request.ParseFromString(payload))
      return Error(ErrorCode::invalid, "the join request cannot be read");
    const api::NodeRole role = TRY(manage::role_of_secret(draft.cluster(), request.secret()));
    const api::Node node = TRY(manage::join_node(draft, request, role));
    return manage::serialize(TRY(sign_in(draft, request, node)));
  };
  // Repeated requests are recognised by the node id.
  add("", std::move(decide), std::move(reply));
}

Result<api::JoinReply> Manager::Actor::sign_in(const Draft& draft, const api::JoinRequest& request,
                                               const api::Node& node) {
  const std::string& cluster_id = draft.cluster().id();
  Joined joined =
      TRY(authority_.sign(request.csr_pem(), node.id(),
                          node.role() == api::MANAGER ? "manager" : "worker", cluster_id));
  api::JoinReply answer;
  *answer.mutable_node() = node;
  answer.set_certificate_pem(std::move(joined.certificate_pem));
  answer.set_ca_pem(std::move(joined.ca_pem));
  answer.set_cluster_id(cluster_id);
  return answer;
}

void Manager::Actor::confirm_manager(const std::string& node_id, uint64_t member_id, Reply reply) {
  auto decide = [=](Draft& draft) -> Result<std::string> {
    manage::confirm_manager(draft, node_id, member_id);
    return manage::serialize(api::Empty());
  };
  add("", std::move(decide), std::move(reply));
}

void Manager::Actor::take_over(const api::JoinRequest& request, Reply reply) {
  auto decide = [this, request](Draft& draft) -> Result<std::string> {
    TRY(manage::replace_node(draft, request));
    const api::Node node = TRY(manage::join_node(draft, request, api::MANAGER));
    return manage::serialize(TRY(sign_in(draft, request, node)));
  };
  add("", std::move(decide), std::move(reply));
}

void Manager::Actor::renew(const Caller& caller, const std::string& payload, const Reply& reply) {
  api::RenewRequest request;
  if (!request.ParseFromString(payload))
    return reply(Error(ErrorCode::invalid, "the renewal request cannot be read"));
  Draft draft(state_, now.wall, rng_);
  auto joined =
      authority_.sign(request.csr_pem(), caller.node_id,
                      caller.role == api::MANAGER ? "manager" : "worker", draft.cluster().id());
  if (!joined) return reply(std::move(joined).error());
  api::RenewReply answer;
  answer.set_certificate_pem(std::move(joined->certificate_pem));
  answer.set_ca_pem(std::move(joined->ca_pem));
  answer.set_role(caller.role);
  reply(manage::serialize(answer));
}

void Manager::Actor::prepare(const Caller& caller, const std::string& payload, Reply reply) {
  api::PrepareManagerRequest request;
  if (!request.ParseFromString(payload))
    return reply(Error(ErrorCode::invalid, "the request cannot be read"));
  const uint64_t fresh = rng_() >> 1 | 1;
  auto decide = [this, id = caller.node_id, request, fresh](Draft& draft) -> Result<std::string> {
    return manage::serialize(
        TRY(manage::prepare_manager(draft, id, request, store_generation_, fresh)));
  };
  add("", std::move(decide), std::move(reply));
}

void Manager::Actor::token(const Caller& caller, bool rotate, const std::string& payload,
                           Reply reply) {
  api::TokenRequest request;
  if (!request.ParseFromString(payload))
    return reply(Error(ErrorCode::invalid, "the token request cannot be read"));
  if (caller.role != api::MANAGER)
    return reply(Error(ErrorCode::denied,
                       "join tokens are shown and rotated on managers only: ask on a manager"));
  if (request.role() != "worker" && request.role() != "manager")
    return reply(Error(ErrorCode::invalid, "there is no join token for role '" + request.role() +
                                               "': ask for worker or manager"));
  const bool manager = request.role() == "manager";
  auto decide = [this, manager, rotate](Draft& draft) -> Result<std::string> {
    api::Cluster cluster = draft.cluster();
    std::string& secret =
        manager ? *cluster.mutable_manager_secret() : *cluster.mutable_worker_secret();
    if (rotate) secret = authority_.new_join_secret();
    api::TokenReply answer;
    answer.set_token(authority_.join_token(secret));
    if (rotate) draft.put(std::move(cluster));
    return manage::serialize(answer);
  };
  add("", std::move(decide), std::move(reply));
}

void Manager::Actor::tick() {
  judge_nodes();
  std::vector<uint64_t> late;
  for (const auto& [id, question] : questions_)
    if (question.deadline <= now.instant) late.push_back(id);
  for (const uint64_t id : late) settle(id);
  if (!has_cluster() || next_orchestration_ > now.instant || committing_ ||
      quiet_until_ > now.instant)
    return;
  next_orchestration_ = Instant::never();
  add(
      "", [](Draft&) { return std::string(); }, [](Result<std::string>) {});
}

Instant Manager::Actor::next_deadline() const {
  Instant late = Instant::never();
  for (const auto& [id, question] : questions_) late = std::min(late, question.deadline);
  // Nothing else can be done before the store has answered.
  if (committing_) return late;
  Instant next = next_orchestration_;
  const Duration grace = config_.heartbeat * config_.heartbeats_missed;
  const auto is_up = [&](const std::string& id) {
    const auto node = state_.nodes.find(id);
    return node != state_.nodes.end() &&
           (node->second.state() == api::NODE_ALIVE || node->second.state() == api::NODE_SUSPECT);
  };
  for (const auto& [node_id, session] : sessions_.all())
    next = std::min(next, session.heard + grace);
  for (const auto& [node_id, since] : absent_since_)
    if (is_up(node_id)) next = std::min(next, since + grace);
  return std::min(late, std::max(next, quiet_until_));
}

}  // namespace weft::manager
