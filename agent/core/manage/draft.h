// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <tuple>

#include "base/instant.h"
#include "base/rng.h"
#include "core/manage/state.h"

namespace weft::manage {

// What a decision would change: a layer over the acknowledged state. Reads see the changes;
// nothing is real before the store has taken the transaction.
class Draft {
 public:
  Draft(const ClusterState& base, WallTime now, Rng& rng) : base_(base), now_(now), rng_(rng) {}

  WallTime now() const { return now_; }
  const ClusterState& base() const { return base_; }

  // Null if there is none. Valid until the same object is put or removed.
  template <typename T>
  const T* find(const std::string& id) const {
    const auto& changes = changed<T>();
    if (const auto found = changes.find(id); found != changes.end())
      return found->second ? &*found->second : nullptr;
    const auto& table = base_.table<T>();
    const auto found = table.find(id);
    return found == table.end() ? nullptr : &found->second;
  }

  template <typename T>
  void put(T value) {
    std::string id = key_of(value);
    changed<T>().insert_or_assign(std::move(id), std::optional<T>(std::move(value)));
  }

  template <typename T>
  void remove(const std::string& id) {
    if (base_.table<T>().count(id) != 0)
      changed<T>().insert_or_assign(id, std::nullopt);
    else
      changed<T>().erase(id);
  }

  // All objects of a kind in order of id. Pointers live as those of `find`.
  template <typename T>
  std::vector<const T*> all() const {
    std::vector<const T*> out;
    const auto& table = base_.table<T>();
    const auto& changes = changed<T>();
    out.reserve(table.size() + changes.size());
    auto old = table.begin();
    auto change = changes.begin();
    while (old != table.end() || change != changes.end()) {
      const bool take_old =
          change == changes.end() || (old != table.end() && old->first < change->first);
      if (take_old) {
        out.push_back(&(old++)->second);
        continue;
      }
      if (old != table.end() && old->first == change->first) ++old;
      if (change->second) out.push_back(&*change->second);
      ++change;
    }
    return out;
  }

  const api::Cluster& cluster() const {
    const auto* found = find<api::Cluster>(cluster_key);
    WEFT_ASSERT(found != nullptr);
    return *found;
  }

  // Something changed, and nothing but endpoints and their addresses.
  bool only_endpoints_changed() const;

  // A fresh id of 16 hex digits that no object has.
  std::string new_id();

  // What to commit; no writes if nothing differs from the base.
  Transaction finish(std::string operation_id, std::string result) const;

 private:
  template <typename T>
  using Changes = std::map<std::string, std::optional<T>>;
  template <typename T>
  Changes<T>& changed() {
    return std::get<Changes<T>>(changes_);
  }
  template <typename T>
  const Changes<T>& changed() const {
    return std::get<Changes<T>>(changes_);
  }

  const ClusterState& base_;
  WallTime now_;
  Rng& rng_;
  std::tuple<Changes<api::Cluster>, Changes<api::Node>, Changes<api::Network>,
             Changes<api::Service>, Changes<api::Task>, Changes<api::Endpoint>,
             Changes<api::AddressLease>, Changes<api::AddressCursor>, Changes<api::RemovedNode>>
      changes_;
};

}  // namespace weft::manage
