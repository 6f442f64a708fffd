// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "core/manage/allocate.h"
#include "core/manage/decide.h"
#include "core/manage/names.h"
#include "core/manage/service_spec.h"

namespace weft::manage {

namespace {

void release_vip(Draft& draft, const api::ServiceVip& vip) {
  release_address(draft, vip.network_id(), vip.address4());
  release_address(draft, vip.network_id(), vip.address6());
}

// One VIP per network of the service, none with DNSRR; those that stay are kept.
Result<> give_vips(Draft& draft, api::Service& service) {
  google::protobuf::RepeatedPtrField<api::ServiceVip> before;
  before.Swap(service.mutable_vips());
  const bool vip_mode = service.spec().endpoint_mode() == api::VIP;
  if (vip_mode) {
    for (const std::string& id : service.spec().networks()) {
      const auto kept = std::find_if(before.begin(), before.end(),
                                     [&](const auto& vip) { return vip.network_id() == id; });
      if (kept != before.end()) {
        *service.add_vips() = *kept;
        continue;
      }
      const api::Network* network = draft.find<api::Network>(id);
      WEFT_ASSERT(network != nullptr);
      const Addresses addresses = TRY(lease_addresses(draft, *network, "vip:" + service.id()));
      api::ServiceVip& vip = *service.add_vips();
      vip.set_network_id(id);
      vip.set_address4(addresses.address4);
      vip.set_address6(addresses.address6);
    }
  }
  for (const api::ServiceVip& vip : before) {
    const auto& now = service.vips();
    const bool kept = std::any_of(
        now.begin(), now.end(), [&](const auto& v) { return v.network_id() == vip.network_id(); });
    if (!kept) release_vip(draft, vip);
  }
  return Ok;
}

Result<const api::Service*> living_service(const Draft& draft, const std::string& name) {
  const api::Service* service = TRY(resolve<api::Service>(draft, name));
  if (service->removing())
    return Error(ErrorCode::conflict, "service " + quoted(service->spec().name()) +
                                          " is being removed: its tasks are still stopping");
  return service;
}

api::Service changed(const Draft& draft, const api::Service& service) {
  api::Service next = service;
  next.set_version(service.version() + 1);
  next.set_updated_at_ms(draft.now().milliseconds);
  return next;
}

}  // namespace

Result<api::Service> create_service(Draft& draft, const Caller&,
                                    const api::ServiceCreateRequest& request) {
  api::Service service;
  *service.mutable_spec() = request.spec();
  api::ServiceSpec& spec = *service.mutable_spec();
  TRY(complete_spec(draft, spec));
  for (const api::Service* other : draft.all<api::Service>())
    if (other->spec().name() == spec.name())
      return Error(
          ErrorCode::conflict,
          "service " + quoted(spec.name()) +
              (other->removing() ? " is being removed: try again when its tasks have stopped"
                                 : " already exists"));
  service.set_id(draft.new_id());
  service.set_version(1);
  service.set_created_at_ms(draft.now().milliseconds);
  service.set_updated_at_ms(draft.now().milliseconds);
  TRY(allocate_ports(draft, service.id(), nullptr, spec));
  TRY(give_vips(draft, service));
  draft.put(service);
  return service;
}

Result<api::ServiceList> list_services(Draft& draft, const Caller&, const api::Empty&) {
  api::ServiceList list;
  for (const api::Service* service : draft.all<api::Service>()) *list.add_services() = *service;
  std::sort(list.mutable_services()->begin(), list.mutable_services()->end(),
            [](const auto& a, const auto& b) { return a.spec().name() < b.spec().name(); });
  return list;
}

Result<api::Service> show_service(Draft& draft, const Caller&, const api::NameRequest& request) {
  return *TRY(resolve<api::Service>(draft, request.name()));
}

Result<api::Service> update_service(Draft& draft, const Caller&,
                                    const api::ServiceUpdateRequest& request) {
  const api::Service* old = TRY(living_service(draft, request.name()));
  api::Service service = changed(draft, *old);
  api::ServiceSpec& spec = *service.mutable_spec();
  TRY(take_fields(request.spec(), request.fields(), spec));
  if (spec.name() != old->spec().name())
    return Error(ErrorCode::invalid,
                 "a service keeps its name: create a new one under the other name");
  if (spec.global() != old->spec().global())
    return Error(ErrorCode::invalid, "service " + quoted(spec.name()) +
                                         " cannot change between replicated and global: create a "
                                         "new one");
  TRY(complete_spec(draft, spec));
  TRY(allocate_ports(draft, service.id(), &old->spec(), spec));
  TRY(give_vips(draft, service));
  draft.put(service);
  return service;
}

Result<api::Service> scale_service(Draft& draft, const Caller&,
                                   const api::ServiceScaleRequest& request) {
  const api::Service* old = TRY(living_service(draft, request.name()));
  const std::string name = quoted(old->spec().name());
  if (old->spec().global())
    return Error(ErrorCode::invalid,
                 "service " + name + " is global: it has one task on every node and no scale");
  if (old->spec().runtime() == "none")
    return Error(ErrorCode::invalid,
                 "service " + name + " has no tasks: attach or detach endpoints instead");
  if (request.replicas() > max_replicas)
    return Error(ErrorCode::invalid, std::to_string(request.replicas()) +
                                         " replicas are too many: a service has at most 10000");
  api::Service service = changed(draft, *old);
  service.mutable_spec()->set_replicas(request.replicas());
  draft.put(service);
  return service;
}

// The name, the VIPs and the ports stay taken until the last task has stopped: the orchestrator
// frees them.
Result<api::Empty> remove_service(Draft& draft, const Caller&, const api::NameRequest& request) {
  api::Service service = *TRY(resolve<api::Service>(draft, request.name()));
  for (const api::Endpoint* endpoint : draft.all<api::Endpoint>())
    if (endpoint->service_id() == service.id())
      return Error(ErrorCode::conflict, "service " + quoted(service.spec().name()) +
                                            " is in use by endpoint " + quoted(endpoint->name()) +
                                            ": detach it first");
  if (service.removing()) return api::Empty();
  service.set_removing(true);
  service.set_updated_at_ms(draft.now().milliseconds);
  draft.put(std::move(service));
  return api::Empty();
}

}  // namespace weft::manage
