// SPDX-License-Identifier: Apache-2.0
#include "io/dns/server.h"

#include <sys/eventfd.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <thread>

#include "io/dns/commands.h"
#include "io/dns/worker.h"

namespace weft::dns {

namespace {

struct Command {
  enum class Kind { add, update, remove, upstreams, stop };
  Kind kind = Kind::stop;
  std::string key;
  DnsSockets sockets;
  Asker asker;
  std::vector<SocketAddress> upstreams;
};

Instant monotonic_now() {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return {std::chrono::seconds(now.tv_sec) + std::chrono::nanoseconds(now.tv_nsec)};
}

// Rounded up, so that the loop does not spin through the last millisecond.
int milliseconds_until(Instant deadline, Instant now) {
  if (deadline == Instant::never()) return -1;
  const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - now).count();
  return int(std::clamp<int64_t>(left, 0, 60'000));
}

}  // namespace

struct DnsServer::Shared {
  Shared(const Mailbox<DnsView>& views, DnsServerOptions options, Fd epoll, Fd wake, uint64_t seed)
      : options(options),
        wake(std::move(wake)),
        poller(std::move(epoll)),
        worker(poller, views, this->options, counters, seed) {}

  void send(Command command) {
    commands.push(std::move(command));
    const uint64_t one = 1;
    // Can only fail when the counter is full, and then the thread is awake.
    [[maybe_unused]] const ssize_t written = ::write(wake.get(), &one, sizeof one);
  }

  // False for stop.
  bool apply(Command command) {
    switch (command.kind) {
      case Command::Kind::add:
        worker.add(std::move(command.key), std::move(command.sockets), std::move(command.asker));
        return true;
      case Command::Kind::update:
        worker.update(command.key, std::move(command.asker));
        return true;
      case Command::Kind::remove:
        worker.remove(command.key);
        return true;
      case Command::Kind::upstreams:
        worker.set_upstreams(std::move(command.upstreams));
        return true;
      case Command::Kind::stop:
        return false;
    }
    return true;
  }

  bool apply_commands() {
    uint64_t count = 0;
    [[maybe_unused]] const ssize_t got = ::read(wake.get(), &count, sizeof count);
    for (Command& command : commands.take())
      if (!apply(std::move(command))) return false;
    return true;
  }

  void run() {
    std::array<epoll_event, 64> events;
    for (;;) {
      const int timeout = milliseconds_until(worker.next_deadline(), monotonic_now());
      const int ready = poller.wait(events.data(), int(events.size()), timeout);
      WEFT_ASSERT(ready >= 0 || errno == EINTR);
      const Instant now = monotonic_now();
      worker.begin(now);
      for (int i = 0; i < ready; ++i) {
        const Token token = Token::unpack(events[size_t(i)].data.u64);
        if (token.source != Source::wake)
          worker.on_event(token, events[size_t(i)].events);
        else if (!apply_commands())
          return;
      }
      worker.on_timer(now);
      worker.end();
    }
  }

  DnsServerOptions options;
  LiveCounters counters;
  CommandQueue<Command> commands;
  Fd wake;
  Poller poller;
  Worker worker;
  std::thread thread;
};

DnsServer::DnsServer(std::unique_ptr<Shared> shared) : shared_(std::move(shared)) {}

Result<std::unique_ptr<DnsServer>> DnsServer::start(const Mailbox<DnsView>& views,
                                                    DnsServerOptions options) {
  Fd epoll(::epoll_create1(EPOLL_CLOEXEC));
  if (!epoll) return errno_error("epoll_create1");
  Fd wake(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
  if (!wake) return errno_error("eventfd");
  uint64_t seed = 0;
  if (::getrandom(&seed, sizeof seed, 0) != ssize_t(sizeof seed)) return errno_error("getrandom");
  const int wake_number = wake.get();
  auto shared = std::make_unique<Shared>(views, options, std::move(epoll), std::move(wake), seed);
  if (!shared->poller.add(wake_number, EPOLLIN, {Source::wake, 0})) return errno_error("epoll_ctl");
  shared->thread = std::thread([shared = shared.get()] { shared->run(); });
  return std::unique_ptr<DnsServer>(new DnsServer(std::move(shared)));
}

DnsServer::~DnsServer() {
  shared_->send({.kind = Command::Kind::stop});
  shared_->thread.join();
}

void DnsServer::add(std::string key, DnsSockets sockets, Asker asker) {
  shared_->send({.kind = Command::Kind::add,
                 .key = std::move(key),
                 .sockets = std::move(sockets),
                 .asker = std::move(asker)});
}

void DnsServer::update(std::string key, Asker asker) {
  shared_->send({.kind = Command::Kind::update, .key = std::move(key), .asker = std::move(asker)});
}

void DnsServer::remove(std::string key) {
  shared_->send({.kind = Command::Kind::remove, .key = std::move(key)});
}

void DnsServer::set_upstreams(std::vector<SocketAddress> upstreams) {
  shared_->send({.kind = Command::Kind::upstreams, .upstreams = std::move(upstreams)});
}

DnsCounters DnsServer::counters() const { return shared_->counters.snapshot(); }

}  // namespace weft::dns
