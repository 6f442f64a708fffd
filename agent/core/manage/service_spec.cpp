// SPDX-License-Identifier: Apache-2.0
#include "core/manage/service_spec.h"

#include <algorithm>
#include <set>

#include "base/address.h"
#include "core/manage/constraints.h"
#include "core/manage/names.h"

namespace weft::manage {

namespace {

Result<> check_runtime(api::ServiceSpec& spec) {
  if (spec.runtime().empty()) spec.set_runtime(spec.image().empty() ? "netns" : "docker");
  if (spec.runtime() == "netns") {
    if (!spec.image().empty())
      return Error(ErrorCode::invalid,
                   "runtime netns runs a command of the node, not an image: use --runtime docker");
    if (spec.command().empty())
      return Error(ErrorCode::invalid,
                   "a service of runtime netns needs a command: add -- COMMAND [ARGUMENT...]");
    return Ok;
  }
  if (spec.runtime() == "docker")
    return Error(ErrorCode::invalid,
                 "runtime docker is not available in this version: use runtime netns with a "
                 "command, or attach containers to a service of runtime none");
  if (spec.runtime() != "none")
    return Error(ErrorCode::invalid,
                 "there is no runtime " + quoted(spec.runtime()) + ": use netns or none");
  if (spec.replicas() > 0 || spec.global())
    return Error(ErrorCode::invalid,
                 "a service of runtime none has no tasks: leave the number of replicas out and "
                 "attach endpoints to it");
  return Ok;
}

Result<> check_port(api::PublishedPort& port) {
  if (port.protocol().empty()) port.set_protocol("tcp");
  if (port.protocol() != "tcp" && port.protocol() != "udp" && port.protocol() != "sctp")
    return Error(ErrorCode::invalid, "protocol " + quoted(port.protocol()) +
                                         " cannot be published: use tcp, udp or sctp");
  if (port.target() == 0 || port.target() > 65535)
    return Error(ErrorCode::invalid,
                 "target port " + std::to_string(port.target()) + " is not a port: use 1 to 65535");
  if (port.published() > 65535)
    return Error(ErrorCode::invalid, "published port " + std::to_string(port.published()) +
                                         " is not a port: use 1 to 65535");
  if (port.protocol() == "sctp" && port.published() != port.target())
    return Error(ErrorCode::invalid,
                 "an SCTP port is published as itself, its checksum covers the port: use " +
                     std::to_string(port.target()) + ":" + std::to_string(port.target()) + "/sctp");
  if (!port.address().empty()) {
    const Address address = TRY_IN("published address", Address::parse(port.address()));
    // One spelling, so that equal addresses are equal text; 0.0.0.0 and :: mean all.
    const bool all = address.is_none() || (address.is_v4() && address.to_v4() == 0);
    port.set_address(all ? std::string() : address.to_string());
  }
  return Ok;
}

Result<> resolve_networks(const Draft& draft, api::ServiceSpec& spec) {
  std::set<std::string> seen;
  bool way_outside = false;
  std::string ingress;
  for (const api::Network* network : draft.all<api::Network>())
    if (network->ingress()) ingress = network->id();
  for (std::string& text : *spec.mutable_networks()) {
    const api::Network* network = TRY(resolve<api::Network>(draft, text));
    // An update sends back what it got: the id of the built-in network is dropped and added anew.
    if (network->ingress() && text == ingress) continue;
    if (network->ingress())
      return Error(ErrorCode::invalid,
                   "network 'ingress' is joined by publishing a port: leave it out");
    if (!seen.insert(network->id()).second)
      return Error(ErrorCode::invalid, "network " + quoted(network->name()) + " is given twice");
    way_outside = way_outside || !network->internal();
    text = network->id();
  }
  auto& networks = *spec.mutable_networks();
  networks.erase(std::remove(networks.begin(), networks.end(), ingress), networks.end());
  const bool mesh = std::any_of(spec.ports().begin(), spec.ports().end(),
                                [](const auto& port) { return port.mode() == api::INGRESS; });
  if (!mesh && (spec.ports().empty() || way_outside)) return Ok;
  // First: the default route leads through it, so that answers leave where the mesh came in.
  networks.Add(std::move(ingress));
  std::rotate(networks.pointer_begin(), networks.pointer_end() - 1, networks.pointer_end());
  return Ok;
}

Result<> check_options(const api::ServiceSpec& spec) {
  for (const auto& [key, value] : spec.options()) {
    const bool good = (key == "affinity" && (value == "client" || value == "none")) ||
                      (key == "direct-return" && (value == "true" || value == "false"));
    if (!good)
      return Error(ErrorCode::invalid, "option " + quoted(key + "=" + value) +
                                           " is not known: use affinity=client or "
                                           "direct-return=true");
  }
  return Ok;
}

Result<> check_texts(const api::ServiceSpec& spec) {
  for (const std::string& alias : spec.aliases()) TRY(check_name("alias", alias));
  if (!spec.hostname().empty()) TRY(check_name("host", spec.hostname()));
  for (const std::string& text : spec.constraints()) TRY(parse_constraint(text));
  for (const std::string& text : spec.environment()) {
    const size_t equals = text.find('=');
    if (equals == std::string::npos || equals == 0)
      return Error(ErrorCode::invalid, "environment " + quoted(text) + " is not KEY=VALUE");
  }
  return Ok;
}

}  // namespace

Result<> complete_spec(const Draft& draft, api::ServiceSpec& spec) {
  TRY(check_name("service", spec.name()));
  TRY(check_runtime(spec));
  TRY(check_texts(spec));
  TRY(check_options(spec));
  if (spec.global() && spec.replicas() > 0)
    return Error(ErrorCode::invalid,
                 "a global service has one task on every node: leave --replicas out");
  if (spec.replicas() > max_replicas)
    return Error(ErrorCode::invalid, std::to_string(spec.replicas()) +
                                         " replicas are too many: a service has at most 10000");
  for (api::PublishedPort& port : *spec.mutable_ports()) {
    TRY(check_port(port));
    if (port.mode() == api::INGRESS && spec.endpoint_mode() == api::DNSRR)
      return Error(ErrorCode::invalid,
                   "a service of endpoint mode dnsrr has no VIP for the routing mesh: publish its "
                   "ports with mode=host, or use endpoint mode vip");
  }
  return resolve_networks(draft, spec);
}

Result<> take_fields(const api::ServiceSpec& from,
                     const google::protobuf::RepeatedPtrField<std::string>& fields,
                     api::ServiceSpec& to) {
  if (fields.empty()) {
    const std::string name = to.name();
    to = from;
    if (to.name().empty()) to.set_name(name);
    return Ok;
  }
  const auto* descriptor = api::ServiceSpec::descriptor();
  const auto* reflection = api::ServiceSpec::GetReflection();
  api::ServiceSpec source = from;
  for (const std::string& name : fields) {
    const auto* field = descriptor->FindFieldByName(name);
    if (!field) return Error(ErrorCode::invalid, "a service has no field " + quoted(name));
    if (name == "name" && from.name() != to.name())
      return Error(ErrorCode::invalid,
                   "a service keeps its name: create a new one under the other name");
    reflection->SwapFields(&source, &to, {field});
  }
  return Ok;
}

std::string task_fingerprint(const api::ServiceSpec& spec) {
  api::ServiceSpec part;
  part.set_runtime(spec.runtime());
  part.set_image(spec.image());
  part.set_hostname(spec.hostname());
  *part.mutable_command() = spec.command();
  *part.mutable_environment() = spec.environment();
  *part.mutable_networks() = spec.networks();
  if (spec.has_health()) *part.mutable_health() = spec.health();
  for (const api::PublishedPort& port : spec.ports())
    if (port.mode() == api::HOST) *part.add_ports() = port;
  return serialize(part);
}

}  // namespace weft::manage
