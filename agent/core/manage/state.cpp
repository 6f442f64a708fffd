// SPDX-License-Identifier: Apache-2.0
#include "core/manage/state.h"

#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>

namespace weft::manage {

namespace {

// Calls f(Table<T>&) with the table of that kind; false for a kind that is not known.
template <typename F>
bool with_table(ClusterState& state, const std::string& kind, F f) {
  if (kind == kind_of<api::Cluster>) return f(state.cluster);
  if (kind == kind_of<api::Node>) return f(state.nodes);
  if (kind == kind_of<api::Network>) return f(state.networks);
  if (kind == kind_of<api::Service>) return f(state.services);
  if (kind == kind_of<api::Task>) return f(state.tasks);
  if (kind == kind_of<api::Endpoint>) return f(state.endpoints);
  if (kind == kind_of<api::AddressLease>) return f(state.leases);
  if (kind == kind_of<api::AddressCursor>) return f(state.cursors);
  if (kind == kind_of<api::RemovedNode>) return f(state.removed_nodes);
  return false;
}

}  // namespace

bool ClusterState::set(const std::string& kind, const std::string& id, const std::string& bytes) {
  return with_table(*this, kind, [&](auto& table) { return table[id].ParseFromString(bytes); });
}

void ClusterState::erase(const std::string& kind, const std::string& id) {
  with_table(*this, kind, [&](auto& table) { return table.erase(id) != 0; });
}

Result<ClusterState> ClusterState::restore(std::span<const StoredObject> objects) {
  ClusterState state;
  for (const StoredObject& object : objects) {
    if (!state.set(object.kind, object.id, object.bytes))
      return Error("the store's " + object.kind + " '" + object.id +
                   "' cannot be read: it was damaged or written by a newer version; restore the "
                   "newest dump or install that version");
    state.versions[{object.kind, object.id}] = object.version;
  }
  return state;
}

void ClusterState::apply(const Transaction& transaction) {
  for (const Write& write : transaction.writes) {
    const std::pair key(write.kind, write.id);
    if (write.remove) {
      erase(write.kind, write.id);
      versions.erase(key);
      continue;
    }
    WEFT_ASSERT(set(write.kind, write.id, write.bytes));
    versions[key] = write.expected_version + 1;
  }
}

std::string serialize(const google::protobuf::MessageLite& message) {
  std::string out;
  google::protobuf::io::StringOutputStream stream(&out);
  google::protobuf::io::CodedOutputStream coded(&stream);
  coded.SetSerializationDeterministic(true);
  message.SerializeToCodedStream(&coded);
  coded.Trim();
  return out;
}

bool is_terminal(api::TaskState state) {
  switch (state) {
    case api::TASK_COMPLETE:
    case api::TASK_FAILED:
    case api::TASK_SHUTDOWN:
    case api::TASK_REJECTED:
    case api::TASK_ORPHANED:
      return true;
    default:
      return false;
  }
}

std::vector<Claim> claims_of(const api::Cluster&) { return {}; }

std::vector<Claim> claims_of(const api::Node& node) {
  return {{"node-index", std::to_string(node.index())}, {"node-name", node.name()}};
}

std::vector<Claim> claims_of(const api::Network& network) {
  std::vector<Claim> claims = {{"vni", std::to_string(network.vni())},
                               {"network-name", network.name()},
                               {"subnet", network.subnet4()}};
  if (!network.subnet6().empty()) claims.push_back({"subnet", network.subnet6()});
  return claims;
}

std::vector<Claim> claims_of(const api::Service& service) {
  std::vector<Claim> claims = {{"service-name", service.spec().name()}};
  for (const api::PublishedPort& port : service.spec().ports())
    if (port.mode() == api::INGRESS)
      claims.push_back(
          {"port/" + port.protocol(), port.address() + ":" + std::to_string(port.published())});
  return claims;
}

std::vector<Claim> claims_of(const api::Task&) { return {}; }
std::vector<Claim> claims_of(const api::Endpoint&) { return {}; }

std::vector<Claim> claims_of(const api::AddressLease& lease) {
  if (lease.owner().empty()) return {};
  return {{"address/" + lease.network_id(), lease.address()}};
}

std::vector<Claim> claims_of(const api::AddressCursor&) { return {}; }
std::vector<Claim> claims_of(const api::RemovedNode&) { return {}; }

}  // namespace weft::manage
