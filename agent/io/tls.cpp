// SPDX-License-Identifier: Apache-2.0
// All of TLS. OpenSSL works on memory, the sockets are ours: no SIGPIPE, no blocking, one queue.
#include "io/tls.h"

#include <sys/socket.h>

#include <array>
#include <cstring>

#include "io/openssl_handles.h"
#include "io/sockets.h"
#include "io/tls_session.h"

namespace weft::io {
namespace {

constexpr size_t read_chunk = 64 << 10;
// After so many chunks the other descriptors of the loop have their turn.
constexpr int chunks_per_wake = 4;

std::string alpn_wire(const std::vector<std::string>& names) {
  std::string wire;
  for (const auto& name : names) wire += char(name.size()) + name;
  return wire;
}

}  // namespace

struct TlsContext::State {
  SslContextHandle ssl;
  std::string protocols;  // length-prefixed, as on the wire
  std::string cluster_id;
  std::string required_role;
  std::optional<Digest> pin;
};

struct TlsStream::State : std::enable_shared_from_this<TlsStream::State> {
  State(Loop& l, Fd f, std::shared_ptr<const TlsContext> c, Callbacks cb, bool server);

  void watch();
  void on_readable();
  void on_writable();
  // Takes handshake and data as far as the received bytes go.
  void step();
  void handshake();
  Result<> finish_handshake();
  void read();
  void flush();
  void send();
  void fail(Error reason);
  void end();
  Error tls_error(int code);
  std::string_view verb() const { return is_server ? "connection from " : "connection to "; }

  Loop& loop;
  Fd fd;
  std::shared_ptr<const TlsContext> context;
  std::shared_ptr<const Callbacks> callbacks;
  SslHandle ssl;
  BIO* received;  // both belong to `ssl`
  BIO* to_send;
  bool is_server;
  bool connecting = false;
  bool open = false;
  std::string refusal;  // why the peer's certificate is not good
  std::string queue;
  size_t queue_start = 0;
  PeerIdentity peer;
  std::string protocol;
  Watch read_watch, write_watch;
  Timer deadline;
};

namespace {

int state_index() {
  static const int index = SSL_get_ex_new_index(0, nullptr, nullptr, nullptr, nullptr);
  return index;
}

// What every node certificate must be beyond X.509's own rules. Sets the reason if it is not.
bool acceptable(X509* certificate, const std::string& cluster_id, const std::string& role,
                std::string& refusal) {
  const auto identity = identity_of(certificate);
  if (!identity) {
    refusal = identity.error().message();
  } else if (identity->cluster_id != cluster_id) {
    refusal = "the certificate is of another cluster";
  } else if (!role.empty() && identity->role != role) {
    refusal = "the certificate's role is " + identity->role + ", not " + role;
  }
  return refusal.empty();
}

template <typename StreamState>
StreamState& state_of(X509_STORE_CTX* store_context) {
  auto* ssl = static_cast<SSL*>(
      X509_STORE_CTX_get_ex_data(store_context, SSL_get_ex_data_X509_STORE_CTX_idx()));
  return *static_cast<StreamState*>(SSL_get_ex_data(ssl, state_index()));
}

// Called by OpenSSL for each certificate of the chain, the node's own (depth 0) last.
template <typename StreamState>
int check_link(int good, X509_STORE_CTX* store_context) {
  auto& state = state_of<StreamState>(store_context);
  if (!good) {
    state.refusal = X509_verify_cert_error_string(X509_STORE_CTX_get_error(store_context));
    return 0;
  }
  if (X509_STORE_CTX_get_error_depth(store_context) > 0) return 1;
  const TlsContext::State& settings = state.context->state();
  if (acceptable(X509_STORE_CTX_get_current_cert(store_context), settings.cluster_id,
                 settings.required_role, state.refusal))
    return 1;
  X509_STORE_CTX_set_error(store_context, X509_V_ERR_APPLICATION_VERIFICATION);
  return 0;
}

// Instead of OpenSSL's verification: the chain must hold the pinned CA, and that CA alone is
// trusted.
template <typename StreamState>
int check_pinned(X509_STORE_CTX* store_context, void*) {
  auto& state = state_of<StreamState>(store_context);
  const TlsContext::State& settings = state.context->state();
  X509* leaf = X509_STORE_CTX_get0_cert(store_context);
  X509* ca = nullptr;
  STACK_OF(X509)* chain = X509_STORE_CTX_get0_untrusted(store_context);
  for (int i = 0; i < sk_X509_num(chain); ++i) {
    X509* candidate = sk_X509_value(chain, i);
    if (candidate != leaf && digest_of(candidate) == *settings.pin) ca = candidate;
  }
  X509_STORE_CTX_set_error(store_context, X509_V_ERR_APPLICATION_VERIFICATION);
  if (ca == nullptr) {
    state.refusal = "its CA is not the one of the join token, which is of another cluster";
    return 0;
  }
  const StoreHandle store(X509_STORE_new());
  const StoreContextHandle inner(X509_STORE_CTX_new());
  X509_STORE_add_cert(store.get(), ca);
  X509_STORE_CTX_init(inner.get(), store.get(), leaf, nullptr);
  X509_STORE_CTX_set_default(inner.get(), "ssl_server");
  if (X509_verify_cert(inner.get()) != 1) {
    state.refusal = X509_verify_cert_error_string(X509_STORE_CTX_get_error(inner.get()));
    return 0;
  }
  if (!acceptable(leaf, cluster_of(ca), settings.required_role, state.refusal)) return 0;
  X509_STORE_CTX_set_error(store_context, X509_V_OK);
  return 1;
}

int choose_protocol(SSL*, const unsigned char** out, unsigned char* out_size,
                    const unsigned char* in, unsigned in_size, void* argument) {
  const auto& ours = static_cast<const TlsContext::State*>(argument)->protocols;
  unsigned char* chosen = nullptr;
  if (SSL_select_next_proto(&chosen, out_size, reinterpret_cast<const unsigned char*>(ours.data()),
                            unsigned(ours.size()), in, in_size) != OPENSSL_NPN_NEGOTIATED)
    return SSL_TLSEXT_ERR_ALERT_FATAL;
  *out = chosen;
  return SSL_TLSEXT_ERR_OK;
}

Result<> use_identity(TlsContext::State& state, const TlsIdentity& identity) {
  SSL_CTX* ctx = state.ssl.get();
  const auto ca = TRY_IN("CA", certificate_from_pem(identity.ca_pem));
  const auto certificate =
      TRY_IN("node certificate", certificate_from_pem(identity.certificate_pem));
  const auto key = TRY_IN("node key", key_from_pem(identity.key_pem));
  state.cluster_id = cluster_of(ca.get());
  // The CA goes along in the chain, for clients that know only its digest.
  if (X509_STORE_add_cert(SSL_CTX_get_cert_store(ctx), ca.get()) != 1 ||
      SSL_CTX_use_certificate(ctx, certificate.get()) != 1 ||
      SSL_CTX_add1_chain_cert(ctx, ca.get()) != 1 || SSL_CTX_use_PrivateKey(ctx, key.get()) != 1 ||
      SSL_CTX_check_private_key(ctx) != 1)
    return openssl_error("cannot use the node's certificate");
  return Ok;
}

Result<std::unique_ptr<TlsContext::State>> make_state(const SSL_METHOD* method) {
  auto state = std::make_unique<TlsContext::State>();
  state->ssl.reset(SSL_CTX_new(method));
  SSL_CTX* ctx = state->ssl.get();
  if (ctx == nullptr || SSL_CTX_set_min_proto_version(ctx, TLS1_3_VERSION) != 1)
    return openssl_error("cannot set up TLS");
  SSL_CTX_set_num_tickets(ctx, 0);
  SSL_CTX_set_options(ctx, SSL_OP_NO_TICKET);
  SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
  SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS);
  return state;
}

}  // namespace

