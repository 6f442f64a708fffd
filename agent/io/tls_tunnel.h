// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "io/tls.h"

namespace weft::io {

// Carries the connections of a library that knows only plain stream sockets to its peers, over TLS
// and one of our ALPN names. A thread of its own moves the bytes, so that neither side waits for
// what the state's owner has to do.
class TlsTunnel {
 public:
  struct Settings {
    std::string protocol;               // ALPN
    std::string peer_role = "manager";  // what those we connect to must be
    // Both are called on the tunnel's thread and may be empty.
    std::function<void(const Error&)> on_refused;  // an incoming connection
    std::function<void()> on_lost;                 // an established one ended
  };
  static Result<std::unique_ptr<TlsTunnel>> start(Settings settings, const TlsIdentity& identity);
  // Ends all connections. Nobody may be in connect() any more.
  ~TlsTunnel();

  // Until then nothing is connected or accepted. Both sides show the `greeting`; a peer with
  // another one is refused. `local` gives the socket for an incoming connection; it is called on
  // the tunnel's thread and must not block.
  void open(const std::string& greeting, std::function<Result<Fd>()> local);
  // Blocks until the peer has accepted TLS, tries again until `timeout` is over, or the peer has
  // refused us. From any thread.
  Result<Fd> connect(const SocketAddress& to, Duration timeout = 1s);
  // What RpcServer::add_protocol hands over, from within that call.
  void accept(std::unique_ptr<TlsStream> stream);
  // For connections from now on.
  Result<> set_identity(const TlsIdentity& identity);
  // Ends the connections with this node; empty: all.
  void drop(const std::string& node_id);

 private:
  struct State;
  explicit TlsTunnel(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace weft::io
