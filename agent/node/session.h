// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "io/rpc.h"
#include "weft/api/weft.pb.h"

namespace weft::node {

// This node's connection to the managers' leader: gets assignments, sends heartbeats and reports,
// forwards calls. Any manager tells where the leader is. Connects again for as long as it lives;
// calls wait a few seconds for a leader, are sent again when their answer was lost (the leader
// carries them out once), and fail with `unavailable` then.
class Session {
 public:
  struct Callbacks {
    std::function<api::SessionRequest()> hello;  // what to say when a session starts
    std::function<void(const api::Assignment&)> on_assignment;
    std::function<api::LogReply(const api::LocalLogsRequest&)> local_logs;
    std::function<api::PortCheckReply(const api::PortCheckRequest&)> port_check;
    std::function<void(bool connected, const std::string& why)> on_change;
  };

  Session(io::Loop& loop, io::TlsIdentity identity, std::vector<SocketAddress> managers,
          Callbacks callbacks);
  ~Session() { close(); }
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  bool connected() const { return ready_; }
  const std::string& session_id() const { return session_id_; }
  // Where managers are; those that are connected to stay.
  void set_managers(std::vector<SocketAddress> managers);
  // A renewed certificate, for connections from now on.
  void set_identity(io::TlsIdentity identity) { identity_ = std::move(identity); }
  // ADDRESS:PORT of the manager, while there is one.
  std::string connected_to() const { return ready_ ? connected_to_.to_string() : std::string(); }
  // The network says that the host at this address is down: does not wait for it any longer.
  void manager_is_gone(const std::string& address);
  // Any method of weft.api.Manager or a LEADER method of weft.api.Control. The caller is called
  // back on the loop's thread, never from within.
  void call(const std::string& method, const std::string& payload, io::RpcReply reply);
  void report(const api::TaskStatusReport& report);
  void close();

 private:
  struct Call {
    std::string method, payload;  // as they are sent
    io::RpcReply reply;
    Instant until;
  };
  void connect();
  void opened(const SocketAddress& manager, io::RpcConnectionHandle connection);
  void told_leader(const api::LeaderReply& leader);
  void start();
  void started(const api::SessionReply& session);
  void lost(const Error& reason, bool unreachable = false);
  void heartbeat();
  void send(Call call);
  void wait(Call call);
  void fail_late();
  void serve(const std::string& method, const std::string& payload, io::RpcReply reply);

  io::Loop& loop_;
  io::TlsIdentity identity_;
  std::vector<SocketAddress> managers_;
  Callbacks callbacks_;
  io::RpcConnectionHandle connection_;
  io::Timer timer_, waiting_timer_;
  // Calls made while there is no session: a moment after `cluster init`, or while the leader
  // changes.
  std::vector<Call> waiting_;
  std::string session_id_;
  Duration heartbeat_every_ = 5s;
  Duration back_off_ = 50ms;
  size_t next_manager_ = 0;
  SocketAddress connected_to_;
  std::optional<SocketAddress> leader_;  // as a manager told
  std::string problem_;
  bool leaderless_ = false;  // a manager said that nobody leads
  bool ready_ = false;
  bool closed_ = false;
  // Callbacks that come after this object has gone find it empty.
  std::shared_ptr<Session*> alive_;
};

}  // namespace weft::node
