// SPDX-License-Identifier: Apache-2.0
#include "io/stream.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <map>
#include <optional>
#include <utility>

#include "base/fd.h"
#include "io/sockets.h"

namespace weft::io {
namespace {

constexpr size_t length_bytes = 4;
constexpr auto accept_pause = 100ms;
constexpr size_t held_at_most = 16;

// A host that goes without a word leaves a held connection behind: it ends after two minutes.
void keep_alive(int fd) {
  const int on = 1, idle_s = 60, interval_s = 20, count = 3;
  (void)setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
  (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle_s, sizeof(idle_s));
  (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval_s, sizeof(interval_s));
  (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &count, sizeof(count));
}

Error broken(std::string_view why) { return Error(ErrorCode::unavailable, std::string(why)); }

// Sends one frame and receives one. Its owner keeps it alive while it calls back.
class FramedSocket {
 public:
  FramedSocket(Loop& loop, Fd fd, size_t max_frame_bytes)
      : loop_(loop), fd_(std::move(fd)), max_frame_bytes_(max_frame_bytes) {}

  void receive(std::function<void(Result<Bytes>)> done) {
    received_ = std::move(done);
    reading_ = loop_.watch_read(fd_.get(), [this] { on_readable(); });
  }

  // `done` when the kernel has all of it. Only the first call counts.
  void send(ByteView bytes, std::function<void(Result<>)> done) {
    if (!out_.empty()) return;
    ByteWriter writer(out_);
    writer.u32(uint32_t(bytes.size()));
    writer.raw(bytes);
    sent_ = std::move(done);
    writing_ = loop_.watch_write(fd_.get(), [this] { on_writable(); });
  }

  void stop() {
    reading_.cancel();
    writing_.cancel();
  }

  int fd() const { return fd_.get(); }

 private:
  void finish_receive(Result<Bytes> outcome) {
    reading_.cancel();
    const auto done = std::exchange(received_, nullptr);
    done(std::move(outcome));
  }

  void on_readable() {
    uint8_t chunk[65536];
    const ssize_t size = ::recv(fd_.get(), chunk, sizeof(chunk), MSG_DONTWAIT);
    if (size < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (size < 0) return finish_receive(broken(errno_words(errno)));
    if (size == 0) return finish_receive(broken("cut off by the other side"));
    in_.insert(in_.end(), chunk, chunk + size);
    if (in_.size() < length_bytes) return;
    const uint32_t length = ByteReader(in_).u32();
    if (length > max_frame_bytes_)
      return finish_receive(broken("a frame of " + std::to_string(length) + " bytes is too long"));
    if (in_.size() - length_bytes > length) return finish_receive(broken("bytes follow the frame"));
    if (in_.size() - length_bytes < length) return;
    in_.erase(in_.begin(), in_.begin() + length_bytes);
    finish_receive(std::move(in_));
  }

  void on_writable() {
    if (const int number = connect_error(fd_.get()); number != 0)
      return finish_send(broken(errno_words(number)));
    const ssize_t size = ::send(fd_.get(), out_.data() + out_start_, out_.size() - out_start_,
                                MSG_NOSIGNAL | MSG_DONTWAIT);
    if (size < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (size < 0) return finish_send(broken(errno_words(errno)));
    out_start_ += size_t(size);
    if (out_start_ == out_.size()) finish_send(Ok);
  }

  void finish_send(Result<> outcome) {
    writing_.cancel();
    const auto done = std::exchange(sent_, nullptr);
    done(std::move(outcome));
  }

  Loop& loop_;
  Fd fd_;  // outlives the watches
  size_t max_frame_bytes_;
  Bytes in_, out_;
  size_t out_start_ = 0;
  std::function<void(Result<Bytes>)> received_;
  std::function<void(Result<>)> sent_;
  Watch reading_, writing_;
};

// The client's side. It belongs to its time-out timer in the loop.
struct Exchange : std::enable_shared_from_this<Exchange> {
  Exchange(Loop& loop, Fd fd, size_t max_frame_bytes)
      : socket(loop, std::move(fd), max_frame_bytes) {}

  void start(ByteView request) {
    socket.send(request, [this](Result<> sent) {
      const auto keep = shared_from_this();
      if (!sent) return finish(std::move(sent).error());
      socket.receive([this](Result<Bytes> reply) { finish(std::move(reply)); });
    });
  }

  void finish(Result<Bytes> outcome) {
    const auto keep = shared_from_this();
    deadline.cancel();
    if (outcome) return done(std::move(outcome));
    done(std::move(outcome).error().in("exchange with " + peer.to_string()));
  }

  SocketAddress peer;
  FramedSocket socket;
  Timer deadline;
  std::function<void(Result<Bytes>)> done;
};

}  // namespace

struct StreamServer::State : std::enable_shared_from_this<StreamServer::State> {
  struct Connection {
    Connection(Loop& loop, Fd fd, size_t max) : socket(loop, std::move(fd), max) {}
    FramedSocket socket;
    Timer deadline;
  };

  State(Loop& l, Handler h, StreamLimits lim) : loop(l), handler(std::move(h)), limits(lim) {}

  void watch() {
    accepting = loop.watch_read(listener.get(), [this] { on_acceptable(); });
  }

