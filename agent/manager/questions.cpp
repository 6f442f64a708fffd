// SPDX-License-Identifier: Apache-2.0
#include "manager/actor.h"

namespace weft::manager {

std::string Manager::Actor::node_name(const std::string& node_id) const {
  const auto node = state_.nodes.find(node_id);
  return node == state_.nodes.end() ? node_id : node->second.name();
}

void Manager::Actor::ask(const std::string& method,
                         const std::map<std::string, std::string>& payloads, Duration patience,
                         Reply reply, std::function<void(Question&)> done) {
  const uint64_t id = next_question_++;
  Question& question = questions_[id];
  question.deadline = now.instant + patience;
  question.reply = std::move(reply);
  question.done = std::move(done);
  for (const auto& [node_id, payload] : payloads)
    if (sessions_.of_node(node_id)) question.waiting.insert(node_id);
  const std::set<std::string> asked = question.waiting;
  for (const std::string& node_id : asked) {
    auto arrived = [alive = alive_, id, node_id](Result<std::string> answer) {
      if (*alive) (*alive)->answered(id, node_id, std::move(answer));
    };
    if (Sessions::Session* session = sessions_.of_node(node_id))
      session->sink->call(method, payloads.at(node_id), std::move(arrived));
  }
  if (asked.empty()) settle(id);
}

void Manager::Actor::answered(uint64_t id, const std::string& node_id, Result<std::string> answer) {
  const auto found = questions_.find(id);
  if (found == questions_.end() || found->second.waiting.erase(node_id) == 0) return;
  found->second.answers.emplace(node_id, std::move(answer));
  if (found->second.waiting.empty()) settle(id);
}

void Manager::Actor::settle(uint64_t id) {
  auto question = questions_.extract(id);
  question.mapped().done(question.mapped());
}

}  // namespace weft::manager
