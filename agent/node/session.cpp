// SPDX-License-Identifier: Apache-2.0
#include "node/session.h"

#include <algorithm>

namespace weft::node {

namespace {

constexpr auto call_timeout = 20s;
constexpr auto back_off_max = 2s;
constexpr auto connect_patience = 3s;
constexpr size_t waiting_max = 1000;

}  // namespace

Session::Session(io::Loop& loop, io::TlsIdentity identity, std::vector<SocketAddress> managers,
                 Callbacks callbacks)
    : loop_(loop),
      identity_(std::move(identity)),
      managers_(std::move(managers)),
      callbacks_(std::move(callbacks)),
      alive_(std::make_shared<Session*>(this)) {
  WEFT_ASSERT(!managers_.empty());
  connect();
}

void Session::close() {
  closed_ = true;
  ready_ = false;
  *alive_ = nullptr;
  timer_.cancel();
  if (connection_) connection_->close();
  connection_.reset();
}

void Session::connect() {
  io::RpcConnectOptions options;
  options.trust = identity_;
  options.handler = [alive = alive_](const io::RpcConnectionHandle&, std::string method,
                                     std::string payload, io::RpcReply reply) {
    if (*alive) (*alive)->serve(method, payload, std::move(reply));
  };
  const SocketAddress manager = managers_[next_manager_++ % managers_.size()];
  io::rpc_connect(loop_, manager, std::move(options),
                  [alive = alive_, manager](Result<io::RpcConnectionHandle> connection) {
                    if (!*alive) return;
                    if (connection)
                      (*alive)->opened(std::move(*connection));
                    else
                      (*alive)->lost(std::move(connection.error()).in(manager.to_string()));
                  });
}

void Session::opened(io::RpcConnectionHandle connection) {
  connection_ = std::move(connection);
  connection_->on_close([alive = alive_](const Error& reason) {
    if (*alive) (*alive)->lost(reason);
  });
  connection_->call("Session", callbacks_.hello().SerializeAsString(), call_timeout,
                    [alive = alive_](Result<std::string> reply) {
                      if (!*alive) return;
                      Session& self = **alive;
                      api::SessionReply session;
                      if (!reply) return self.lost(reply.error());
                      if (!session.ParseFromString(*reply))
                        return self.lost(Error("the manager's answer is damaged"));
                      self.session_id_ = session.session_id();
                      if (session.heartbeat_ms() > 0)
                        self.heartbeat_every_ = std::chrono::milliseconds(session.heartbeat_ms());
                      self.ready_ = true;
                      self.back_off_ = 100ms;
                      self.waiting_timer_.cancel();
                      for (Waiting& call : std::exchange(self.waiting_, {}))
                        self.connection_->call(call.method, call.payload, call_timeout,
                                               std::move(call.reply));
                      self.callbacks_.on_change(true, "");
                      self.heartbeat();
                    });
}

void Session::lost(const Error& reason) {
  if (closed_) return;
  if (connection_) connection_->close();
  connection_.reset();
  const bool was_ready = std::exchange(ready_, false);
  timer_ = loop_.after(back_off_, [this] { connect(); });
  back_off_ = std::min<Duration>(back_off_ * 2, back_off_max);
  if (was_ready || back_off_ == back_off_max) callbacks_.on_change(false, reason.message());
}

void Session::heartbeat() {
  timer_ = loop_.after(heartbeat_every_, [this] {
    api::HeartbeatRequest beat;
    beat.set_session_id(session_id_);
    connection_->call("Heartbeat", beat.SerializeAsString(), call_timeout,
                      [alive = alive_](Result<std::string> reply) {
                        if (!*alive) return;
                        if (!reply) return (*alive)->lost(reply.error());
                        (*alive)->heartbeat();
                      });
  });
}

void Session::call(const std::string& method, const std::string& payload, io::RpcReply reply) {
  if (ready_) return connection_->call(method, payload, call_timeout, std::move(reply));
  waiting_.push_back({method, payload, std::move(reply)});
  if (waiting_.size() == 1 || waiting_.size() > waiting_max)
    waiting_timer_ =
        loop_.after(waiting_.size() > waiting_max ? Duration(0) : Duration(connect_patience),
                    [this] { fail_waiting(); });
}

void Session::fail_waiting() {
  for (Waiting& call : std::exchange(waiting_, {}))
    call.reply(Error(ErrorCode::unavailable,
                     "no manager answers: try again, or see `weft cluster status`"));
}

void Session::report(const api::TaskStatusReport& report) {
  api::TaskStatusReport out = report;
  out.set_session_id(session_id_);
  // A report that is lost is made good by the next session's hello.
  call("ReportTasks", out.SerializeAsString(), [](Result<std::string>) {});
}

void Session::serve(const std::string& method, const std::string& payload, io::RpcReply reply) {
  if (method == "Assign") {
    api::Assignment assignment;
    if (!assignment.ParseFromString(payload))
      return reply(Error(ErrorCode::invalid, "assignment that does not decode"));
    callbacks_.on_assignment(assignment);
    return reply(api::Empty().SerializeAsString());
  }
  const auto answer = [&](auto request, const auto& callback) {
    if (!request.ParseFromString(payload))
      return reply(Error(ErrorCode::invalid, "request that does not decode"));
    reply(callback(request).SerializeAsString());
  };
  if (method == "LocalLogs") return answer(api::LocalLogsRequest(), callbacks_.local_logs);
  if (method == "PortCheck") return answer(api::PortCheckRequest(), callbacks_.port_check);
  reply(Error(ErrorCode::invalid, "a node does not serve " + method));
}

}  // namespace weft::node
