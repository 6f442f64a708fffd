// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <memory>

#include "base/address.h"
#include "base/bytes.h"
#include "base/result.h"
#include "io/loop.h"

namespace weft::io {

// One request and one reply over a plain TCP connection of their own, each a u32 big-endian length
// and that many bytes. For what is too large for a datagram; the caller seals the bytes.

struct StreamLimits {
  size_t max_frame_bytes = 8 << 20;
  size_t max_connections = 64;  // of a server; more are closed at once
  Duration timeout = 10s;       // for a whole exchange
};

class StreamServer {
 public:
  // At most one call; does nothing when the connection is gone. Not calling it ends the connection
  // at its time-out. An empty reply closes the connection without a word: for forged requests.
  using Reply = std::function<void(Bytes reply)>;
  using Handler = std::function<void(const SocketAddress& from, Bytes request, Reply reply)>;
  struct Counters {
    uint64_t served = 0;
    uint64_t refused = 0;  // over max_connections
    uint64_t broken = 0;   // too long, too slow, or cut off
  };

  static Result<std::unique_ptr<StreamServer>> listen(Loop& loop, const SocketAddress& local,
                                                      Handler handler, StreamLimits limits = {});
  ~StreamServer();
  // Within the handler, instead of a reply: the connection stays open, in silence and without a
  // time-out, until the peer closes it: so it learns when this process is gone. At most 16, the
  // oldest gives way.
  void hold();
  SocketAddress local() const;
  const Counters& counters() const;

 private:
  struct State;
  explicit StreamServer(std::shared_ptr<State> state);
  std::shared_ptr<State> state_;
};

// Sends `request` and calls `done` once with the reply or the reason that there is none; never from
// within.
void stream_request(Loop& loop, const SocketAddress& to, ByteView request,
                    std::function<void(Result<Bytes>)> done, StreamLimits limits = {});

// Sends `request` to a server that holds the connection, and keeps it. `lost` is called once when
// it cannot be made in `limits.timeout` or has ended; never from within, nor after the destruction.
class HeldStream {
 public:
  HeldStream(Loop& loop, const SocketAddress& to, ByteView request, std::function<void()> lost,
             StreamLimits limits = {});
  ~HeldStream();
  HeldStream(const HeldStream&) = delete;

 private:
  struct State;
  std::shared_ptr<State> state_;
};

}  // namespace weft::io
