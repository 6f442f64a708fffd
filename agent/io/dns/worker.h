// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/socket.h>

#include <array>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/rng.h"
#include "io/dns/counters.h"
#include "io/dns/forwarder.h"
#include "io/dns/poller.h"
#include "io/dns/server.h"

namespace weft::dns {

// Everything that the server's thread owns: the containers' sockets, their TCP connections, the
// forwarded queries.
class Worker {
 public:
  Worker(Poller& poller, const Mailbox<DnsView>& views, const DnsServerOptions& options,
         LiveCounters& counters, uint64_t seed);

  void add(std::string key, DnsSockets sockets, Asker asker);
  void update(const std::string& key, Asker asker);
  void remove(const std::string& key);
  void set_upstreams(std::vector<SocketAddress> upstreams);

  // When on_timer is due.
  Instant next_deadline() const;
  void on_timer(Instant now);
  // Before a batch of events: takes the newest view.
  void begin(Instant now);
  void on_event(Token token, uint32_t events);
  // After a batch: sends what TCP connections have got meanwhile.
  void end();

 private:
  struct Container {
    uint64_t id = 0;
    DnsSockets sockets;
    Asker asker;
    size_t connections = 0;
  };
  struct Connection {
    uint64_t id = 0;
    uint64_t container = 0;
    Fd socket;
    Bytes in;
    Bytes out;
    size_t pending = 0;  // forwarded queries
    bool end_of_input = false;
    uint32_t interest = 0;
    Instant active;  // last whole query, or bytes taken by the client
  };
  static constexpr size_t batch_size = 32;
  // Longer queries are nobody's: a question and an OPT with room for options.
  static constexpr size_t query_size = 4096;

  void serve_udp(Container& container);
  void accept_connections(Container& container);
  bool accept_one(Container& container);
  void read_connection(Connection& connection);
  // Answers what is complete, sends, and closes what is over.
  void advance(Connection& connection);
  bool answer_frames(Connection& connection);
  bool flush(Connection& connection);
  void set_interest(Connection& connection);
  void close(uint64_t connection);
  // `answer` is filled for Action::answer only; a forwarded query's comes through deliver().
  Decision::Action handle(const Container& container, ByteView packet, Transport transport,
                          const Client& client, Bytes& answer);
  void deliver(const Client& client, ByteView answer);

  Poller& poller_;
  const Mailbox<DnsView>& views_;
  const DnsServerOptions& options_;
  LiveCounters& counters_;
  Rng rng_;
  Forwarder forwarder_;
  std::shared_ptr<const DnsView> view_;
  Instant now_;
  Instant next_sweep_ = Instant::never();
  uint64_t next_id_ = 1;
  std::unordered_map<std::string, uint64_t> ids_;
  std::unordered_map<uint64_t, std::unique_ptr<Container>> containers_;
  std::unordered_map<uint64_t, std::unique_ptr<Connection>> connections_;
  std::vector<uint64_t> touched_;  // connections that got an answer outside their own events
  Fd spare_;                       // given up to refuse a connection when descriptors run out

  struct Batch {
    std::array<std::array<uint8_t, query_size>, batch_size> queries;
    std::array<sockaddr_in, batch_size> peers;
    std::array<iovec, batch_size> in;
    std::array<mmsghdr, batch_size> received;
    std::array<Bytes, batch_size> answers;
    std::array<iovec, batch_size> out;
    std::array<mmsghdr, batch_size> sent;
  };
  std::unique_ptr<Batch> batch_;
};

}  // namespace weft::dns
