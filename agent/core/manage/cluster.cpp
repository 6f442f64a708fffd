// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "core/manage/allocate.h"
#include "core/manage/decide.h"
#include "core/manage/names.h"
#include "core/manage/subnets.h"

namespace weft::manage {

namespace {

constexpr const char* default_pool4 = "10.0.0.0/8";
constexpr uint8_t default_length4 = 24;
// Each node has an address in the ingress network: a /20 holds as many as there are node indices.
constexpr uint8_t ingress_length4 = 20;
// A smaller pool keeps at least three quarters for other networks.
constexpr uint8_t smallest_pool4 = 22;

// Time does not depend on where the first difference is.
bool same_secret(std::string_view a, std::string_view b) {
  if (a.empty() || a.size() != b.size()) return false;
  volatile uint8_t difference = 0;
  for (size_t i = 0; i < a.size(); i++) difference = difference | uint8_t(a[i] ^ b[i]);
  return difference == 0;
}

Result<> create_ingress(Draft& draft, const api::ClusterInitRequest& request) {
  api::Network network;
  network.set_id(draft.new_id());
  network.set_name("ingress");
  network.set_driver("overlay");
  network.set_ingress(true);
  network.set_created_at_ms(draft.now().milliseconds);
  SubnetWish wish;
  if (!request.ingress_subnet4().empty()) wish.subnets.push_back(request.ingress_subnet4());
  wish.ipv6 = true;
  const Prefix pool = TRY(Prefix::parse(draft.cluster().default_pool4()));
  wish.default_length4 = std::max<uint8_t>(pool.length + 2, ingress_length4);
  TRY_IN("ingress network", give_subnets(draft, wish, network));
  network.set_mtu_bytes(largest_mtu(draft, false).bytes);
  network.set_vni(TRY(allocate_vni(draft, "")));
  draft.put(std::move(network));
  return Ok;
}

}  // namespace

Result<> init_cluster(Draft& draft, const ClusterBirth& birth) {
  if (draft.find<api::Cluster>(cluster_key))
    return Error(ErrorCode::conflict,
                 "this node is already part of a cluster: 'weft cluster leave' first");
  const std::string& asked = birth.request.default_pool4();
  const Prefix pool = TRY_IN("default pool", Prefix::parse(asked.empty() ? default_pool4 : asked));
  if (!pool.address.is_v4() || pool.length > smallest_pool4 || pool.length < 8)
    return Error(ErrorCode::invalid, "default pool " + pool.to_string() +
                                         " must be an IPv4 block from /8 to /22, such as "
                                         "10.0.0.0/8");
  api::Cluster cluster;
  cluster.set_id(birth.cluster_id);
  cluster.set_default_pool4(pool.to_string());
  cluster.set_default_length4(default_length4);
  cluster.set_default_pool6(ipam::unique_local_pool(birth.cluster_id).to_string());
  cluster.set_worker_secret(birth.worker_secret);
  cluster.set_manager_secret(birth.manager_secret);
  api::GossipKey& key = *cluster.add_gossip_keys();
  key.set_epoch(1);
  key.set_key(birth.gossip_key);
  cluster.set_gossip_epoch(1);
  cluster.set_created_at_ms(draft.now().milliseconds);
  cluster.set_ca_pem(birth.ca_pem);
  cluster.set_ca_key_pem(birth.ca_key_pem);
  draft.put(std::move(cluster));
  // The node's routes and MTU must be known before the ingress network chooses its subnet.
  api::Node first;
  first.set_id(birth.node.node_id());
  first.set_name(birth.node.name());
  first.set_address(birth.node.address());
  first.set_uplink_mtu_bytes(birth.node.uplink_mtu_bytes());
  *first.mutable_routes() = birth.node.routes();
  draft.put(first);
  TRY(create_ingress(draft, birth.request));
  draft.remove<api::Node>(first.id());
  TRY(join_node(draft, birth.node, api::MANAGER));
  return Ok;
}

Result<api::NodeRole> role_of_secret(const api::Cluster& cluster, std::string_view secret) {
  const bool worker = same_secret(secret, cluster.worker_secret());
  const bool manager = same_secret(secret, cluster.manager_secret());
  if (manager) return api::MANAGER;
  if (worker) return api::WORKER;
  return Error(ErrorCode::denied,
               "the join token is not valid for this cluster: get the current one with 'weft "
               "cluster token show worker' on a manager");
}

}  // namespace weft::manage
