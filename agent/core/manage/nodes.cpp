// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "core/manage/allocate.h"
#include "core/manage/decide.h"
#include "core/manage/names.h"
#include "core/manage/subnets.h"
#include "core/manage/tasks.h"

namespace weft::manage {

namespace {

const api::Network* ingress_of(const Draft& draft) {
  for (const api::Network* network : draft.all<api::Network>())
    if (network->ingress()) return network;
  return nullptr;
}

Result<> check_join(const Draft& draft, const api::JoinRequest& request, const std::string& name) {
  const std::string& id = request.node_id();
  const bool hex = id.size() == 32 && id.find_first_not_of("0123456789abcdef") == std::string::npos;
  if (!hex)
    return Error(ErrorCode::invalid, "node id " + quoted(id) + " is not 32 lower-case hex digits");
  TRY(check_name("node", name));
  TRY_IN("address of the node", Address::parse(request.address()));
  if (draft.find<api::RemovedNode>(id))
    return Error(ErrorCode::denied, "node " + id +
                                        " was removed from the cluster: clear its state and let "
                                        "it join as a new node");
  for (const api::Node* other : draft.all<api::Node>()) {
    if (other->id() == id) continue;
    if (other->name() == name)
      return Error(ErrorCode::conflict,
                   "a node named " + quoted(name) +
                       " is already in the cluster: give this one another --name, or remove the "
                       "old one with 'weft node rm " +
                       name + "'");
    if (other->address() == request.address() && other->gossip_port() == request.gossip_port())
      return Error(ErrorCode::conflict, "node " + quoted(other->name()) +
                                            " already has the address " + request.address() +
                                            ": remove it first if this node replaces it");
  }
  return Ok;
}

}  // namespace

Result<api::Node> join_node(Draft& draft, const api::JoinRequest& request, api::NodeRole role) {
  const std::string name =
      request.name().empty() ? "node-" + request.node_id().substr(0, 12) : request.name();
  TRY(check_join(draft, request, name));
  api::Node node;
  if (const api::Node* known = draft.find<api::Node>(request.node_id())) {
    // Only a node that never came up may ask again, or a token would be enough to take over
    // another node's identity.
    if (known->state() != api::NODE_UNKNOWN || known->role() != role)
      return Error(ErrorCode::conflict, "node " + quoted(known->name()) +
                                            " has already joined: remove it first with 'weft node "
                                            "rm --force " +
                                            known->name() + "'");
    node = *known;
  } else {
    const api::Network* ingress = ingress_of(draft);
    WEFT_ASSERT(ingress != nullptr);
    node.set_id(request.node_id());
    node.set_index(TRY(allocate_index(draft)));
    node.set_joined_at_ms(draft.now().milliseconds);
    const Addresses own = TRY(lease_addresses(draft, *ingress, "node:" + node.id()));
    node.set_ingress_address4(own.address4);
    node.set_ingress_address6(own.address6);
    node.set_ingress_mac(mac_of(own.address4));
  }
  node.set_name(name);
  node.set_role(role);
  node.set_address(request.address());
  node.set_gossip_port(request.gossip_port());
  node.set_manager_port(role == api::MANAGER ? request.manager_port() : 0);
  node.set_version(request.version());
  node.set_uplink_mtu_bytes(request.uplink_mtu_bytes());
  *node.mutable_routes() = request.routes();
  draft.put(node);
  lower_mtus(draft);
  return node;
}

Result<> node_came_up(Draft& draft, const std::string& node_id,
                      const api::SessionRequest& request) {
  const api::Node* known = draft.find<api::Node>(node_id);
  if (!known) return Error(ErrorCode::denied, "node " + node_id + " is not in the cluster");
  api::Node node = *known;
  if (!request.address().empty()) {
    TRY_IN("address of the node", Address::parse(request.address()));
    node.set_address(request.address());
  }
  if (request.gossip_port() != 0) node.set_gossip_port(request.gossip_port());
  if (!request.version().empty()) node.set_version(request.version());
  if (request.uplink_mtu_bytes() != 0) node.set_uplink_mtu_bytes(request.uplink_mtu_bytes());
  *node.mutable_routes() = request.routes();
  node.set_state(api::NODE_ALIVE);
  draft.put(std::move(node));
  lower_mtus(draft);
  return Ok;
}

void set_node_state(Draft& draft, const std::string& node_id, api::NodeState state) {
  const api::Node* known = draft.find<api::Node>(node_id);
  if (!known || known->state() == state) return;
  api::Node node = *known;
  node.set_state(state);
  draft.put(std::move(node));
}

Result<> remove_node(Draft& draft, const api::Node& going) {
  const api::Node node = going;
  for (const api::Task* task : draft.all<api::Task>())
    if (task->node_id() == node.id() && !is_terminal(*task))
      end_task(draft, *task, api::TASK_ORPHANED, "node '" + node.name() + "' was removed");
  for (const api::Endpoint* endpoint : draft.all<api::Endpoint>())
    if (endpoint->node_id() == node.id()) free_endpoint(draft, *endpoint);
  if (const api::Network* ingress = ingress_of(draft)) {
    release_address(draft, ingress->id(), node.ingress_address4());
    release_address(draft, ingress->id(), node.ingress_address6());
  }
  api::RemovedNode removed;
  removed.set_id(node.id());
  removed.set_name(node.name());
  removed.set_index(node.index());
  removed.set_removed_at_ms(draft.now().milliseconds);
  draft.put(std::move(removed));
  draft.remove<api::Node>(node.id());
  return Ok;
}

namespace {

Result<> keep_one_manager(const Draft& draft, const api::Node& node) {
  if (node.role() != api::MANAGER) return Ok;
  for (const api::Node* other : draft.all<api::Node>())
    if (other->id() != node.id() && other->role() == api::MANAGER) return Ok;
  return Error(ErrorCode::conflict, "node " + quoted(node.name()) +
                                        " is the last manager: without it the cluster cannot be "
                                        "changed any more");
}

}  // namespace

Result<api::NodeList> list_nodes(Draft& draft, const Caller&, const api::Empty&) {
  api::NodeList list;
  for (const api::Node* node : draft.all<api::Node>()) *list.add_nodes() = *node;
  std::sort(list.mutable_nodes()->begin(), list.mutable_nodes()->end(),
            [](const auto& a, const auto& b) { return a.index() < b.index(); });
  return list;
}

Result<api::Node> show_node(Draft& draft, const Caller&, const api::NameRequest& request) {
  return *TRY(resolve<api::Node>(draft, request.name()));
}

Result<api::Node> update_node(Draft& draft, const Caller&, const api::NodeUpdateRequest& request) {
  api::Node node = *TRY(resolve<api::Node>(draft, request.name()));
  if (request.set_availability()) {
    if (!api::Availability_IsValid(request.availability()))
      return Error(ErrorCode::invalid, "availability is ACTIVE, DRAIN or PAUSE");
    node.set_availability(request.availability());
  }
  if (request.set_role() && node.role() != request.role()) {
    if (request.role() == api::WORKER) TRY(keep_one_manager(draft, node));
    node.set_role(request.role());
    node.clear_member_id();
    node.clear_store_generation();
    node.clear_leader();
    node.clear_manager_ready();
    if (request.role() == api::WORKER) node.set_manager_port(0);
  }
  for (const auto& [key, value] : request.labels_add()) {
    TRY(check_name("label", key));
    (*node.mutable_labels())[key] = value;
  }
  for (const std::string& key : request.labels_rm()) {
    if (node.labels().contains(key)) {
      node.mutable_labels()->erase(key);
      continue;
    }
    return Error(ErrorCode::not_found,
                 "node " + quoted(node.name()) + " has no label " + quoted(key));
  }
  draft.put(node);
  return node;
}

Result<api::Empty> remove_node_on_request(Draft& draft, const Caller&,
                                          const api::NodeRemoveRequest& request) {
  const api::Node node = *TRY(resolve<api::Node>(draft, request.name()));
  TRY(keep_one_manager(draft, node));
  if (node.role() == api::MANAGER && !request.force())
    return Error(ErrorCode::conflict, "node " + quoted(node.name()) +
                                          " is a manager: demote it first with 'weft node demote " +
                                          node.name() + "', or remove it with --force");
  const bool alive = node.state() == api::NODE_ALIVE || node.state() == api::NODE_SUSPECT;
  if (alive && !request.force())
    return Error(ErrorCode::conflict, "node " + quoted(node.name()) +
                                          " is alive: let it leave with 'weft cluster leave' on "
                                          "it, or remove it with --force");
  TRY(remove_node(draft, node));
  return api::Empty();
}

void adopt_store(Draft& draft, const std::string& node_id, uint64_t member_id,
                 const std::string& generation) {
  std::vector<api::Node> changed;
  for (const api::Node* known : draft.all<api::Node>()) {
    if (known->role() != api::MANAGER && !known->leader()) continue;
    api::Node node = *known;
    const bool own = node.id() == node_id;
    node.set_leader(own);
    if (own) {
      node.set_member_id(member_id);
      node.set_store_generation(generation);
      node.set_manager_ready(true);
    } else if (node.store_generation() != generation) {
      node.clear_member_id();
      node.clear_manager_ready();
    }
    if (serialize(node) != serialize(*known)) changed.push_back(std::move(node));
  }
  for (api::Node& node : changed) draft.put(std::move(node));
}

Result<api::PrepareManagerReply> prepare_manager(Draft& draft, const std::string& node_id,
                                                 const api::PrepareManagerRequest& request,
                                                 const std::string& generation, uint64_t fresh_id) {
  const api::Node* known = draft.find<api::Node>(node_id);
  if (!known || known->role() != api::MANAGER)
    return Error(ErrorCode::denied,
                 "this node is a worker: 'weft node promote' on a manager makes it a manager");
  if (request.manager_port() == 0 || request.manager_port() > 65535)
    return Error(ErrorCode::invalid, "a manager needs a port of its own");
  api::Node node = *known;
  if (node.member_id() == 0 || node.store_generation() != generation) {
    node.set_member_id(fresh_id);
    node.clear_manager_ready();
  }
  node.set_store_generation(generation);
  node.set_manager_port(request.manager_port());
  api::PrepareManagerReply reply;
  reply.set_member_id(node.member_id());
  reply.set_generation(generation);
  draft.put(std::move(node));
  return reply;
}

void confirm_manager(Draft& draft, const std::string& node_id, uint64_t member_id) {
  const api::Node* known = draft.find<api::Node>(node_id);
  if (!known || known->role() != api::MANAGER || known->member_id() != member_id) return;
  api::Node node = *known;
  node.set_manager_ready(true);
  draft.put(std::move(node));
}

Result<> replace_node(Draft& draft, const api::JoinRequest& request) {
  std::vector<api::Node> before;
  for (const api::Node* node : draft.all<api::Node>())
    if (node->id() != request.node_id() &&
        (node->name() == request.name() || node->address() == request.address()))
      before.push_back(*node);
  for (const api::Node& node : before) TRY(remove_node(draft, node));
  return Ok;
}

Result<api::Empty> leave(Draft& draft, const Caller& caller, const api::LeaveRequest& request) {
  const api::Node* found = draft.find<api::Node>(caller.node_id);
  if (!found) return api::Empty();  // already gone: leaving twice is no error
  const api::Node node = *found;
  if (auto others = keep_one_manager(draft, node); !others) {
    if (!request.force())
      return Error(ErrorCode::conflict,
                   others.error().message() + "; use --force to give the cluster up");
    return api::Empty();  // the cluster ends with its last manager: nothing left to keep in order
  }
  TRY(remove_node(draft, node));
  return api::Empty();
}

}  // namespace weft::manage
