// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>

#include "base/result.h"

namespace weft::control {

// Takes the serialized reply message of a method, or why there is none. To be called once, from
// any thread; dropping it uncalled fails the request.
using Reply = std::function<void(Result<std::string>)>;

// Answers a method of service weft.api.Control: its name, whether the leader answers it, and its
// serialized request. Called from a thread of the server: post to the owner of the state.
using Handler =
    std::function<void(const std::string& method, bool leader, std::string payload, Reply reply)>;

struct ControlOptions {
  std::string path = "/run/weft/weftd.sock";
  std::string group = "weft";  // owns the socket if the group exists
  std::chrono::milliseconds request_timeout = std::chrono::seconds(30);
  size_t body_limit_bytes = 1 << 20;
  size_t threads = 8;  // requests served at a time; others wait
};

// The control API on a local socket: HTTP and JSON outside, method names and messages inside.
class ControlServer {
 public:
  // Listens and serves at once. A socket left by a dead agent is replaced; a live one is a
  // conflict: "another weftd answers at ...".
  static Result<std::unique_ptr<ControlServer>> start(ControlOptions options, Handler handler);

  ControlServer(const ControlServer&) = delete;
  ControlServer& operator=(const ControlServer&) = delete;
  // Fails the requests that wait with `unavailable` and removes the socket.
  ~ControlServer();

 private:
  struct State;
  explicit ControlServer(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace weft::control
