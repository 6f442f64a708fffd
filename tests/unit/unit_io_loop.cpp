// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "base/fd.h"
#include "io/loop.h"

using namespace weft;
using namespace weft::io;

namespace {

struct Pair {
  Pair() {
    int fds[2];
    REQUIRE(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) == 0);
    a.reset(fds[0]);
    b.reset(fds[1]);
  }
  Fd a, b;
};

}  // namespace

TEST_CASE("timers fire in the order of their instants, and not before them") {
  Loop loop;
  std::string order;
  const Instant start = loop.now();
  const Timer c = loop.at(start + 3ms, [&] { order += 'c'; });
  const Timer a = loop.at(start + 1ms, [&] { order += 'a'; });
  const Timer b = loop.at(start + 2ms, [&] {
    CHECK(loop.now() >= start + 2ms);
    order += 'b';
  });
  const Timer d = loop.at(start + 3ms, [&] { order += 'd'; });
  CHECK(loop.run_until([&] { return order.size() == 4; }, 2s));
  CHECK(order == "abcd");
  CHECK(!a.armed());
}

TEST_CASE("a cancelled timer is never called, not even by one that is due at the same instant") {
  Loop loop;
  bool called = false, done = false;
  const Instant when = loop.now() + 1ms;
  Timer victim;
  const Timer first = loop.at(when, [&] { victim = Timer(); });
  victim = loop.at(when, [&] { called = true; });
  const Timer last = loop.at(when + 1ms, [&] { done = true; });
  CHECK(loop.run_until([&] { return done; }, 2s));
  CHECK(!called);
}

TEST_CASE("a timer may replace itself inside its own function") {
  Loop loop;
  int count = 0;
  Timer timer;
  std::function<void()> tick = [&] {
    if (++count < 100) timer = loop.after(0ns, tick);
  };
  timer = loop.after(0ns, tick);
  CHECK(loop.run_until([&] { return count == 100; }, 2s));
}

TEST_CASE("a timer that re-arms itself without delay does not starve the sockets") {
  Loop loop;
  Pair pair;
  bool readable = false;
  Timer timer;
  std::function<void()> tick = [&] { timer = loop.after(-1s, tick); };
  tick();
  const Watch watch = loop.watch_read(pair.a.get(), [&] { readable = true; });
  REQUIRE(write(pair.b.get(), "x", 1) == 1);
  CHECK(loop.run_until([&] { return readable; }, 2s));
}

TEST_CASE("functions posted from other threads run on the loop's thread, in each thread's order") {
  Loop loop;
  constexpr int threads = 4, each = 2000;
  std::vector<std::vector<int>> seen(threads);
  int total = 0;
  bool right_thread = true;
  const auto loop_thread = std::this_thread::get_id();
  std::vector<std::jthread> posters;
  for (int t = 0; t < threads; ++t) {
    posters.emplace_back([&, t] {
      for (int i = 0; i < each; ++i) {
        loop.post([&, t, i] {
          right_thread = right_thread && std::this_thread::get_id() == loop_thread;
          seen[t].push_back(i);
          if (++total == threads * each) loop.stop();
        });
      }
    });
  }
  loop.run();
  CHECK(right_thread);
  for (const auto& numbers : seen) {
    REQUIRE(numbers.size() == each);
    for (int i = 0; i < each; ++i) REQUIRE(numbers[i] == i);
  }
}

TEST_CASE("a watch calls for as long as there is something to read, and stops when destroyed") {
  Loop loop;
  Pair pair;
  std::string got;
  Watch watch = loop.watch_read(pair.a.get(), [&] {
    char c;
    REQUIRE(read(pair.a.get(), &c, 1) == 1);  // one byte of many: must be called again
    got += c;
    if (got.size() == 3) watch = Watch();
  });
  REQUIRE(write(pair.b.get(), "abcdef", 6) == 6);
  bool late = false;
  CHECK(loop.run_until([&] { return got.size() == 3; }, 2s));
  const Timer timer = loop.after(5ms, [&] { late = true; });
  CHECK(loop.run_until([&] { return late; }, 2s));
  CHECK(got == "abc");
}

TEST_CASE("one descriptor is watched for reading and writing, and either watch ends alone") {
  Loop loop;
  Pair pair;
  bool writable = false;
  int reads = 0;
  Watch reader = loop.watch_read(pair.a.get(), [&] {
    char c;
    REQUIRE(read(pair.a.get(), &c, 1) == 1);
    ++reads;
  });
  std::optional<Watch> writer = loop.watch_write(pair.a.get(), [&] {
    writable = true;
    writer.reset();
  });
  CHECK(loop.run_until([&] { return writable; }, 2s));
  REQUIRE(write(pair.b.get(), "x", 1) == 1);
  CHECK(loop.run_until([&] { return reads == 1; }, 2s));
}

TEST_CASE("a cancelled watch lets go of what its function owns at once") {
  Loop loop;
  Pair pair;
  auto owned = std::make_shared<int>(1);
  Watch watch = loop.watch_read(pair.a.get(), [owned] {});
  CHECK(owned.use_count() == 2);
  watch.cancel();
  CHECK(owned.use_count() == 1);
}

TEST_CASE("signals reach the callback, again and again") {
  Loop loop;
  std::vector<int> got;
  loop.on_signal([&](int number) { got.push_back(number); });
  for (const int number : {SIGHUP, SIGTERM, SIGINT, SIGHUP}) {
    const size_t before = got.size();
    REQUIRE(kill(getpid(), number) == 0);
    REQUIRE(loop.run_until([&] { return got.size() > before; }, 2s));
    CHECK(got.back() == number);
  }
}

TEST_CASE("stop() just before run() is not lost, and the loop can run again") {
  Loop loop;
  int count = 0;
  loop.stop();
  loop.post([&] { ++count; });
  loop.run();
  CHECK(count == 0);
  loop.post([&] { loop.stop(); });
  loop.run();
  CHECK(count == 1);
}

TEST_CASE("a loop that ends with timers and posts pending destroys what they own") {
  auto owned = std::make_shared<int>(1);
  {
    Loop loop;
    auto timer = std::make_shared<Timer>();
    *timer = loop.after(1h, [owned] {});
    loop.post([owned, timer] {});
    Timer kept = loop.after(1h, [owned, timer] {});
    CHECK(owned.use_count() > 1);
  }
  CHECK(owned.use_count() == 1);
}
