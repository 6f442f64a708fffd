// SPDX-License-Identifier: Apache-2.0
#include "core/manage/allocate.h"

#include <charconv>
#include <set>

#include "base/mac.h"

namespace weft::manage {

namespace {

Result<ipam::Pool> pool_of(const api::Network& network, Family family) {
  const std::string& subnet = family == Family::v4 ? network.subnet4() : network.subnet6();
  const std::string& range = family == Family::v4 ? network.ip_range4() : network.ip_range6();
  std::optional<Prefix> part;
  if (!range.empty()) part = TRY(Prefix::parse(range));
  return ipam::make_pool(TRY(Prefix::parse(subnet)), part);
}

ipam::Look look_in(const Draft& draft, const std::string& network_id) {
  return [&draft, network_id](const Address& address) {
    const auto* lease = draft.find<api::AddressLease>(network_id + "/" + address.to_string());
    if (!lease) return ipam::Use{};
    if (!lease->owner().empty()) return ipam::Use{true, {}};
    return ipam::Use{false, WallTime{lease->released_at_ms()}};
  };
}

void put_lease(Draft& draft, const std::string& network_id, const std::string& address,
               const std::string& owner) {
  api::AddressLease lease;
  lease.set_network_id(network_id);
  lease.set_address(address);
  lease.set_owner(owner);
  if (owner.empty()) lease.set_released_at_ms(draft.now().milliseconds);
  draft.put(std::move(lease));
}

Error on_network(Error error, const api::Network& network) {
  if (error.code() == ErrorCode::exhausted)
    return Error(ErrorCode::exhausted, "no address is left on network '" + network.name() +
                                           "': " + error.message() +
                                           "; remove endpoints or use a larger network");
  return std::move(error).in("network '" + network.name() + "'");
}

}  // namespace

Result<std::string> lease_address(Draft& draft, const api::Network& network, Family family,
                                  const std::string& owner, const std::string& requested) {
  const ipam::Pool pool = TRY(pool_of(network, family));
  const ipam::Look look = look_in(draft, network.id());
  if (!requested.empty()) {
    const Address address = TRY(Address::parse(requested));
    if (auto fits = ipam::check_requested(pool, address, look); !fits)
      return on_network(std::move(fits).error(), network);
    put_lease(draft, network.id(), address.to_string(), owner);
    return address.to_string();
  }
  api::AddressCursor cursor;
  if (const auto* found = draft.find<api::AddressCursor>(network.id())) cursor = *found;
  cursor.set_network_id(network.id());
  const std::string& last_text = family == Family::v4 ? cursor.last4() : cursor.last6();
  Address last;
  if (!last_text.empty()) last = TRY(Address::parse(last_text));
  auto chosen = ipam::choose(pool, last, look, draft.now());
  if (!chosen) return on_network(std::move(chosen).error(), network);
  const std::string text = chosen->to_string();
  (family == Family::v4 ? *cursor.mutable_last4() : *cursor.mutable_last6()) = text;
  draft.put(std::move(cursor));
  put_lease(draft, network.id(), text, owner);
  return text;
}

void release_address(Draft& draft, const std::string& network_id, const std::string& address) {
  if (address.empty()) return;
  const auto* lease = draft.find<api::AddressLease>(network_id + "/" + address);
  if (!lease || lease->owner().empty()) return;
  put_lease(draft, network_id, address, "");
}

std::optional<WallTime> expire_leases(Draft& draft) {
  const int64_t rest_ms =
      std::chrono::duration_cast<std::chrono::milliseconds>(ipam::rest_after_release).count();
  std::optional<WallTime> next;
  for (const api::AddressLease* lease : draft.all<api::AddressLease>()) {
    if (!lease->owner().empty()) continue;
    const WallTime due{lease->released_at_ms() + rest_ms};
    if (due <= draft.now())
      draft.remove<api::AddressLease>(key_of(*lease));
    else if (!next || due < *next)
      next = due;
  }
  return next;
}

Result<Addresses> lease_addresses(Draft& draft, const api::Network& network,
                                  const std::string& owner, const std::string& requested4,
                                  const std::string& requested6) {
  if (!requested6.empty() && network.subnet6().empty())
    return Error(ErrorCode::invalid, "network '" + network.name() +
                                         "' has no IPv6 subnet: leave the IPv6 address out, or "
                                         "create the network with --ipv6");
  Addresses out;
  out.address4 = TRY(lease_address(draft, network, Family::v4, owner, requested4));
  if (!network.subnet6().empty()) {
    auto six = lease_address(draft, network, Family::v6, owner, requested6);
    if (!six) {
      release_address(draft, network.id(), out.address4);
      return std::move(six).error();
    }
    out.address6 = *six;
  }
  return out;
}

std::string mac_of(const std::string& address4) {
  const auto address = Address::parse(address4);
  WEFT_ASSERT(address && address->is_v4());
  return Mac::from_v4(*address).to_string();
}

Result<uint32_t> allocate_vni(Draft& draft, const std::string& requested) {
  std::map<uint32_t, const api::Network*> used;
  for (const api::Network* network : draft.all<api::Network>()) used[network->vni()] = network;
  if (!requested.empty()) {
    uint32_t vni = 0;
    const char* end = requested.data() + requested.size();
    const auto [stop, failure] = std::from_chars(requested.data(), end, vni);
    if (failure != std::errc() || stop != end || vni < first_vni || vni > last_vni)
      return Error(ErrorCode::invalid,
                   "vxlan_id '" + requested + "' is not a number from 4096 to 16777215");
    if (const auto found = used.find(vni); found != used.end())
      return Error(ErrorCode::conflict, "vxlan_id " + requested + " is already used by network '" +
                                            found->second->name() + "'");
    return vni;
  }
  api::Cluster cluster = draft.cluster();
  const uint32_t count = last_vni - first_vni + 1;
  uint32_t vni = cluster.last_vni();
  for (uint32_t i = 0; i < count; i++) {
    vni = vni < first_vni || vni >= last_vni ? first_vni : vni + 1;
    if (used.count(vni) != 0) continue;
    cluster.set_last_vni(vni);
    draft.put(std::move(cluster));
    return vni;
  }
  return Error(ErrorCode::exhausted, "no VXLAN id is left: remove networks that are not used");
}

Result<uint32_t> allocate_index(Draft& draft) {
  const int64_t rest_ms = std::chrono::duration_cast<std::chrono::milliseconds>(index_rest).count();
  std::set<uint32_t> used, resting;
  for (const api::Node* node : draft.all<api::Node>()) used.insert(node->index());
  for (const api::RemovedNode* node : draft.all<api::RemovedNode>())
    if (draft.now().milliseconds - node->removed_at_ms() < rest_ms) resting.insert(node->index());
  api::Cluster cluster = draft.cluster();
  for (const bool take_resting : {false, true}) {
    uint32_t index = cluster.last_index();
    for (uint32_t i = 0; i < last_node_index; i++) {
      index = index >= last_node_index ? 1 : index + 1;
      if (used.count(index) != 0 || (!take_resting && resting.count(index) != 0)) continue;
      cluster.set_last_index(index);
      draft.put(std::move(cluster));
      return index;
    }
  }
  return Error(ErrorCode::exhausted,
               "the cluster already has 4095 nodes: remove dead ones with 'weft node rm'");
}

}  // namespace weft::manage
