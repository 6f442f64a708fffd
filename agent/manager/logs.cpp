// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "core/manage/names.h"
#include "manager/actor.h"

namespace weft::manager {

using manage::Draft;

namespace {

void add_lines(const std::string& node, Result<std::string> answer, api::LogReply& lines) {
  api::LogReply local;
  if (!answer)
    lines.add_warnings("node '" + node + "' did not answer: " + answer.error().message());
  else if (!local.ParseFromString(*answer))
    lines.add_warnings("the answer of node '" + node + "' cannot be read");
  for (api::LogLine& line : *local.mutable_lines()) {
    if (line.node().empty()) line.set_node(node);
    *lines.add_lines() = std::move(line);
  }
  for (std::string& warning : *local.mutable_warnings()) lines.add_warnings(std::move(warning));
}

// In the order of time; 0: all.
void keep_last(uint32_t tail, api::LogReply& reply) {
  auto& lines = *reply.mutable_lines();
  std::stable_sort(lines.begin(), lines.end(),
                   [](const auto& a, const auto& b) { return a.at_ms() < b.at_ms(); });
  if (tail != 0 && lines.size() > int(tail)) lines.DeleteSubrange(0, lines.size() - int(tail));
}

}  // namespace

Result<std::map<std::string, api::LocalLogsRequest>> Manager::Actor::log_requests(
    const api::ServiceLogsRequest& request) {
  Draft draft(state_, now.wall, rng_);
  const api::Service* service = TRY(manage::resolve<api::Service>(draft, request.name()));
  const api::Task* only = nullptr;
  if (!request.task().empty()) {
    only = TRY(manage::resolve<api::Task>(draft, request.task()));
    if (only->service_id() != service->id())
      return Error(ErrorCode::invalid, "task '" + only->name() + "' is not of service '" +
                                           service->spec().name() + "'");
  }
  std::map<std::string, api::LocalLogsRequest> by_node;
  for (const auto& [id, task] : state_.tasks) {
    if (task.service_id() != service->id() || task.node_id().empty()) continue;
    if (only && only->id() != id) continue;
    by_node[task.node_id()].add_task_ids(id);
  }
  for (auto& [node_id, local] : by_node) local.set_tail(request.tail());
  return by_node;
}

void Manager::Actor::service_logs(const std::string& payload, Reply reply) {
  api::ServiceLogsRequest request;
  if (!request.ParseFromString(payload))
    return reply(Error(ErrorCode::invalid, "the request for logs cannot be read"));
  auto requests = log_requests(request);
  if (!requests) return reply(std::move(requests).error());
  api::LogReply lines;
  std::map<std::string, std::string> payloads;
  for (const auto& [node_id, local] : *requests) {
    if (sessions_.of_node(node_id))
      payloads[node_id] = manage::serialize(local);
    else
      lines.add_warnings("node '" + node_name(node_id) +
                         "' is not connected: its lines are missing");
  }
  ask("LocalLogs", payloads, config_.logs_timeout, std::move(reply),
      [this, lines, tail = request.tail()](Question& question) mutable {
        for (auto& [node_id, answer] : question.answers)
          add_lines(node_name(node_id), std::move(answer), lines);
        for (const std::string& node_id : question.waiting)
          lines.add_warnings("node '" + node_name(node_id) +
                             "' did not answer in time: its lines are missing");
        keep_last(tail, lines);
        question.reply(manage::serialize(lines));
      });
}

}  // namespace weft::manager
