// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <variant>
#include <vector>

#include "base/address.h"
#include "base/bytes.h"
#include "base/fd.h"
#include "base/result.h"
#include "io/loop.h"
#include "io/pki.h"

namespace weft::io {

// What a node shows to others, and whom it trusts.
struct TlsIdentity {
  std::string ca_pem;
  std::string certificate_pem;
  std::string key_pem;
};

struct PeerIdentity {
  bool authenticated = false;  // showed a valid certificate of our cluster
  std::string node_id;
  std::string role;  // "worker" or "manager"
  std::string cluster_id;
  SocketAddress address;
};

// Settings shared by connections, immutable. TLS 1.3 only, no session tickets.
class TlsContext {
 public:
  struct State;

  // Clients may come without a certificate; one that they show must be valid. `protocols` are the
  // ALPN names that are served; a client that wants none of them is refused.
  static Result<std::shared_ptr<const TlsContext>> server(const TlsIdentity& identity,
                                                          std::vector<std::string> protocols);
  // With an identity the server must have a certificate of our CA and cluster. With the digest of a
  // CA (a node that is about to join) the server must send that CA in its chain, and we show no
  // certificate. `role`: what the server must be; empty: anything.
  static Result<std::shared_ptr<const TlsContext>> client(
      const std::variant<TlsIdentity, Digest>& trust, const std::string& protocol,
      const std::string& role = "manager");

  explicit TlsContext(std::unique_ptr<State> state);
  ~TlsContext();
  const State& state() const { return *state_; }

 private:
  std::unique_ptr<State> state_;
};

struct TlsSession;

// One TLS connection on the loop. May be destroyed inside its callbacks. Nothing is called after
// close() or the destructor.
class TlsStream {
 public:
  struct State;
  struct Callbacks {
    std::function<void()> on_open;  // handshake done: peer() and protocol() are known
    std::function<void(ByteView)> on_data;
    std::function<void(const Error&)> on_close;  // it ended, with the reason; not for our close()
  };

  static std::unique_ptr<TlsStream> accept(Loop& loop, Fd fd,
                                           std::shared_ptr<const TlsContext> context,
                                           Callbacks callbacks, Duration handshake_timeout);
  static Result<std::unique_ptr<TlsStream>> connect(Loop& loop, const SocketAddress& to,
                                                    std::shared_ptr<const TlsContext> context,
                                                    Callbacks callbacks,
                                                    Duration handshake_timeout);
  ~TlsStream();

  // For whom a connection is handed to; may be called inside the callbacks that it replaces.
  void set_callbacks(Callbacks callbacks);
  // Queues what the kernel does not take at once. Only after on_open.
  void write(ByteView bytes);
  // Bytes that wait for a slow peer.
  size_t queued_bytes() const;
  // Ends the connection in good order, as far as that works without waiting.
  void close();
  bool is_open() const;
  const PeerIdentity& peer() const;
  const std::string& protocol() const;
  // Takes the open connection out, as it is; this stream is closed then and calls nothing more. May
  // be called inside on_open.
  TlsSession release();

 private:
  explicit TlsStream(std::shared_ptr<State> state);
  std::shared_ptr<State> state_;
};

}  // namespace weft::io
