// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/address.h"
#include "base/instant.h"
#include "base/mailbox.h"
#include "base/result.h"
#include "core/dns/resolve.h"
#include "core/dns/view.h"
#include "io/dns/sockets.h"

namespace weft::dns {

struct DnsServerOptions {
  Duration try_timeout = 2s;  // one upstream, one attempt
  // A container's resolver waits 5 s before it asks again: later answers help nobody.
  Duration total_timeout = 4500ms;
  size_t max_forwards = 1024;
  size_t max_forwards_per_container = 256;
  Duration tcp_idle_timeout = 10s;
  size_t max_tcp_connections_per_container = 64;
};

// Since the start, all containers together.
struct DnsCounters {
  uint64_t queries = 0;
  uint64_t answered = 0;   // by this node
  uint64_t forwarded = 0;  // given to an upstream
  uint64_t failed = 0;     // SERVFAIL: no upstream, all failed, too many at once, no view yet
  uint64_t dropped = 0;    // not a query, or no room to answer
  uint64_t truncated = 0;  // answers with TC
  uint64_t tcp_connections = 0;
  uint64_t tcp_refused = 0;  // over the connection cap or out of file descriptors
  // Now.
  uint64_t forwards_pending = 0;
  uint64_t tcp_open = 0;
  uint64_t containers = 0;
};

// Answers the containers of this node: one thread serves all their sockets. Everything that is not
// the cluster's own is asked of the node's resolvers, through sockets of the namespace that start()
// is called in.
class DnsServer {
 public:
  // `views` outlives the server; until its first view, every query gets SERVFAIL (forwarding
  // without one would leak internal names).
  static Result<std::unique_ptr<DnsServer>> start(const Mailbox<DnsView>& views,
                                                  DnsServerOptions options = {});
  ~DnsServer();  // stops the thread and closes all sockets
  DnsServer(const DnsServer&) = delete;
  DnsServer& operator=(const DnsServer&) = delete;

  // The calls below return at once and take effect in order; from any thread. `key` is the
  // caller's name of the container; an add with a known key replaces it.
  void add(std::string key, DnsSockets sockets, Asker asker);
  void update(std::string key, Asker asker);
  void remove(std::string key);
  // In order of preference; 127.0.0.11:53 (that is us) and addresses that cannot be asked (none,
  // multicast) are left out.
  void set_upstreams(std::vector<SocketAddress> upstreams);

  DnsCounters counters() const;

 private:
  struct Shared;
  explicit DnsServer(std::unique_ptr<Shared> shared);
  std::unique_ptr<Shared> shared_;
};

}  // namespace weft::dns
