// SPDX-License-Identifier: Apache-2.0
#include "node/tasks.h"

#include <unistd.h>

#include <filesystem>

#include "node/log.h"
#include "runtimes/netns/netns_runtime.h"

namespace weft::node {

namespace {

// Between the withdrawal of a task from VIP and DNS and its SIGTERM: other nodes hear of it within
// milliseconds, and what was just sent still arrives.
constexpr auto withdraw_time = 500ms;

runtime::TaskSpec spec_of(const api::Task& task) {
  runtime::TaskSpec out;
  out.id = task.id();
  out.command.assign(task.spec().command().begin(), task.spec().command().end());
  out.environment.assign(task.spec().environment().begin(), task.spec().environment().end());
  out.hostname = task.spec().hostname();
  if (out.hostname.empty()) {
    // A global service's task has the node's name for a slot.
    out.hostname = task.slot() > 0 ? task.spec().name() + "." + std::to_string(task.slot())
                                   : task.spec().name();
  }
  for (const api::TaskAttachment& attachment : task.attachments())
    for (const std::string& text : {attachment.address4(), attachment.address6()})
      if (auto address = Address::parse(text)) out.hosts.emplace_back(*address, out.hostname);
  return out;
}

api::TaskState state_of(const runtime::TaskStatus& status, bool draining, bool healthy) {
  switch (status.phase) {
    case runtime::TaskPhase::prepared:
      return api::TASK_PREPARING;
    case runtime::TaskPhase::running:
      return healthy ? api::TASK_RUNNING : api::TASK_STARTING;
    case runtime::TaskPhase::waiting:
      return api::TASK_STARTING;
    case runtime::TaskPhase::stopping:
      return api::TASK_RUNNING;
    case runtime::TaskPhase::exited:
      return draining ? api::TASK_SHUTDOWN : api::TASK_COMPLETE;
    case runtime::TaskPhase::failed:
      break;
  }
  return draining ? api::TASK_SHUTDOWN : api::TASK_FAILED;
}

}  // namespace

Tasks::Tasks(io::Loop& loop, std::unique_ptr<runtime::Runtime> runtime, OnChange on_change,
             Report report)
    : loop_(loop),
      runtime_(std::move(runtime)),
      on_change_(std::move(on_change)),
      report_(std::move(report)) {}

Result<std::unique_ptr<Tasks>> Tasks::start(io::Loop& loop, const Config& config,
                                            OnChange on_change, Report report) {
  runtime::NetnsRuntimeOptions options;
  options.state = config.state;
  std::error_code failure;
  const auto self = std::filesystem::read_symlink("/proc/self/exe", failure);
  if (failure) return Error("find weft-shim beside weftd: " + failure.message());
  options.shim = (self.parent_path() / "weft-shim").string();
  auto runtime = TRY_IN("tasks", runtime::NetnsRuntime::open(options));
  std::unique_ptr<Tasks> tasks(
      new Tasks(loop, std::move(runtime), std::move(on_change), std::move(report)));
  for (const runtime::TaskStatus& status : tasks->runtime_->list()) tasks->tasks_[status.id];
  tasks->watch_ =
      loop.watch_read(tasks->runtime_->event_fd(), [raw = tasks.get()] { raw->process_events(); });
  return tasks;
}

Result<std::string> Tasks::prepare(const api::Task& task) {
  tasks_[task.id()].stop_grace_ms =
      task.spec().stop_grace_ms() ? task.spec().stop_grace_ms() : 10'000;
  return runtime_->prepare(spec_of(task));
}

Result<> Tasks::run(const api::Task& task) {
  Task& known = tasks_[task.id()];
  if (known.draining || !known.failure.empty()) return Ok;
  const auto status = runtime_->status(task.id());
  if (!status || status->phase == runtime::TaskPhase::prepared) TRY(runtime_->start(task.id()));
  if (!known.health && task.spec().has_health() && task.spec().health().command_size() > 0) {
    HealthCheck::Probe probe;
    probe.command.assign(task.spec().health().command().begin(),
                         task.spec().health().command().end());
    if (const auto& h = task.spec().health(); true) {
      if (h.interval_ms()) probe.interval = std::chrono::milliseconds(h.interval_ms());
      if (h.timeout_ms()) probe.timeout = std::chrono::milliseconds(h.timeout_ms());
      if (h.retries()) probe.retries = h.retries();
    }
    known.health = std::make_unique<HealthCheck>(
        loop_, std::move(probe),
        [this, id = task.id()] {
          const auto now = runtime_->status(id);
          return now && now->phase == runtime::TaskPhase::running ? now->process : 0;
        },
        [this, id = task.id()] { changed(id); });
  }
  changed(task.id());
  return Ok;
}

void Tasks::shut_down(const api::Task& task) {
  Task& known = tasks_[task.id()];
  if (known.draining) return;
  known.draining = true;
  known.health.reset();
  const auto status = runtime_->status(task.id());
  const bool alive = status && (status->phase == runtime::TaskPhase::running ||
                                status->phase == runtime::TaskPhase::waiting);
  known.withdraw =
      loop_.after(alive ? Duration(withdraw_time) : Duration(0), [this, id = task.id()] {
        Task& ending = tasks_[id];
        ending.stopped = true;
        if (runtime_->status(id))
          if (auto stopped = runtime_->stop(id, std::chrono::milliseconds(ending.stop_grace_ms));
              !stopped)
            log_error("stop task " + id + ": " + stopped.error().message());
        changed(id);
      });
  changed(task.id());
}

void Tasks::fail(const std::string& task_id, const std::string& why) {
  tasks_[task_id].failure = why;
  changed(task_id);
}

void Tasks::remove(const std::string& task_id) {
  if (auto removed = runtime_->remove(task_id); !removed)
    log_error("remove task " + task_id + ": " + removed.error().message());
  tasks_.erase(task_id);
}

void Tasks::remove_all() {
  for (const std::string& id : known()) remove(id);
}

bool Tasks::ended(const std::string& task_id) const {
  const auto known = tasks_.find(task_id);
  if (known == tasks_.end()) return true;
  const auto status = runtime_->status(task_id);
  if (!known->second.failure.empty() || !status) return true;
  if (status->phase == runtime::TaskPhase::prepared) return known->second.stopped;
  return status->phase == runtime::TaskPhase::exited || status->phase == runtime::TaskPhase::failed;
}

std::set<std::string> Tasks::known() const {
  std::set<std::string> out;
  for (const auto& [id, task] : tasks_) out.insert(id);
  return out;
}

codec::EndpointState Tasks::endpoint_state(const std::string& task_id) const {
  const auto known = tasks_.find(task_id);
  if (known == tasks_.end()) return codec::EndpointState::starting;
  if (known->second.draining) return codec::EndpointState::draining;
  const auto status = runtime_->status(task_id);
  const bool running = status && status->phase == runtime::TaskPhase::running;
  const bool healthy = !known->second.health || known->second.health->healthy();
  return running && healthy ? codec::EndpointState::ready : codec::EndpointState::starting;
}

api::TaskStatus Tasks::status(const std::string& task_id) const {
  api::TaskStatus out;
  out.set_task_id(task_id);
  out.set_at_ms(loop_.wall_now().milliseconds);
  const auto known = tasks_.find(task_id);
  const auto status = runtime_->status(task_id);
  const bool draining = known != tasks_.end() && known->second.draining;
  if (known == tasks_.end() || !known->second.failure.empty() || !status) {
    out.set_state(draining ? api::TASK_SHUTDOWN : api::TASK_FAILED);
    out.set_message(known == tasks_.end() ? "not on this node" : known->second.failure);
    return out;
  }
  const bool healthy = !known->second.health || known->second.health->healthy();
  out.set_state(state_of(*status, draining, healthy));
  if (draining && status->phase == runtime::TaskPhase::prepared && known->second.stopped)
    out.set_state(api::TASK_SHUTDOWN);
  out.set_message(status->message.empty() && known->second.health ? known->second.health->message()
                                                                  : status->message);
  out.set_exit_code(status->exit_code);
  out.set_restarts(status->restarts);
  return out;
}

void Tasks::process_events() {
  for (const runtime::TaskStatus& status : runtime_->process_events()) {
    log_debug("task " + status.id + ": " + (status.message.empty() ? "changed" : status.message));
    changed(status.id);
  }
}

void Tasks::changed(const std::string& task_id) {
  const auto found = tasks_.find(task_id);
  if (found == tasks_.end()) return;
  Task& task = found->second;
  api::TaskStatus now = status(task_id);
  const int64_t at = now.at_ms();
  now.set_at_ms(0);
  const std::string text = now.SerializeAsString();
  // on_change_ leads to run() or shut_down(), and so back here: it must come to rest.
  const Seen seen{text, endpoint_state(task_id), ended(task_id)};
  if (task.seen == seen) return;
  if (!task.seen || task.seen->status != text) {
    now.set_at_ms(at);
    api::TaskStatusReport report;
    *report.add_tasks() = now;
    report_(report);
  }
  task.seen = seen;
  // Not from within: the agent may remove the task.
  loop_.post([this, task_id] { on_change_(task_id); });
}

void Tasks::report_all() {
  api::TaskStatusReport report;
  for (const auto& [id, task] : tasks_) *report.add_tasks() = status(id);
  if (report.tasks_size() > 0) report_(report);
}

api::LogReply Tasks::logs(const api::LocalLogsRequest& request) const {
  api::LogReply out;
  for (const std::string& id : request.task_ids()) {
    auto lines = runtime_->logs(id, request.tail());
    if (!lines) {
      out.add_warnings(lines.error().message());
      continue;
    }
    for (const runtime::LogLine& line : *lines) {
      api::LogLine& to = *out.add_lines();
      to.set_task(id);
      to.set_at_ms(line.at.milliseconds);
      to.set_text(line.text);
      to.set_is_error(line.is_error);
    }
  }
  return out;
}

}  // namespace weft::node
