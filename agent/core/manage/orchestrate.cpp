// SPDX-License-Identifier: Apache-2.0
#include "core/manage/orchestrate.h"

#include <algorithm>

#include "core/manage/allocate.h"
#include "core/manage/place.h"
#include "core/manage/schedule.h"
#include "core/manage/service_spec.h"
#include "core/manage/tasks.h"

namespace weft::manage {

namespace {

using Tasks = std::vector<const api::Task*>;

template <typename T>
int64_t to_ms(T duration) {
  return std::chrono::duration_cast<std::chrono::milliseconds>(duration).count();
}

class Orchestrator {
 public:
  explicit Orchestrator(Draft& draft) : draft_(draft) {}

  std::optional<WallTime> run() {
    end_unreachable();
    std::map<std::string, Tasks> by_service;
    for (const api::Task* task : draft_.all<api::Task>())
      by_service[task->service_id()].push_back(task);
    for (const api::Service* service : draft_.all<api::Service>()) {
      const Tasks& tasks = by_service[service->id()];
      if (service->removing())
        remove(*service, tasks);
      else if (service->spec().global())
        run_global(*service, tasks);
      else
        run_replicated(*service, tasks);
    }
    place_pending(draft_);
    forget_history();
    if (const auto due = expire_leases(draft_)) wake(due->milliseconds);
    return next_;
  }

 private:
  void wake(int64_t at_ms) {
    if (!next_ || at_ms < next_->milliseconds) next_ = WallTime{at_ms};
  }
  int64_t now_ms() const { return draft_.now().milliseconds; }

  // Tasks that no node will ever report on again.
  void end_unreachable() {
    for (const api::Task* task : draft_.all<api::Task>()) {
      if (is_terminal(*task)) continue;
      const bool stopping = task->desired() == api::TASK_SHUTDOWN;
      if (task->node_id().empty()) {
        if (stopping) end_task(draft_, *task, api::TASK_SHUTDOWN, "");
        continue;
      }
      const api::Node* node = draft_.find<api::Node>(task->node_id());
      if (!node) {
        end_task(draft_, *task, api::TASK_ORPHANED, "its node is no longer in the cluster");
        continue;
      }
      if (!stopping || node->state() != api::NODE_DEAD) continue;
      const int64_t due = task->state_at_ms() + to_ms(orphan_after);
      if (due <= now_ms())
        end_task(draft_, *task, api::TASK_ORPHANED, "node '" + node->name() + "' stayed dead");
      else
        wake(due);
    }
  }

  void shut_down(const api::Task& task, const std::string& why) {
    api::Task stopping = task;
    stopping.set_desired(api::TASK_SHUTDOWN);
    if (!why.empty()) stopping.set_message(why);
    if (task.node_id().empty()) {
      end_task(draft_, stopping, api::TASK_SHUTDOWN, "");
      return;
    }
    stopping.set_state_at_ms(now_ms());
    draft_.put(std::move(stopping));
  }

  void create(const api::Service& service, uint32_t slot, const std::string& node_id) {
    api::Task task;
    task.set_id(draft_.new_id());
    task.set_service_id(service.id());
    task.set_slot(slot);
    *task.mutable_spec() = service.spec();
    task.set_service_version(service.version());
    task.set_desired(api::TASK_RUNNING);
    task.set_state(api::TASK_PENDING);
    task.set_created_at_ms(now_ms());
    task.set_state_at_ms(now_ms());
    task.set_name(service.spec().name() + "." + (slot == 0 ? node_id : std::to_string(slot)) + "." +
                  task.id());
    // A global task belongs to one node from the start.
    if (slot == 0) task.set_node_id(node_id);
    draft_.put(std::move(task));
  }

  // Why a live task must go away from where it is; empty: it may stay.
  std::string must_leave(const api::Service& service, const api::Task& task) const {
    if (task.node_id().empty()) return "";
    const api::Node* node = draft_.find<api::Node>(task.node_id());
    WEFT_ASSERT(node != nullptr);  // end_unreachable has seen to it
    // A global task is bound to its node and goes on when the node comes back.
    if (node->state() == api::NODE_DEAD && !service.spec().global())
      return "node '" + node->name() + "' is dead";
    if (node->availability() == api::DRAIN) return "node '" + node->name() + "' is drained";
    if (!meets_constraints(service.spec(), *node))
      return "node '" + node->name() + "' is outside the constraints";
    return "";
  }

  // Tasks that shall run and may stay where they are; the others are told to stop.
  Tasks live_tasks(const api::Service& service, const Tasks& tasks) {
    Tasks live;
    for (const api::Task* task : tasks) {
      if (is_terminal(*task) || task->desired() == api::TASK_SHUTDOWN) continue;
      if (const std::string why = must_leave(service, *task); !why.empty())
        shut_down(*task, why);
      else
        live.push_back(task);
    }
    return live;
  }

  // A slot whose last task failed waits. `same` tells which tasks belong to the slot.
  template <typename Same>
  bool is_waiting(const Tasks& tasks, Same same) {
    int64_t due = 0;
    for (const api::Task* task : tasks) {
      const bool failed = task->state() == api::TASK_FAILED ||
                          task->state() == api::TASK_COMPLETE ||
                          task->state() == api::TASK_REJECTED;
      if (failed && same(*task)) due = std::max(due, task->state_at_ms() + to_ms(restart_delay));
    }
    if (due <= now_ms()) return false;
    wake(due);
    return true;
  }

