// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "base/fd.h"
#include "base/instant.h"
#include "base/result.h"

struct dqlite_node;

namespace weft::store::dqlite {

// Connects to the node at `address`. Blocks, but not for long: from a few threads of the library.
using Connect = std::function<Result<Fd>(const std::string& address)>;

struct NodeSettings {
  std::string directory;  // exists, of this node alone
  uint64_t id = 0;
  std::string address;
  Connect connect;
  Duration network_latency = 20ms;
};

// A node that starts a new cluster has this id, and no other node of the cluster ever.
constexpr uint64_t first_node_id = 1;

// The library's node: a thread of its own that keeps the replicated log and the database, and
// serves clients of this process at a socket without a name in the file system.
class LocalNode {
 public:
  // ErrorCode::failed: the files are damaged (they are left as they are), or the disk is full.
  static Result<std::unique_ptr<LocalNode>> start(NodeSettings settings);
  // Ends when all that is under way has ended; clients must be gone before.
  ~LocalNode();

  // A client's connection. From any thread.
  Result<Fd> connect() const;

  // Makes the node of these settings, which must not run, the only member of its cluster.
  static Result<> make_only_member(const NodeSettings& settings);

 private:
  explicit LocalNode(NodeSettings settings) : settings_(std::move(settings)) {}
  Result<> create();
  static int connect_peer(void* self, const char* address, int* fd);

  NodeSettings settings_;
  dqlite_node* node_ = nullptr;
  bool running_ = false;
  std::string socket_;
};

// What to do about it.
Error damaged_store(const std::string& directory, const std::string& what);

// ErrorCode::failed if the library has found damage in its files: it would go on without what it
// cannot read, and with it lose what was acknowledged.
Result<> check_no_damage(const std::string& directory);

}  // namespace weft::store::dqlite
