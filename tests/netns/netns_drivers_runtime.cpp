// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>
#include <poll.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <thread>

#include "drivers/netns/netns.h"
#include "harness/netns.h"
#include "runtimes/netns/netns_runtime.h"

WEFT_NETNS_TESTS;

using namespace weft;
using namespace weft::runtime;
using weft::test::ChildProcess;
using weft::test::TestFolder;
using weft::test::value;
using weft::test::wait_for;
using namespace std::chrono_literals;

namespace {

std::string shim_path() {
  const char* folder = getenv("WEFT_BIN");
  return folder ? std::string(folder) + "/weft-shim"
                : std::filesystem::read_symlink("/proc/self/exe").parent_path().string() +
                      "/weft-shim";
}

std::string text_of_file(const std::string& path) {
  std::ifstream in(path);
  std::ostringstream out;
  out << in.rdbuf();
  return out.str();
}

size_t mounts_below(const std::string& path) {
  std::istringstream lines(text_of_file("/proc/self/mounts"));
  size_t count = 0;
  for (std::string line; std::getline(lines, line);) count += line.find(path) != std::string::npos;
  return count;
}

// A runtime in a folder of its own; removes its tasks at the end and requires that nothing is left.
struct Site {
  TestFolder folder;
  NetnsRuntimeOptions options;
  std::unique_ptr<NetnsRuntime> runtime;

  Site() {
    options.state = folder.path();
    options.shim = shim_path();
    options.first_back_off = 20ms;
    options.longest_back_off = 80ms;
    reopen();
  }
  ~Site() {
    for (const TaskStatus& task : runtime->list()) CHECK(runtime->remove(task.id).has_value());
    CHECK(std::filesystem::is_empty(folder.path() + "/tasks"));
    CHECK(mounts_below(folder.path()) == 0);
  }
  void reopen() {
    runtime.reset();
    runtime = value(NetnsRuntime::open(options));
  }
  TaskSpec task(const std::string& script, const std::string& id = "task1") const {
    TaskSpec spec;
    spec.id = id;
    spec.command = {"/bin/sh", "-c", script};
    return spec;
  }
  void run(const TaskSpec& spec) {
    value(runtime->prepare(spec));
    value(runtime->start(spec.id));
  }
  TaskStatus status(const std::string& id = "task1") { return *runtime->status(id); }
  // Handles events as they come until the condition holds.
  bool until(const std::function<bool()>& condition, std::chrono::milliseconds limit = 10s) {
    const auto end = std::chrono::steady_clock::now() + limit;
    for (;;) {
      runtime->process_events();
      if (condition()) return true;
      if (std::chrono::steady_clock::now() > end) return false;
      pollfd wait{runtime->event_fd(), POLLIN, 0};
      poll(&wait, 1, 50);  // some conditions are not the runtime's events: look now and then
    }
  }
  bool until_phase(TaskPhase phase, const std::string& id = "task1") {
    return until([&] { return status(id).phase == phase; });
  }
  std::string log(const std::string& id = "task1") {
    std::string out;
    for (const LogLine& line : value(runtime->logs(id, 0))) out += line.text + "\n";
    return out;
  }
  bool until_log(const std::string& text, const std::string& id = "task1") {
    return until([&] { return log(id).find(text) != std::string::npos; });
  }
};

}  // namespace

TEST_CASE("a task runs in namespaces of its own, with its own names and resolver") {
  Site site;
  TaskSpec spec = site.task(
      "echo pid $$; hostname; cat /etc/resolv.conf /etc/hosts; echo E=$COLOUR; ls /sys/class/net;"
      "cat /proc/1/comm; echo problem >&2");
  spec.hostname = "web";
  spec.environment = {"COLOUR=blue"};
  spec.hosts = {{*Address::parse("10.1.0.5"), "web"}};
  spec.restart = false;
  site.run(spec);
  CHECK(site.until_phase(TaskPhase::exited));
  CHECK(site.status().exit_code == 0);
  CHECK(
      site.log() ==
      "pid 2\nweb\nnameserver 127.0.0.11\noptions ndots:0\n127.0.0.1\tlocalhost\n"
      "::1\tlocalhost ip6-localhost ip6-loopback\n10.1.0.5\tweb\nE=blue\nlo\nweft-shim\nproblem\n");
  const auto lines = value(site.runtime->logs("task1", 1));
  REQUIRE(lines.size() == 1);
  CHECK(lines[0].is_error);
  CHECK(lines[0].text == "problem");
  CHECK(text_of_file("/etc/hosts").find("10.1.0.5\tweb") == std::string::npos);
}

