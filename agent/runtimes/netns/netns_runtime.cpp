// SPDX-License-Identifier: Apache-2.0
#include "runtimes/netns/netns_runtime.h"

#include <poll.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>

#include "drivers/netns/netns.h"
#include "runtimes/netns/task_files.h"

namespace weft::runtime {
namespace {

WallTime wall_now() {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  return {std::chrono::duration_cast<std::chrono::milliseconds>(now).count()};
}

int send_signal(const Fd& pidfd, int number) {
  return int(syscall(SYS_pidfd_send_signal, pidfd.get(), number, nullptr, 0));
}

bool wait_for_end(const Fd& pidfd, int milliseconds) {
  pollfd wait{pidfd.get(), POLLIN, 0};
  while (poll(&wait, 1, milliseconds) < 0)
    if (errno != EINTR) return false;
  return wait.revents != 0;
}

// Shims that this process started leave a zombie; adopted ones do not.
void reap(const Fd& pidfd) {
  siginfo_t info{};
  waitid(idtype_t(P_PIDFD), id_t(pidfd.get()), &info, WEXITED | WNOHANG);
}

Error unknown(std::string_view id) {
  return Error(ErrorCode::not_found, "there is no task '" + std::string(id) + "' on this node");
}

}  // namespace

Result<std::unique_ptr<NetnsRuntime>> NetnsRuntime::open(const NetnsRuntimeOptions& options) {
  if (access(options.shim.c_str(), X_OK) < 0)
    return errno_error("cannot run tasks: '" + options.shim + "'");
  std::unique_ptr<NetnsRuntime> runtime(new NetnsRuntime(options));
  runtime->epoll_ = Fd(epoll_create1(EPOLL_CLOEXEC));
  runtime->timer_ = Fd(timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC));
  runtime->wake_ = Fd(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
  if (!runtime->epoll_ || !runtime->timer_ || !runtime->wake_)
    return errno_error("cannot watch tasks");
  for (const Fd* fd : {&runtime->timer_, &runtime->wake_}) {
    epoll_event event{.events = EPOLLIN, .data = {.fd = fd->get()}};
    if (epoll_ctl(runtime->epoll_.get(), EPOLL_CTL_ADD, fd->get(), &event) < 0)
      return errno_error("cannot watch tasks");
  }
  TRY(runtime->adopt_all());
  runtime->arm_timer();
  return runtime;
}

std::string NetnsRuntime::folder_of(std::string_view id) const {
  return options_.state + "/tasks/" + std::string(id);
}

Result<NetnsRuntime::Task*> NetnsRuntime::find(std::string_view id) {
  const auto it = tasks_.find(id);
  if (it == tasks_.end()) return unknown(id);
  return &it->second;
}

Result<> NetnsRuntime::adopt_all() {
  const std::string folder = options_.state + "/tasks";
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (error) return errno_error("cannot create '" + folder + "'", error.value());
  std::vector<std::string> ids;
  for (std::filesystem::directory_iterator it(folder, error), end; !error && it != end;
       it.increment(error))
    ids.push_back(it->path().filename().string());
  if (error) return errno_error("cannot list '" + folder + "'", error.value());
  std::sort(ids.begin(), ids.end());
  for (const std::string& id : ids) TRY_IN("adopt task " + id, adopt(id));
  return Ok;
}

Result<> NetnsRuntime::adopt(const std::string& id) {
  TaskFolder folder(folder_of(id));
  auto spec = folder.read_spec();
  if (!spec) {
    // Its creation was cut short, or another version wrote it: the plan will bring it again.
    TRY(end_now(folder));
    return folder.remove();
  }
  Task& task = tasks_.try_emplace(id, Task{.folder = folder}).first->second;
  task.spec = std::move(*spec);
  task.back_off = options_.first_back_off;
  task.status.id = id;
  if (auto shim = folder.running()) {
    set_phase(task, TaskPhase::running);
    task.status.changed_at = shim->started_at;
    return watch(task, shim->process, std::move(shim->pidfd));
  }
  const auto ended = folder.ended();
  if (!netns::open_netns(folder.file(files::netns))) {
    // The node was restarted: the endpoints have gone with the namespace.
    TRY(folder.set_wanted(false));
    TRY(folder.forget_run());
    set_phase(task, TaskPhase::exited, "its network namespace has gone");
    return Ok;
  }
  if (!ended && !folder.has_run() && !folder.wanted()) {
    set_phase(task, TaskPhase::prepared);
    return Ok;
  }
  settle(task, ended.value_or(Ended{128 + SIGKILL, wall_now(), "its weft-shim was killed"}));
  return Ok;
}

void NetnsRuntime::set_phase(Task& task, TaskPhase phase, std::string message) {
  task.status.phase = phase;
  task.status.message = std::move(message);
  task.status.changed_at = wall_now();
  task.deadline.reset();
  if (phase != TaskPhase::running && phase != TaskPhase::stopping) task.status.process = 0;
  changed_.insert(task.status.id);
  const uint64_t one = 1;
  // Cannot fail but by overflow, and then it is readable anyway.
  [[maybe_unused]] const ssize_t written = write(wake_.get(), &one, sizeof one);
}

Result<> NetnsRuntime::watch(Task& task, pid_t process, Fd pidfd) {
  epoll_event event{.events = EPOLLIN, .data = {.fd = pidfd.get()}};
  if (epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, pidfd.get(), &event) < 0)
    return errno_error("cannot watch the task");
  task.pidfd = std::move(pidfd);
  task.status.process = process;
  task.started = Clock::now();
  task.killed = false;
  return Ok;
}