TlsContext::TlsContext(std::unique_ptr<State> state) : state_(std::move(state)) {}
TlsContext::~TlsContext() = default;

Result<std::shared_ptr<const TlsContext>> TlsContext::server(const TlsIdentity& identity,
                                                             std::vector<std::string> protocols) {
  auto state = TRY(make_state(TLS_server_method()));
  SSL_CTX* ctx = state->ssl.get();
  TRY(use_identity(*state, identity));
  state->protocols = alpn_wire(protocols);
  SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, check_link<TlsStream::State>);
  SSL_CTX_set_alpn_select_cb(ctx, choose_protocol, state.get());
  return std::make_shared<const TlsContext>(std::move(state));
}

Result<std::shared_ptr<const TlsContext>> TlsContext::client(
    const std::variant<TlsIdentity, Digest>& trust, const std::string& protocol,
    const std::string& role) {
  auto state = TRY(make_state(TLS_client_method()));
  SSL_CTX* ctx = state->ssl.get();
  state->protocols = alpn_wire({protocol});
  state->required_role = role;
  if (const auto* identity = std::get_if<TlsIdentity>(&trust)) {
    TRY(use_identity(*state, *identity));
  } else {
    state->pin = std::get<Digest>(trust);
    SSL_CTX_set_cert_verify_callback(ctx, check_pinned<TlsStream::State>, nullptr);
  }
  SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, state->pin ? nullptr : check_link<TlsStream::State>);
  if (SSL_CTX_set_alpn_protos(ctx, reinterpret_cast<const unsigned char*>(state->protocols.data()),
                              unsigned(state->protocols.size())) != 0)
    return openssl_error("cannot set up TLS");
  return std::make_shared<const TlsContext>(std::move(state));
}

