// SPDX-License-Identifier: Apache-2.0
#pragma once

// Names inside a task's folder <state>/tasks/<id>/. The agent and weft-shim, which may be of
// different versions, both read and write them.
//
//   spec         the agent's own: TaskSpec
//   wanted       exists while the task shall run
//   netns        the network namespace, a bind mount
//   resolv.conf hosts hostname   bound over those in /etc
//   run          "<pid> <start time> <boot id>\n" of the shim that runs the task
//   status       "<exit code> <wall time ms> <message>\n", when it has ended; message may be empty
//   log log.1    "<wall time ms> <o|e> <text>\n", the current file and the one before
namespace weft::runtime::files {

inline constexpr const char* spec = "spec";
inline constexpr const char* wanted = "wanted";
inline constexpr const char* netns = "netns";
inline constexpr const char* resolv_conf = "resolv.conf";
inline constexpr const char* hosts = "hosts";
inline constexpr const char* hostname = "hostname";
inline constexpr const char* run = "run";
inline constexpr const char* status = "status";
inline constexpr const char* log = "log";
inline constexpr const char* old_log = "log.1";

// Exit codes for a command that cannot be started, as shells have them.
inline constexpr int exit_not_executable = 126;
inline constexpr int exit_not_found = 127;
// The status message of a command that cannot be started begins with this.
inline constexpr const char* cannot_run = "cannot run ";

}  // namespace weft::runtime::files
