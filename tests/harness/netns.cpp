// SPDX-License-Identifier: Apache-2.0
#include "harness/netns.h"

#include <doctest/doctest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <thread>

#include "drivers/netns/netns.h"

namespace weft::test {
namespace {

int child_ready_fd = -1;

int exit_status(int status) {
  return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

std::string shell_here(const std::string& command, int* status) {
  std::string out;
  FILE* pipe = popen(("{ " + command + "\n} 2>&1").c_str(), "re");
  REQUIRE(pipe != nullptr);
  char buffer[4096];
  for (size_t size; (size = fread(buffer, 1, sizeof buffer, pipe)) > 0;) out.append(buffer, size);
  const int ended = exit_status(pclose(pipe));
  if (status != nullptr) *status = ended;
  while (!out.empty() && out.back() == '\n') out.pop_back();
  return out;
}

}  // namespace

std::string cannot_use_netns() {
  if (geteuid() != 0) return "needs root";
  if (auto made = netns::make_anonymous_netns(); !made) return made.error().message();
  return {};
}

SkipWithoutNetns::SkipWithoutNetns() {
  const std::string reason = cannot_use_netns();
  if (reason.empty()) return;
  std::printf("skipped: network namespaces: %s\n", reason.c_str());
  std::fflush(stdout);
  _exit(77);
}

TestNetns::TestNetns() {
  auto made = netns::make_anonymous_netns();
  REQUIRE_MESSAGE(made.has_value(), made.error().message());
  fd_ = std::move(*made);
}

std::string TestNetns::path() const {
  return "/proc/" + std::to_string(getpid()) + "/fd/" + std::to_string(fd_.get());
}

void TestNetns::run(const std::function<Result<>()>& function) const {
  const auto done = netns::run_in_netns(fd_.get(), function);
  REQUIRE_MESSAGE(done.has_value(), done.error().message());
}

std::string TestNetns::shell(const std::string& command, int* status) const {
  std::string out;
  run([&]() -> Result<> {
    out = shell_here(command, status);
    return Ok;
  });
  return out;
}

void connect(const TestNetns& a, const std::string& name_a, const std::string& address_a,
             const TestNetns& b, const std::string& name_b, const std::string& address_b) {
  int status = 0;
  std::string command = "ip link add " + name_a + " type veth peer name " + name_b + " netns " +
                        b.path() + " && ip link set " + name_a + " up";
  if (!address_a.empty()) command += " && ip addr add " + address_a + " dev " + name_a + " nodad";
  const std::string out_a = a.shell(command, &status);
  REQUIRE_MESSAGE(status == 0, out_a);
  command = "ip link set " + name_b + " up";
  if (!address_b.empty()) command += " && ip addr add " + address_b + " dev " + name_b + " nodad";
  const std::string out_b = b.shell(command, &status);
  REQUIRE_MESSAGE(status == 0, out_b);
}

bool wait_for(const std::function<bool()>& condition, std::chrono::milliseconds limit) {
  const auto end = std::chrono::steady_clock::now() + limit;
  while (!condition()) {
    if (std::chrono::steady_clock::now() > end) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(2));  // between two looks
  }
  return true;
}

TestFolder::TestFolder() {
  char name[] = "/tmp/weft-test-XXXXXX";
  REQUIRE(mkdtemp(name) != nullptr);
  path_ = name;
}

TestFolder::~TestFolder() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

ChildProcess::ChildProcess(const std::function<int()>& function) {
  int ends[2];
  REQUIRE(pipe(ends) == 0);
  pid_ = fork();
  REQUIRE(pid_ >= 0);
  if (pid_ == 0) {
    close(ends[0]);
    child_ready_fd = ends[1];
    _exit(function());
  }
  close(ends[1]);
  ready_ = Fd(ends[0]);
}

ChildProcess::~ChildProcess() {
  if (pid_ > 0) kill_now();
}

std::string ChildProcess::wait_until_ready() {
  std::string line;
  char c;
  while (read(ready_.get(), &c, 1) == 1 && c != '\n') line += c;
  return line;
}

void ChildProcess::kill_now() {
  kill(pid_, SIGKILL);
  wait();
}

int ChildProcess::wait() {
  int status = 0;
  waitpid(pid_, &status, 0);
  pid_ = -1;
  return exit_status(status);
}

void ChildProcess::ready_and_wait(const std::string& line) {
  const std::string text = line + "\n";
  if (write(child_ready_fd, text.data(), text.size()) < 0) _exit(1);
  for (;;) pause();
}

}  // namespace weft::test
