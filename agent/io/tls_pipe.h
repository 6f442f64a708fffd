// SPDX-License-Identifier: Apache-2.0
// For .cpp files that speak OpenSSL.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "io/loop.h"
#include "io/tls_session.h"

namespace weft::io {

// Moves bytes between a TLS connection and a local stream socket, both ways, until either ends.
// Each side is read only while the other takes what was read before.
class TlsPipe : public std::enable_shared_from_this<TlsPipe> {
 public:
  struct Callbacks {
    // The socket for a peer whose greeting was right.
    std::function<Result<Fd>()> local;
    // It ended, with the reason. Never from within start(). Not after close().
    std::function<void(const Error&)> on_end;
  };
  // We send `greeting` first; nothing is let through before the peer has sent the same.
  TlsPipe(Loop& loop, TlsSession session, std::string greeting, Callbacks callbacks);

  void start();
  void close();
  const PeerIdentity& peer() const { return session_.peer; }
  bool greeted() const { return greeted_; }

 private:
  void step();
  bool read_peer();
  bool decrypt();
  bool check_greeting();
  void read_local();
  void encrypt(std::string_view bytes);
  bool send_peer();
  bool send_local();
  void watch();
  void fail(const std::string& reason);

  Loop& loop_;
  TlsSession session_;
  std::string greeting_;
  Callbacks callbacks_;
  Fd local_;
  bool greeted_ = false;
  bool peer_ended_ = false;
  bool local_ended_ = false;
  std::string to_local_, to_peer_;
  Watch peer_read_, peer_write_, local_read_, local_write_;
  Timer deadline_;
};

}  // namespace weft::io
