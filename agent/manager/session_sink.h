// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "base/result.h"

namespace weft::api {
class Assignment;
}

namespace weft::manager {

// The way to one node: the connection on which it opened its session. Owned by the manager from
// open_session on; what is called after the connection has gone fails with `unavailable`.
// Callbacks come on the manager's thread, never from within the call.
class SessionSink {
 public:
  virtual ~SessionSink() = default;
  // NodeAgent.Assign. The next one is given only after `done`.
  virtual void assign(const api::Assignment& assignment, std::function<void(Result<>)> done) = 0;
  virtual void call(std::string_view method, const std::string& payload,
                    std::function<void(Result<std::string>)> reply) = 0;
  virtual void close() = 0;
};

}  // namespace weft::manager
