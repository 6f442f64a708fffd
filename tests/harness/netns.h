// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <doctest/doctest.h>
#include <sys/types.h>

#include <chrono>
#include <functional>
#include <string>
#include <vector>

#include "base/fd.h"
#include "base/result.h"

namespace weft::test {

// Why tests with namespaces cannot run here; empty if they can.
std::string cannot_use_netns();
// For the top of such a program's file, via WEFT_NETNS_TESTS: without root the program ends with 77
// before the first test, which ctest reports as skipped with the reason.
struct SkipWithoutNetns {
  SkipWithoutNetns();
};
#define WEFT_NETNS_TESTS static const ::weft::test::SkipWithoutNetns skip_without_netns

// The value, or the end of the test with the error.
template <typename T>
T value(Result<T> result) {
  REQUIRE_MESSAGE(result.has_value(), result.error().message());
  return std::move(*result);
}

// A private network namespace with lo up; gone with the object.
class TestNetns {
 public:
  TestNetns();
  int fd() const { return fd_.get(); }
  // For shell commands: /proc/self/fd/N of this process.
  std::string path() const;
  // Runs the function on a thread inside; a failed Result ends the test case.
  void run(const std::function<Result<>()>& function) const;
  // Output of a shell command inside; `status` gets its exit status.
  std::string shell(const std::string& command, int* status = nullptr) const;

 private:
  Fd fd_;
};

// One cable: `name_a` in namespace a, `name_b` in b, both up, with these addresses ("10.9.0.1/24";
// empty: none).
void connect(const TestNetns& a, const std::string& name_a, const std::string& address_a,
             const TestNetns& b, const std::string& name_b, const std::string& address_b);

// Waits until the condition holds; false when the time is over.
bool wait_for(const std::function<bool()>& condition,
              std::chrono::milliseconds limit = std::chrono::seconds(10));

// A new folder, deleted with the object.
class TestFolder {
 public:
  TestFolder();
  ~TestFolder();
  TestFolder(const TestFolder&) = delete;
  TestFolder& operator=(const TestFolder&) = delete;
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

// Runs the function in a child process that leaves with what it returns. For tests that kill it.
class ChildProcess {
 public:
  explicit ChildProcess(const std::function<int()>& function);
  ~ChildProcess();
  ChildProcess(const ChildProcess&) = delete;
  ChildProcess& operator=(const ChildProcess&) = delete;
  pid_t pid() const { return pid_; }
  // Blocks until the child wrote its one line with ready(), or ended.
  std::string wait_until_ready();
  // SIGKILL, and waits for the end.
  void kill_now();
  // Waits for the end: exit status, or 128 + signal.
  int wait();
  // In the child: tells the parent, and waits for ever.
  [[noreturn]] static void ready_and_wait(const std::string& line = "ready");

 private:
  pid_t pid_ = -1;
  Fd ready_;
};

}  // namespace weft::test
