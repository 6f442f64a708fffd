// SPDX-License-Identifier: Apache-2.0
#include "io/rpc.h"

#include <cerrno>
#include <map>
#include <optional>
#include <utility>
#include <vector>

#include "io/rpc_connection.h"
#include "io/sockets.h"

namespace weft::io {
namespace {

// How long to leave new connections in the queue when descriptors have run out.
constexpr auto accept_pause = 100ms;

}  // namespace

struct RpcServer::State : std::enable_shared_from_this<RpcServer::State> {
  State(Loop& l, Callbacks c, RpcLimits lim) : loop(l), callbacks(std::move(c)), limits(lim) {}

  struct Handshake {
    std::unique_ptr<TlsStream> stream;
  };
  struct Protocol {
    std::function<void(std::unique_ptr<TlsStream>)> take;
    std::string role;
  };
  struct Session {
    std::shared_ptr<RpcLink> link;
    Timer lifetime;  // of those without a certificate
  };

  void watch() {
    accepting = loop.watch_read(listener.get(), [this] { on_acceptable(); });
  }

  void on_acceptable() {
    const auto keep = shared_from_this();
    for (int i = 0; i < 64 && listener; ++i) {
      Fd fd(::accept4(listener.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
      if (fd) {
        take(std::move(fd));
        continue;
      }
      if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
        accepting.cancel();
        pause = loop.after(accept_pause, [this] { watch(); });
        refused(errno_error("cannot accept a connection"));
      }
      return;
    }
  }

  size_t unauthenticated() const { return handshakes.size() + anonymous; }

  void take(Fd fd) {
    const SocketAddress peer = peer_address(fd.get());
    if (handshakes.size() + sessions.size() >= limits.max_connections ||
        unauthenticated() >= limits.max_unauthenticated_connections)
      return refused(Error(ErrorCode::exhausted, "connection from " + peer.to_string() +
                                                     " refused: too many connections"));
    const uint64_t id = next_id++;
    handshakes[id].stream = TlsStream::accept(loop, std::move(fd), context,
                                              {
                                                  .on_open = [this, id] { opened(id); },
                                                  .on_data = {},
                                                  .on_close =
                                                      [this, id](const Error& reason) {
                                                        const auto keep = shared_from_this();
                                                        handshakes.erase(id);
                                                        refused(reason);
                                                      },
                                              },
                                              limits.handshake_timeout);
  }

  // The certificate, if there is one, is good: now the routing.
  void opened(uint64_t id) {
    const auto keep = shared_from_this();
    auto stream = std::move(handshakes.extract(id).mapped().stream);
    const PeerIdentity peer = stream->peer();
    const auto other = protocols.find(stream->protocol());
    std::optional<Error> refusal;
    if (peer.authenticated && callbacks.is_revoked && callbacks.is_revoked(peer.node_id))
      refusal = Error(ErrorCode::denied, "node " + peer.node_id + " was removed from the cluster");
    else if (!peer.authenticated && other != protocols.end())
      refusal = Error(ErrorCode::denied, "protocol " + other->first + " needs a node certificate");
    else if (other != protocols.end() && !other->second.role.empty() &&
             other->second.role != peer.role)
      refusal = Error(ErrorCode::denied, "protocol " + other->first + " is for the role " +
                                             other->second.role + ", not " + peer.role);
    if (other != protocols.end()) {
      if (refusal) return refused(connection_error(peer, *refusal));  // dropped with `stream`
      const auto hand_over = other->second.take;
      return hand_over(std::move(stream));
    }

    auto link = std::make_shared<RpcLink>(loop, limits, callbacks.handler);
    stream->set_callbacks(link->callbacks());
    link->start(std::move(stream), true);
    link->welcome(refusal ? &*refusal : nullptr);
    if (refusal) {
      link->close();
      return refused(connection_error(peer, *refusal));
    }
    Session& session = sessions[id];
    session.link = link;
    if (!peer.authenticated) {
      ++anonymous;
      session.lifetime = loop.after(limits.unauthenticated_lifetime, [raw = link.get()] {
        raw->fail(Error(ErrorCode::denied, "no certificate in time"));
      });
    }
    link->on_gone([weak = weak_from_this(), id] {
      if (const auto self = weak.lock()) self->gone(id);
    });
    if (callbacks.on_connection) callbacks.on_connection(link);
  }

  void gone(uint64_t id) {
    const auto node = sessions.extract(id);
    if (!node.empty() && !node.mapped().link->identity().authenticated) --anonymous;
  }

  static Error connection_error(const PeerIdentity& peer, const Error& error) {
    return Error(error.code(),
                 "connection from " + peer.address.to_string() + ": " + error.message());
  }

  void refused(const Error& reason) {
    if (callbacks.on_refused) callbacks.on_refused(reason);
  }

  Result<> renew() {
    std::vector<std::string> names{std::string(rpc_protocol)};
    for (const auto& [name, protocol] : protocols) names.push_back(name);
    context = TRY(TlsContext::server(identity, std::move(names)));
    return Ok;
  }

  Loop& loop;
  Callbacks callbacks;
  RpcLimits limits;
  TlsIdentity identity;
  std::shared_ptr<const TlsContext> context;
  std::map<std::string, Protocol> protocols;
  Fd listener;
  Watch accepting;
  Timer pause;
  uint64_t next_id = 1;
  size_t anonymous = 0;
  std::map<uint64_t, Handshake> handshakes;
  std::map<uint64_t, Session> sessions;
};

RpcServer::RpcServer(std::shared_ptr<State> state) : state_(std::move(state)) {}

RpcServer::~RpcServer() {
  state_->accepting.cancel();
  state_->pause.cancel();
  state_->listener.reset();
  state_->handshakes.clear();
  for (auto& [id, session] : std::exchange(state_->sessions, {})) {
    session.link->on_gone(nullptr);
    session.link->close();
  }
}

Result<std::unique_ptr<RpcServer>> RpcServer::listen(Loop& loop, const SocketAddress& local,
                                                     const TlsIdentity& identity,
                                                     Callbacks callbacks, RpcLimits limits) {
  auto state = std::make_shared<State>(loop, std::move(callbacks), limits);
  state->identity = identity;
  TRY(state->renew());
  state->listener = TRY(listen_tcp(local));
  state->watch();
  return std::unique_ptr<RpcServer>(new RpcServer(std::move(state)));
}

SocketAddress RpcServer::local() const { return local_address(state_->listener.get()); }

Result<> RpcServer::set_identity(const TlsIdentity& identity) {
  const TlsIdentity before = std::exchange(state_->identity, identity);
  auto done = state_->renew();
  if (!done) state_->identity = before;
  return done;
}

void RpcServer::drop_revoked() {
  const auto& is_revoked = state_->callbacks.is_revoked;
  if (!is_revoked) return;
  std::vector<std::shared_ptr<RpcLink>> doomed;
  for (const auto& [id, session] : state_->sessions) {
    const PeerIdentity& peer = session.link->identity();
    if (peer.authenticated && is_revoked(peer.node_id)) doomed.push_back(session.link);
  }
  for (const auto& link : doomed)
    link->fail(Error(ErrorCode::denied,
                     "node " + link->identity().node_id + " was removed from the cluster"));
}

size_t RpcServer::connections() const { return state_->sessions.size(); }

Result<> RpcServer::add_protocol(const std::string& name,
                                 std::function<void(std::unique_ptr<TlsStream>)> take,
                                 const std::string& role) {
  state_->protocols[name] = {std::move(take), role};
  return state_->renew();
}

void rpc_connect(Loop& loop, const SocketAddress& to, RpcConnectOptions options,
                 std::function<void(Result<RpcConnectionHandle>)> done) {
  auto link = std::make_shared<RpcLink>(loop, options.limits, std::move(options.handler));
  const auto start = [&]() -> Result<> {
    auto context =
        TRY(TlsContext::client(options.trust, std::string(rpc_protocol), options.server_role));
    link->start(
        TRY(TlsStream::connect(loop, to, std::move(context), link->callbacks(), options.timeout)),
        false);
    return Ok;
  };
  if (auto started = start(); !started) {
    loop.post([done = std::move(done), error = std::move(started).error()] { done(error); });
    return;
  }
  // Until the server has accepted, the connection belongs to its time-out.
  auto deadline = std::make_shared<Timer>();
  *deadline = loop.after(options.timeout, [link, to] {
    link->fail(
        Error(ErrorCode::unavailable, "connection to " + to.to_string() + ": no answer in time"));
  });
  link->on_welcome([raw = link.get(), deadline, done = std::move(done)](Result<> outcome) {
    const auto keep = raw->shared_from_this();
    deadline->cancel();
    if (outcome)
      done(RpcConnectionHandle(keep));
    else
      done(std::move(outcome).error());
  });
}

}  // namespace weft::io
