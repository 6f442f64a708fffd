// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/address.h"
#include "base/fd.h"
#include "base/instant.h"
#include "base/result.h"

namespace weft::runtime {

struct TaskSpec {
  std::string id;                        // hex digits, dots, dashes; names the task's folder
  std::vector<std::string> command;      // the first word is looked up in PATH
  std::vector<std::string> environment;  // KEY=VALUE, besides PATH, HOME and HOSTNAME
  std::string hostname;                  // empty: the start of the id
  // Lines of /etc/hosts besides localhost.
  std::vector<std::pair<Address, std::string>> hosts;
  bool restart = true;  // when it exits, with back-off; else it stays exited
  bool operator==(const TaskSpec&) const = default;
};

enum class TaskPhase {
  prepared,  // the namespace is there, nothing runs
  running,
  waiting,   // exited; will be started again
  stopping,  // was told to end
  exited,    // ended and stays so
  failed,    // cannot run at all: see message
};

struct TaskStatus {
  std::string id;
  TaskPhase phase = TaskPhase::prepared;
  pid_t process = 0;  // of the task's supervisor, 0 if none runs
  int exit_code = 0;  // of the last run; 128 + signal if a signal ended it
  uint32_t restarts = 0;
  std::string message;  // why it failed or ended
  WallTime changed_at;  // when the phase began
};

struct LogLine {
  WallTime at;
  bool is_error = false;  // standard error
  std::string text;
};

// Runs tasks. One thread calls it.
class Runtime {
 public:
  virtual ~Runtime() = default;

  // Makes the task's network namespace, so that endpoints can be attached before anything runs.
  // Returns its path. Idempotent; another spec for a task that was started is a conflict.
  virtual Result<std::string> prepare(const TaskSpec& spec) = 0;
  virtual Result<> start(std::string_view id) = 0;
  // SIGTERM, then after the grace time SIGKILL. Returns at once; process_events tells the end.
  virtual Result<> stop(std::string_view id, std::chrono::milliseconds grace) = 0;
  // Ends it at once if it runs, and removes everything of it. A missing task is fine.
  virtual Result<> remove(std::string_view id) = 0;
  virtual std::vector<TaskStatus> list() const = 0;
  virtual std::optional<TaskStatus> status(std::string_view id) const = 0;
  virtual Result<Fd> open_netns(std::string_view id) const = 0;
  // The last `tail` lines (0: all that are kept), oldest first.
  virtual Result<std::vector<LogLine>> logs(std::string_view id, size_t tail) const = 0;

  // Readable when process_events has something to do: watch it in the event loop.
  virtual int event_fd() const = 0;
  // Handles ends, grace times and restarts; returns the tasks that changed since the last call, in
  // order. Never blocks.
  virtual std::vector<TaskStatus> process_events() = 0;
};

}  // namespace weft::runtime
