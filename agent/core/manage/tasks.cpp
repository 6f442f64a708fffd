// SPDX-License-Identifier: Apache-2.0
#include "core/manage/tasks.h"

#include <algorithm>

#include "base/mac.h"
#include "core/manage/allocate.h"
#include "core/manage/decide.h"
#include "core/manage/names.h"

namespace weft::manage {

namespace {

// Network and service names for people, as `weft endpoint ls` shows them.
void fill_names(const Draft& draft, api::Endpoint& endpoint) {
  if (const auto* network = draft.find<api::Network>(endpoint.network_id()))
    endpoint.set_network(network->name());
  if (const auto* node = draft.find<api::Node>(endpoint.node_id())) endpoint.set_node(node->name());
  if (const auto* service = draft.find<api::Service>(endpoint.service_id()))
    endpoint.set_service(service->spec().name());
}

// The service to join, if one was asked for: it must be on the network.
Result<std::string> service_to_join(const Draft& draft, const api::EndpointAttachRequest& request,
                                    const api::Network& network) {
  if (request.service().empty()) return std::string();
  const api::Service* service = TRY(resolve<api::Service>(draft, request.service()));
  const auto& networks = service->spec().networks();
  if (service->removing())
    return Error(ErrorCode::conflict,
                 "service " + quoted(service->spec().name()) + " is being removed");
  if (std::find(networks.begin(), networks.end(), network.id()) == networks.end())
    return Error(ErrorCode::invalid, "service " + quoted(service->spec().name()) +
                                         " is not on network " + quoted(network.name()) +
                                         ": add the network to the service first");
  return service->id();
}

Result<api::Endpoint> known_endpoint(const Draft& draft, const api::Endpoint& known,
                                     const Caller& caller,
                                     const api::EndpointAttachRequest& request) {
  const auto* network = TRY(resolve<api::Network>(draft, request.network()));
  const bool same = known.node_id() == caller.node_id && known.network_id() == network->id() &&
                    (request.address4().empty() || request.address4() == known.address4());
  if (!same)
    return Error(ErrorCode::conflict, "endpoint " + quoted(known.id()) +
                                          " already exists with another node, network or address: "
                                          "detach it first");
  api::Endpoint reply = known;
  fill_names(draft, reply);
  return reply;
}

}  // namespace

void end_task(Draft& draft, const api::Task& task, api::TaskState state,
              const std::string& message) {
  api::Task ended = task;
  for (const api::TaskAttachment& attachment : ended.attachments()) {
    release_address(draft, attachment.network_id(), attachment.address4());
    release_address(draft, attachment.network_id(), attachment.address6());
  }
  ended.clear_attachments();
  ended.set_state(state);
  if (!message.empty()) ended.set_message(message);
  ended.set_desired(api::TASK_SHUTDOWN);
  ended.set_state_at_ms(draft.now().milliseconds);
  draft.put(std::move(ended));
}

void free_endpoint(Draft& draft, const api::Endpoint& endpoint) {
  const api::Endpoint gone = endpoint;
  release_address(draft, gone.network_id(), gone.address4());
  release_address(draft, gone.network_id(), gone.address6());
  draft.remove<api::Endpoint>(gone.id());
}

void take_reports(Draft& draft, const std::string& node_id,
                  const google::protobuf::RepeatedPtrField<api::TaskStatus>& reports) {
  for (const api::TaskStatus& report : reports) {
    const api::Task* known = draft.find<api::Task>(report.task_id());
    if (!known || known->node_id() != node_id || is_terminal(*known)) continue;
    if (!api::TaskState_IsValid(report.state()) || report.state() < api::TASK_ASSIGNED) continue;
    api::Task task = *known;
    task.set_exit_code(report.exit_code());
    task.set_restarts(report.restarts());
    if (is_terminal(report.state())) {
      end_task(draft, task, report.state(), report.message());
      continue;
    }
    task.set_message(report.message());
    if (task.state() != report.state()) task.set_state_at_ms(draft.now().milliseconds);
    task.set_state(report.state());
    draft.put(std::move(task));
  }
}

void adopt_endpoints(Draft& draft, const std::string& node_id,
                     const google::protobuf::RepeatedPtrField<api::Endpoint>& endpoints) {
  for (const api::Endpoint& had : endpoints) {
    const api::Network* network = draft.find<api::Network>(had.network_id());
    const bool known = draft.find<api::Endpoint>(had.id()) != nullptr;
    if (known || !network || had.address4().empty() || !check_name("endpoint", had.id())) continue;
    if (!lease_addresses(draft, *network, "endpoint:" + had.id(), had.address4(), had.address6()))
      continue;
    api::Endpoint endpoint = had;
    endpoint.set_node_id(node_id);
    if (!draft.find<api::Service>(had.service_id())) endpoint.clear_service_id();
    draft.put(std::move(endpoint));
  }
}

Result<api::TaskList> list_tasks(Draft& draft, const Caller&, const api::TaskListRequest& request) {
  std::string service_id, node_id;
  if (!request.service().empty())
    service_id = TRY(resolve<api::Service>(draft, request.service()))->id();
  if (!request.node().empty()) node_id = TRY(resolve<api::Node>(draft, request.node()))->id();
  std::vector<const api::Task*> found;
  for (const api::Task* task : draft.all<api::Task>()) {
    if (!service_id.empty() && task->service_id() != service_id) continue;
    if (!node_id.empty() && task->node_id() != node_id) continue;
    if (!request.all() && is_terminal(*task)) continue;
    found.push_back(task);
  }
  std::sort(found.begin(), found.end(), [](const api::Task* a, const api::Task* b) {
    return std::tuple(a->spec().name(), a->slot(), -a->created_at_ms(), a->id()) <
           std::tuple(b->spec().name(), b->slot(), -b->created_at_ms(), b->id());
  });
  api::TaskList list;
  for (const api::Task* task : found) *list.add_tasks() = *task;
  return list;
}

Result<api::Task> show_task(Draft& draft, const Caller&, const api::NameRequest& request) {
  return *TRY(resolve<api::Task>(draft, request.name()));
}

Result<api::Empty> report_tasks(Draft& draft, const Caller& caller,
                                const api::TaskStatusReport& request) {
  take_reports(draft, caller.node_id, request.tasks());
  return api::Empty();
}

Result<api::Endpoint> allocate_endpoint(Draft& draft, const Caller& caller,
                                        const api::AllocateEndpointRequest& request) {
  const api::EndpointAttachRequest& attach = request.attach();
  if (!attach.id().empty()) {
    TRY(check_name("endpoint", attach.id()));
    if (const auto* known = draft.find<api::Endpoint>(attach.id()))
      return known_endpoint(draft, *known, caller, attach);
  }
  const api::Network network = *TRY(resolve<api::Network>(draft, attach.network()));
  if (network.ingress())
    return Error(ErrorCode::invalid,
                 "network 'ingress' carries published ports only: attach to a network made with "
                 "'weft network create --attachable'");
  if (!network.attachable())
    return Error(ErrorCode::denied, "network " + quoted(network.name()) +
                                        " is not attachable: create it with --attachable, or run "
                                        "a service on it");
  api::Endpoint endpoint;
  endpoint.set_service_id(TRY(service_to_join(draft, attach, network)));
  endpoint.set_id(attach.id().empty() ? draft.new_id() : attach.id());
  endpoint.set_network_id(network.id());
  endpoint.set_node_id(caller.node_id);
  endpoint.set_name(attach.name().empty() ? endpoint.id() : attach.name());
  TRY(check_name("endpoint", endpoint.name()));
  for (const std::string& alias : attach.aliases()) TRY(check_name("alias", alias));
  const Addresses addresses = TRY(lease_addresses(draft, network, "endpoint:" + endpoint.id(),
                                                  attach.address4(), attach.address6()));
  endpoint.set_address4(addresses.address4);
  endpoint.set_address6(addresses.address6);
  endpoint.set_mac(mac_of(addresses.address4));
  if (!attach.mac().empty()) {
    const Mac mac = TRY(Mac::parse(attach.mac()));
    if (!mac.is_unicast() || mac == Mac{})
      return Error(ErrorCode::invalid, "MAC address " + attach.mac() + " is not a unicast address");
    for (const auto* other : draft.all<api::Endpoint>())
      if (other->network_id() == network.id() && other->mac() == mac.to_string())
        return Error(ErrorCode::conflict, "MAC address " + attach.mac() +
                                              " is already used by endpoint " +
                                              quoted(other->name()));
    endpoint.set_mac(mac.to_string());
  }
  *endpoint.mutable_aliases() = attach.aliases();
  endpoint.set_netns(attach.netns());
  endpoint.set_interface(attach.interface());
  endpoint.set_container_id(attach.container_id());
  draft.put(endpoint);
  fill_names(draft, endpoint);
  return endpoint;
}

Result<api::Empty> release_endpoint(Draft& draft, const Caller& caller,
                                    const api::ReleaseEndpointRequest& request) {
  const auto* endpoint = draft.find<api::Endpoint>(request.endpoint_id());
  if (!endpoint) return api::Empty();
  if (endpoint->node_id() != caller.node_id)
    return Error(ErrorCode::denied,
                 "endpoint " + quoted(endpoint->name()) + " is on another node: detach it there");
  free_endpoint(draft, *endpoint);
  return api::Empty();
}

}  // namespace weft::manage
