// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

#include "core/manage/draft.h"

namespace weft::manage {

// Who asks, as its certificate says.
struct Caller {
  std::string node_id;
  api::NodeRole role = api::WORKER;
  bool authenticated = false;
  // Chosen by the caller for a request that it may send again; empty: never repeated.
  std::string operation_id;
};

// What a new cluster is made of. Random parts come from the shell.
struct ClusterBirth {
  std::string cluster_id;
  std::string worker_secret, manager_secret;
  std::string gossip_key;  // 32 bytes
  std::string ca_pem, ca_key_pem;
  api::ClusterInitRequest request;
  api::JoinRequest node;  // the first manager, as if it joined
};

// The cluster with its first node and the ingress network, in an empty state.
Result<> init_cluster(Draft& draft, const ClusterBirth& birth);

// What the leader's own store says of itself: its node's place in it, and that managers of another
// generation (before a restore or a recovery) must join anew.
void adopt_store(Draft& draft, const std::string& node_id, uint64_t member_id,
                 const std::string& generation);
// A node that was made a manager asks for its place in the store of this generation. `fresh_id`:
// never used before.
Result<api::PrepareManagerReply> prepare_manager(Draft& draft, const std::string& node_id,
                                                 const api::PrepareManagerRequest& request,
                                                 const std::string& generation, uint64_t fresh_id);
// The node has got its place. A node that has another one by now is left alone.
void confirm_manager(Draft& draft, const std::string& node_id, uint64_t member_id);
// Nodes with this name or address, but not this id, are gone: this one takes their place.
Result<> replace_node(Draft& draft, const api::JoinRequest& request);

// The role that a join secret gives; compared in constant time. Error: denied.
Result<api::NodeRole> role_of_secret(const api::Cluster& cluster, std::string_view secret);

// Adds the node, or finds it again if it joined before but never came up (a lost reply).
Result<api::Node> join_node(Draft& draft, const api::JoinRequest& request, api::NodeRole role);
// What a node says of itself when it opens a session.
Result<> node_came_up(Draft& draft, const std::string& node_id, const api::SessionRequest& request);
void set_node_state(Draft& draft, const std::string& node_id, api::NodeState state);
// The node is gone for good: its tasks are orphaned, its endpoints and addresses freed.
Result<> remove_node(Draft& draft, const api::Node& node);

// One request of service Control or Manager that needs nothing but the state: the reply's bytes,
// and the change in `draft`. On an error the draft is to be thrown away. `method` is the name in
// weft.proto; Join, Session, Heartbeat, tokens and logs are the shell's.
Result<std::string> decide(Draft& draft, const Caller& caller, std::string_view method,
                           std::string_view payload);

// Reads only: may be answered at once, and never changes the draft.
bool is_query(std::string_view method);

// By subject; called by decide.
Result<api::NodeList> list_nodes(Draft&, const Caller&, const api::Empty&);
Result<api::Node> show_node(Draft&, const Caller&, const api::NameRequest&);
Result<api::Node> update_node(Draft&, const Caller&, const api::NodeUpdateRequest&);
Result<api::Empty> remove_node_on_request(Draft&, const Caller&, const api::NodeRemoveRequest&);
Result<api::Empty> leave(Draft&, const Caller&, const api::LeaveRequest&);
Result<api::Network> create_network(Draft&, const Caller&, const api::NetworkCreateRequest&);
Result<api::NetworkList> list_networks(Draft&, const Caller&, const api::Empty&);
Result<api::Network> show_network(Draft&, const Caller&, const api::NameRequest&);
Result<api::Empty> remove_network(Draft&, const Caller&, const api::NameRequest&);
Result<api::Service> create_service(Draft&, const Caller&, const api::ServiceCreateRequest&);
Result<api::ServiceList> list_services(Draft&, const Caller&, const api::Empty&);
Result<api::Service> show_service(Draft&, const Caller&, const api::NameRequest&);
Result<api::Service> update_service(Draft&, const Caller&, const api::ServiceUpdateRequest&);
Result<api::Service> scale_service(Draft&, const Caller&, const api::ServiceScaleRequest&);
Result<api::Empty> remove_service(Draft&, const Caller&, const api::NameRequest&);
Result<api::TaskList> list_tasks(Draft&, const Caller&, const api::TaskListRequest&);
Result<api::Task> show_task(Draft&, const Caller&, const api::NameRequest&);
Result<api::Empty> report_tasks(Draft&, const Caller&, const api::TaskStatusReport&);
Result<api::Endpoint> allocate_endpoint(Draft&, const Caller&, const api::AllocateEndpointRequest&);
Result<api::Empty> release_endpoint(Draft&, const Caller&, const api::ReleaseEndpointRequest&);

}  // namespace weft::manage
