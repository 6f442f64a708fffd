// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <netinet/in.h>

#include <array>
#include <functional>
#include <memory>
#include <set>
#include <unordered_map>
#include <vector>

#include "base/bytes.h"
#include "io/dns/counters.h"
#include "io/dns/poller.h"
#include "io/dns/server.h"

namespace weft::dns {

// Where a forwarded query came from.
struct Client {
  uint64_t container = 0;
  uint64_t connection = 0;  // 0: a UDP query from `peer`
  sockaddr_in peer{};
};

// Asks the node's resolvers. Every try has its own socket, and so a source port of the kernel's
// choice, and an id from the kernel's generator; an answer counts only if it comes from the server
// asked, with that id and the same question. Belongs to the server's thread.
class Forwarder {
 public:
  // Called once for each query, maybe before forward() returns. The answer has the client's id.
  using Reply = std::function<void(const Client&, ByteView)>;

  Forwarder(Poller& poller, const DnsServerOptions& options, LiveCounters& counters, Reply reply);
  ~Forwarder();

  void set_upstreams(std::vector<SocketAddress> upstreams);
  // `packet` is a query that resolve() wants forwarded.
  void forward(Instant now, const Client& client, ByteView packet);
  void on_ready(Instant now, uint64_t id);
  void on_timer(Instant now);
  // Instant::never() if nothing is pending.
  Instant next_deadline() const;
  // Forgets a container's queries, without replies.
  void cancel(uint64_t container);

 private:
  struct Pending;
  using Upstreams = std::vector<SocketAddress>;

  void try_next(Instant now, Pending& pending);
  bool open_try(Pending& pending, const SocketAddress& upstream);
  void arm(Pending& pending, Instant deadline);
  void read_datagrams(Instant now, Pending& pending);
  void advance_stream(Instant now, Pending& pending);
  enum class Stream { waiting, answered, broken };
  Stream step_stream(Pending& pending);
  // True if `answer` settled the query or the try; `pending` may be gone then.
  bool take_answer(Instant now, Pending& pending, Bytes answer);
  void try_failed(Instant now, Pending& pending);
  void finish(Pending& pending, Bytes answer);
  void give_up(Pending& pending);
  void erase(uint64_t id);
  uint16_t random_id();

  Poller& poller_;
  const DnsServerOptions& options_;
  LiveCounters& counters_;
  Reply reply_;
  std::shared_ptr<const Upstreams> upstreams_ = std::make_shared<Upstreams>();
  // Where new queries start: not at a server that was silent a moment ago, or each would wait.
  size_t first_ = 0;
  Instant first_until_;
  std::unordered_map<uint64_t, std::unique_ptr<Pending>> pending_;
  std::unordered_map<uint64_t, size_t> per_container_;
  std::set<std::pair<Instant, uint64_t>> deadlines_;
  uint64_t next_id_ = 1;
  std::array<uint16_t, 128> random_;
  size_t random_left_ = 0;
  Bytes buffer_;
};

}  // namespace weft::dns
