// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <functional>
#include <utility>

#include "io/loop.h"

namespace weft::node {

// Work that many events ask for and that answers all of them at once. The first is answered at
// once; while it is asked for again and again it takes at most half of the thread's time, so
// that what costs little is done often and what costs much seldom.
class Pace {
 public:
  Pace(io::Loop& loop, std::function<void()> work) : loop_(loop), work_(std::move(work)) {}

  void soon() {
    if (timer_.armed()) return;
    timer_ = loop_.at(std::max(rested_, loop_.now()), [this] {
      const Instant begun = loop_.now();
      work_();
      const Instant done = loop_.now();
      rested_ = done + std::min<Duration>((done - begun) * rests, longest_rest);
    });
  }
  void cancel() { timer_.cancel(); }

  static constexpr int rests = 1;  // times as long as the work took

 private:
  static constexpr Duration longest_rest = 200ms;

  io::Loop& loop_;
  std::function<void()> work_;
  io::Timer timer_;
  Instant rested_;
};

}  // namespace weft::node
