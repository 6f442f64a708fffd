// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/types.h>

#include <chrono>
#include <functional>
#include <string>
#include <vector>

#include "base/fd.h"
#include "base/instant.h"
#include "io/loop.h"

namespace weft::node {

// Runs a command inside a task's namespaces again and again; exit status 0 means healthy.
class HealthCheck {
 public:
  struct Probe {
    std::vector<std::string> command;
    Duration interval = 1s;  // from the end of one probe to the start of the next
    Duration timeout = 5s;   // then it is killed and counts as failed
    uint32_t retries = 3;    // failures in a row that make a healthy task unhealthy
  };

  // `process`: PID of the task's first process, 0 while it does not run. `on_change` is called when
  // healthy() changes.
  HealthCheck(io::Loop& loop, Probe probe, std::function<pid_t()> process,
              std::function<void()> on_change);
  ~HealthCheck();
  HealthCheck(const HealthCheck&) = delete;
  HealthCheck& operator=(const HealthCheck&) = delete;

  bool healthy() const { return healthy_; }
  std::string message() const { return message_; }

 private:
  void start();
  void finished();
  void settle(bool good, const std::string& message);

  io::Loop& loop_;
  Probe probe_;
  std::function<pid_t()> process_;
  std::function<void()> on_change_;
  pid_t child_ = 0;
  Fd pidfd_;
  io::Watch watch_;
  io::Timer timer_;
  uint32_t failures_ = 0;
  bool healthy_ = false;
  bool timed_out_ = false;
  std::string message_ = "waiting for its first good health check";
};

}  // namespace weft::node
