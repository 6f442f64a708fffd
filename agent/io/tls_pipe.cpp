// SPDX-License-Identifier: Apache-2.0
#include "io/tls_pipe.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>

#include "io/sockets.h"

namespace weft::io {
namespace {

constexpr size_t chunk_bytes = 64 << 10;
// A peer that acknowledges nothing for so long is gone: a new connection works at once when it is
// back, an old one waits for its next retransmission.
constexpr int unacknowledged_ms = 3000;
constexpr auto greeting_timeout = 5s;

// Sends what the socket takes. False: the connection is broken.
bool send_some(int fd, std::string& bytes) {
  size_t sent = 0;
  bool good = true;
  while (sent < bytes.size()) {
    const ssize_t n =
        ::send(fd, bytes.data() + sent, bytes.size() - sent, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n >= 0) {
      sent += size_t(n);
    } else if (errno != EINTR) {
      good = errno == EAGAIN;
      break;
    }
  }
  bytes.erase(0, sent);
  return good;
}

}  // namespace

TlsPipe::TlsPipe(Loop& loop, TlsSession session, std::string greeting, Callbacks callbacks)
    : loop_(loop),
      session_(std::move(session)),
      greeting_(std::move(greeting)),
      callbacks_(std::move(callbacks)),
      to_peer_(std::move(session_.unsent)) {}

void TlsPipe::start() {
  const int fd = session_.fd.get();
  (void)::setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &unacknowledged_ms,
                     sizeof unacknowledged_ms);
  deadline_ = loop_.after(greeting_timeout, [this] { fail("no greeting in time"); });
  encrypt(greeting_);
  // What came with the handshake is in memory already.
  loop_.post([weak = weak_from_this()] {
    if (const auto self = weak.lock()) self->step();
  });
}

void TlsPipe::close() {
  callbacks_ = {};
  peer_read_.cancel();
  peer_write_.cancel();
  local_read_.cancel();
  local_write_.cancel();
  deadline_.cancel();
  local_.reset();
  session_.fd.reset();
}

void TlsPipe::fail(const std::string& reason) {
  const auto keep = shared_from_this();
  const auto on_end = callbacks_.on_end;
  close();
  if (on_end)
    on_end(Error(ErrorCode::unavailable,
                 "connection with " + session_.peer.address.to_string() + ": " + reason));
}

void TlsPipe::step() {
  if (!session_.fd) return;
  const auto keep = shared_from_this();
  if ((to_local_.empty() || !greeted_) && !peer_ended_ && !read_peer()) return;
  if (peer_ended_ && !greeted_) return fail("closed before it had greeted");
  if (local_ && to_peer_.empty() && !local_ended_) read_local();
  if (!send_peer() || !send_local()) return;
  const bool delivered = to_local_.empty() && to_peer_.empty();
  if (delivered && (peer_ended_ || local_ended_))
    return fail(peer_ended_ ? "closed by the other side" : "closed here");
  watch();
}

bool TlsPipe::read_peer() {
  std::array<char, chunk_bytes> chunk;
  const ssize_t size = ::recv(session_.fd.get(), chunk.data(), chunk.size(), MSG_DONTWAIT);
  if (size > 0) BIO_write(SSL_get_rbio(session_.ssl.get()), chunk.data(), int(size));
  if (size < 0 && errno != EAGAIN && errno != EINTR) {
    fail(errno_words(errno));
    return false;
  }
  if (size == 0) peer_ended_ = true;
  return decrypt();
}

bool TlsPipe::decrypt() {
  std::array<char, 16384> record;
  while (true) {
    ERR_clear_error();
    const int size = SSL_read(session_.ssl.get(), record.data(), int(record.size()));
    if (size > 0) {
      to_local_.append(record.data(), size_t(size));
      continue;
    }
    const int code = SSL_get_error(session_.ssl.get(), size);
    if (code == SSL_ERROR_ZERO_RETURN) {
      peer_ended_ = true;
    } else if (code != SSL_ERROR_WANT_READ) {
      fail(openssl_error("TLS").message());
      return false;
    }
    return greeted_ || check_greeting();
  }
}

bool TlsPipe::check_greeting() {
  const size_t size = std::min(to_local_.size(), greeting_.size());
  if (to_local_.compare(0, size, greeting_, 0, size) != 0) {
    fail("it belongs to another store: it was restored, recovered or replaced");
    return false;
  }
  if (size < greeting_.size()) return true;
  greeted_ = true;
  to_local_.erase(0, size);
  deadline_.cancel();
  auto local = callbacks_.local();
  if (!local) {
    fail(local.error().message());
    return false;
  }
  local_ = std::move(*local);
  return true;
}

void TlsPipe::read_local() {
  std::array<char, chunk_bytes> chunk;
  const ssize_t size = ::recv(local_.get(), chunk.data(), chunk.size(), MSG_DONTWAIT);
  if (size > 0) encrypt({chunk.data(), size_t(size)});
  if (size == 0 || (size < 0 && errno != EAGAIN && errno != EINTR)) {
    local_ended_ = true;
    SSL_shutdown(session_.ssl.get());
    encrypt({});
  }
}

void TlsPipe::encrypt(std::string_view bytes) {
  ERR_clear_error();
  // Memory takes everything.
  if (!bytes.empty()) SSL_write(session_.ssl.get(), bytes.data(), int(bytes.size()));
  BIO* out = SSL_get_wbio(session_.ssl.get());
  char* data = nullptr;
  const long size = BIO_get_mem_data(out, &data);
  if (size <= 0) return;
  to_peer_.append(data, size_t(size));
  (void)BIO_reset(out);
}

bool TlsPipe::send_peer() {
  if (send_some(session_.fd.get(), to_peer_)) return true;
  fail(errno_words(errno));
  return false;
}

bool TlsPipe::send_local() {
  if (!local_ || send_some(local_.get(), to_local_)) return true;
  fail("closed here");
  return false;
}

void TlsPipe::watch() {
  const auto set = [this](Watch& watch, bool wanted, auto&& make) {
    if (!wanted)
      watch.cancel();
    else if (!watch.active())
      watch = make([this] { step(); });
  };
  const int peer = session_.fd.get();
  set(peer_read_, (to_local_.empty() || !greeted_) && !peer_ended_,
      [&](auto fn) { return loop_.watch_read(peer, fn); });
  set(peer_write_, !to_peer_.empty(), [&](auto fn) { return loop_.watch_write(peer, fn); });
  const int local = local_.get();
  set(local_read_, local_ && to_peer_.empty() && !local_ended_,
      [&](auto fn) { return loop_.watch_read(local, fn); });
  set(local_write_, local_ && !to_local_.empty(),
      [&](auto fn) { return loop_.watch_write(local, fn); });
}

}  // namespace weft::io