TEST_CASE("endpoints can be attached between prepare and start, and stay over restarts") {
  Site site;
  const TaskSpec spec = site.task("cat /sys/class/net/eth7/address; exit 3");
  const std::string path = value(site.runtime->prepare(spec));
  CHECK(value(site.runtime->prepare(spec)) == path);
  CHECK(site.status().phase == TaskPhase::prepared);
  const Fd netns = value(netns::open_netns(path));
  REQUIRE(netns::run_in_netns(netns.get(), []() -> Result<> {
            if (system("ip link add eth7 address 02:00:00:00:00:07 type veth peer name x") != 0)
              return Error("ip");
            return Ok;
          }).has_value());
  value(site.runtime->start("task1"));
  CHECK(site.until([&] { return site.status().restarts >= 2; }));
  CHECK(site.status().exit_code == 3);
  CHECK(site.log().find("02:00:00:00:00:07\n02:00:00:00:00:07") == 0);
  CHECK(value(netns::netns_id(value(site.runtime->open_netns("task1")).get())) ==
        value(netns::netns_id(netns.get())));
}

TEST_CASE("a task that keeps ending is started again later and later, and can be stopped between") {
  Site site;
  site.options.longest_back_off = 60s;
  site.options.first_back_off = 40ms;
  site.reopen();
  const auto start = std::chrono::steady_clock::now();
  site.run(site.task("exit 1"));
  CHECK(site.until([&] { return site.status().restarts == 3; }));
  CHECK(std::chrono::steady_clock::now() - start >= 40ms + 80ms + 160ms);
  CHECK(site.until_phase(TaskPhase::waiting));
  CHECK(site.runtime->stop("task1", 1s).has_value());
  CHECK(site.status().phase == TaskPhase::exited);
}

TEST_CASE("a command that does not exist fails with a sentence and is not tried again") {
  Site site;
  TaskSpec spec = site.task("");
  spec.command = {"no-such-command", "x"};
  site.run(spec);
  CHECK(site.until_phase(TaskPhase::failed));
  CHECK(site.status().message == "cannot run 'no-such-command': No such file or directory");
  CHECK(site.status().exit_code == 127);
  CHECK(site.status().restarts == 0);
  spec = site.task("", "task2");
  spec.command = {"/etc/passwd"};
  site.run(spec);
  CHECK(site.until_phase(TaskPhase::failed, "task2"));
  CHECK(site.status("task2").message == "cannot run '/etc/passwd': Permission denied");
}

TEST_CASE("stop asks first, and kills after the grace time") {
  Site site;
  site.run(site.task("trap 'echo bye; exit 0' TERM; echo up; while :; do sleep 0.02; done"));
  REQUIRE(site.until_log("up"));
  value(site.runtime->stop("task1", 10s));
  CHECK(site.status().phase == TaskPhase::stopping);
  CHECK(site.until_phase(TaskPhase::exited));
  CHECK(site.log().find("bye") != std::string::npos);
  CHECK(site.status().exit_code == 0);

  site.run(site.task("trap '' TERM; echo deaf; while :; do sleep 0.02; done", "task2"));
  REQUIRE(site.until_log("deaf", "task2"));
  value(site.runtime->stop("task2", 100ms));
  CHECK(site.until_phase(TaskPhase::exited, "task2"));
  CHECK(site.status("task2").exit_code == 137);
}

TEST_CASE("a stop right behind the start is not lost") {
  Site site;
  const auto start = std::chrono::steady_clock::now();
  for (int i = 0; i < 30; ++i) {
    const std::string id = "task" + std::to_string(i);
    site.run(site.task("exec sleep 1000", id));
    std::this_thread::sleep_for(std::chrono::microseconds(i * 300));  // hits every stage
    value(site.runtime->stop(id, 60s));
    CHECK(site.until_phase(TaskPhase::exited, id));
  }
  CHECK(std::chrono::steady_clock::now() - start < 30s);
}

TEST_CASE("everything a task started ends with it, and orphans are reaped") {
  Site site;
  TaskSpec spec = site.task(
      "(sleep 1000 & sleep 0.01 &) ; setsid sleep 2000 & sleep 0.2; "
      "ls -d /proc/[0-9]* | wc -l; grep -l 'State:.Z' /proc/[0-9]*/status | wc -l; exit 4");
  spec.restart = false;
  site.run(spec);
  CHECK(site.until_phase(TaskPhase::exited));
  CHECK(site.status().exit_code == 4);
  CHECK(site.log().find("\n0\n") != std::string::npos);  // no zombies
}

TEST_CASE("a task outlives a killed agent, and the next agent adopts it") {
  Site site;
  site.runtime.reset();
  ChildProcess agent([&] {
    auto runtime = NetnsRuntime::open(site.options);
    if (!runtime) return 1;
    for (const auto& spec : {site.task("echo up; while :; do sleep 0.02; done"),
                             site.task("sleep 0.1; exit 5", "task2")})
      if (!(*runtime)->prepare(spec) || !(*runtime)->start(spec.id)) return 2;
    TaskSpec once = site.task("exit 6", "task3");
    once.restart = false;
    if (!(*runtime)->prepare(once) || !(*runtime)->start("task3")) return 3;
    if (!(*runtime)->prepare(site.task("exit 0", "task4"))) return 4;
    pid_t process = (*runtime)->status("task1")->process;
    ChildProcess::ready_and_wait(std::to_string(process));
  });
  const pid_t process = pid_t(std::stol(agent.wait_until_ready()));
  // The agent never gets to see how task2 and task3 end.
  CHECK(wait_for([&] {
    return std::filesystem::exists(site.folder.path() + "/tasks/task2/status") &&
           std::filesystem::exists(site.folder.path() + "/tasks/task3/status");
  }));
  agent.kill_now();
  site.reopen();
  CHECK(site.status().phase == TaskPhase::running);
  CHECK(site.status().process == process);
  CHECK(site.until_phase(TaskPhase::exited, "task3"));
  CHECK(site.status("task3").exit_code == 6);
  CHECK(site.status("task4").phase == TaskPhase::prepared);
  CHECK(site.until([&] { return site.status("task2").restarts >= 1; }));
  CHECK(site.status("task2").exit_code == 5);
  // The adopted one is watched, stopped and started like any other.
  value(site.runtime->stop("task1", 10s));
  CHECK(site.until_phase(TaskPhase::exited));
  CHECK(site.status().exit_code == 143);
  value(site.runtime->start("task1"));
  CHECK(site.status().phase == TaskPhase::running);
}

