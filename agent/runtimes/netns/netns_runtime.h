// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>

#include "runtimes/netns/task_folder.h"
#include "runtimes/runtime.h"

namespace weft::runtime {

struct NetnsRuntimeOptions {
  std::string state = "/var/lib/weft";  // tasks live in <state>/tasks/<id>/
  std::string shim = "/usr/libexec/weft/weft-shim";
  size_t log_bytes = 1024 * 1024;                  // of each of two log files per task
  std::chrono::milliseconds first_back_off{1000};  // doubles up to
  std::chrono::milliseconds longest_back_off{60'000};
  std::chrono::milliseconds stable_after{60'000};  // a run this long starts over with the first
};

// Tasks as processes in namespaces of their own, each kept by a weft-shim that outlives the agent.
class NetnsRuntime : public Runtime {
 public:
  // Adopts the tasks of an earlier agent: those that run go on, those that ended meanwhile are
  // started again if they should run, folders without a readable spec are removed.
  static Result<std::unique_ptr<NetnsRuntime>> open(const NetnsRuntimeOptions& options);

  Result<std::string> prepare(const TaskSpec& spec) override;
  Result<> start(std::string_view id) override;
  Result<> stop(std::string_view id, std::chrono::milliseconds grace) override;
  Result<> remove(std::string_view id) override;
  std::vector<TaskStatus> list() const override;
  std::optional<TaskStatus> status(std::string_view id) const override;
  Result<Fd> open_netns(std::string_view id) const override;
  Result<std::vector<LogLine>> logs(std::string_view id, size_t tail) const override;
  int event_fd() const override { return epoll_.get(); }
  std::vector<TaskStatus> process_events() override;

 private:
  using Clock = std::chrono::steady_clock;
  struct Task {
    TaskSpec spec;
    TaskStatus status;
    TaskFolder folder;
    Fd pidfd;
    Clock::time_point started;
    std::chrono::milliseconds back_off;
    // What comes at `deadline`: restart when waiting, the next harder signal when stopping.
    std::optional<Clock::time_point> deadline;
    bool killed = false;
  };

  explicit NetnsRuntime(NetnsRuntimeOptions options) : options_(std::move(options)) {}
  Result<> adopt_all();
  Result<> adopt(const std::string& id);
  Result<> watch(Task& task, pid_t process, Fd pidfd);
  Result<> spawn(Task& task);
  void handle_end(Task& task);
  void settle(Task& task, const Ended& ended);
  void handle_deadline(Task& task);
  Result<> end_now(const TaskFolder& folder);
  void set_phase(Task& task, TaskPhase phase, std::string message = {});
  void arm_timer();
  Result<Task*> find(std::string_view id);
  std::string folder_of(std::string_view id) const;

  NetnsRuntimeOptions options_;
  std::map<std::string, Task, std::less<>> tasks_;
  std::set<std::string, std::less<>> changed_;
  Fd epoll_;
  Fd timer_;
  Fd wake_;  // eventfd: changes that no descriptor tells of
};

}  // namespace weft::runtime
