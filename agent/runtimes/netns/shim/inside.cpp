// SPDX-License-Identifier: Apache-2.0
#include "inside.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <vector>

#include "runtimes/netns/task_files.h"

namespace weft::shim {
namespace {

namespace files = runtime::files;

[[noreturn]] void give_up(const Task& task, const char* step) {
  Report report;
  report.error = errno;
  report.exit_code = files::exit_not_executable;
  snprintf(report.step, sizeof report.step, "%s", step);
  if (write(task.report, &report, sizeof report) < 0) _exit(1);
  _exit(files::exit_not_executable);
}

// Mounts of network namespaces, of other tasks too, would keep them alive as long as this task.
void drop_netns_mounts() {
  FILE* mounts = fopen("/proc/self/mountinfo", "re");
  if (mounts == nullptr) return;
  std::vector<std::string> points;
  char line[4096];
  while (fgets(line, sizeof line, mounts) != nullptr) {
    char point[2048];
    if (strstr(line, " - nsfs ") != nullptr && sscanf(line, "%*s %*s %*s %*s %2047s", point) == 1)
      points.emplace_back(point);
  }
  fclose(mounts);
  for (const std::string& point : points) umount2(point.c_str(), MNT_DETACH);
}

void bind_file(const Task& task, const char* name, const char* target, bool may_be_missing) {
  const std::string source = task.folder + "/" + name;
  if (mount(source.c_str(), target, nullptr, MS_BIND, nullptr) == 0) return;
  if (may_be_missing && errno == ENOENT) return;
  const std::string step = std::string("cannot mount over ") + target;
  give_up(task, step.c_str());
}

void set_up(const Task& task) {
  // Nothing mounted here reaches the node, but what the node unmounts goes here too.
  if (mount(nullptr, "/", nullptr, MS_REC | MS_SLAVE, nullptr) < 0)
    give_up(task, "cannot separate mounts");
  drop_netns_mounts();
  bind_file(task, files::resolv_conf, "/etc/resolv.conf", false);
  bind_file(task, files::hosts, "/etc/hosts", false);
  // Many systems live without this file; the name itself is set below.
  bind_file(task, files::hostname, "/etc/hostname", true);
  if (mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, nullptr) < 0)
    give_up(task, "cannot mount /proc");
  // /sys/class/net shows the namespace it was mounted from.
  if (mount("sysfs", "/sys", "sysfs", MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_RDONLY, nullptr) < 0)
    give_up(task, "cannot mount /sys");
  if (sethostname(task.hostname.data(), task.hostname.size()) < 0)
    give_up(task, "cannot set the host name");
  if (chdir("/") < 0) give_up(task, "cannot enter /");
}

[[noreturn]] void run_command(const Task& task, const sigset_t& mask) {
  setsid();
  const int null = open("/dev/null", O_RDWR | O_CLOEXEC);
  if (null < 0) give_up(task, "cannot open /dev/null");
  dup2(null, 0);
  dup2(task.output, 1);
  dup2(task.errors, 2);
  sigprocmask(SIG_SETMASK, &mask, nullptr);
  execvp(task.command[0], task.command);
  Report report;
  report.error = errno;
  report.exit_code = errno == ENOENT ? files::exit_not_found : files::exit_not_executable;
  if (write(task.report, &report, sizeof report) < 0) _exit(1);
  _exit(report.exit_code);
}

}  // namespace

void run_inside(const Task& task) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  // The supervisor may have died before that line: then nobody reads the report.
  pollfd reader{task.report, 0, 0};
  if (poll(&reader, 1, 0) != 0) _exit(1);
  set_up(task);

  // Process 1 gets only the signals it asks for.
  sigset_t wanted;
  sigemptyset(&wanted);
  for (const int number : {SIGTERM, SIGINT, SIGHUP, SIGCHLD}) sigaddset(&wanted, number);
  sigprocmask(SIG_BLOCK, &wanted, nullptr);
  sigset_t clean;
  sigemptyset(&clean);
  const pid_t child = fork();
  if (child < 0) give_up(task, "cannot start a process");
  if (child == 0) run_command(task, clean);
  close(task.output);
  close(task.errors);

  for (;;) {
    siginfo_t info{};
    const int number = sigwaitinfo(&wanted, &info);
    if (number < 0) continue;
    if (number != SIGCHLD) {
      kill(child, number);
      continue;
    }
    int status = 0;
    for (pid_t ended; (ended = waitpid(-1, &status, WNOHANG)) > 0;) {
      if (ended != child) continue;
      Report report;
      report.exit_code = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
      // After a failed exec the supervisor already has a report and takes the first.
      if (write(task.report, &report, sizeof report) < 0) _exit(1);
      _exit(report.exit_code);  // the kernel ends everything else in the namespace
    }
  }
}

}  // namespace weft::shim
