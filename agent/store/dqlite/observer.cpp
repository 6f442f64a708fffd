// SPDX-License-Identifier: Apache-2.0
#include "store/dqlite/observer.h"

namespace weft::store::dqlite {
namespace {

constexpr auto interval = 100ms;
constexpr auto hurried_interval = 10ms;
// The longest election.
constexpr auto hurry_for = 2s;
constexpr auto answer_timeout = 1s;

}  // namespace

Observer::Observer(io::Loop& loop, const LocalNode& node, uint64_t self, int stop, Changed changed)
    : loop_(loop), node_(node), self_(self), stop_(stop), changed_(std::move(changed)) {}

std::optional<Leadership> Observer::ask() {
  if (!client_) {
    auto socket = node_.connect();
    if (!socket) return std::nullopt;
    client_.emplace(std::move(*socket), stop_);
    client_->set_timeout(answer_timeout);
    if (!client_->greet()) {
      client_.reset();
      return std::nullopt;
    }
  }
  auto leader = client_->leader();
  if (!leader) {
    client_.reset();
    return std::nullopt;
  }
  return Leadership{leader->id == self_, leader->id, leader->address};
}

void Observer::poll() {
  const Leadership now = ask().value_or(Leadership{});
  tell(now);
  const bool often = now.leader == 0 || loop_.now() < hurry_until_;
  timer_ = loop_.after(often ? Duration(hurried_interval) : interval, [this] { poll(); });
}

void Observer::tell(const Leadership& now) {
  if (told_ == now) return;
  told_ = now;
  changed_(now);
}

void Observer::hurry() {
  hurry_until_ = loop_.now() + hurry_for;
  poll();
}

void Observer::doubt() {
  if (told_ && told_->self) tell(Leadership{});
  hurry();
}

}  // namespace weft::store::dqlite
