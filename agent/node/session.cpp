// SPDX-License-Identifier: Apache-2.0
#include "node/session.h"

#include <algorithm>

#include "io/pki.h"

namespace weft::node {

namespace {

constexpr auto call_timeout = 20s;
constexpr auto connect_timeout = 2s;
constexpr auto find_timeout = 2s;
constexpr auto heartbeat_timeout = 5s;
constexpr Duration back_off_min = 50ms;
constexpr Duration back_off_max = 1s;
// How long a call waits for a leader, and how often it is tried meanwhile.
constexpr auto patience = 5s;
constexpr auto retry_every = 100ms;
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

void Session::set_managers(std::vector<SocketAddress> managers) {
  if (!managers.empty()) managers_ = std::move(managers);
}

void Session::manager_is_gone(const std::string& address) {
  if (connection_ && connected_to_.address.to_string() == address)
    lost(Error(ErrorCode::unavailable, "the manager at " + address + " is down"));
}

void Session::connect() {
  io::RpcConnectOptions options;
  options.trust = identity_;
  options.timeout = connect_timeout;
  options.handler = [alive = alive_](const io::RpcConnectionHandle&, std::string method,
                                     std::string payload, io::RpcReply reply) {
    if (*alive) (*alive)->serve(method, payload, std::move(reply));
  };
  const SocketAddress manager = leader_ ? *std::exchange(leader_, std::nullopt)
                                        : managers_[next_manager_++ % managers_.size()];
  io::rpc_connect(loop_, manager, std::move(options),
                  [alive = alive_, manager](Result<io::RpcConnectionHandle> connection) {
                    if (!*alive) return;
                    if (connection)
                      (*alive)->opened(manager, std::move(*connection));
                    else
                      (*alive)->lost(std::move(connection.error()).in(manager.to_string()), true);
                  });
}

void Session::opened(const SocketAddress& manager, io::RpcConnectionHandle connection) {
  connected_to_ = manager;
  connection_ = std::move(connection);
  connection_->on_close([alive = alive_](const Error& reason) {
    if (*alive) (*alive)->lost(reason);
  });
  connection_->call("FindLeader", "", find_timeout,
                    [alive = alive_, manager](Result<std::string> reply) {
                      if (!*alive) return;
                      api::LeaderReply leader;
                      if (!reply)
                        return (*alive)->lost(std::move(reply.error()).in(manager.to_string()));
                      if (!leader.ParseFromString(*reply))
                        return (*alive)->lost(Error("the manager's answer is damaged"));
                      (*alive)->told_leader(leader);
                    });
}

void Session::told_leader(const api::LeaderReply& leader) {
  if (leader.self()) return start();
  leaderless_ = leader.address().empty();
  if (auto address = SocketAddress::parse(leader.address()); address && !leader.address().empty())
    leader_ = *address;
  lost(Error(ErrorCode::unavailable,
             "no manager leads the cluster: it needs a majority of its managers"));
}

void Session::start() {
  connection_->call("Session", callbacks_.hello().SerializeAsString(), call_timeout,
                    [alive = alive_](Result<std::string> reply) {
                      if (!*alive) return;
                      api::SessionReply session;
                      if (!reply) return (*alive)->lost(reply.error());
                      if (!session.ParseFromString(*reply))
                        return (*alive)->lost(Error("the manager's answer is damaged"));
                      (*alive)->started(session);
                    });
}

void Session::started(const api::SessionReply& session) {
  session_id_ = session.session_id();
  if (session.heartbeat_ms() > 0)
    heartbeat_every_ = std::chrono::milliseconds(session.heartbeat_ms());
  ready_ = true;
  back_off_ = back_off_min;
  problem_.clear();
  leaderless_ = false;
  for (Call& call : std::exchange(waiting_, {})) send(std::move(call));
  callbacks_.on_change(true, "");
  heartbeat();
}

void Session::lost(const Error& reason, bool unreachable) {
  if (closed_) return;
  if (connection_) connection_->close();
  connection_.reset();
  // That nobody leads says more than that some manager is down.
  if (!unreachable || !leaderless_) problem_ = reason.message();
  const bool was_ready = std::exchange(ready_, false);
  // Straight to the leader that was named; once, for it may have gone as well.
  const bool named = leader_ && back_off_ == back_off_min;
  timer_ = loop_.after(named ? Duration(0) : back_off_, [this] { connect(); });
  // Slowly longer: a try comes soon after an election, however long that took.
  back_off_ = std::min<Duration>(back_off_ * 13 / 10, back_off_max);
  if (was_ready || back_off_ == back_off_max) callbacks_.on_change(false, problem_);
}

void Session::heartbeat() {
  timer_ = loop_.after(heartbeat_every_, [this] {
    api::HeartbeatRequest beat;
    beat.set_session_id(session_id_);
    connection_->call("Heartbeat", beat.SerializeAsString(), heartbeat_timeout,
                      [alive = alive_](Result<std::string> reply) {
                        if (!*alive) return;
                        if (!reply) return (*alive)->lost(reply.error());
                        (*alive)->heartbeat();
                      });
  });
}

void Session::call(const std::string& method, const std::string& payload, io::RpcReply reply) {
  Call call{method, payload, std::move(reply), loop_.now() + patience};
  if (!method.ends_with("List") && !method.ends_with("Show")) {
    api::OnceRequest once;
    once.set_operation_id(io::create_join_secret());
    once.set_method(method);
    once.set_payload(payload);
    call.method = "Once";
    call.payload = once.SerializeAsString();
  }
  if (ready_)
    send(std::move(call));
  else
    wait(std::move(call));
}

void Session::send(Call call) {
  auto shared = std::make_shared<Call>(std::move(call));
  connection_->call(shared->method, shared->payload, call_timeout,
                    [alive = alive_, shared](Result<std::string> reply) {
                      const bool again = !reply && *alive && !(*alive)->closed_ &&
                                         reply.error().code() == ErrorCode::unavailable &&
                                         (*alive)->loop_.now() < shared->until;
                      if (!again) return shared->reply(std::move(reply));
                      (*alive)->problem_ = reply.error().message();
                      (*alive)->wait(std::move(*shared));
                    });
}

void Session::wait(Call call) {
  if (waiting_.size() >= waiting_max)
    return loop_.post([reply = std::move(call.reply)] {
      reply(Error(ErrorCode::unavailable, "too many requests wait for a manager: try again"));
    });
  waiting_.push_back(std::move(call));
  if (!waiting_timer_.armed()) waiting_timer_ = loop_.after(retry_every, [this] { fail_late(); });
}

void Session::fail_late() {
  std::vector<Call> rest;
  for (Call& call : std::exchange(waiting_, {})) {
    if (ready_)
      send(std::move(call));
    else if (loop_.now() < call.until)
      rest.push_back(std::move(call));
    else
      call.reply(
          Error(ErrorCode::unavailable, (problem_.empty() ? "no manager answers" : problem_) +
                                            ": try again, or see `weft cluster status`"));
  }
  for (Call& call : rest) waiting_.push_back(std::move(call));
  if (!waiting_.empty()) waiting_timer_ = loop_.after(retry_every, [this] { fail_late(); });
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