  void run_replicated(const api::Service& service, const Tasks& tasks) {
    Tasks live = live_tasks(service, tasks);
    const size_t replicas = service.spec().replicas();
    if (live.size() > replicas) {
      // Those that do not run yet first, then the newest.
      std::sort(live.begin(), live.end(), [](const api::Task* a, const api::Task* b) {
        return std::tuple(a->state() != api::TASK_RUNNING, a->created_at_ms(), a->slot()) <
               std::tuple(b->state() != api::TASK_RUNNING, b->created_at_ms(), b->slot());
      });
      for (size_t i = replicas; i < live.size(); i++) shut_down(*live[i], "scaled down");
      live.resize(replicas);
    }
    update(service, live);
    std::set<uint32_t> taken;
    for (const api::Task* task : live) taken.insert(task->slot());
    size_t count = live.size();
    for (uint32_t slot = 1; count < replicas; slot++) {
      if (taken.count(slot) != 0) continue;
      count++;
      if (!is_waiting(tasks, [&](const api::Task& t) { return t.slot() == slot; }))
        create(service, slot, "");
    }
  }

  void run_global(const api::Service& service, const Tasks& tasks) {
    Tasks live = live_tasks(service, tasks);
    update(service, live);
    std::set<std::string> have;
    for (const api::Task* task : live) have.insert(task->node_id());
    for (const api::Node* node : draft_.all<api::Node>()) {
      const bool eligible = node->state() == api::NODE_ALIVE &&
                            node->availability() == api::ACTIVE &&
                            meets_constraints(service.spec(), *node);
      if (!eligible || have.count(node->id()) != 0) continue;
      if (!is_waiting(tasks, [&](const api::Task& t) { return t.node_id() == node->id(); }))
        create(service, 0, node->id());
    }
  }

  // Rolling update: outdated tasks are taken out of `live`, at most update_parallelism at a time,
  // the next when the ones before run and the delay has passed.
  void update(const api::Service& service, Tasks& live) {
    std::string wanted;
    Tasks outdated;
    size_t not_ready = 0;
    int64_t last_ready = 0;
    for (const api::Task* task : live) {
      if (task->service_version() != service.version()) {
        if (wanted.empty()) wanted = task_fingerprint(service.spec());
        if (task_fingerprint(task->spec()) != wanted) {
          outdated.push_back(task);
          continue;
        }
        api::Task same = *task;
        *same.mutable_spec() = service.spec();
        same.set_service_version(service.version());
        draft_.put(std::move(same));
      }
      if (task->state() != api::TASK_RUNNING) not_ready++;
      last_ready = std::max(last_ready, task->state_at_ms());
    }
    if (outdated.empty()) return;
    const size_t replicas = service.spec().global() ? live.size() : service.spec().replicas();
    not_ready += replicas - std::min(replicas, live.size());  // slots that wait after a failure
    const size_t parallel = std::max<size_t>(1, service.spec().update_parallelism());
    const int64_t due = last_ready + service.spec().update_delay_ms();
    if (not_ready >= parallel) return;
    if (last_ready != 0 && due > now_ms()) {
      wake(due);
      return;
    }
    std::sort(outdated.begin(), outdated.end(), [](const api::Task* a, const api::Task* b) {
      return std::tuple(a->state() == api::TASK_RUNNING, a->slot(), a->id()) <
             std::tuple(b->state() == api::TASK_RUNNING, b->slot(), b->id());
    });
    outdated.resize(std::min(outdated.size(), parallel - not_ready));
    for (const api::Task* task : outdated) {
      live.erase(std::find(live.begin(), live.end(), task));
      shut_down(*task, "replaced by version " + std::to_string(service.version()));
    }
  }

  void remove(const api::Service& service, const Tasks& tasks) {
    bool stopping = false;
    for (const api::Task* task : tasks) {
      if (is_terminal(*task)) continue;
      const api::Node* node = draft_.find<api::Node>(task->node_id());
      if (!node || node->state() == api::NODE_DEAD) {
        end_task(draft_, *task, node ? api::TASK_ORPHANED : api::TASK_SHUTDOWN,
                 "its service was removed");
        continue;
      }
      if (task->desired() != api::TASK_SHUTDOWN) shut_down(*task, "its service was removed");
      stopping = true;
    }
    if (stopping) return;
    for (const api::ServiceVip& vip : service.vips()) {
      release_address(draft_, vip.network_id(), vip.address4());
      release_address(draft_, vip.network_id(), vip.address6());
    }
    for (const api::Task* task : tasks) gone_.push_back(task->id());
    draft_.remove<api::Service>(std::string(service.id()));
  }

  void forget_history() {
    for (const std::string& id : gone_) draft_.remove<api::Task>(id);
    std::map<std::tuple<std::string, uint32_t, std::string>, Tasks> finished;
    for (const api::Task* task : draft_.all<api::Task>()) {
      if (!is_terminal(*task)) continue;
      const std::string node = task->slot() == 0 ? task->node_id() : std::string();
      finished[{task->service_id(), task->slot(), node}].push_back(task);
    }
    for (auto& [slot, tasks] : finished) {
      if (tasks.size() <= task_history) continue;
      std::sort(tasks.begin(), tasks.end(), [](const api::Task* a, const api::Task* b) {
        return std::tuple(a->state_at_ms(), a->created_at_ms(), a->id()) >
               std::tuple(b->state_at_ms(), b->created_at_ms(), b->id());
      });
      std::vector<std::string> old;
      for (size_t i = task_history; i < tasks.size(); i++) old.push_back(tasks[i]->id());
      for (const std::string& id : old) draft_.remove<api::Task>(id);
    }
  }

  Draft& draft_;
  std::optional<WallTime> next_;
  std::vector<std::string> gone_;  // history of removed services
};

}  // namespace

std::optional<WallTime> orchestrate(Draft& draft) { return Orchestrator(draft).run(); }

}  // namespace weft::manage
