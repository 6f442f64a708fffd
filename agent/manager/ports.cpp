// SPDX-License-Identifier: Apache-2.0
// Published ports that programs of the nodes have: only the nodes know, so they are asked.
#include <algorithm>

#include "core/manage/names.h"
#include "manager/actor.h"

namespace weft::manager {

namespace {

// mode=host counts on the nodes that run a task alone, and dynamic ports are not chosen yet.
api::PortCheckRequest mesh_ports(const google::protobuf::RepeatedPtrField<api::PublishedPort>& in) {
  api::PortCheckRequest out;
  for (const api::PublishedPort& port : in)
    if (port.mode() == api::INGRESS && port.published() > 0 && port.published() <= 65535)
      *out.add_ports() = port;
  return out;
}

}  // namespace

void Manager::Actor::taken_ports(const Ports& ports, Reply reply, PortsDone done) {
  const api::PortCheckRequest request = mesh_ports(ports);
  std::map<std::string, std::string> payloads;
  if (request.ports_size() > 0)
    for (const auto& [node_id, session] : sessions_.all())
      payloads[node_id] = manage::serialize(request);
  ask("PortCheck", payloads, config_.ports_timeout, std::move(reply),
      [this, done = std::move(done)](Question& question) {
        std::vector<std::string> sentences;
        for (const auto& [node_id, answer] : question.answers) {
          api::PortCheckReply taken;
          if (!answer || !taken.ParseFromString(*answer)) continue;  // its status will tell
          for (const api::PublishedPort& port : taken.taken())
            sentences.push_back((port.protocol().empty() ? "tcp" : port.protocol()) + " port " +
                                std::to_string(port.published()) +
                                " is in use by another program on node '" + node_name(node_id) +
                                "': stop it there, or publish another port");
        }
        done(std::move(sentences), question.reply);
      });
}

void Manager::Actor::create_service(const manage::Caller& caller, const std::string& payload,
                                    Reply reply) {
  api::ServiceCreateRequest request;
  request.ParseFromString(payload);  // decide() refuses what cannot be read
  decide_unless_taken(request.spec().ports(), caller, "ServiceCreate", payload, std::move(reply));
}

void Manager::Actor::update_service(const manage::Caller& caller, const std::string& payload,
                                    Reply reply) {
  api::ServiceUpdateRequest request;
  request.ParseFromString(payload);
  const auto& fields = request.fields();
  const bool ports =
      fields.empty() || std::find(fields.begin(), fields.end(), "ports") != fields.end();
  decide_unless_taken(ports ? request.spec().ports() : Ports(), caller, "ServiceUpdate", payload,
                      std::move(reply));
}

void Manager::Actor::decide_unless_taken(const Ports& ports, const manage::Caller& caller,
                                         const char* method, const std::string& payload,
                                         Reply reply) {
  taken_ports(ports, std::move(reply),
              [this, caller, method, payload](std::vector<std::string> taken, const Reply& answer) {
                if (!taken.empty()) return answer(Error(ErrorCode::conflict, taken.front()));
                decide(caller, method, payload, answer);
              });
}

void Manager::Actor::show_service(const manage::Caller& caller, const std::string& payload,
                                  Reply reply) {
  auto shown = [this, reply = std::move(reply)](Result<std::string> answer) {
    api::Service service;
    if (!answer || !service.ParseFromString(*answer)) return reply(std::move(answer));
    taken_ports(service.spec().ports(), reply,
                [service](std::vector<std::string> taken, const Reply& done) mutable {
                  for (std::string& sentence : taken) service.add_problems(std::move(sentence));
                  done(manage::serialize(service));
                });
  };
  decide(caller, "ServiceShow", payload, std::move(shown));
}

}  // namespace weft::manager
