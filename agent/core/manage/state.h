// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"
#include "core/manage/transaction.h"
#include "weft/api/weft.pb.h"

namespace weft::manage {

template <typename T>
using Table = std::map<std::string, T>;

// Everything the managers know, as the store acknowledged it. Keys are ids.
struct ClusterState {
  Table<api::Cluster> cluster;  // one entry, `cluster_key`, once the cluster exists
  Table<api::Node> nodes;
  Table<api::Network> networks;
  Table<api::Service> services;
  Table<api::Task> tasks;
  Table<api::Endpoint> endpoints;
  Table<api::AddressLease> leases;    // NETWORK_ID/ADDRESS
  Table<api::AddressCursor> cursors;  // network id
  Table<api::RemovedNode> removed_nodes;
  // (kind, id) -> version in the store.
  std::map<std::pair<std::string, std::string>, uint64_t> versions;

  // What the store holds, parsed. An object that cannot be read is an error: going on without it
  // could hand out its addresses again.
  static Result<ClusterState> restore(std::span<const StoredObject> objects);
  // After the store has acknowledged.
  void apply(const Transaction& transaction);

  template <typename T>
  const Table<T>& table() const {
    return const_cast<ClusterState*>(this)->mutable_table<T>();
  }
  template <typename T>
  Table<T>& mutable_table();

 private:
  bool set(const std::string& kind, const std::string& id, const std::string& bytes);
  void erase(const std::string& kind, const std::string& id);
};

inline constexpr const char* cluster_key = "cluster";

template <>
inline Table<api::Cluster>& ClusterState::mutable_table() {
  return cluster;
}
template <>
inline Table<api::Node>& ClusterState::mutable_table() {
  return nodes;
}
template <>
inline Table<api::Network>& ClusterState::mutable_table() {
  return networks;
}
template <>
inline Table<api::Service>& ClusterState::mutable_table() {
  return services;
}
template <>
inline Table<api::Task>& ClusterState::mutable_table() {
  return tasks;
}
template <>
inline Table<api::Endpoint>& ClusterState::mutable_table() {
  return endpoints;
}
template <>
inline Table<api::AddressLease>& ClusterState::mutable_table() {
  return leases;
}
template <>
inline Table<api::AddressCursor>& ClusterState::mutable_table() {
  return cursors;
}
template <>
inline Table<api::RemovedNode>& ClusterState::mutable_table() {
  return removed_nodes;
}

// The kind in the store.
template <typename T>
inline constexpr const char* kind_of = nullptr;
template <>
inline constexpr const char* kind_of<api::Cluster> = "cluster";
template <>
inline constexpr const char* kind_of<api::Node> = "node";
template <>
inline constexpr const char* kind_of<api::Network> = "network";
template <>
inline constexpr const char* kind_of<api::Service> = "service";
template <>
inline constexpr const char* kind_of<api::Task> = "task";
template <>
inline constexpr const char* kind_of<api::Endpoint> = "endpoint";
template <>
inline constexpr const char* kind_of<api::AddressLease> = "lease";
template <>
inline constexpr const char* kind_of<api::AddressCursor> = "cursor";
template <>
inline constexpr const char* kind_of<api::RemovedNode> = "removed_node";

inline std::string key_of(const api::Cluster&) { return cluster_key; }
inline std::string key_of(const api::Node& o) { return o.id(); }
inline std::string key_of(const api::Network& o) { return o.id(); }
inline std::string key_of(const api::Service& o) { return o.id(); }
inline std::string key_of(const api::Task& o) { return o.id(); }
inline std::string key_of(const api::Endpoint& o) { return o.id(); }
inline std::string key_of(const api::AddressLease& o) { return o.network_id() + "/" + o.address(); }
inline std::string key_of(const api::AddressCursor& o) { return o.network_id(); }
inline std::string key_of(const api::RemovedNode& o) { return o.id(); }

// What must be unique, by object.
std::vector<Claim> claims_of(const api::Cluster&);
std::vector<Claim> claims_of(const api::Node&);
std::vector<Claim> claims_of(const api::Network&);
std::vector<Claim> claims_of(const api::Service&);
std::vector<Claim> claims_of(const api::Task&);
std::vector<Claim> claims_of(const api::Endpoint&);
std::vector<Claim> claims_of(const api::AddressLease&);
std::vector<Claim> claims_of(const api::AddressCursor&);
std::vector<Claim> claims_of(const api::RemovedNode&);

// The same bytes for the same message, in every run (maps sorted).
std::string serialize(const google::protobuf::MessageLite& message);

// A task that will never run again.
bool is_terminal(api::TaskState state);
inline bool is_terminal(const api::Task& task) { return is_terminal(task.state()); }

}  // namespace weft::manage
