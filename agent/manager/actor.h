// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <deque>
#include <optional>
#include <set>

#include "core/manage/decide.h"
#include "manager/manager.h"
#include "manager/sessions.h"

namespace weft::manager {

class Manager::Actor {
 public:
  Actor(store::Store& store, Authority& authority, Rng rng, Config config);
  // Whoever still waits for an answer is told to ask the next leader.
  ~Actor();

  Result<> load();
  bool has_cluster() const { return !state_.cluster.empty(); }
  const manage::ClusterState& state() const { return state_; }
  void init(const std::string& cluster_id, const api::ClusterInitRequest& request,
            const api::JoinRequest& node, Reply reply);
  void adopt_store(const std::string& node_id, uint64_t member_id, const std::string& generation);
  void confirm_manager(const std::string& node_id, uint64_t member_id, Reply reply);
  void take_over(const api::JoinRequest& node, Reply reply);
  void handle(const manage::Caller& caller, std::string_view method, const std::string& payload,
              Reply reply);
  void open_session(const manage::Caller& caller, const std::string& payload,
                    std::unique_ptr<SessionSink> sink, Reply reply);
  void session_lost(const std::string& session_id);
  void member_state(const std::string& node_id, bool alive);
  void tick();
  Instant next_deadline() const;

  Now now;  // of the call that is being served

 private:
  using Decide = std::function<Result<std::string>(manage::Draft&)>;
  // One change of the cluster, waiting for its turn.
  struct Job {
    std::string operation_id;
    Decide decide;
    Reply reply;
  };
  // What nodes answer to one question, until all have or the deadline is over.
  struct Question {
    std::map<std::string, Result<std::string>> answers;  // by node id
    std::set<std::string> waiting;                       // node ids
    Instant deadline;
    Reply reply;  // of whoever wants to know; `done` gives it
    std::function<void(Question&)> done;
  };

  void add(std::string operation_id, Decide decide, Reply reply);
  void run_jobs();
  void run(Job job);
  void committed(const manage::Transaction& transaction, Result<store::Committed> result,
                 const Reply& reply);
  void remember(const std::string& operation_id, const std::string& result);
  void plan_next(std::optional<WallTime> next);
  std::string fresh_id();

  Result<> check_caller(const manage::Caller& caller) const;
  void join(const manage::Caller& caller, const std::string& payload, Reply reply);
  Result<api::JoinReply> sign_in(const manage::Draft& draft, const api::JoinRequest& request,
                                 const api::Node& node);
  void renew(const manage::Caller& caller, const std::string& payload, const Reply& reply);
  void prepare(const manage::Caller& caller, const std::string& payload, Reply reply);
  void heartbeat(const manage::Caller& caller, const std::string& payload, const Reply& reply);
  void token(const manage::Caller& caller, bool rotate, const std::string& payload, Reply reply);

  // What heartbeats and gossip say of a node that has been up.
  api::NodeState verdict(const std::string& node_id);
  void judge_nodes();

  // Nodes without a session are not asked.
  void ask(const std::string& method, const std::map<std::string, std::string>& payloads,
           Duration patience, Reply reply, std::function<void(Question&)> done);
  void answered(uint64_t question, const std::string& node_id, Result<std::string> answer);
  void settle(uint64_t question);
  std::string node_name(const std::string& node_id) const;

  using Ports = google::protobuf::RepeatedPtrField<api::PublishedPort>;
  void create_service(const manage::Caller& caller, const std::string& payload, Reply reply);
  void update_service(const manage::Caller& caller, const std::string& payload, Reply reply);
  void decide_unless_taken(const Ports& ports, const manage::Caller& caller, const char* method,
                           const std::string& payload, Reply reply);
  void show_service(const manage::Caller& caller, const std::string& payload, Reply reply);
  // The ports of the routing mesh that other programs have, in sentences, one for each node.
  using PortsDone = std::function<void(std::vector<std::string> taken, const Reply& reply)>;
  void taken_ports(const Ports& ports, Reply reply, PortsDone done);

  void decide(const manage::Caller& caller, std::string_view method, const std::string& payload,
              Reply reply);
  void service_logs(const std::string& payload, Reply reply);
  Result<std::map<std::string, api::LocalLogsRequest>> log_requests(
      const api::ServiceLogsRequest& request);

  store::Store& store_;
  Authority& authority_;
  Rng rng_;
  Config config_;
  manage::ClusterState state_;
  Sessions sessions_;
  std::deque<Job> jobs_;
  bool committing_ = false;
  bool running_jobs_ = false;
  // Results of operations that may be asked for again, oldest first.
  std::map<std::string, std::string> results_;
  std::deque<std::string> result_order_;
  Instant next_orchestration_ = Instant::never();
  Instant quiet_until_;  // after a failed commit nothing is tried unasked before this
  std::map<std::string, Instant> absent_since_;  // nodes without a session
  std::map<std::string, Instant> member_dead_;   // dead by gossip, since
  bool judging_ = false;
  std::map<uint64_t, Question> questions_;
  std::string store_generation_;
  uint64_t next_question_ = 1;
  std::shared_ptr<Actor*> alive_;  // answers that come after this object has gone find null
};

}  // namespace weft::manager