  void on_acceptable() {
    for (int i = 0; i < 64; ++i) {
      Fd fd(::accept4(listener.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
      if (!fd) {
        // Out of descriptors the listener stays readable: come back instead of spinning.
        if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
          accepting.cancel();
          pause = loop.after(accept_pause, [this] { watch(); });
        }
        return;
      }
      if (connections.size() >= limits.max_connections) {
        ++counters.refused;
        continue;
      }
      serve(std::move(fd));
    }
  }

  void serve(Fd fd) {
    const uint64_t id = next_id++;
    const SocketAddress from = peer_address(fd.get());
    tune_tcp(fd.get());
    auto connection = std::make_shared<Connection>(loop, std::move(fd), limits.max_frame_bytes);
    connections[id] = connection;
    connection->deadline = loop.after(limits.timeout, [this, id] { drop(id, true); });
    connection->socket.receive([this, id, from](Result<Bytes> request) {
      const auto keep = shared_from_this();
      const auto alive = connections[id];
      if (!request) return drop(id, true);
      handling = id;
      handler(from, std::move(*request), [weak = weak_from_this(), id](Bytes reply) {
        if (const auto self = weak.lock()) self->answer(id, reply);
      });
      handling = 0;
    });
  }

  void hold() {
    const auto found = connections.find(handling);
    if (found == connections.end()) return;
    const auto node = connections.extract(found);
    node.mapped()->deadline.cancel();
    keep_alive(node.mapped()->socket.fd());
    const uint64_t id = handling;
    held[id] = node.mapped();
    node.mapped()->socket.receive([this, id](Result<Bytes>) { release(id); });
    if (held.size() > held_at_most) release(held.begin()->first);
  }

  void release(uint64_t id) {
    const auto node = held.extract(id);
    if (node.empty()) return;
    node.mapped()->socket.stop();
    loop.post([connection = node.mapped()] {});
  }

  void answer(uint64_t id, const Bytes& reply) {
    const auto found = connections.find(id);
    if (found == connections.end()) return;
    if (reply.empty() || reply.size() > limits.max_frame_bytes) return drop(id, true);
    found->second->socket.send(reply, [this, id](Result<> sent) {
      if (sent) ++counters.served;
      drop(id, !sent);
    });
  }

  void drop(uint64_t id, bool is_broken) {
    const auto node = connections.extract(id);
    if (node.empty()) return;
    if (is_broken) ++counters.broken;
    node.mapped()->socket.stop();
    // Destroyed later: the socket may be the one that is calling.
    loop.post([connection = node.mapped()] {});
  }

  Loop& loop;
  Handler handler;
  StreamLimits limits;
  Counters counters;
  Fd listener;
  Watch accepting;
  Timer pause;
  uint64_t next_id = 1;
  std::map<uint64_t, std::shared_ptr<Connection>> connections;
  std::map<uint64_t, std::shared_ptr<Connection>> held;
  uint64_t handling = 0;
};

StreamServer::StreamServer(std::shared_ptr<State> state) : state_(std::move(state)) {}

StreamServer::~StreamServer() {
  state_->accepting.cancel();
  state_->pause.cancel();
  state_->listener.reset();
  state_->connections.clear();
  state_->held.clear();
}

void StreamServer::hold() { state_->hold(); }

Result<std::unique_ptr<StreamServer>> StreamServer::listen(Loop& loop, const SocketAddress& local,
                                                           Handler handler, StreamLimits limits) {
  auto state = std::make_shared<State>(loop, std::move(handler), limits);
  state->listener = TRY(listen_tcp(local));
  state->watch();
  return std::unique_ptr<StreamServer>(new StreamServer(std::move(state)));
}

SocketAddress StreamServer::local() const { return local_address(state_->listener.get()); }

const StreamServer::Counters& StreamServer::counters() const { return state_->counters; }

void stream_request(Loop& loop, const SocketAddress& to, ByteView request,
                    std::function<void(Result<Bytes>)> done, StreamLimits limits) {
  auto fd = start_connect(to);
  if (!fd || request.size() > limits.max_frame_bytes) {
    Error error = fd ? Error(ErrorCode::invalid,
                             "the request for " + to.to_string() + " is too long for one frame")
                     : std::move(fd).error();
    loop.post([done = std::move(done), error = std::move(error)] { done(error); });
    return;
  }
  auto exchange = std::make_shared<Exchange>(loop, std::move(*fd), limits.max_frame_bytes);
  exchange->peer = to;
  exchange->done = std::move(done);
  exchange->deadline =
      loop.after(limits.timeout, [exchange] { exchange->finish(broken("no answer in time")); });
  exchange->start(request);
}

struct HeldStream::State : std::enable_shared_from_this<HeldStream::State> {
  State(Loop& l, std::function<void()> f) : loop(l), lost(std::move(f)) {}

  void start(Fd fd, ByteView request, const StreamLimits& limits) {
    socket.emplace(loop, std::move(fd), limits.max_frame_bytes);
    deadline = loop.after(limits.timeout, [this] { finish(); });
    socket->send(request, [this](Result<> sent) {
      if (!sent) return finish();
      deadline.cancel();
      keep_alive(socket->fd());
      socket->receive([this](Result<Bytes>) { finish(); });
    });
  }

  void finish() {
    const auto keep = shared_from_this();
    stop();
    if (const auto done = std::exchange(lost, nullptr)) done();
  }

  void stop() {
    deadline.cancel();
    if (socket) socket->stop();
  }

  Loop& loop;
  std::function<void()> lost;
  std::optional<FramedSocket> socket;
  Timer deadline;
};

HeldStream::HeldStream(Loop& loop, const SocketAddress& to, ByteView request,
                       std::function<void()> lost, StreamLimits limits)
    : state_(std::make_shared<State>(loop, std::move(lost))) {
  if (auto fd = start_connect(to)) {
    state_->start(std::move(*fd), request, limits);
    return;
  }
  loop.post([weak = std::weak_ptr(state_)] {
    if (const auto state = weak.lock()) state->finish();
  });
}

// Destroyed later: the socket may be the one that is calling.
HeldStream::~HeldStream() {
  state_->lost = nullptr;
  state_->stop();
  state_->loop.post([state = state_] {});
}

}  // namespace weft::io
