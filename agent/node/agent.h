// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>

#include "base/mailbox.h"
#include "base/result.h"
#include "base/rng.h"
#include "core/dns/view.h"
#include "drivers/link/monitor.h"
#include "io/dns/server.h"
#include "io/files.h"
#include "io/loop.h"
#include "node/attachments.h"
#include "node/cluster_view.h"
#include "node/config.h"
#include "node/gossip_shell.h"
#include "node/identity.h"
#include "node/kernel.h"
#include "node/known_state.h"
#include "node/manager_host.h"
#include "node/pace.h"
#include "node/session.h"
#include "node/tasks.h"

namespace weft::node {

using Reply = std::function<void(Result<std::string>)>;

// The node's actor: owns the state, turns every event into a plan and has the kernel follow it. All
// calls on the loop's thread.
class Agent {
 public:
  static Result<std::unique_ptr<Agent>> start(io::Loop& loop, Config config);
  ~Agent();

  // A method of weft.api.Control; `leader`: to be answered by the managers' leader.
  void handle(const std::string& method, bool leader, const std::string& payload, Reply reply);

 private:
  Agent(io::Loop& loop, Config config, io::FileLock lock);

  // --- life in a cluster: agent.cpp ---
  Result<> go_online();
  Result<> start_network();
  Result<> start_gossip();
  void stop_network();
  void start_session();
  void on_assignment(const api::Assignment& assignment);
  void on_gossip(std::vector<cluster::Event> events);
  void on_network_change();
  void sync_gossip();
  void save_soon();
  void save_known();
  Result<> leave_cluster();

  // --- this node as a manager: agent_managers.cpp ---
  void follow_managers();
  void follow_role();
  void renew_certificate();
  void join_store();
  void added_to_store(const Error* problem);
  bool certificate_is_old() const;
  void backup_cluster(const api::ClusterBackupRequest& request, Reply reply);
  Result<api::ClusterStatus> restore_cluster(const api::ClusterRestoreRequest& request);
  void recover_cluster(const api::ClusterRecoverRequest& request, Reply reply);

  // --- planning: agent_plan.cpp ---
  void plan_soon();
  void plan_now();
  void tell_problems();
  bool settled();
  bool forgets_endpoints() const;
  void refresh_surroundings();
  void trim_memory();
  void announce(const std::string& endpoint_id);
  void withdraw(const std::string& endpoint_id);
  void announce_all();
  void announce_changed_by(const api::Assignment& assignment);
  bool is_announced(const Attachment& attachment, uint32_t& vni) const;
  codec::EndpointRecord record_of(const Attachment& attachment) const;

  // --- names: agent_names.cpp ---
  void names_changed(const std::string& network_id);
  void all_names_changed();
  void names_changed_by(const api::Assignment& assignment);
  void names_changed_by(const cluster::Event& event);
  void rebuild_names(const plan::NodeView& view);

  // --- containers: agent_containers.cpp ---
  Result<Attachment> attach(Attachment wanted);
  Result<> detach(const std::string& endpoint_id);
  void sync_resolver(const std::string& netns);
  void sync_tasks();
  void on_task_change(const std::string& task_id);
  void forget_gone_containers();
  AttachmentNetwork network_of(const Attachment& wanted) const;
  void attach_by_request(const api::EndpointAttachRequest& request, Reply reply);
  Result<> attach_allocated(api::Endpoint& endpoint, const api::EndpointAttachRequest& request);
  void detach_by_request(const std::string& name, Reply reply);
  Result<api::Endpoint> find_endpoint(const std::string& name) const;
  api::EndpointList list_endpoints(const api::EndpointListRequest& request) const;

  // --- the control API: agent_api.cpp ---
  Result<std::string> answer(const std::string& method, const std::string& payload, bool& later,
                             Reply& reply);
  Result<api::ClusterInitReply> init_cluster(const api::ClusterInitRequest& request);
  void join_cluster(const api::ClusterJoinRequest& request, Reply reply);
  void try_join(std::shared_ptr<struct JoinAttempt> attempt);
  void joined(const JoinAttempt& attempt, const std::string& payload);
  Result<api::JoinRequest> introduce(const std::string& advertise_address);
  void leave_by_request(const api::ClusterLeaveRequest& request, Reply reply);
  api::ClusterStatus cluster_status() const;
  api::StatusReply status();
  api::DoctorReply doctor();
  Result<dns::Asker> asker_for(const api::DnsQueryRequest& request) const;
  api::SessionRequest hello();

  struct Announced {
    uint32_t vni = 0;
    std::string record;
  };

  io::Loop& loop_;
  Config config_;
  io::FileLock lock_;
  Fd claim_;  // of the network namespace
  IdentityStore identities_;
  Rng rng_;
  WallTime started_at_;
  std::optional<Identity> identity_;
  uint64_t boot_epoch_ = 0;
  KnownState known_;
  ClusterView view_;
  Surroundings around_;
  plan::DesiredState desired_;
  std::string session_problem_;
  std::string last_failure_;
  std::string save_problem_;
  std::set<std::string> told_problems_;  // in the log
  Instant online_since_;
  Instant last_gossip_event_;
  bool settled_ = false;
  bool role_busy_ = false;  // a request about this node's role is under way
  bool in_store_ = false;   // the leader has confirmed this manager's place in the store
  Pace plan_pace_;
  bool names_stale_ = true;
  Instant names_rested_;  // not before, if they cost much
  bool surroundings_changed_ = true;
  uint32_t dns_serial_ = 0;
  std::set<uint32_t> scopes_;                   // VNIs of the networks in gossip
  std::map<std::string, Announced> announced_;  // by endpoint id: this node's records in gossip
  // Of the networks present here; what is missing is to be built.
  std::map<std::string, std::shared_ptr<const dns::NetworkNames>> network_names_;
  std::map<std::string, dns::Asker> resolvers_;  // namespaces that have our name server

  Mailbox<dns::DnsView> names_;
  std::unique_ptr<ManagerHost> manager_;
  std::unique_ptr<Kernel> kernel_;
  std::unique_ptr<link::Links> links_;
  std::unique_ptr<link::Monitor> monitor_;
  std::unique_ptr<Attachments> attachments_;
  std::unique_ptr<dns::DnsServer> dns_;
  std::unique_ptr<GossipShell> gossip_;
  std::unique_ptr<Tasks> tasks_;
  std::unique_ptr<Session> session_;
  // Attachments whose network has not been told of yet: asked again at each assignment.
  struct Waiting {
    api::Endpoint endpoint;
    api::EndpointAttachRequest request;
    Reply reply;
    Instant until;
  };
  void settle_attachment(Waiting waiting);
  std::vector<Waiting> waiting_;
  io::Watch monitor_watch_;
  io::Timer plan_timer_, names_timer_, save_timer_, retry_timer_, waiting_timer_, role_timer_;
  Duration save_rest_{};
};

}  // namespace weft::node