TEST_CASE("another process with the number of a task's is not taken for it") {
  Site site;
  value(site.runtime->prepare(site.task("exit 0")));
  site.runtime.reset();
  ChildProcess stranger([]() -> int { ChildProcess::ready_and_wait(); });
  stranger.wait_until_ready();
  std::string boot = text_of_file("/proc/sys/kernel/random/boot_id");
  std::ofstream(site.folder.path() + "/tasks/task1/run") << stranger.pid() << " 1 " << boot;
  site.reopen();
  CHECK(site.status().phase == TaskPhase::exited);
  CHECK(site.runtime->remove("task1").has_value());
  CHECK(kill(stranger.pid(), 0) == 0);
}

TEST_CASE("a killed supervisor takes its task along, and the task is started again") {
  Site site;
  site.run(site.task("echo up; exec sleep 1000"));
  REQUIRE(site.until_log("up"));
  const std::string process = std::to_string(site.status().process);
  const pid_t inside =
      pid_t(std::stol(text_of_file("/proc/" + process + "/task/" + process + "/children")));
  const Fd inside_fd(int(syscall(SYS_pidfd_open, inside, 0)));
  REQUIRE(bool(inside_fd));
  REQUIRE(kill(site.status().process, SIGKILL) == 0);
  pollfd end{inside_fd.get(), POLLIN, 0};
  CHECK(poll(&end, 1, 5000) == 1);  // process 1 of the task is gone, and all others with it
  CHECK(site.until([&] { return site.status().restarts == 1; }));
}

TEST_CASE("remove ends the task and leaves nothing, even what no agent knows") {
  Site site;
  site.run(site.task("trap '' TERM; echo up; while :; do sleep 0.02; done"));
  REQUIRE(site.until_log("up"));
  const pid_t process = site.status().process;
  CHECK(site.runtime->remove("task1").has_value());
  CHECK(kill(process, 0) < 0);
  CHECK(!site.runtime->status("task1").has_value());
  CHECK(site.runtime->remove("task1").has_value());
  CHECK(site.runtime->remove("../../etc").has_value());
  // A creation that was cut short.
  const std::string folder = site.folder.path() + "/tasks/half";
  std::filesystem::create_directories(folder);
  value(netns::make_named_netns(folder + "/netns"));
  site.reopen();
  CHECK(!std::filesystem::exists(folder));
}

TEST_CASE("the log keeps the newest lines within its bound") {
  Site site;
  site.options.log_bytes = 10'000;
  site.reopen();
  TaskSpec spec =
      site.task("i=0; while [ $i -lt 2000 ]; do echo line $i; i=$((i+1)); done; printf end");
  spec.restart = false;
  site.run(spec);
  REQUIRE(site.until_phase(TaskPhase::exited));
  const auto lines = value(site.runtime->logs("task1", 0));
  CHECK(lines.back().text == "end");
  CHECK(lines[lines.size() - 2].text == "line 1999");
  CHECK(lines.size() > 300);
  for (const char* name : {"log", "log.1"})
    CHECK(std::filesystem::file_size(site.folder.path() + "/tasks/task1/" + name) <= 10'000);
  CHECK(value(site.runtime->logs("task1", 5)).size() == 5);
}

TEST_CASE("bad requests are refused and change nothing") {
  Site site;
  TaskSpec spec = site.task("exit 0", "../evil");
  CHECK(site.runtime->prepare(spec).error().code() == ErrorCode::invalid);
  spec = site.task("exit 0");
  spec.command.clear();
  CHECK(site.runtime->prepare(spec).error().message() == "the service has no command");
  CHECK(site.runtime->start("none").error().code() == ErrorCode::not_found);
  CHECK(site.runtime->stop("none", 1s).error().code() == ErrorCode::not_found);
  CHECK(site.runtime->list().empty());
  NetnsRuntimeOptions wrong = site.options;
  wrong.shim = "/no/such/shim";
  const auto refused = NetnsRuntime::open(wrong);
  REQUIRE(!refused.has_value());
  CHECK(refused.error().message().find("/no/such/shim") != std::string::npos);
}
