// SPDX-License-Identifier: Apache-2.0
#include "io/loop.h"

#include <sys/timerfd.h>

#include <algorithm>
#include <asio/io_context.hpp>
#include <asio/posix/stream_descriptor.hpp>
#include <asio/post.hpp>
#include <asio/signal_set.hpp>
#include <csignal>
#include <map>
#include <optional>
#include <utility>

#include "base/assert.h"
#include "base/fd.h"
#include "io/clock.h"

namespace weft::io {
namespace {

// A descriptor registered with asio once, whether it is watched for reading, writing or both. It is
// only borrowed: release() instead of close at the end.
struct Borrowed {
  Borrowed(asio::io_context& context, int number) : descriptor(context) {
    asio::error_code error;
    descriptor.assign(number, error);
    WEFT_ASSERT(!error);
  }
  ~Borrowed() { descriptor.release(); }
  asio::posix::stream_descriptor descriptor;
};

using TimerKey = std::pair<Instant, uint64_t>;

}  // namespace

struct LoopState {
  LoopState() : work(context.get_executor()) {}
  ~LoopState() {
    // Functions may own timers, which then look themselves up in `timers`.
    auto doomed = std::exchange(timers, {});
  }

  std::shared_ptr<Borrowed> borrow(int fd) {
    std::weak_ptr<Borrowed>& slot = borrowed[fd];
    auto found = slot.lock();
    if (!found) slot = found = std::make_shared<Borrowed>(context, fd);
    return found;
  }

  // Makes the kernel wake us at the first timer. A wake-up that comes too early because its timer
  // was cancelled costs less than a system call for every cancellation.
  void arm() {
    if (timers.empty() || timers.begin()->first.first >= armed_for) return;
    armed_for = timers.begin()->first.first;
    const auto ns = std::max<int64_t>(armed_for.since_start.count(), 1);
    itimerspec spec{};
    spec.it_value = {.tv_sec = ns / 1'000'000'000, .tv_nsec = ns % 1'000'000'000};
    const int done = timerfd_settime(timer_fd.get(), TFD_TIMER_ABSTIME, &spec, nullptr);
    WEFT_ASSERT(done == 0);
  }

  void fire_due() {
    uint64_t expirations;
    (void)!::read(timer_fd.get(), &expirations, sizeof(expirations));
    armed_for = Instant::never();
    // Timers made by the functions called here wait for the next round, so that a function that
    // re-arms itself with no delay cannot starve the sockets.
    const Instant now = clock_now();
    const uint64_t end = next_id;
    auto next = timers.begin();
    while (next != timers.end() && next->first.first <= now && !context.stopped()) {
      const TimerKey key = next->first;
      if (key.second < end) {
        const auto node = timers.extract(next);
        node.mapped()();
      }
      next = timers.upper_bound(key);  // the function may have changed the map
    }
    arm();
  }

  // Before `context`, which destroys functions at its end that may own timers and watches.
  std::map<int, std::weak_ptr<Borrowed>> borrowed;
  std::map<TimerKey, std::function<void()>> timers;
  uint64_t next_id = 1;
  Instant armed_for = Instant::never();
  asio::io_context context{1};
  asio::executor_work_guard<asio::io_context::executor_type> work;
  Fd timer_fd;
  Watch timer_watch;
  std::optional<asio::signal_set> signals;
};

struct WatchState : std::enable_shared_from_this<WatchState> {
  using Wait = asio::posix::stream_descriptor::wait_type;

  WatchState(Wait kind, std::shared_ptr<Borrowed> b, std::function<void()> f)
      : wait(kind), borrowed(std::move(b)), fn(std::move(f)) {}

  void start() {
    borrowed->descriptor.async_wait(wait, [self = shared_from_this()](asio::error_code) {
      // The wait is also cut short when the other watch of the descriptor ends.
      if (self->borrowed) self->call();
    });
  }

  void call() {
    calling = true;
    fn();
    calling = false;
    if (borrowed)
      start();
    else
      fn = nullptr;
  }

  void cancel() {
    borrowed.reset();
    // What the function owns goes now, not when the descriptor next becomes ready.
    if (!calling) fn = nullptr;
  }

  Wait wait;
  std::shared_ptr<Borrowed> borrowed;  // null: cancelled
  std::function<void()> fn;
  bool calling = false;
};

void Timer::cancel() {
  if (state_ == nullptr) return;
  // The function is destroyed after the timer is out of the map: it may own other timers.
  const auto node = std::exchange(state_, nullptr)->timers.extract({when_, id_});
}

bool Timer::armed() const { return state_ != nullptr && state_->timers.contains({when_, id_}); }

void Watch::cancel() {
  if (auto state = std::exchange(state_, nullptr)) state->cancel();
}

Loop::Loop() : state_(std::make_unique<LoopState>()) {
  state_->timer_fd = Fd(timerfd_create(CLOCK_BOOTTIME, TFD_NONBLOCK | TFD_CLOEXEC));
  WEFT_ASSERT(state_->timer_fd);
  state_->timer_watch =
      watch_read(state_->timer_fd.get(), [state = state_.get()] { state->fire_due(); });
}

Loop::~Loop() = default;

void Loop::run() {
  state_->context.run();
  // Only now, so that a stop() just before run() is not lost.
  state_->context.restart();
}

bool Loop::run_until(const std::function<bool()>& done, Duration timeout) {
  bool late = false;
  const Timer deadline = after(timeout, [&late] { late = true; });
  while (!late && !done() && state_->context.run_one() > 0) {
  }
  if (state_->context.stopped()) state_->context.restart();
  return done();
}

void Loop::stop() { state_->context.stop(); }

void Loop::post(std::function<void()> fn) { asio::post(state_->context, std::move(fn)); }

Timer Loop::at(Instant when, std::function<void()> fn) {
  Timer timer;
  timer.state_ = state_.get();
  timer.when_ = when;
  timer.id_ = state_->next_id++;
  state_->timers.emplace(TimerKey{when, timer.id_}, std::move(fn));
  state_->arm();
  return timer;
}

Timer Loop::after(Duration delay, std::function<void()> fn) {
  return at(now() + delay, std::move(fn));
}

Watch Loop::watch_read(int fd, std::function<void()> fn) {
  Watch watch;
  watch.state_ = std::make_shared<WatchState>(asio::posix::stream_descriptor::wait_read,
                                              state_->borrow(fd), std::move(fn));
  watch.state_->start();
  return watch;
}

Watch Loop::watch_write(int fd, std::function<void()> fn) {
  Watch watch;
  watch.state_ = std::make_shared<WatchState>(asio::posix::stream_descriptor::wait_write,
                                              state_->borrow(fd), std::move(fn));
  watch.state_->start();
  return watch;
}

void Loop::on_signal(std::function<void(int)> fn) {
  auto& signals = state_->signals;
  if (!signals) signals.emplace(state_->context, SIGTERM, SIGINT, SIGHUP);
  signals->cancel();
  signals->async_wait([this, fn = std::move(fn)](asio::error_code error, int number) {
    if (error) return;
    fn(number);
    on_signal(fn);
  });
}

Instant Loop::now() const { return clock_now(); }

WallTime Loop::wall_now() const { return clock_wall_now(); }

}  // namespace weft::io