TlsStream::State::State(Loop& l, Fd f, std::shared_ptr<const TlsContext> c, Callbacks cb,
                        bool server)
    : loop(l),
      fd(std::move(f)),
      context(std::move(c)),
      callbacks(std::make_shared<const Callbacks>(std::move(cb))),
      ssl(SSL_new(context->state().ssl.get())),
      received(BIO_new(BIO_s_mem())),
      to_send(BIO_new(BIO_s_mem())),
      is_server(server) {
  WEFT_ASSERT(ssl && received != nullptr && to_send != nullptr);
  SSL_set_bio(ssl.get(), received, to_send);
  SSL_set_ex_data(ssl.get(), state_index(), this);
  if (is_server)
    SSL_set_accept_state(ssl.get());
  else
    SSL_set_connect_state(ssl.get());
}

void TlsStream::State::watch() {
  read_watch = loop.watch_read(fd.get(), [this] { on_readable(); });
}

void TlsStream::State::on_writable() {
  const auto keep = shared_from_this();
  write_watch.cancel();
  if (!connecting) return send();
  connecting = false;
  if (const int number = connect_error(fd.get()); number != 0)
    return fail(Error(ErrorCode::unavailable, errno_words(number)).with_errno(number));
  watch();
  step();
}

void TlsStream::State::on_readable() {
  const auto keep = shared_from_this();
  std::array<uint8_t, read_chunk> chunk;
  for (int round = 0; round < chunks_per_wake && fd; ++round) {
    const ssize_t size = ::recv(fd.get(), chunk.data(), chunk.size(), 0);
    if (size < 0 && errno == EINTR) continue;
    if (size < 0 && errno == EAGAIN) return;
    if (size < 0) return fail(Error(ErrorCode::unavailable, errno_words(errno)).with_errno(errno));
    if (size == 0) return fail(Error(ErrorCode::unavailable, "closed by the other side"));
    BIO_write(received, chunk.data(), int(size));
    step();
    if (size < ssize_t(chunk.size())) return;
  }
}

void TlsStream::State::step() {
  if (!open) handshake();
  if (open && fd) read();
  if (fd) flush();
}

void TlsStream::State::handshake() {
  ERR_clear_error();
  const int done = SSL_do_handshake(ssl.get());
  if (done != 1) {
    const int code = SSL_get_error(ssl.get(), done);
    if (code != SSL_ERROR_WANT_READ) fail(tls_error(code));
    return;
  }
  if (auto finished = finish_handshake(); !finished) return fail(std::move(finished).error());
  deadline.cancel();
  open = true;
  flush();
  if (const auto current = callbacks; fd && current->on_open) current->on_open();
}

Result<> TlsStream::State::finish_handshake() {
  const unsigned char* name = nullptr;
  unsigned size = 0;
  SSL_get0_alpn_selected(ssl.get(), &name, &size);
  if (size == 0) return Error(ErrorCode::invalid, "the other side does not speak Weft's protocol");
  protocol.assign(reinterpret_cast<const char*>(name), size);
  const CertificateHandle certificate(SSL_get1_peer_certificate(ssl.get()));
  if (!certificate) return Ok;
  NodeIdentity identity = TRY(identity_of(certificate.get()));
  peer.authenticated = true;
  peer.node_id = std::move(identity.node_id);
  peer.role = std::move(identity.role);
  peer.cluster_id = std::move(identity.cluster_id);
  return Ok;
}

void TlsStream::State::read() {
  std::array<uint8_t, 16384> chunk;  // one TLS record
  while (fd) {
    ERR_clear_error();
    const int size = SSL_read(ssl.get(), chunk.data(), int(chunk.size()));
    if (size > 0) {
      if (const auto current = callbacks; current->on_data)
        current->on_data({chunk.data(), size_t(size)});
      continue;
    }
    const int code = SSL_get_error(ssl.get(), size);
    if (code == SSL_ERROR_ZERO_RETURN)
      return fail(Error(ErrorCode::unavailable, "closed by the other side"));
    if (code != SSL_ERROR_WANT_READ) fail(tls_error(code));
    return;
  }
}

Error TlsStream::State::tls_error(int code) {
  if (!refusal.empty()) {
    ERR_clear_error();
    return Error(ErrorCode::denied, "certificate refused: " + refusal);
  }
  // An alert is the other side's refusal of us; the rest is not TLS, or broken.
  const int reason = ERR_GET_REASON(ERR_peek_last_error());
  const bool alert = code == SSL_ERROR_SSL && reason >= SSL_AD_REASON_OFFSET;
  const Error error = openssl_error(alert ? "refused by the other side" : "TLS");
  return Error(alert ? ErrorCode::denied : ErrorCode::failed, error.message());
}

