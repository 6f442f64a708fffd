// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/address.h"
#include "base/fd.h"
#include "base/result.h"

namespace weft::link {

enum class ChangeKind { link, address, route, neighbour, overrun };

// Something of the namespace's network changed. After `overrun` changes were lost: look at
// everything.
struct Change {
  ChangeKind kind = ChangeKind::link;
  bool removed = false;
  uint32_t ifindex = 0;
  std::string name;    // links
  Address address;     // addresses and neighbours
  Prefix destination;  // routes
};

// Follows links, addresses, routes and neighbours of one namespace.
class Monitor {
 public:
  static Result<Monitor> open(int netns);
  // Readable when changes wait; non-blocking.
  int fd() const { return socket_.get(); }
  // What waits now, in order.
  Result<std::vector<Change>> read();

 private:
  explicit Monitor(Fd socket) : socket_(std::move(socket)) {}
  Fd socket_;
};

}  // namespace weft::link
