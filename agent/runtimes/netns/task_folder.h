// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/fd.h"
#include "base/instant.h"
#include "base/result.h"
#include "runtimes/runtime.h"

namespace weft::runtime {

struct Ended {
  int exit_code = 0;
  WallTime at;
  std::string message;
};

// A shim that runs now.
struct RunningShim {
  pid_t process = 0;
  Fd pidfd;
  WallTime started_at;
};

// The files of one task: see task_files.h.
class TaskFolder {
 public:
  explicit TaskFolder(std::string path) : path_(std::move(path)) {}
  const std::string& path() const { return path_; }
  std::string file(std::string_view name) const { return path_ + "/" + std::string(name); }

  Result<> create();
  // With the namespace's mount.
  Result<> remove();

  Result<> write_spec(const TaskSpec& spec);
  Result<TaskSpec> read_spec() const;
  // resolv.conf, hosts, hostname.
  Result<> write_etc(const TaskSpec& spec);
  Result<> set_wanted(bool wanted);
  bool wanted() const;
  // Removes what the last run left, but its log.
  Result<> forget_run();
  // Of the last run; none if it left no word.
  std::optional<Ended> ended() const;
  // Was there a run at all?
  bool has_run() const;
  // The shim of the `run` file if it lives: same process, not another one with its number.
  std::optional<RunningShim> running() const;
  Result<std::vector<LogLine>> logs(size_t tail) const;

 private:
  std::string path_;
};

// Host name inside the task.
std::string hostname_of(const TaskSpec& spec);
bool valid_task_id(std::string_view id);

}  // namespace weft::runtime
