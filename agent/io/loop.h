// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <memory>

#include "base/instant.h"

namespace weft::io {

class Loop;
struct LoopState;
struct WatchState;

// A pending call of Loop::at or Loop::after. Destroying or re-assigning it cancels the call; after
// cancel() the function is never called. May be destroyed inside any callback, its own included.
class [[nodiscard]] Timer {
 public:
  Timer() = default;
  Timer(Timer&& other) noexcept { swap(other); }
  Timer& operator=(Timer&& other) noexcept {
    Timer(std::move(other)).swap(*this);
    return *this;
  }
  ~Timer() { cancel(); }

  void cancel();
  // True until the function has been called or cancelled.
  bool armed() const;

 private:
  friend class Loop;
  void swap(Timer& other) noexcept {
    std::swap(state_, other.state_);
    std::swap(when_, other.when_);
    std::swap(id_, other.id_);
  }

  LoopState* state_ = nullptr;
  Instant when_;
  uint64_t id_ = 0;
};

// Interest in a file descriptor. Destroying it ends the interest; destroy it before the descriptor
// is closed. May be destroyed inside any callback, its own included.
class [[nodiscard]] Watch {
 public:
  Watch() = default;
  Watch(Watch&& other) noexcept = default;
  Watch& operator=(Watch&& other) noexcept {
    if (this == &other) return *this;
    cancel();
    state_ = std::move(other.state_);
    return *this;
  }
  ~Watch() { cancel(); }

  void cancel();
  bool active() const { return state_ != nullptr; }

 private:
  friend class Loop;
  std::shared_ptr<WatchState> state_;
};

// The event loop of the thread that owns the state. Everything but post() and stop() belongs to the
// thread that calls run() (or to the one that sets things up before). The loop outlives its timers
// and watches. Functions are called one at a time, never from within the call that registers them.
class Loop {
 public:
  Loop();
  ~Loop();
  Loop(const Loop&) = delete;
  Loop& operator=(const Loop&) = delete;

  // Calls functions until stop(). May be called again afterwards.
  void run();
  // Calls functions until `done()` is true, asked after each, or `timeout` is over. Returns the
  // last answer of `done`.
  bool run_until(const std::function<bool()>& done, Duration timeout);
  // Makes run() or run_until() return, or the next one if none runs. From any thread.
  void stop();

  // Calls `fn` soon on the loop's thread, in the order of the calls. From any thread.
  void post(std::function<void()> fn);

  // Calls `fn` once, not before `when`. Timers of the same instant fire in the order they were
  // made.
  Timer at(Instant when, std::function<void()> fn);
  Timer after(Duration delay, std::function<void()> fn);

  // Calls `fn` whenever `fd` is readable (or has an error or end of file): level-triggered, so `fn`
  // may read as much as it likes. At most one read and one write watch per descriptor.
  Watch watch_read(int fd, std::function<void()> fn);
  Watch watch_write(int fd, std::function<void()> fn);

  // Calls `fn(signal)` for SIGTERM, SIGINT and SIGHUP instead of their default action, for as long
  // as the loop lives.
  void on_signal(std::function<void(int)> fn);

  // See clock.h.
  Instant now() const;
  WallTime wall_now() const;

 private:
  std::unique_ptr<LoopState> state_;
};

}  // namespace weft::io