Result<std::string> NetnsRuntime::prepare(const TaskSpec& spec) {
  if (!valid_task_id(spec.id))
    return Error(ErrorCode::invalid, "task id '" + spec.id + "' is not valid");
  if (spec.command.empty() || spec.command[0].empty())
    return Error(ErrorCode::invalid, "the service has no command");
  const auto known = tasks_.find(spec.id);
  if (known != tasks_.end() && known->second.pidfd) {
    if (known->second.spec != spec)
      return Error(ErrorCode::conflict, "task '" + spec.id + "' runs with another specification");
    return "/proc/" + std::to_string(known->second.status.process) + "/ns/net";
  }
  TaskFolder folder(folder_of(spec.id));
  TRY(folder.create());
  const std::string path = folder.file(files::netns);
  if (!netns::open_netns(path)) {
    TRY(netns::remove_named_netns(path));
    TRY(netns::make_named_netns(path));
  }
  TRY(folder.write_etc(spec));
  TRY(folder.write_spec(spec));
  if (known == tasks_.end()) {
    Task& task = tasks_.try_emplace(spec.id, Task{.folder = folder}).first->second;
    task.spec = spec;
    task.back_off = options_.first_back_off;
    task.status.id = spec.id;
    set_phase(task, TaskPhase::prepared);
  } else {
    known->second.spec = spec;
  }
  return path;
}

Result<> NetnsRuntime::start(std::string_view id) {
  Task& task = *TRY(find(id));
  if (task.status.phase == TaskPhase::running) return Ok;
  if (task.pidfd)
    return Error(ErrorCode::unavailable, "task '" + std::string(id) + "' is still stopping");
  TRY(task.folder.set_wanted(true));
  auto started = spawn(task);
  arm_timer();
  return started;
}

Result<> NetnsRuntime::stop(std::string_view id, std::chrono::milliseconds grace) {
  Task& task = *TRY(find(id));
  TRY(task.folder.set_wanted(false));
  if (!task.pidfd) {
    if (task.status.phase == TaskPhase::waiting) set_phase(task, TaskPhase::exited);
    arm_timer();
    return Ok;
  }
  if (task.status.phase != TaskPhase::stopping) {
    if (send_signal(task.pidfd, SIGTERM) < 0 && errno != ESRCH)
      return errno_error("cannot stop task '" + std::string(id) + "'");
    set_phase(task, TaskPhase::stopping);
  }
  const auto deadline = Clock::now() + grace;
  if (!task.killed && (!task.deadline || deadline < *task.deadline)) task.deadline = deadline;
  arm_timer();
  return Ok;
}

// Ends the shim of a folder, known or not, and waits for it.
Result<> NetnsRuntime::end_now(const TaskFolder& folder) {
  const auto shim = folder.running();
  if (!shim) return Ok;
  constexpr int limit_milliseconds = 3000;
  send_signal(shim->pidfd, SIGUSR2);
  if (!wait_for_end(shim->pidfd, limit_milliseconds)) {
    // Its process 1 dies with it.
    send_signal(shim->pidfd, SIGKILL);
    if (!wait_for_end(shim->pidfd, limit_milliseconds))
      return Error("process " + std::to_string(shim->process) + " does not end");
  }
  reap(shim->pidfd);
  return Ok;
}

Result<> NetnsRuntime::remove(std::string_view id) {
  if (!valid_task_id(id)) return Ok;
  TaskFolder folder(folder_of(id));
  TRY(folder.set_wanted(false));
  TRY_IN("remove task " + std::string(id), end_now(folder));
  if (const auto it = tasks_.find(id); it != tasks_.end()) {
    if (it->second.pidfd) {
      // A shim that had no time to write its `run` file yet.
      send_signal(it->second.pidfd, SIGKILL);
      wait_for_end(it->second.pidfd, 3000);
      reap(it->second.pidfd);
    }
    tasks_.erase(it);
  }
  if (const auto it = changed_.find(id); it != changed_.end()) changed_.erase(it);
  arm_timer();
  return folder.remove();
}

