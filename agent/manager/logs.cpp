// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "core/manage/names.h"
#include "manager/actor.h"

namespace weft::manager {

using manage::Draft;

namespace {

std::string node_name(const manage::ClusterState& state, const std::string& id) {
  const auto node = state.nodes.find(id);
  return node == state.nodes.end() ? id : node->second.name();
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
  const uint64_t id = next_collection_++;
  LogCollection& collection = logs_[id];
  collection.tail = request.tail();
  collection.deadline = now.instant + config_.logs_timeout;
  collection.reply = std::move(reply);
  for (const auto& [node_id, local] : *requests) {
    if (sessions_.of_node(node_id))
      collection.waiting.insert(node_id);
    else
      collection.lines.add_warnings("node '" + node_name(state_, node_id) +
                                    "' is not connected: its lines are missing");
  }
  const std::set<std::string> ask = collection.waiting;
  for (const std::string& node_id : ask) {
    auto arrived = [alive = alive_, id, node_id](Result<std::string> lines) {
      if (*alive) (*alive)->logs_arrived(id, node_id, std::move(lines));
    };
    if (Sessions::Session* session = sessions_.of_node(node_id))
      session->sink->call("LocalLogs", manage::serialize(requests->at(node_id)),
                          std::move(arrived));
  }
  if (ask.empty()) finish_logs(id);
}

void Manager::Actor::logs_arrived(uint64_t id, const std::string& node_id,
                                  Result<std::string> reply) {
  const auto found = logs_.find(id);
  if (found == logs_.end() || found->second.waiting.erase(node_id) == 0) return;
  LogCollection& collection = found->second;
  const std::string name = node_name(state_, node_id);
  api::LogReply local;
  if (!reply)
    collection.lines.add_warnings("node '" + name + "' did not answer: " + reply.error().message());
  else if (!local.ParseFromString(*reply))
    collection.lines.add_warnings("the answer of node '" + name + "' cannot be read");
  for (api::LogLine& line : *local.mutable_lines()) {
    if (line.node().empty()) line.set_node(name);
    *collection.lines.add_lines() = std::move(line);
  }
  for (std::string& warning : *local.mutable_warnings())
    collection.lines.add_warnings(std::move(warning));
  if (collection.waiting.empty()) finish_logs(id);
}

void Manager::Actor::finish_logs(uint64_t id) {
  const auto found = logs_.find(id);
  LogCollection collection = std::move(found->second);
  logs_.erase(found);
  for (const std::string& node_id : collection.waiting)
    collection.lines.add_warnings("node '" + node_name(state_, node_id) +
                                  "' did not answer in time: its lines are missing");
  auto& lines = *collection.lines.mutable_lines();
  std::stable_sort(lines.begin(), lines.end(),
                   [](const auto& a, const auto& b) { return a.at_ms() < b.at_ms(); });
  if (collection.tail != 0 && lines.size() > int(collection.tail))
    lines.DeleteSubrange(0, lines.size() - int(collection.tail));
  collection.reply(manage::serialize(collection.lines));
}

}  // namespace weft::manager
