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
  void save_known();
  Result<> leave_cluster();

  // --- planning: agent_plan.cpp ---
  void plan_soon();
  void plan_now();
  void tell_problems();
  bool settled();
  bool forgets_endpoints() const;
  void refresh_surroundings();
  void publish();
  void rebuild_names(const plan::NodeView& view);
  codec::EndpointRecord record_of(const Attachment& attachment) const;

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
  bool plan_pending_ = false;
  bool online_announced_ = false;
  uint32_t dns_serial_ = 0;
  std::map<uint32_t, std::set<std::string>> published_;  // VNI -> endpoint ids in gossip
  std::map<std::string, std::string> published_bytes_;   // endpoint id -> record
  std::set<std::string> resolvers_;                      // namespaces that have our name server

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
  io::Timer plan_timer_, save_timer_, retry_timer_, waiting_timer_;
};

}  // namespace weft::node
