// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>

#include "base/result.h"
#include "core/codec/endpoint_record.h"
#include "io/loop.h"
#include "node/config.h"
#include "node/health.h"
#include "runtimes/runtime.h"
#include "weft/api/weft.pb.h"

namespace weft::node {

// The tasks of this node: brings the runtime to what the assignment says and reports what became of
// it. Links and names are the agent's: it is told of every change.
class Tasks {
 public:
  using OnChange = std::function<void(const std::string& task_id)>;
  using Report = std::function<void(const api::TaskStatusReport&)>;

  // Adopts the tasks of a former agent.
  static Result<std::unique_ptr<Tasks>> start(io::Loop& loop, const Config& config,
                                              OnChange on_change, Report report);

  // The namespace of a task that is to run; made if it is not there. Idempotent.
  Result<std::string> prepare(const api::Task& task);
  // Its endpoints are attached: it may run. Does nothing if it runs, waits or was told to end.
  Result<> run(const api::Task& task);
  // First out of VIP and DNS, then SIGTERM, after the grace time SIGKILL. Idempotent.
  void shut_down(const api::Task& task);
  // It could not be brought up: it will be reported as failed.
  void fail(const std::string& task_id, const std::string& why);
  // Ends it and forgets it.
  void remove(const std::string& task_id);
  void remove_all();

  // Nothing of the task runs any more, and nothing will.
  bool ended(const std::string& task_id) const;
  std::set<std::string> known() const;
  codec::EndpointState endpoint_state(const std::string& task_id) const;
  api::TaskStatus status(const std::string& task_id) const;
  void report_all();
  api::LogReply logs(const api::LocalLogsRequest& request) const;

 private:
  Tasks(io::Loop& loop, std::unique_ptr<runtime::Runtime> runtime, OnChange on_change,
        Report report);
  void process_events();
  void changed(const std::string& task_id);

  struct Seen {
    std::string status;
    codec::EndpointState endpoint{};
    bool ended = false;
    bool operator==(const Seen&) const = default;
  };
  struct Task {
    bool draining = false;
    bool stopped = false;  // SIGTERM was sent, or there was nothing to stop
    std::string failure;   // why it never came up
    uint32_t stop_grace_ms = 10'000;
    io::Timer withdraw;
    std::unique_ptr<HealthCheck> health;
    std::optional<Seen> seen;  // what was reported last, to report changes only
  };

  io::Loop& loop_;
  std::unique_ptr<runtime::Runtime> runtime_;
  OnChange on_change_;
  Report report_;
  std::map<std::string, Task> tasks_;
  io::Watch watch_;
};

}  // namespace weft::node
