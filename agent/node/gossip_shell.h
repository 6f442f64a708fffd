// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/result.h"
#include "core/cluster/gossip.h"
#include "io/loop.h"
#include "io/stream.h"
#include "io/udp_socket.h"

namespace weft::io {
class Sealer;
}

namespace weft::node {

struct GossipKeys {
  struct Key {
    uint32_t epoch = 0;
    std::string secret;  // 32 bytes
    bool operator==(const Key&) const = default;
  };
  std::vector<Key> keys;   // at most three
  uint32_t seal_with = 0;  // epoch
  bool operator==(const GossipKeys&) const = default;
};

// The sockets around the gossip core: datagrams and streams, sealed and opened.
class GossipShell {
 public:
  using OnEvents = std::function<void(std::vector<cluster::Event>)>;

  // Listens on `local`, UDP and TCP. `on_events` is called on the loop, never from within a call.
  static Result<std::unique_ptr<GossipShell>> start(io::Loop& loop, const SocketAddress& local,
                                                    cluster::Gossip::Self self,
                                                    const GossipKeys& keys, OnEvents on_events);
  ~GossipShell();

  // Calls on the core must be followed by flush(); several may share one.
  cluster::Gossip& core() { return gossip_; }
  Instant now() const { return loop_.now(); }
  void flush();
  // Opens with all keys, seals with one, and tells the other members which it holds: how far a
  // rotation has come is core().key_progress(), and Event::keys_staged and keys_sealing. What no
  // key opens is dropped and counted.
  Result<> set_keys(const GossipKeys& keys);
  // Datagrams and stream parts of a key epoch that this node does not hold: it may have missed
  // rotations.
  uint64_t unknown_key() const;
  // Packets of these nodes are dropped.
  void revoke(const std::set<cluster::NodeId>& removed);

 private:
  GossipShell(io::Loop& loop, cluster::Gossip gossip, OnEvents on_events);
  std::optional<Bytes> seal_stream(ByteView plaintext);
  struct Stream {
    cluster::NodeId sender;
    Bytes bytes;
  };
  std::optional<Stream> open_stream(ByteView sealed);
  void on_datagram(const SocketAddress& from, ByteView bytes);
  void on_stream(const SocketAddress& from, Bytes request, io::StreamServer::Reply reply);
  void start_stream(cluster::StreamRequest request);
  void watch(const cluster::WatchRequest& request);
  void arm();

  io::Loop& loop_;
  cluster::Gossip gossip_;
  OnEvents on_events_;
  GossipKeys keys_;
  // Streams have a sealer of their own, so that their many packets do not push datagrams that are
  // under way out of the replay window.
  std::unique_ptr<io::Sealer> datagram_sealer_, stream_sealer_;
  std::unique_ptr<io::UdpSocket> socket_;
  std::unique_ptr<io::StreamServer> streams_;
  std::unique_ptr<io::HeldStream> watch_;
  io::Timer timer_;
  Instant armed_for_ = Instant::never();
  std::shared_ptr<GossipShell*> alive_;
};

}  // namespace weft::node
