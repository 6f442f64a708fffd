// SPDX-License-Identifier: Apache-2.0
#include "core/plan/context.h"

#include <algorithm>
#include <tuple>
#include <unordered_set>

namespace weft::plan {

Context::Context(const NodeView& view) : view_(view) {
  find_members();
  find_networks();
  find_endpoints();
}

void Context::find_members() {
  for (const Member& m : view_.members) {
    if (m.id == view_.self.id || m.index == view_.self.index) continue;
    if (m.index == 0 || m.index >= WEFT_MAX_NODES) continue;
    others_.push_back(&m);
  }
  // While a number changes hands the alive member has it.
  std::sort(others_.begin(), others_.end(), [](const Member* a, const Member* b) {
    return std::tie(a->index, a->state, a->id) < std::tie(b->index, b->state, b->id);
  });
  others_.erase(std::unique(others_.begin(), others_.end(),
                            [](const Member* a, const Member* b) { return a->index == b->index; }),
                others_.end());
  for (const Member* m : others_) members_.emplace(m->id, m);
}

void Context::find_networks() {
  for (const LocalEndpoint& l : view_.local_endpoints) local_.emplace(l.endpoint_id, &l);
  std::unordered_set<std::string_view> attached;
  for (const Endpoint& e : view_.endpoints)
    if (e.node_id == view_.self.id && local_.contains(e.id)) attached.insert(e.network_id);
  for (const Network& n : view_.networks) {
    if (n.vni == 0 || (!n.ingress && !attached.contains(n.id))) continue;
    if (by_id_.emplace(n.id, &n).second) present_.push_back(&n);
  }
  std::sort(present_.begin(), present_.end(), [](const Network* a, const Network* b) {
    return std::tie(a->vni, a->id) < std::tie(b->vni, b->id);
  });
  for (const Network* n : present_)
    if (n->ingress && ingress_ == nullptr) ingress_ = n;
}

void Context::find_endpoints() {
  endpoints_.reserve(view_.endpoints.size());
  for (const Endpoint& e : view_.endpoints) {
    const Network* network = present_network(e.network_id);
    if (network == nullptr) continue;
    if (e.node_id == view_.self.id) {
      const auto local = local_.find(e.id);
      // Not attached any more, or not yet: nothing answers at this address.
      if (local == local_.end()) continue;
      endpoints_.push_back({&e, network, view_.self.index, MemberState::alive, local->second});
      continue;
    }
    const auto member = members_.find(e.node_id);
    if (member == members_.end() || member->second->state == MemberState::gone) continue;
    endpoints_.push_back({&e, network, member->second->index, member->second->state, nullptr});
  }
  std::sort(endpoints_.begin(), endpoints_.end(),
            [](const VisibleEndpoint& a, const VisibleEndpoint& b) {
              return std::tie(a.record->id, a.node) < std::tie(b.record->id, b.node);
            });
  for (const VisibleEndpoint& e : endpoints_)
    if (!e.record->service_id.empty()) of_service_[e.record->service_id].push_back(&e);
}

const Network* Context::present_network(std::string_view id) const {
  const auto found = by_id_.find(id);
  return found == by_id_.end() ? nullptr : found->second;
}

const std::vector<const VisibleEndpoint*>& Context::of_service(std::string_view id) const {
  static const std::vector<const VisibleEndpoint*> none;
  const auto found = of_service_.find(id);
  return found == of_service_.end() ? none : found->second;
}

}  // namespace weft::plan
