// SPDX-License-Identifier: Apache-2.0
// How class NetnsRuntime starts a shim.
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>

#include "runtimes/netns/netns_runtime.h"
#include "runtimes/netns/task_files.h"

namespace weft::runtime {
namespace {

std::vector<std::string> environment_of(const TaskSpec& spec) {
  std::vector<std::string> out = spec.environment;
  for (const std::string& usual :
       {std::string("PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
        std::string("HOME=/root"), "HOSTNAME=" + hostname_of(spec)}) {
    const std::string name = usual.substr(0, usual.find('=') + 1);
    if (std::none_of(out.begin(), out.end(),
                     [&](const std::string& entry) { return entry.starts_with(name); }))
      out.push_back(usual);
  }
  return out;
}

std::vector<char*> pointers(std::vector<std::string>& words) {
  std::vector<char*> out;
  for (std::string& word : words) out.push_back(word.data());
  out.push_back(nullptr);
  return out;
}

// The shim inherits nothing of the agent but its namespaces: no descriptor, mask or handler.
int spawn_clean(const std::string& program, std::vector<std::string>& arguments,
                std::vector<std::string>& environment, pid_t& process) {
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  for (const int number : {0, 1, 2})
    posix_spawn_file_actions_addopen(&actions, number, "/dev/null", O_RDWR, 0);
  posix_spawn_file_actions_addclosefrom_np(&actions, 3);
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  sigset_t none, all;
  sigemptyset(&none);
  sigfillset(&all);
  posix_spawnattr_setsigmask(&attributes, &none);
  posix_spawnattr_setsigdefault(&attributes, &all);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
  const int done = posix_spawn(&process, program.c_str(), &actions, &attributes,
                               pointers(arguments).data(), pointers(environment).data());
  posix_spawnattr_destroy(&attributes);
  posix_spawn_file_actions_destroy(&actions);
  return done;
}

}  // namespace

Result<> NetnsRuntime::spawn(Task& task) {
  TRY(task.folder.forget_run());
  std::vector<std::string> arguments{options_.shim, task.folder.path(), hostname_of(task.spec),
                                     std::to_string(options_.log_bytes)};
  arguments.insert(arguments.end(), task.spec.command.begin(), task.spec.command.end());
  std::vector<std::string> environment = environment_of(task.spec);
  pid_t process = 0;
  if (const int done = spawn_clean(options_.shim, arguments, environment, process); done != 0)
    return errno_error("cannot start '" + options_.shim + "'", done);
  // Our own child that nobody has waited for: the number is still its.
  Fd pidfd(int(syscall(SYS_pidfd_open, process, 0)));
  if (!pidfd) return errno_error("cannot watch the task");
  set_phase(task, TaskPhase::running);
  return watch(task, process, std::move(pidfd));
}

}  // namespace weft::runtime
