// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <set>
#include <string>
#include <string_view>
#include <tuple>
#include <vector>

#include "core/cluster/types.h"
#include "core/codec/endpoint_record.h"
#include "core/plan/node_view.h"
#include "drivers/link/uplink.h"
#include "node/attachments.h"
#include "node/known_state.h"

namespace weft::node {

// There may be very many: ids are kept once.
struct KnownEndpoint {
  std::string_view id;       // of its key
  std::string_view node_id;  // of the view's owners
  codec::EndpointRecord record;
};

// The node's own situation, as the kernel shows it.
struct Surroundings {
  link::Uplink uplink;
  uint16_t vxlan_port = 4789;
  plan::HostEndpoint host;
  std::map<Address, link::NextHop> next_hops;  // by underlay address of a node
  std::vector<plan::NodeAddress> addresses;
};

// What gossip says, kept decoded: who is alive, which endpoints there are.
class ClusterView {
 public:
  ClusterView() = default;
  ClusterView(ClusterView&&) = default;
  ClusterView& operator=(ClusterView&&) = default;

  // A record that does not decode is dropped and counted.
  void on_event(const cluster::Event& event);
  uint64_t undecodable() const { return undecodable_; }

  // By (VNI, owner, key).
  using Endpoints = std::map<std::tuple<uint32_t, std::string_view, std::string>, KnownEndpoint>;
  const Endpoints& endpoints() const { return endpoints_; }
  plan::MemberState member_state(const std::string& node_id) const;

  // Borrows texts of this object, of `known` and of `attachments`.
  plan::NodeView build(const KnownState& known, const Surroundings& surroundings,
                       const std::map<std::string, Attachment>& attachments) const;

 private:
  std::set<std::string> owners_;  // every one that was heard of
  Endpoints endpoints_;
  std::map<std::string, cluster::MemberState> members_;
  uint64_t undecodable_ = 0;
};

}  // namespace weft::node
