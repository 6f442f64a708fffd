// SPDX-License-Identifier: Apache-2.0
#include "node/health.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

namespace weft::node {

namespace {

// In the child of a program with threads: only calls that are safe after fork.
[[noreturn]] void enter_and_run(int task, char* const* arguments) {
  constexpr int namespaces =
      CLONE_NEWNET | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWUTS | CLONE_NEWIPC;
  ::setpgid(0, 0);
  const int null = ::open("/dev/null", O_RDWR);
  for (int fd = 0; fd < 3; fd++) ::dup2(null, fd);
  if (::setns(task, namespaces) != 0) ::_exit(126);
  // Only a child of this process is in the task's PID namespace.
  const pid_t inner = ::fork();
  if (inner < 0) ::_exit(126);
  if (inner == 0) {
    ::execvp(arguments[0], arguments);
    ::_exit(127);
  }
  int status = 0;
  ::waitpid(inner, &status, 0);
  ::_exit(WIFEXITED(status) ? WEXITSTATUS(status) : 125);
}

}  // namespace

HealthCheck::HealthCheck(io::Loop& loop, Probe probe, std::function<pid_t()> process,
                         std::function<void()> on_change)
    : loop_(loop),
      probe_(std::move(probe)),
      process_(std::move(process)),
      on_change_(std::move(on_change)) {
  timer_ = loop_.after(Duration(0), [this] { start(); });
}

HealthCheck::~HealthCheck() {
  if (child_ == 0) return;
  ::kill(-child_, SIGKILL);
  ::waitpid(child_, nullptr, 0);
}

void HealthCheck::start() {
  const pid_t task = process_();
  if (task == 0) return settle(false, "does not run");
  const Fd namespaces(int(::syscall(SYS_pidfd_open, task, 0)));
  if (!namespaces) return settle(false, "does not run");
  std::vector<char*> arguments;
  for (std::string& word : probe_.command) arguments.push_back(word.data());
  arguments.push_back(nullptr);
  timed_out_ = false;
  child_ = ::fork();
  if (child_ == 0) enter_and_run(namespaces.get(), arguments.data());
  if (child_ < 0) {
    child_ = 0;
    return settle(false, "its health check cannot be started");
  }
  pidfd_ = Fd(int(::syscall(SYS_pidfd_open, child_, 0)));
  watch_ = loop_.watch_read(pidfd_.get(), [this] { finished(); });
  timer_ = loop_.after(probe_.timeout, [this] {
    timed_out_ = true;
    ::kill(-child_, SIGKILL);
    ::kill(child_, SIGKILL);
  });
}

void HealthCheck::finished() {
  int status = 0;
  ::waitpid(child_, &status, 0);
  watch_.cancel();
  pidfd_.reset();
  child_ = 0;
  if (timed_out_) return settle(false, "its health check takes too long");
  const int code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  settle(code == 0, code == 0 ? "" : "its health check says " + std::to_string(code));
}

void HealthCheck::settle(bool good, const std::string& message) {
  failures_ = good ? 0 : failures_ + 1;
  const bool before = healthy_;
  if (good) healthy_ = true;
  if (failures_ >= probe_.retries) healthy_ = false;
  message_ = healthy_ ? "" : message;
  timer_ = loop_.after(probe_.interval, [this] { start(); });
  if (healthy_ != before) on_change_();
}

}  // namespace weft::node
