// SPDX-License-Identifier: Apache-2.0
// Runs the built command, against an agent that answers from a table. For unit_cli.cpp alone.
#pragma once

#include <doctest/doctest.h>
#include <fcntl.h>
#include <google/protobuf/text_format.h>
#include <poll.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <deque>
#include <filesystem>
#include <map>
#include <memory>
#include <vector>

#include "base/fd.h"
#include "frontends/control/control_server.h"
#include "weft/api/weft.pb.h"

extern char** environ;

namespace weft::unit_cli {

struct Output {
  int status = -1;
  std::string out;
  std::string err;
};

// Reads both pipes until they close.
inline void collect(int out_fd, int err_fd, Output& output) {
  struct {
    int fd;
    std::string* text;
  } pipes[] = {{out_fd, &output.out}, {err_fd, &output.err}};
  for (int open = 2; open > 0;) {
    pollfd polled[2] = {{pipes[0].fd, POLLIN, 0}, {pipes[1].fd, POLLIN, 0}};
    ::poll(polled, 2, -1);
    for (int i = 0; i < 2; ++i) {
      if (polled[i].revents == 0) continue;
      char buffer[4096];
      const ssize_t n = ::read(pipes[i].fd, buffer, sizeof buffer);
      if (n > 0) {
        pipes[i].text->append(buffer, static_cast<size_t>(n));
      } else {
        pipes[i].fd = -1;  // poll ignores it
        --open;
      }
    }
  }
}

inline std::string weft_program() {
  const char* bin = std::getenv("WEFT_BIN");
  REQUIRE_MESSAGE(bin, "WEFT_BIN names the folder of the built programs: run by ctest");
  return std::string(bin) + "/weft";
}

inline Output run(std::vector<std::string> words) {
  const std::string program = weft_program();
  std::vector<char*> argv = {const_cast<char*>(program.c_str())};
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  int out[2], err[2];
  REQUIRE(::pipe2(out, O_CLOEXEC) == 0);
  REQUIRE(::pipe2(err, O_CLOEXEC) == 0);
  Fd out_read(out[0]), out_write(out[1]), err_read(err[0]), err_write(err[1]);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, out[1], STDOUT_FILENO);
  posix_spawn_file_actions_adddup2(&actions, err[1], STDERR_FILENO);
  pid_t pid = 0;
  const int spawned = ::posix_spawn(&pid, program.c_str(), &actions, nullptr, argv.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  REQUIRE_MESSAGE(spawned == 0, program);
  out_write.reset();
  err_write.reset();
  Output output;
  collect(out_read.get(), err_read.get(), output);
  int status = 0;
  REQUIRE(::waitpid(pid, &status, 0) == pid);
  output.status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  return output;
}

// An agent that answers each method with the next of its prepared messages (the last one stays),
// and remembers the requests.
class FakeAgent {
 public:
  FakeAgent() {
    char name[] = "/tmp/weft-unit-cli-XXXXXX";
    REQUIRE(::mkdtemp(name));
    folder_ = name;
    auto server = control::ControlServer::start(
        {.path = socket()},
        [this](const std::string& method, bool, std::string payload, control::Reply reply) {
          requests_[method].push_back(std::move(payload));
          auto& answers = answers_[method];
          if (answers.empty()) return reply(Error(method + " is not expected in this test"));
          reply(answers.front());
          if (answers.size() > 1) answers.pop_front();
        });
    REQUIRE(server);
    server_ = std::move(server).value();
  }
  ~FakeAgent() {
    server_.reset();
    std::filesystem::remove_all(folder_);
  }

  std::string socket() const { return folder_ + "/weftd.sock"; }

  // Text format of the reply message.
  template <typename Message>
  void answer(const std::string& method, const std::string& text) {
    Message message;
    REQUIRE_MESSAGE(google::protobuf::TextFormat::ParseFromString(text, &message), text);
    answers_[method].emplace_back(message.SerializeAsString());
  }
  void refuse(const std::string& method, ErrorCode code, const std::string& why) {
    answers_[method].emplace_back(Error(code, why));
  }
  template <typename Message>
  std::string last(const std::string& method) {
    REQUIRE(!requests_[method].empty());
    Message message;
    REQUIRE(message.ParseFromString(requests_[method].back()));
    google::protobuf::TextFormat::Printer printer;
    printer.SetSingleLineMode(true);
    std::string text;
    printer.PrintToString(message, &text);
    while (!text.empty() && text.back() == ' ') text.pop_back();
    return text;
  }
  size_t calls(const std::string& method) { return requests_[method].size(); }

  Output weft(std::vector<std::string> words) {
    words.insert(words.begin(), {"--host", "unix://" + socket()});
    return run(std::move(words));
  }

 private:
  std::string folder_;
  std::map<std::string, std::deque<Result<std::string>>> answers_;
  std::map<std::string, std::vector<std::string>> requests_;
  std::unique_ptr<control::ControlServer> server_;
};

}  // namespace weft::unit_cli
