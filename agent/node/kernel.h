// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "base/fd.h"
#include "base/instant.h"
#include "base/result.h"
#include "core/diff/diff.h"
#include "core/plan/desired_state.h"
#include "drivers/bpf/data_path.h"
#include "drivers/link/nat.h"
#include "node/cluster_view.h"
#include "node/config.h"
#include "weft/api/weft.pb.h"

namespace weft::node {

// How long flows of a backend that lost its slots are looked for there.
inline constexpr Duration drain_time = 60s;

// This node's part of the kernel: devices, programs, maps, routes, NAT rules and held ports.
// Everything it makes outlives the agent, except the held ports.
class Kernel {
 public:
  // Makes the node's devices, loads and attaches the programs (atomically in place of a former
  // agent's), and reads back what the maps hold. `around` gets the uplink and the node's own
  // endpoint.
  static Result<std::unique_ptr<Kernel>> start(const Config& config, const api::Node& self,
                                               const api::Network& ingress, Surroundings& around);

  // Puts the program on the host side of a container's link.
  Result<> guard(uint32_t ifindex);
  // Whether another program of this node has the port. Ports that are held already are ours.
  bool taken_by_others(const api::PublishedPort& port);
  // The desired state without the published ports that other programs of this node have: what is
  // sent to those is theirs.
  plan::DesiredState without_taken(plan::DesiredState desired) const;
  // Holds the published ports; taken at once after a start, when the rest waits for the other
  // nodes.
  void sync_ports(const plan::DesiredState& desired);
  // Links whose program somebody has taken away.
  Result<std::vector<std::string>> links_without_program(
      const std::map<std::string, Attachment>& attachments);
  // Brings the kernel to the desired state. Returns when to call again although nothing changed
  // (moving slots expire). On an error what was done stays, and the next call goes on.
  Result<Instant> apply(const plan::DesiredState& desired, Instant now);

  bpf::Maps& maps() { return data_path_->maps(); }
  // What the agent knows the maps to hold.
  const diff::Held& held() const { return held_; }
  // Things that the operator should know: ports that others hold, features that are missing.
  const std::vector<std::string>& problems() const { return problems_; }
  // Nothing was pinned when this agent started: there is no traffic to keep.
  bool fresh() const { return fresh_; }
  int netns() const { return netns_.get(); }

  // Takes everything out of the kernel again: the node leaves its cluster.
  Result<> remove();

 private:
  Kernel(const Config& config, Fd netns, link::Links links)
      : config_(config), netns_(std::move(netns)), links_(std::move(links)) {}
  Result<> make_devices(const api::Node& self, const api::Network& ingress, Surroundings& around);
  Result<> load(const api::Node& self, const api::Network& ingress, const Surroundings& around);
  Result<> attach(const Surroundings& around);
  void attach_xdp(const Surroundings& around);
  void attach_cgroup();
  Result<> sync_routes(const plan::DesiredState& desired);
  Result<> sync_nat(const plan::DesiredState& desired);
  Result<Instant> sync_maps(const plan::DesiredState& desired, Instant now);

  Config config_;
  Fd netns_;
  link::Links links_;
  std::unique_ptr<bpf::DataPath> data_path_;
  diff::Held held_;
  diff::Memory memory_;
  uint32_t vxlan_ifindex_ = 0, host_ifindex_ = 0, node_ifindex_ = 0, uplink_ifindex_ = 0;
  std::vector<Address> node_addresses_;
  std::set<Prefix> routes_;
  std::unique_ptr<link::NatSpec> nat_;
  std::map<plan::HeldPort, Fd> ports_;
  std::set<plan::HeldPort> taken_;  // by other programs
  std::vector<std::string> start_problems_, port_problems_, diff_problems_, nat_problems_,
      problems_;
  bool fresh_ = true;
};

}  // namespace weft::node