void TlsStream::State::flush() {
  char* data = nullptr;
  const long size = BIO_get_mem_data(to_send, &data);
  if (size > 0) {
    queue.append(data, size_t(size));
    (void)BIO_reset(to_send);
  }
  if (!write_watch.active()) send();
}

void TlsStream::State::send() {
  while (queue_start < queue.size()) {
    const ssize_t sent = ::send(fd.get(), queue.data() + queue_start, queue.size() - queue_start,
                                MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent >= 0) {
      queue_start += size_t(sent);
      continue;
    }
    if (errno == EINTR) continue;
    if (errno == EAGAIN) {
      // Gives memory back from time to time, not for each piece sent.
      if (queue_start > queue.size() / 2) {
        queue.erase(0, queue_start);
        queue_start = 0;
      }
      if (!write_watch.active())
        write_watch = loop.watch_write(fd.get(), [this] { on_writable(); });
      return;
    }
    // A broken connection is also seen by the read watch, which reports it outside of this call.
    break;
  }
  queue.clear();
  queue_start = 0;
  if (queue.capacity() > 4 * read_chunk) queue.shrink_to_fit();
}

void TlsStream::State::fail(Error reason) {
  if (!fd) return;
  flush();  // the alert that says why
  end();
  const std::string text = std::string(verb()) + peer.address.to_string();
  if (const auto current = callbacks; current->on_close)
    current->on_close(std::move(reason).in(text));
}

void TlsStream::State::end() {
  read_watch.cancel();
  write_watch.cancel();
  deadline.cancel();
  fd.reset();
}

TlsStream::TlsStream(std::shared_ptr<State> state) : state_(std::move(state)) {}

TlsStream::~TlsStream() { close(); }

std::unique_ptr<TlsStream> TlsStream::accept(Loop& loop, Fd fd,
                                             std::shared_ptr<const TlsContext> context,
                                             Callbacks callbacks, Duration handshake_timeout) {
  tune_tcp(fd.get());
  auto state =
      std::make_shared<State>(loop, std::move(fd), std::move(context), std::move(callbacks), true);
  State* raw = state.get();
  raw->peer.address = peer_address(raw->fd.get());
  raw->deadline = loop.after(handshake_timeout, [raw] {
    const auto keep = raw->shared_from_this();
    raw->fail(Error(ErrorCode::unavailable, "no TLS handshake in time"));
  });
  raw->watch();
  return std::unique_ptr<TlsStream>(new TlsStream(std::move(state)));
}

Result<std::unique_ptr<TlsStream>> TlsStream::connect(Loop& loop, const SocketAddress& to,
                                                      std::shared_ptr<const TlsContext> context,
                                                      Callbacks callbacks,
                                                      Duration handshake_timeout) {
  Fd fd = TRY(start_connect(to));
  auto state =
      std::make_shared<State>(loop, std::move(fd), std::move(context), std::move(callbacks), false);
  State* raw = state.get();
  raw->peer.address = to;
  raw->connecting = true;
  raw->deadline = loop.after(handshake_timeout, [raw] {
    const auto keep = raw->shared_from_this();
    raw->fail(Error(ErrorCode::unavailable, "no answer in time"));
  });
  raw->write_watch = loop.watch_write(raw->fd.get(), [raw] { raw->on_writable(); });
  return std::unique_ptr<TlsStream>(new TlsStream(std::move(state)));
}

void TlsStream::set_callbacks(Callbacks callbacks) {
  state_->callbacks = std::make_shared<const Callbacks>(std::move(callbacks));
}

void TlsStream::write(ByteView bytes) {
  if (!state_->fd || !state_->open || bytes.empty()) return;
  ERR_clear_error();
  const int written = SSL_write(state_->ssl.get(), bytes.data(), int(bytes.size()));
  // Memory takes everything; after an error the read side has the reason.
  if (written > 0) state_->flush();
}

size_t TlsStream::queued_bytes() const { return state_->queue.size() - state_->queue_start; }

void TlsStream::close() {
  if (!state_->fd) return;
  if (state_->open) {
    SSL_shutdown(state_->ssl.get());
    state_->flush();
  }
  state_->end();
}

TlsSession TlsStream::release() {
  WEFT_ASSERT(is_open());
  state_->read_watch.cancel();
  state_->write_watch.cancel();
  state_->deadline.cancel();
  SSL_set_ex_data(state_->ssl.get(), state_index(), nullptr);
  return {std::move(state_->fd), std::move(state_->ssl), state_->queue.substr(state_->queue_start),
          state_->peer};
}

bool TlsStream::is_open() const { return state_->open && state_->fd; }
const PeerIdentity& TlsStream::peer() const { return state_->peer; }
const std::string& TlsStream::protocol() const { return state_->protocol; }

}  // namespace weft::io
