// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <mutex>
#include <utility>

namespace weft {

// Hands immutable snapshots from the thread that owns the state to another: the newest wins. The
// only place in the program with a mutex.
template <typename T>
class Mailbox {
 public:
  void put(std::shared_ptr<const T> value) {
    std::lock_guard lock(mutex_);
    value_ = std::move(value);
  }
  // The newest snapshot, or null before the first.
  std::shared_ptr<const T> get() const {
    std::lock_guard lock(mutex_);
    return value_;
  }

 private:
  mutable std::mutex mutex_;
  std::shared_ptr<const T> value_;
};

}  // namespace weft
