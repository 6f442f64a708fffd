// SPDX-License-Identifier: Apache-2.0
#include "core/cluster/member_table.h"

#include <algorithm>

#include "core/cluster/table.h"

namespace weft::cluster {

namespace {

uint64_t hash_of(const Member& member) {
  return version_hash({member.id, member.incarnation.boot_epoch, member.incarnation.counter});
}

bool before(const Member& member, const NodeId& id) { return member.id < id; }

}  // namespace

std::shared_ptr<const MemberList> make_member_list(std::vector<MemberView> members) {
  auto list = std::make_shared<MemberList>();
  std::sort(members.begin(), members.end(),
            [](const MemberView& a, const MemberView& b) { return a.id < b.id; });
  list->members.reserve(members.size());
  for (MemberView& view : members) {
    Member member;
    member.id = view.id;
    member.incarnation = view.incarnation;
    member.info = std::move(view.info);
    list->hash += hash_of(member);
    list->members.push_back(std::move(member));
  }
  return list;
}

MemberTable::MemberTable(std::shared_ptr<const MemberList> base, const NodeId& self)
    : base_(base ? std::move(base) : std::make_shared<MemberList>()),
      in_base_(base_->members.size()),
      base_hash_(base_->hash) {
  erase(self);
}

const Member* MemberTable::in_base(const NodeId& id) const {
  if (in_base_ == 0 || erased_.contains(id)) return nullptr;
  const auto& members = base_->members;
  const auto it = std::lower_bound(members.begin(), members.end(), id, before);
  return it == members.end() || it->id != id ? nullptr : &*it;
}

const Member* MemberTable::find(const NodeId& id) const {
  const auto it = own_.find(id);
  return it == own_.end() ? in_base(id) : &it->second;
}

void MemberTable::leave_base(const Member& member) {
  --in_base_;
  base_hash_ -= hash_of(member);
  hash_valid_ = false;
}

void MemberTable::list(Member& member) {
  member.listed_at = listed_.size();
  listed_.push_back(&member);
}

Member* MemberTable::edit(const NodeId& id) {
  if (const auto it = own_.find(id); it != own_.end()) return &it->second;
  const Member* known = in_base(id);
  if (!known) return nullptr;
  leave_base(*known);
  Member& member = own_.emplace(id, *known).first->second;
  list(member);
  return &member;
}

Member& MemberTable::add(const NodeId& id) {
  Member& member = own_[id];
  member.id = id;
  member.state = MemberState::dead;
  return member;
}

void MemberTable::erase(const NodeId& id) {
  if (const auto it = own_.find(id); it != own_.end()) {
    set_state(it->second, MemberState::dead);
    own_.erase(it);
  } else if (const Member* known = in_base(id)) {
    leave_base(*known);
  }
  const auto& members = base_->members;
  const auto it = std::lower_bound(members.begin(), members.end(), id, before);
  if (it != members.end() && it->id == id) erased_.insert(id);
}

void MemberTable::set_state(Member& member, MemberState state) {
  const bool was = member.reachable();
  member.state = state;
  const bool is = member.reachable();
  if (is == was) return;
  hash_valid_ = false;
  if (is) return list(member);
  listed_[member.listed_at] = listed_.back();
  listed_[member.listed_at]->listed_at = member.listed_at;
  listed_.pop_back();
}

uint64_t MemberTable::hash() const {
  if (hash_valid_) return hash_;
  hash_ = base_hash_;
  for (const Member* member : listed_) hash_ += hash_of(*member);
  hash_valid_ = true;
  return hash_;
}

const Member& MemberTable::any_reachable(Rng& rng) const {
  const uint64_t dice = rng.below(listed_.size() + in_base_);
  if (dice < listed_.size()) return *listed_[dice];
  const auto& members = base_->members;
  for (;;) {
    const Member& member = members[rng.below(members.size())];
    if (in_place(member.id)) return member;
  }
}

const Member* MemberTable::successor(const NodeId& id) const {
  const auto& members = base_->members;
  // The first that is good from `id` on, in each of both places; then round to the beginning.
  auto first = [&](const NodeId* after) -> const Member* {
    auto own = after ? own_.upper_bound(*after) : own_.begin();
    while (own != own_.end() && own->second.state != MemberState::alive) ++own;
    auto known = members.begin();
    if (after) {
      known = std::upper_bound(known, members.end(), *after,
                               [](const NodeId& a, const Member& b) { return a < b.id; });
    }
    while (in_base_ > 0 && known != members.end() && !in_place(known->id)) ++known;
    const bool found = in_base_ > 0 && known != members.end();
    if (own == own_.end()) return found ? &*known : nullptr;
    return found && known->id < own->first ? &*known : &own->second;
  };
  const Member* next = first(&id);
  return next ? next : first(nullptr);
}

const Member* MemberTable::at_address(const SocketAddress& gossip) const {
  const Member* found = nullptr;
  for_each_reachable([&](const Member& member) {
    if (member.info.gossip == gossip) found = &member;
  });
  return found;
}

}  // namespace weft::cluster
