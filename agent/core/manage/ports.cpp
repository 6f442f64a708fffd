// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "core/manage/allocate.h"

namespace weft::manage {

namespace {

struct Published {
  const api::PublishedPort* port;
  const std::string* service;  // name
};

// Both on one address, or one of them on every address.
bool same_socket(const api::PublishedPort& a, const api::PublishedPort& b) {
  return a.published() == b.published() && a.protocol() == b.protocol() &&
         (a.address().empty() || b.address().empty() || a.address() == b.address());
}

// Host-mode ports of different services coexist: the scheduler keeps them on different nodes.
bool clash(const api::PublishedPort& a, const api::PublishedPort& b) {
  return same_socket(a, b) && !(a.mode() == api::HOST && b.mode() == api::HOST);
}

std::string text_of(const api::PublishedPort& port) {
  return port.protocol() + "/" + std::to_string(port.published());
}

// The dynamic port that the service already has for the same target.
const api::PublishedPort* kept_port(const api::ServiceSpec* old, const api::ServiceSpec& spec,
                                    const api::PublishedPort& port) {
  if (!old) return nullptr;
  for (const api::PublishedPort& before : old->ports()) {
    if (before.target() != port.target() || before.protocol() != port.protocol() ||
        before.mode() != port.mode() || before.address() != port.address())
      continue;
    const bool taken = std::any_of(spec.ports().begin(), spec.ports().end(),
                                   [&](const auto& p) { return same_socket(p, before); });
    if (!taken) return &before;
  }
  return nullptr;
}

Result<uint32_t> dynamic_port(Draft& draft, const std::vector<Published>& others,
                              const api::ServiceSpec& spec, api::PublishedPort port) {
  api::Cluster cluster = draft.cluster();
  const uint32_t count = last_dynamic_port - first_dynamic_port + 1;
  uint32_t number = cluster.last_port();
  for (uint32_t i = 0; i < count; i++) {
    number = number < first_dynamic_port || number >= last_dynamic_port ? first_dynamic_port
                                                                        : number + 1;
    port.set_published(number);
    const bool taken =
        std::any_of(others.begin(), others.end(),
                    [&](const Published& p) { return same_socket(*p.port, port); }) ||
        std::any_of(spec.ports().begin(), spec.ports().end(),
                    [&](const auto& p) { return same_socket(p, port); });
    if (taken) continue;
    cluster.set_last_port(number);
    draft.put(std::move(cluster));
    return number;
  }
  return Error(ErrorCode::exhausted,
               "all ports from 30000 to 32767 are published: give the " + port.protocol() +
                   " port to publish, as in 8080:" + std::to_string(port.target()));
}

}  // namespace

Result<> allocate_ports(Draft& draft, const std::string& self, const api::ServiceSpec* old,
                        api::ServiceSpec& spec) {
  std::vector<Published> others;
  for (const api::Service* service : draft.all<api::Service>())
    if (service->id() != self)
      for (const api::PublishedPort& port : service->spec().ports())
        others.push_back({&port, &service->spec().name()});
  for (int i = 0; i < spec.ports_size(); i++) {
    api::PublishedPort& port = *spec.mutable_ports(i);
    if (port.published() == 0) continue;
    for (int j = 0; j < i; j++)
      if (same_socket(spec.ports(j), port))
        return Error(ErrorCode::invalid, "port " + text_of(port) +
                                             " is published twice by this service: leave one out");
    for (const Published& other : others)
      if (clash(*other.port, port))
        return Error(ErrorCode::conflict, "port " + text_of(port) +
                                              " is already published by service '" +
                                              *other.service + "': choose another");
  }
  for (api::PublishedPort& port : *spec.mutable_ports()) {
    if (port.published() != 0) continue;
    if (const api::PublishedPort* before = kept_port(old, spec, port))
      port.set_published(before->published());
    else
      port.set_published(TRY(dynamic_port(draft, others, spec, port)));
  }
  return Ok;
}

}  // namespace weft::manage
