// SPDX-License-Identifier: Apache-2.0
#include "core/manage/place.h"

#include <algorithm>

#include "core/manage/allocate.h"
#include "core/manage/schedule.h"

namespace weft::manage {

namespace {

// As if the address had never been leased in this draft.
void give_back(Draft& draft, const std::string& network_id, const std::string& address) {
  if (address.empty()) return;
  const std::string key = network_id + "/" + address;
  const auto& leases = draft.base().leases;
  const auto before = leases.find(key);
  if (before == leases.end())
    draft.remove<api::AddressLease>(key);
  else if (before->second.owner().empty())
    draft.put(before->second);
  else
    release_address(draft, network_id, address);
}

// Attachments on all networks of the task, or none of them and the reason.
Result<> attach_networks(Draft& draft, api::Task& task) {
  std::vector<api::AddressCursor> cursors;
  for (const std::string& id : task.spec().networks()) {
    const api::Network* network = draft.find<api::Network>(id);
    WEFT_ASSERT(network != nullptr);  // a network in use is not removed
    if (const auto* cursor = draft.find<api::AddressCursor>(id)) cursors.push_back(*cursor);
    auto addresses = lease_addresses(draft, *network, "task:" + task.id());
    if (!addresses) {
      for (const api::TaskAttachment& done : task.attachments()) {
        give_back(draft, done.network_id(), done.address4());
        give_back(draft, done.network_id(), done.address6());
      }
      for (api::AddressCursor& cursor : cursors) draft.put(std::move(cursor));
      task.clear_attachments();
      return std::move(addresses).error();
    }
    api::TaskAttachment& attachment = *task.add_attachments();
    attachment.set_network_id(id);
    attachment.set_endpoint_id(draft.new_id());
    attachment.set_address4(addresses->address4);
    attachment.set_address6(addresses->address6);
    attachment.set_mac(mac_of(addresses->address4));
  }
  return Ok;
}

// (service id, slot) -> the node that refused the slot's last task.
using Refusals = std::map<std::pair<std::string, uint32_t>, std::string>;

Refusals refusals(const Draft& draft) {
  std::map<std::pair<std::string, uint32_t>, const api::Task*> last;
  for (const api::Task* task : draft.all<api::Task>()) {
    if (!is_terminal(*task)) continue;
    const api::Task*& newest = last[{task->service_id(), task->slot()}];
    if (!newest || task->state_at_ms() > newest->state_at_ms()) newest = task;
  }
  Refusals out;
  for (const auto& [slot, task] : last)
    if (task->state() == api::TASK_REJECTED) out[slot] = task->node_id();
  return out;
}

// Where the task goes; a global one has its node already.
Result<std::string> node_for(const Draft& draft, const Scheduler& scheduler,
                             const Refusals& refused, const api::Task& task) {
  if (task.node_id().empty()) {
    const auto avoid = refused.find({task.service_id(), task.slot()});
    return TRY(scheduler.choose(task.service_id(), task.spec(),
                                avoid == refused.end() ? std::string() : avoid->second))
        ->id();
  }
  const api::Node* node = draft.find<api::Node>(task.node_id());
  WEFT_ASSERT(node != nullptr);
  const std::string reason = scheduler.why_not(task.spec(), *node);
  if (reason.empty()) return node->id();
  return Error(ErrorCode::unavailable, "node '" + node->name() + "' cannot run it: " + reason);
}

}  // namespace

void place_pending(Draft& draft) {
  std::vector<api::Task> pending;
  for (const api::Task* task : draft.all<api::Task>())
    if (task->state() == api::TASK_PENDING && task->desired() == api::TASK_RUNNING)
      pending.push_back(*task);
  if (pending.empty()) return;
  std::sort(pending.begin(), pending.end(), [](const api::Task& a, const api::Task& b) {
    return std::tuple(a.created_at_ms(), a.spec().name(), a.slot(), a.id()) <
           std::tuple(b.created_at_ms(), b.spec().name(), b.slot(), b.id());
  });
  Scheduler scheduler(draft);
  const Refusals refused = refusals(draft);
  for (api::Task& task : pending) {
    auto node = node_for(draft, scheduler, refused, task);
    Result<> attached = node ? attach_networks(draft, task) : Result<>(node.error());
    if (!attached) {
      task.set_message(attached.error().message());
      draft.put(std::move(task));
      continue;
    }
    scheduler.place(task, *node);
    task.set_node_id(*node);
    task.set_state(api::TASK_ASSIGNED);
    task.set_state_at_ms(draft.now().milliseconds);
    task.clear_message();
    draft.put(std::move(task));
  }
}

}  // namespace weft::manage
