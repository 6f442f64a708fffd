// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <memory>
#include <set>
#include <vector>

#include "base/rng.h"
#include "core/cluster/suspicion.h"
#include "core/cluster/types.h"

namespace weft::cluster {

// What this node knows of another.
struct Member {
  NodeId id;
  MemberState state = MemberState::alive;
  Incarnation incarnation;
  MemberInfo info;
  RoundTrip rtt;
  Instant acked{};    // its last answer to us
  Instant changed{};  // of the state
  std::unique_ptr<Suspicion> suspicion;
  size_t listed_at = 0;  // of the table

  Member() = default;
  Member(const Member& other)  // without a suspicion that runs: the table copies none
      : id(other.id),
        state(other.state),
        incarnation(other.incarnation),
        info(other.info),
        rtt(other.rtt),
        acked(other.acked),
        changed(other.changed) {}
  bool reachable() const { return state == MemberState::alive || state == MemberState::suspect; }
};

// A member list to start from: all of them alive. Many engines may share one.
struct MemberList {
  std::vector<Member> members;  // by id
  uint64_t hash = 0;            // of all of them
};
std::shared_ptr<const MemberList> make_member_list(std::vector<MemberView> members);

// All members but this node. Those of the list it started from are read in place until something
// about them changes, so that ten thousand nodes of one process share one list. References from
// find() are good until edit(), add() or erase() of the same id; those from edit() until erase().
class MemberTable {
 public:
  MemberTable(std::shared_ptr<const MemberList> base, const NodeId& self);

  const Member* find(const NodeId& id) const;
  Member* edit(const NodeId& id);
  Member& edit(const Member& member) { return *edit(member.id); }
  Member& add(const NodeId& id);  // dead, until set_state
  void erase(const NodeId& id);
  void set_state(Member& member, MemberState state);  // `member` from edit() or add()

  size_t size() const { return own_.size() + in_base_; }
  size_t reachable() const { return listed_.size() + in_base_; }
  size_t unreachable() const { return own_.size() - listed_.size(); }
  // Sum of version_hash() over the reachable ones.
  uint64_t hash() const;
  void touch() { hash_valid_ = false; }  // an incarnation changed

  // One of the reachable; there must be one.
  const Member& any_reachable(Rng& rng) const;
  // The next after `id` in the circle of ids that is alive and not suspected; null if there is
  // none.
  const Member* successor(const NodeId& id) const;
  const Member* at_address(const SocketAddress& gossip) const;  // among the reachable

  template <typename F>
  void for_each(F&& visit) const {  // in no order
    for (const auto& [id, member] : own_) visit(member);
    if (in_base_ == 0) return;
    for (const Member& member : base_->members) {
      if (in_place(member.id)) visit(member);
    }
  }
  template <typename F>
  void for_each_reachable(F&& visit) const {
    for (const Member* member : listed_) visit(*member);
    if (in_base_ == 0) return;
    for (const Member& member : base_->members) {
      if (in_place(member.id)) visit(member);
    }
  }
  template <typename F>
  void for_each_unreachable(F&& visit) const {
    if (unreachable() == 0) return;
    for (const auto& [id, member] : own_) {
      if (!member.reachable()) visit(member);
    }
  }

 private:
  bool in_place(const NodeId& id) const { return !own_.contains(id) && !erased_.contains(id); }
  const Member* in_base(const NodeId& id) const;
  void leave_base(const Member& member);
  void list(Member& member);

  std::shared_ptr<const MemberList> base_;
  size_t in_base_ = 0;  // members that are read there
  uint64_t base_hash_ = 0;
  std::set<NodeId> erased_;  // of the base
  std::map<NodeId, Member> own_;
  std::vector<Member*> listed_;  // the reachable of own_
  mutable uint64_t hash_ = 0;
  mutable bool hash_valid_ = false;
};

}  // namespace weft::cluster
