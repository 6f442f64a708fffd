// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <variant>

#include "base/address.h"
#include "base/result.h"
#include "io/loop.h"
#include "io/tls.h"

namespace weft::io {

// weft-rpc: TLS 1.3, ALPN "weft-rpc"; then frames both ways: u32 big-endian length, weft.api.Frame.
// Either side may call the other. The server speaks first, with a frame of id 0: empty, or the
// error for which it refuses the client; so a client knows that it was accepted.

inline constexpr std::string_view rpc_protocol = "weft-rpc";

struct RpcLimits {
  size_t max_frame_bytes = 16 << 20;
  // From peers without a certificate, who only ever send a join request.
  size_t max_frame_bytes_unauthenticated = 64 << 10;
  // Waiting for a slow peer: beyond it calls fail, and replies end the connection.
  size_t max_queued_bytes = 32 << 20;
  size_t max_connections = 16384;
  size_t max_unauthenticated_connections = 1024;  // and those in the handshake
  Duration handshake_timeout = 5s;
  Duration unauthenticated_lifetime = 30s;
};

class RpcConnection;
using RpcConnectionHandle = std::shared_ptr<RpcConnection>;
using RpcReply = std::function<void(Result<std::string>)>;
// Serves a call. `reply` may be called later, from the loop's thread, at most once; it does nothing
// once the connection is gone.
using RpcHandler = std::function<void(const RpcConnectionHandle& connection, std::string method,
                                      std::string payload, RpcReply reply)>;

class RpcConnection {
 public:
  virtual ~RpcConnection() = default;

  // `done` gets the reply, the peer's error, or ErrorCode::unavailable if the connection ends or
  // nothing comes in time. Never called from within call(). Dropping the last handle of a
  // connection drops its pending calls unanswered.
  virtual void call(std::string_view method, std::string_view payload, Duration timeout,
                    std::function<void(Result<std::string>)> done) = 0;
  // Pending calls fail soon; on_close is not called.
  virtual void close() = 0;
  virtual bool is_open() const = 0;
  virtual const PeerIdentity& identity() const = 0;
  // The connection ended and not by close(); called once, after the pending calls have failed.
  virtual void on_close(std::function<void(const Error& reason)> fn) = 0;
};

class RpcServer {
 public:
  struct Callbacks {
    RpcHandler handler;  // must look at connection->identity() before it serves anything
    // Peers that are refused although their certificate is valid: removed nodes. May be empty.
    std::function<bool(const std::string& node_id)> is_revoked;
    // One sentence for each connection that was refused or broke in the handshake. May be empty.
    std::function<void(const Error& reason)> on_refused;
    // A peer was accepted. May be empty.
    std::function<void(const RpcConnectionHandle&)> on_connection;
  };

  static Result<std::unique_ptr<RpcServer>> listen(Loop& loop, const SocketAddress& local,
                                                   const TlsIdentity& identity, Callbacks callbacks,
                                                   RpcLimits limits = {});
  ~RpcServer();

  SocketAddress local() const;
  // A renewed certificate, for connections from now on.
  Result<> set_identity(const TlsIdentity& identity);
  // Ends the connections of nodes that is_revoked() names.
  void drop_revoked();
  size_t connections() const;
  // Serves another ALPN name: `take` gets the connection after the handshake (and after is_revoked)
  // and owns it. Only peers with a certificate get that far, and only of this role if one is given.
  Result<> add_protocol(const std::string& name,
                        std::function<void(std::unique_ptr<TlsStream>)> take,
                        const std::string& role = "");

 private:
  struct State;
  explicit RpcServer(std::shared_ptr<State> state);
  std::shared_ptr<State> state_;
};

struct RpcConnectOptions {
  // Who we are and trust; or, to join, the digest of the CA to expect.
  std::variant<TlsIdentity, Digest> trust;
  std::string server_role = "manager";  // empty: any node of the cluster
  RpcHandler handler;                   // for the server's calls; empty: none are served
  Duration timeout = 5s;
  RpcLimits limits = {};
};

// `done` gets a connection that the server has accepted, or why there is none; never called from
// within. The connection lives as long as its handle.
void rpc_connect(Loop& loop, const SocketAddress& to, RpcConnectOptions options,
                 std::function<void(Result<RpcConnectionHandle>)> done);

// "not_found" and back; unknown names are ErrorCode::failed. As in weft.api.ErrorReply.
std::string_view error_code_name(ErrorCode code);
ErrorCode error_code_from(std::string_view name);

}  // namespace weft::io
