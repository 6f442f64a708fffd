// SPDX-License-Identifier: Apache-2.0
// weft-shim FOLDER HOSTNAME LOG_BYTES COMMAND...: runs one task in its own mount, PID, UTS and IPC
// namespaces and in the network namespace FOLDER/netns. This process stays outside as supervisor:
// it keeps the log and writes the exit status, so that tasks run on while weftd is away.
//
//   SIGTERM, SIGINT, SIGHUP   to the command
//   SIGUSR2                   end everything now
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <string>

#include "inside.h"
#include "log_file.h"
#include "runtimes/netns/task_files.h"

namespace weft::shim {
namespace {

namespace files = runtime::files;

long long now_milliseconds() {
  timespec now{};
  clock_gettime(CLOCK_REALTIME, &now);
  return now.tv_sec * 1000LL + now.tv_nsec / 1'000'000;
}

// A reader sees the old file or the new one, never half of it.
bool write_file(const std::string& path, const std::string& text) {
  const std::string draft = path + ".new";
  const int fd = open(draft.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (fd < 0) return false;
  const bool written = write(fd, text.data(), text.size()) == ssize_t(text.size());
  close(fd);
  return written && rename(draft.c_str(), path.c_str()) == 0;
}

std::string read_file(const char* path) {
  char text[4096];
  const int fd = open(path, O_RDONLY | O_CLOEXEC);
  const ssize_t size = fd < 0 ? 0 : read(fd, text, sizeof text);
  if (fd >= 0) close(fd);
  return std::string(text, size > 0 ? size_t(size) : 0);
}

// Field 22 of /proc/self/stat: together with the boot id it makes a process id unique.
std::string start_time() {
  const std::string stat = read_file("/proc/self/stat");
  size_t at = stat.rfind(')');
  for (int field = 2; field < 22 && at != std::string::npos; ++field) at = stat.find(' ', at + 1);
  if (at == std::string::npos) return "0";
  return stat.substr(at + 1, stat.find(' ', at + 1) - at - 1);
}

class Supervisor {
 public:
  Supervisor(std::string folder, size_t log_bytes)
      : folder_(std::move(folder)),
        log_(folder_ + "/" + files::log, folder_ + "/" + files::old_log, log_bytes) {}

  int run(const std::string& hostname, char** command);

 private:
  int finish(int code, const std::string& message);
  int fail(const char* step);
  void watch();
  bool drain(int& fd, char origin);

  std::string folder_;
  LogFile log_;
  int output_ = -1;
  int errors_ = -1;
  int signals_ = -1;
  pid_t inner_ = -1;
};

int Supervisor::finish(int code, const std::string& message) {
  const std::string text =
      std::to_string(code) + " " + std::to_string(now_milliseconds()) + " " + message + "\n";
  if (!write_file(folder_ + "/" + files::status, text))
    fprintf(stderr, "weft-shim: cannot write %s/status: %s\n", folder_.c_str(), strerror(errno));
  return code;
}

int Supervisor::fail(const char* step) {
  return finish(files::exit_not_executable,
                std::string(files::cannot_run) + "the task: " + step + ": " + strerror(errno));
}

// Copies what is there; false when all writers are gone.
bool Supervisor::drain(int& fd, char origin) {
  char buffer[16 * 1024];
  for (;;) {
    const ssize_t size = read(fd, buffer, sizeof buffer);
    if (size > 0) {
      log_.add(origin, buffer, size_t(size));
    } else if (size < 0 && errno == EINTR) {
      continue;
    } else if (size < 0 && errno == EAGAIN) {
      return true;
    } else {
      close(fd);
      fd = -1;
      return false;
    }
  }
}

// Until process 1 of the task is gone.
void Supervisor::watch() {
  for (;;) {
    pollfd wait[] = {{signals_, POLLIN, 0}, {output_, POLLIN, 0}, {errors_, POLLIN, 0}};
    if (poll(wait, 3, -1) < 0) continue;
    if (output_ >= 0 && wait[1].revents != 0) drain(output_, 'o');
    if (errors_ >= 0 && wait[2].revents != 0) drain(errors_, 'e');
    signalfd_siginfo info{};
    while (read(signals_, &info, sizeof info) == sizeof info) {
      if (info.ssi_signo == SIGCHLD) {
        if (waitpid(inner_, nullptr, WNOHANG) == inner_) return;
      } else {
        kill(inner_, info.ssi_signo == SIGUSR2 ? SIGKILL : int(info.ssi_signo));
      }
    }
  }
}

int Supervisor::run(const std::string& hostname, char** command) {
  const int netns = open((folder_ + "/" + files::netns).c_str(), O_RDONLY | O_CLOEXEC);
  if (netns < 0 || setns(netns, CLONE_NEWNET) < 0)
    return fail("cannot enter the network namespace");
  close(netns);
  if (unshare(CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWUTS | CLONE_NEWIPC) < 0)
    return fail("cannot make namespaces");
  int output[2], errors[2], report[2];
  if (pipe2(output, O_CLOEXEC) < 0 || pipe2(errors, O_CLOEXEC) < 0 || pipe2(report, O_CLOEXEC) < 0)
    return fail("cannot make pipes");
  sigset_t wanted;
  sigemptyset(&wanted);
  for (const int number : {SIGTERM, SIGINT, SIGHUP, SIGCHLD, SIGUSR2}) sigaddset(&wanted, number);
  sigprocmask(SIG_BLOCK, &wanted, nullptr);
  signals_ = signalfd(-1, &wanted, SFD_NONBLOCK | SFD_CLOEXEC);
  if (signals_ < 0) return fail("cannot watch signals");

  inner_ = fork();
  if (inner_ < 0) return fail("cannot start a process");
  if (inner_ == 0) {
    for (const int end : {output[0], errors[0], report[0], signals_}) close(end);
    // The signals stay blocked: one that comes before process 1 listens is kept for it.
    run_inside({folder_, hostname, command, output[1], errors[1], report[1]});
  }
  for (const int end : {output[1], errors[1], report[1]}) close(end);
  output_ = output[0];
  errors_ = errors[0];
  for (const int end : {output_, errors_}) fcntl(end, F_SETFL, O_NONBLOCK);

  watch();
  if (output_ >= 0) drain(output_, 'o');
  if (errors_ >= 0) drain(errors_, 'e');
  log_.flush();
  Report ended;
  if (read(report[0], &ended, sizeof ended) != sizeof ended) return finish(128 + SIGKILL, "killed");
  if (ended.error == 0) return finish(ended.exit_code, "");
  const std::string what = ended.step[0] != 0 ? std::string("the task: ") + ended.step
                                              : "'" + std::string(command[0]) + "'";
  return finish(ended.exit_code, files::cannot_run + what + ": " + strerror(ended.error));
}

}  // namespace
}  // namespace weft::shim

int main(int count, char** arguments) {
  using namespace weft::shim;
  if (count < 5) {
    fprintf(stderr, "weft-shim: weftd starts this program: FOLDER HOSTNAME LOG_BYTES COMMAND...\n");
    return 2;
  }
  const std::string folder = arguments[1];
  // Out of the agent's session: its end, or Ctrl-C in its terminal, is none of the task's business.
  setsid();
  prctl(PR_SET_NAME, "weft-shim");
  std::string boot = read_file("/proc/sys/kernel/random/boot_id");
  boot.resize(std::min(boot.find('\n'), boot.size()));
  const std::string run = std::to_string(getpid()) + " " + start_time() + " " + boot + "\n";
  if (!write_file(folder + "/" + weft::runtime::files::run, run)) {
    fprintf(stderr, "weft-shim: cannot write in %s: %s\n", folder.c_str(), strerror(errno));
    return 1;
  }
  Supervisor supervisor(folder, strtoul(arguments[3], nullptr, 10));
  return supervisor.run(arguments[2], arguments + 4);
}
