// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <charconv>

#include "core/manage/allocate.h"
#include "core/manage/decide.h"
#include "core/manage/names.h"
#include "core/manage/subnets.h"

namespace weft::manage {

namespace {

constexpr uint32_t smallest_mtu4 = 576, smallest_mtu6 = 1280;  // RFC 791, RFC 8200

Result<> check_driver(const std::string& driver) {
  if (driver.empty() || driver == "overlay") return Ok;
  if (driver == "macvlan" || driver == "bridge" || driver == "host" || driver == "none")
    return Error(ErrorCode::invalid,
                 "network driver '" + driver + "' is not available in this version: use overlay");
  return Error(ErrorCode::invalid, "there is no network driver '" + driver + "': use overlay");
}

Result<> check_options(const api::NetworkCreateRequest& request) {
  for (const auto& [key, value] : request.options()) {
    if (key == "mtu" || key == "vxlan_id") continue;
    if (key == "multicast")
      return Error(ErrorCode::invalid,
                   "option multicast is not available in this version: leave it out");
    if (key != "forward_unknown")
      return Error(ErrorCode::invalid,
                   "option " + quoted(key) +
                       " is not known to driver overlay: it has mtu, vxlan_id and forward_unknown");
    if (value != "true" && value != "false")
      return Error(ErrorCode::invalid, "option " + key + " is true or false, not " + quoted(value));
  }
  return Ok;
}

Result<uint32_t> mtu_for(const Draft& draft, const api::NetworkCreateRequest& request, bool ipv6) {
  const LargestMtu largest = largest_mtu(draft, request.encrypted());
  const uint32_t smallest = ipv6 ? smallest_mtu6 : smallest_mtu4;
  uint32_t mtu = largest.bytes;
  const auto option = request.options().find("mtu");
  if (option != request.options().end()) {
    const std::string& text = option->second;
    const auto [stop, failure] = std::from_chars(text.data(), text.data() + text.size(), mtu);
    if (failure != std::errc() || stop != text.data() + text.size())
      return Error(ErrorCode::invalid, "option mtu is a number of bytes, not " + quoted(text));
    if (mtu > largest.bytes)
      return Error(
          ErrorCode::invalid,
          "mtu " + text + " is too large: at most " + std::to_string(largest.bytes) +
              " bytes fit into the overlay" +
              (largest.node.empty() ? std::string()
                                    : " through the uplink of node '" + largest.node + "'"));
  }
  if (mtu < smallest)
    return Error(ErrorCode::invalid, "mtu " + std::to_string(mtu) +
                                         " is too small: " + (ipv6 ? "IPv6" : "IPv4") +
                                         " needs at least " + std::to_string(smallest) + " bytes");
  return mtu;
}

// Who still uses the network, in words; empty: nobody.
std::string user_of(const Draft& draft, const std::string& id) {
  for (const api::Service* service : draft.all<api::Service>())
    for (const std::string& network : service->spec().networks())
      if (network == id)
        return "service '" + service->spec().name() + "'" +
               (service->removing() ? " (its tasks are still stopping)" : "");
  for (const api::Endpoint* endpoint : draft.all<api::Endpoint>())
    if (endpoint->network_id() == id) return "endpoint '" + endpoint->name() + "'";
  for (const api::Task* task : draft.all<api::Task>())
    for (const api::TaskAttachment& attachment : task->attachments())
      if (attachment.network_id() == id) return "task '" + task->name() + "'";
  return "";
}

}  // namespace

Result<api::Network> create_network(Draft& draft, const Caller&,
                                    const api::NetworkCreateRequest& request) {
  TRY(check_name("network", request.name()));
  TRY(check_driver(request.driver()));
  TRY(check_options(request));
  if (request.encrypted())
    return Error(ErrorCode::invalid,
                 "encrypted networks are not available in this version: leave --encrypted out");
  for (const api::Network* other : draft.all<api::Network>())
    if (other->name() == request.name())
      return Error(ErrorCode::conflict, "network " + quoted(request.name()) + " already exists");
  api::Network network;
  network.set_id(draft.new_id());
  network.set_name(request.name());
  network.set_driver("overlay");
  network.set_internal(request.internal());
  network.set_attachable(request.attachable());
  network.set_encrypted(request.encrypted());
  *network.mutable_options() = request.options();
  *network.mutable_labels() = request.labels();
  *network.mutable_aux_addresses() = request.aux_addresses();
  network.set_created_at_ms(draft.now().milliseconds);
  SubnetWish wish{{request.subnets().begin(), request.subnets().end()},
                  {request.ip_ranges().begin(), request.ip_ranges().end()},
                  {request.gateways().begin(), request.gateways().end()},
                  {request.aux_addresses().begin(), request.aux_addresses().end()},
                  request.ipv6(),
                  uint8_t(draft.cluster().default_length4())};
  TRY(give_subnets(draft, wish, network));
  network.set_mtu_bytes(TRY(mtu_for(draft, request, !network.subnet6().empty())));
  const auto vni = request.options().find("vxlan_id");
  network.set_vni(
      TRY(allocate_vni(draft, vni == request.options().end() ? std::string() : vni->second)));
  draft.put(network);
  return network;
}

Result<api::NetworkList> list_networks(Draft& draft, const Caller&, const api::Empty&) {
  api::NetworkList list;
  for (const api::Network* network : draft.all<api::Network>()) *list.add_networks() = *network;
  std::sort(list.mutable_networks()->begin(), list.mutable_networks()->end(),
            [](const auto& a, const auto& b) { return a.name() < b.name(); });
  return list;
}

Result<api::Network> show_network(Draft& draft, const Caller&, const api::NameRequest& request) {
  return *TRY(resolve<api::Network>(draft, request.name()));
}

Result<api::Empty> remove_network(Draft& draft, const Caller&, const api::NameRequest& request) {
  const api::Network network = *TRY(resolve<api::Network>(draft, request.name()));
  if (network.ingress())
    return Error(ErrorCode::invalid,
                 "network 'ingress' is built in and carries published ports: it cannot be removed");
  if (const std::string user = user_of(draft, network.id()); !user.empty())
    return Error(ErrorCode::conflict, "network " + quoted(network.name()) + " is in use by " +
                                          user + ": remove it first");
  for (const api::AddressLease* lease : draft.all<api::AddressLease>())
    if (lease->network_id() == network.id()) draft.remove<api::AddressLease>(key_of(*lease));
  draft.remove<api::AddressCursor>(network.id());
  draft.remove<api::Network>(network.id());
  return api::Empty();
}

}  // namespace weft::manage
