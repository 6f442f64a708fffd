// SPDX-License-Identifier: Apache-2.0
#include "harness/lab.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <thread>

#include "base/fd.h"

namespace weft::test {

namespace {

using SteadyClock = std::chrono::steady_clock;

Fd spawn_shell(const std::string& command, pid_t& pid) {
  int ends[2];
  // Not by doctest's macros: a lab that is static is taken down after doctest has gone.
  if (::pipe2(ends, O_CLOEXEC) != 0 || (pid = ::fork()) < 0) {
    std::perror("cannot start a shell");
    std::abort();
  }
  if (pid == 0) {
    ::setpgid(0, 0);
    ::dup2(ends[1], 1);
    ::dup2(ends[1], 2);
    const int null = ::open("/dev/null", O_RDONLY);
    ::dup2(null, 0);
    ::execl("/bin/bash", "bash", "-c", command.c_str(), nullptr);
    ::_exit(127);
  }
  ::close(ends[1]);
  return Fd(ends[0]);
}

}  // namespace

Output sh(const std::string& command, Duration deadline) {
  pid_t pid = 0;
  const Fd out = spawn_shell(command, pid);
  const auto end = SteadyClock::now() + deadline;
  Output result;
  bool ended = false;
  while (true) {
    pollfd waiting{out.get(), POLLIN, 0};
    const int ready = ::poll(&waiting, 1, 20);
    char buffer[4096];
    const ssize_t count = ready > 0 ? ::read(out.get(), buffer, sizeof buffer) : -1;
    if (count > 0) result.text.append(buffer, size_t(count));
    if (count == 0 || (ready == 0 && ended)) break;
    int status = 0;
    // What the command left in the background may hold the pipe: the shell's own end counts.
    if (!ended && ::waitpid(pid, &status, WNOHANG) == pid) {
      ended = true;
      result.code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    }
    if (!ended && SteadyClock::now() > end) {
      ::kill(-pid, SIGKILL);
      result.text += "\n(ended after its deadline: " + command + ")";
    }
  }
  if (!ended) {
    int status = 0;
    ::waitpid(pid, &status, 0);
    result.code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  }
  while (!result.text.empty() && result.text.back() == '\n') result.text.pop_back();
  return result;
}

bool eventually(Duration deadline, const std::function<bool()>& condition) {
  const auto end = SteadyClock::now() + deadline;
  while (!condition()) {
    if (SteadyClock::now() > end) return false;
    std::this_thread::sleep_for(20ms);
  }
  return true;
}

void skip_unless_root() {
  if (::geteuid() == 0) return;
  std::puts("skipped: needs root to make network namespaces");
  std::exit(77);
}

Lab::Lab(const std::string& name, const std::string& arguments) : name_(name) {
  skip_unless_root();
  sh("WEFT_LAB=" + name_ + " scripts/lab down");
  const Output up = lab("up " + arguments);
  REQUIRE_MESSAGE(up.code == 0, up.text);
}

Lab::~Lab() {
  const Output down = lab("down");
  if (down.code != 0) std::printf("lab down: %s\n", down.text.c_str());
}

Output Lab::on(const std::string& node, const std::string& command, Duration deadline) const {
  return sh("nsenter --net=/run/netns/" + name_ + "-" + node + " -- bash -c " + quote(command),
            deadline);
}

Output Lab::weft(const std::string& node, const std::string& arguments, Duration deadline) const {
  return sh("WEFT_LAB=" + name_ + " scripts/lab weft " + node + " " + arguments, deadline);
}

Output Lab::lab(const std::string& arguments, Duration deadline) const {
  return sh("WEFT_LAB=" + name_ + " scripts/lab " + arguments, deadline);
}

std::string Lab::must(const Output& output) const {
  REQUIRE_MESSAGE(output.code == 0, output.text);
  return output.text;
}

std::string quote(const std::string& text) {
  std::string out = "'";
  for (char c : text) out += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return out + "'";
}

}  // namespace weft::test
