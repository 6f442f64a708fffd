// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

namespace weft::shim {

// What process 1 of the task's PID namespace tells the supervisor outside, once.
struct Report {
  int exit_code = 0;
  int error = 0;       // errno of what failed before the command ran, 0: it ran
  char step[96] = {};  // what failed; empty: running the command itself
};

struct Task {
  std::string folder;  // <state>/tasks/<id>
  std::string hostname;
  char** command = nullptr;
  int output = -1;  // write ends of the pipes of standard output and error
  int errors = -1;
  int report = -1;  // write end: one Report
};

// The body of process 1: sets the namespaces up, runs the command as process 2, forwards SIGTERM,
// SIGINT and SIGHUP to it, reaps orphans, and ends with the command.
[[noreturn]] void run_inside(const Task& task);

}  // namespace weft::shim
