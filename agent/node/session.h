// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "io/rpc.h"
#include "weft/api/weft.pb.h"

namespace weft::node {

// This node's connection to the managers: gets assignments, sends heartbeats and reports, forwards
// calls. Connects again for as long as it lives; while there is no manager, calls fail with
// `unavailable`.
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
  // Any method of weft.api.Manager or a LEADER method of weft.api.Control. The caller is called
  // back on the loop's thread, never from within.
  void call(const std::string& method, const std::string& payload, io::RpcReply reply);
  void report(const api::TaskStatusReport& report);
  void close();

 private:
  void connect();
  void opened(io::RpcConnectionHandle connection);
  void lost(const Error& reason);
  void heartbeat();
  void fail_waiting();
  void serve(const std::string& method, const std::string& payload, io::RpcReply reply);

  io::Loop& loop_;
  io::TlsIdentity identity_;
  std::vector<SocketAddress> managers_;
  Callbacks callbacks_;
  io::RpcConnectionHandle connection_;
  io::Timer timer_, waiting_timer_;
  // Calls made before the session is there: a moment after `cluster init`, or while managers
  // change.
  struct Waiting {
    std::string method, payload;
    io::RpcReply reply;
  };
  std::vector<Waiting> waiting_;
  std::string session_id_;
  Duration heartbeat_every_ = 5s;
  Duration back_off_ = 100ms;
  size_t next_manager_ = 0;
  bool ready_ = false;
  bool closed_ = false;
  // Callbacks that come after this object has gone find it empty.
  std::shared_ptr<Session*> alive_;
};

}  // namespace weft::node
