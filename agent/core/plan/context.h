// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "core/plan/desired_state.h"
#include "core/plan/node_view.h"

namespace weft::plan {

// A record that counts: its network is present and its node is not gone.
struct VisibleEndpoint {
  const Endpoint* record = nullptr;
  const Network* network = nullptr;
  uint16_t node = 0;
  MemberState state = MemberState::alive;  // of its node
  const LocalEndpoint* local = nullptr;    // set if it is attached here
};

// A NodeView with its names resolved.
class Context {
 public:
  explicit Context(const NodeView& view);

  const NodeView& view() const { return view_; }
  const std::vector<const Network*>& present() const { return present_; }  // sorted by VNI
  bool is_present(std::string_view network_id) const { return by_id_.contains(network_id); }
  const Network* present_network(std::string_view id) const;
  const Network* ingress() const { return ingress_; }
  const std::vector<const Member*>& others() const { return others_; }          // sorted by index
  const std::vector<VisibleEndpoint>& endpoints() const { return endpoints_; }  // sorted by id
  // Visible endpoints of a service, all networks.
  const std::vector<const VisibleEndpoint*>& of_service(std::string_view id) const;

 private:
  void find_members();
  void find_networks();
  void find_endpoints();

  const NodeView& view_;
  std::vector<const Network*> present_;
  std::unordered_map<std::string_view, const Network*> by_id_;
  const Network* ingress_ = nullptr;
  std::vector<const Member*> others_;
  std::unordered_map<std::string_view, const Member*> members_;
  std::unordered_map<std::string_view, const LocalEndpoint*> local_;
  std::vector<VisibleEndpoint> endpoints_;
  std::unordered_map<std::string_view, std::vector<const VisibleEndpoint*>> of_service_;
};

// The parts of plan(), by subject.
void plan_vteps(const Context& context, DesiredState& out);
void plan_networks(const Context& context, DesiredState& out);
void plan_endpoints(const Context& context, DesiredState& out);
void plan_services(const Context& context, DesiredState& out);

// Sorts by key and keeps the first of equal keys in input order.
template <typename K, typename V>
void sort_unique(MapContents<K, V>& contents) {
  std::stable_sort(contents.begin(), contents.end(),
                   [](const auto& a, const auto& b) { return KeyLess()(a.first, b.first); });
  const auto same = [](const auto& a, const auto& b) {
    return !KeyLess()(a.first, b.first) && !KeyLess()(b.first, a.first);
  };
  contents.erase(std::unique(contents.begin(), contents.end(), same), contents.end());
}

inline void copy_address(__u8 (&to)[16], const Address& from) {
  std::memcpy(to, from.bytes().data(), 16);
}
inline void copy_mac(__u8 (&to)[6], const Mac& from) { std::memcpy(to, from.bytes.data(), 6); }

}  // namespace weft::plan
