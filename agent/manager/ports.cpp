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

void Manager::Actor::taken_ports(const Ports& ports,
                                 std::function<void(std::vector<std::string>)> done) {
  const api::PortCheckRequest request = mesh_ports(ports);
  std::map<std::string, std::string> payloads;
  if (request.ports_size() > 0)
    for (const auto& [node_id, session] : sessions_.all())
      payloads[node_id] = manage::serialize(request);
  ask("PortCheck", payloads, config_.ports_timeout,
      [this, done = std::move(done)](Question& question) {
        std::vector<std::string> sentences;
        for (const auto& [node_id, answer] : question.answers) {
          api::PortCheckReply reply;
          if (!answer || !reply.ParseFromString(*answer)) continue;  // its status will tell
          for (const api::PublishedPort& port : reply.taken())
            sentences.push_back((port.protocol().empty() ? "tcp" : port.protocol()) + " port " +
                                std::to_string(port.published()) +
                                " is in use by another program on node '" + node_name(node_id) +
                                "': stop it there, or publish another port");
        }
        done(std::move(sentences));
      });
}

void Manager::Actor::create_service(const manage::Caller& caller, const std::string& payload,
                                    Reply reply) {
  api::ServiceCreateRequest request;
  request.ParseFromString(payload);  // decide() refuses what cannot be read
  taken_ports(request.spec().ports(),
              [this, caller, payload, reply = std::move(reply)](std::vector<std::string> taken) {
                if (!taken.empty()) return reply(Error(ErrorCode::conflict, taken.front()));
                decide(caller, "ServiceCreate", payload, reply);
              });
}

void Manager::Actor::update_service(const manage::Caller& caller, const std::string& payload,
                                    Reply reply) {
  api::ServiceUpdateRequest request;
  request.ParseFromString(payload);
  const auto& fields = request.fields();
  const bool ports =
      fields.empty() || std::find(fields.begin(), fields.end(), "ports") != fields.end();
  taken_ports(ports ? request.spec().ports() : Ports(),
              [this, caller, payload, reply = std::move(reply)](std::vector<std::string> taken) {
                if (!taken.empty()) return reply(Error(ErrorCode::conflict, taken.front()));
                decide(caller, "ServiceUpdate", payload, reply);
              });
}

void Manager::Actor::show_service(const manage::Caller& caller, const std::string& payload,
                                  Reply reply) {
  auto shown = [this, reply = std::move(reply)](Result<std::string> answer) {
    api::Service service;
    if (!answer || !service.ParseFromString(*answer)) return reply(std::move(answer));
    taken_ports(service.spec().ports(), [service, reply](std::vector<std::string> taken) mutable {
      for (std::string& sentence : taken) service.add_problems(std::move(sentence));
      reply(manage::serialize(service));
    });
  };
  decide(caller, "ServiceShow", payload, std::move(shown));
}

}  // namespace weft::manager
