// SPDX-License-Identifier: Apache-2.0
#include "io/tls_tunnel.h"

#include <sys/socket.h>

#include <algorithm>
#include <future>
#include <map>
#include <thread>

#include "io/tls_pipe.h"

namespace weft::io {
namespace {

constexpr Duration attempt_timeout = 500ms;
constexpr Duration attempt_pause = 20ms;

}  // namespace

struct TlsTunnel::State {
  using Context = std::shared_ptr<const TlsContext>;
  using Promise = std::shared_ptr<std::promise<Result<>>>;
  struct Dial {
    SocketAddress to;
    Fd local;
    Promise done;
    Instant deadline;
    std::unique_ptr<TlsStream> stream;
    Timer again;
  };

  void dial(const SocketAddress& to, Fd local, Duration timeout, Promise done);
  void attempt(uint64_t id);
  void failed(uint64_t id, const Error& reason);
  void dialled(uint64_t id);
  void add(TlsSession session, std::function<Result<Fd>()> local_socket);
  void ended(uint64_t id, const Error& reason);

  Settings settings;
  Loop loop;
  Context context;
  std::string greeting;
  std::function<Result<Fd>()> local;
  uint64_t next_id = 1;
  std::map<uint64_t, Dial> dials;
  std::map<uint64_t, std::shared_ptr<TlsPipe>> pipes;
  std::thread thread;
};

void TlsTunnel::State::dial(const SocketAddress& to, Fd socket, Duration timeout, Promise done) {
  if (greeting.empty())
    return done->set_value(Error(ErrorCode::unavailable, "the tunnel is not open yet"));
  const uint64_t id = next_id++;
  Dial& dial = dials[id];
  dial.to = to;
  dial.local = std::move(socket);
  dial.done = std::move(done);
  dial.deadline = loop.now() + timeout;
  attempt(id);
}

void TlsTunnel::State::attempt(uint64_t id) {
  Dial& dial = dials.at(id);
  const Duration left = dial.deadline - loop.now();
  auto stream =
      TlsStream::connect(loop, dial.to, context,
                         {.on_open = [this, id] { dialled(id); },
                          .on_data = {},
                          .on_close = [this, id](const Error& reason) { failed(id, reason); }},
                         std::clamp<Duration>(left, 1ms, attempt_timeout));
  if (stream)
    dial.stream = std::move(*stream);
  else
    failed(id, stream.error());
}

void TlsTunnel::State::failed(uint64_t id, const Error& reason) {
  Dial& dial = dials.at(id);
  dial.stream.reset();
  // A peer that is just starting is reached as soon as it listens.
  if (reason.code() == ErrorCode::unavailable && loop.now() + attempt_pause < dial.deadline) {
    dial.again = loop.after(attempt_pause, [this, id] { attempt(id); });
    return;
  }
  dial.done->set_value(reason);
  dials.erase(id);
}

void TlsTunnel::State::dialled(uint64_t id) {
  auto dialled = dials.extract(id);
  Dial& dial = dialled.mapped();
  auto socket = std::make_shared<Fd>(std::move(dial.local));
  add(dial.stream->release(), [socket]() -> Result<Fd> { return std::move(*socket); });
  dial.done->set_value(Ok);
}

void TlsTunnel::State::add(TlsSession session, std::function<Result<Fd>()> local_socket) {
  const uint64_t id = next_id++;
  auto pipe = std::make_shared<TlsPipe>(
      loop, std::move(session), greeting,
      TlsPipe::Callbacks{.local = std::move(local_socket),
                         .on_end = [this, id](const Error& reason) { ended(id, reason); }});
  pipes[id] = pipe;
  pipe->start();
}

void TlsTunnel::State::ended(uint64_t id, const Error& reason) {
  const auto pipe = pipes.extract(id);
  if (pipe.empty()) return;
  if (!pipe.mapped()->greeted()) {
    if (settings.on_refused) settings.on_refused(reason);
  } else if (settings.on_lost) {
    settings.on_lost();
  }
}

TlsTunnel::TlsTunnel(std::unique_ptr<State> state) : state_(std::move(state)) {}

TlsTunnel::~TlsTunnel() {
  state_->loop.stop();
  state_->thread.join();
  for (auto& [id, pipe] : state_->pipes) pipe->close();
  state_->pipes.clear();
  state_->dials.clear();
}

Result<std::unique_ptr<TlsTunnel>> TlsTunnel::start(Settings settings,
                                                    const TlsIdentity& identity) {
  auto state = std::make_unique<State>();
  state->settings = std::move(settings);
  state->context =
      TRY(TlsContext::client(identity, state->settings.protocol, state->settings.peer_role));
  state->thread = std::thread([raw = state.get()] { raw->loop.run(); });
  return std::unique_ptr<TlsTunnel>(new TlsTunnel(std::move(state)));
}

void TlsTunnel::open(const std::string& greeting, std::function<Result<Fd>()> local) {
  state_->loop.post([state = state_.get(), greeting, local = std::move(local)] {
    state->greeting = greeting;
    state->local = local;
  });
}

Result<Fd> TlsTunnel::connect(const SocketAddress& to, Duration timeout) {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0)
    return errno_error("connect to " + to.to_string());
  Fd ours(ends[0]);
  auto theirs = std::make_shared<Fd>(ends[1]);
  auto promise = std::make_shared<std::promise<Result<>>>();
  auto future = promise->get_future();
  state_->loop.post([state = state_.get(), to, timeout, theirs, promise] {
    state->dial(to, std::move(*theirs), timeout, promise);
  });
  // TLS ends in time by itself; this is for a thread that is kept from running.
  if (future.wait_for(2 * timeout) != std::future_status::ready)
    return Error(ErrorCode::unavailable, "connection to " + to.to_string() + ": no answer in time");
  TRY(future.get());
  return ours;
}

void TlsTunnel::accept(std::unique_ptr<TlsStream> stream) {
  auto session = std::make_shared<TlsSession>(stream->release());
  state_->loop.post([state = state_.get(), session] {
    if (state->greeting.empty()) return;  // the peer tries again
    state->add(std::move(*session), state->local);
  });
}

Result<> TlsTunnel::set_identity(const TlsIdentity& identity) {
  auto context =
      TRY(TlsContext::client(identity, state_->settings.protocol, state_->settings.peer_role));
  state_->loop.post([state = state_.get(), context] { state->context = context; });
  return Ok;
}

void TlsTunnel::drop(const std::string& node_id) {
  state_->loop.post([state = state_.get(), node_id] {
    for (auto i = state->pipes.begin(); i != state->pipes.end();) {
      const auto pipe = i->second;
      const bool doomed = node_id.empty() || pipe->peer().node_id == node_id;
      i = doomed ? state->pipes.erase(i) : std::next(i);
      if (doomed) pipe->close();
    }
  });
}

}  // namespace weft::io