// What follows from an end, seen now or found at the start.
void NetnsRuntime::settle(Task& task, const Ended& ended) {
  task.status.exit_code = ended.exit_code;
  if (ended.message.starts_with(files::cannot_run)) {
    set_phase(task, TaskPhase::failed, ended.message);
  } else if (task.spec.restart && task.folder.wanted()) {
    set_phase(task, TaskPhase::waiting, ended.message);
    task.deadline = Clock::now() + task.back_off;
    task.back_off = std::min(task.back_off * 2, options_.longest_back_off);
    return;
  } else {
    set_phase(task, TaskPhase::exited, ended.message);
  }
  if (auto done = task.folder.set_wanted(false); !done)
    task.status.message += (task.status.message.empty() ? "" : "; ") + done.error().message();
}

void NetnsRuntime::handle_end(Task& task) {
  reap(task.pidfd);
  epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, task.pidfd.get(), nullptr);
  task.pidfd.reset();
  if (Clock::now() - task.started >= options_.stable_after) task.back_off = options_.first_back_off;
  settle(task, task.folder.ended().value_or(
                   Ended{128 + SIGKILL, wall_now(), "its weft-shim was killed"}));
}

void NetnsRuntime::handle_deadline(Task& task) {
  task.deadline.reset();
  if (task.status.phase == TaskPhase::waiting) {
    ++task.status.restarts;
    if (auto started = spawn(task); !started)
      settle(task, {files::exit_not_executable, wall_now(), started.error().message()});
    return;
  }
  if (task.status.phase != TaskPhase::stopping) return;
  constexpr auto patience = std::chrono::seconds(5);
  send_signal(task.pidfd, task.killed ? SIGKILL : SIGUSR2);
  task.killed = true;
  task.deadline = Clock::now() + patience;
}

std::vector<TaskStatus> NetnsRuntime::process_events() {
  uint64_t ignored;
  for (const Fd* fd : {&timer_, &wake_})
    while (read(fd->get(), &ignored, sizeof ignored) > 0) {
    }
  for (auto& [id, task] : tasks_) {
    if (task.pidfd && wait_for_end(task.pidfd, 0)) handle_end(task);
    if (task.deadline && *task.deadline <= Clock::now()) handle_deadline(task);
  }
  arm_timer();
  // The changes made right now are in the answer.
  while (read(wake_.get(), &ignored, sizeof ignored) > 0) {
  }
  std::vector<TaskStatus> out;
  for (const std::string& id : changed_)
    if (const auto it = tasks_.find(id); it != tasks_.end()) out.push_back(it->second.status);
  changed_.clear();
  return out;
}

void NetnsRuntime::arm_timer() {
  std::optional<Clock::time_point> next;
  for (const auto& [id, task] : tasks_)
    if (task.deadline && (!next || *task.deadline < *next)) next = task.deadline;
  itimerspec timer{};
  if (next) {
    // All zero would switch the timer off.
    const auto left =
        std::max<std::chrono::nanoseconds>(*next - Clock::now(), std::chrono::nanoseconds(1));
    timer.it_value.tv_sec = left.count() / 1'000'000'000;
    timer.it_value.tv_nsec = left.count() % 1'000'000'000;
  }
  timerfd_settime(timer_.get(), 0, &timer, nullptr);
}

std::vector<TaskStatus> NetnsRuntime::list() const {
  std::vector<TaskStatus> out;
  for (const auto& [id, task] : tasks_) out.push_back(task.status);
  return out;
}

std::optional<TaskStatus> NetnsRuntime::status(std::string_view id) const {
  const auto it = tasks_.find(id);
  if (it == tasks_.end()) return std::nullopt;
  return it->second.status;
}

Result<Fd> NetnsRuntime::open_netns(std::string_view id) const {
  const auto it = tasks_.find(id);
  if (it == tasks_.end()) return unknown(id);
  auto opened = netns::open_netns(it->second.folder.file(files::netns));
  // The mount is another mount namespace's when the agent was started in a new one.
  if (!opened && it->second.status.process != 0)
    return netns::open_netns(it->second.status.process);
  return opened;
}

Result<std::vector<LogLine>> NetnsRuntime::logs(std::string_view id, size_t tail) const {
  const auto it = tasks_.find(id);
  if (it == tasks_.end()) return unknown(id);
  return it->second.folder.logs(tail);
}

}  // namespace weft::runtime
