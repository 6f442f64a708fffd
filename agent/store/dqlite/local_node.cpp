// SPDX-License-Identifier: Apache-2.0
// The one file that calls the library.
#include "store/dqlite/local_node.h"

extern "C" {
#include <dqlite.h>
}
#include <pthread.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cstring>
#include <filesystem>

#include "base/assert.h"
#include "store/dqlite/elections.h"
#include "store/dqlite/wire.h"

namespace weft::store::dqlite {
namespace {

// Log entries kept in memory and on the disk behind a snapshot: each holds a transaction's pages.
// A member that is further behind gets the database as a whole, which is small.
constexpr unsigned snapshot_threshold = 256;
constexpr unsigned snapshot_trailing = 256;

// The library's threads write into sockets whose other end may be gone. They inherit the mask.
class WithoutBrokenPipe {
 public:
  WithoutBrokenPipe() {
    sigset_t pipe;
    sigemptyset(&pipe);
    sigaddset(&pipe, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &pipe, &before_);
  }
  ~WithoutBrokenPipe() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }

 private:
  sigset_t before_;
};

}  // namespace

Error damaged_store(const std::string& directory, const std::string& what) {
  return Error("the store in " + directory + " is damaged (" + what +
               "): if there are other managers, remove this one, move the folder away and let it "
               "join anew; if there are none, `weft cluster restore` the newest backup");
}

Result<> check_no_damage(const std::string& directory) {
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(directory, error)) {
    const std::string name = entry.path().filename();
    if (name.starts_with("corrupt-")) return damaged_store(directory, "file " + name);
  }
  if (error) return Error("cannot read " + directory + ": " + error.message());
  return Ok;
}

int LocalNode::connect_peer(void* self, const char* address, int* fd) {
  auto connected = static_cast<LocalNode*>(self)->settings_.connect(address);
  if (!connected) return 1;
  *fd = connected->release();
  return 0;
}

Result<> LocalNode::create() {
  const auto failed = [&](const char* step) {
    const char* reason = node_ != nullptr ? dqlite_node_errmsg(node_) : "";
    return Error(std::string("cannot set up the replicated store in ") + settings_.directory +
                 ": " + step + (*reason != '\0' ? ": " : "") + reason);
  };
  if (dqlite_node_create(settings_.id, settings_.address.c_str(), settings_.directory.c_str(),
                         &node_) != 0)
    return failed("create");
  const auto latency =
      std::chrono::duration_cast<std::chrono::milliseconds>(settings_.network_latency);
  if (dqlite_node_set_network_latency_ms(node_, unsigned(latency.count())) != 0)
    return failed("network latency");
  if (dqlite_node_set_snapshot_params(node_, snapshot_threshold, snapshot_trailing) != 0)
    return failed("snapshots");
  return Ok;
}

Result<std::unique_ptr<LocalNode>> LocalNode::start(NodeSettings settings) {
  TRY(check_no_damage(settings.directory));
  std::unique_ptr<LocalNode> made(new LocalNode(std::move(settings)));
  const std::string& directory = made->settings_.directory;
  TRY(made->create());
  if (dqlite_node_set_connect_func(made->node_, connect_peer, made.get()) != 0 ||
      dqlite_node_set_bind_address(made->node_, "@") != 0)
    return Error("cannot set up the replicated store in " + directory);
  made->socket_ = dqlite_node_get_bind_address(made->node_);
  const WithoutBrokenPipe inherited;
  if (dqlite_node_start(made->node_) != 0)
    return damaged_store(directory, dqlite_node_errmsg(made->node_));
  made->running_ = true;
  WEFT_ASSERT(elections_tuned());
  // The library puts aside what it cannot read, and starts without it.
  TRY(check_no_damage(directory));
  return made;
}

LocalNode::~LocalNode() {
  if (running_) dqlite_node_stop(node_);
  // A node that did not start cannot be taken apart: the library leaves its loop open.
  if (running_ && node_ != nullptr) dqlite_node_destroy(node_);
}

Result<Fd> LocalNode::connect() const {
  Fd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!fd) return errno_error("connect to the store");
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  // "@name": abstract, so the first byte of the path is zero.
  std::memcpy(address.sun_path + 1, socket_.data() + 1, socket_.size() - 1);
  const socklen_t size = socklen_t(offsetof(sockaddr_un, sun_path) + socket_.size());
  if (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), size) != 0)
    return errno_error("connect to the store");
  return fd;
}

Result<> LocalNode::make_only_member(const NodeSettings& settings) {
  TRY(check_no_damage(settings.directory));
  LocalNode offline(settings);
  TRY(offline.create());
  dqlite_node_info_ext info{};
  info.size = sizeof info;
  info.id = settings.id;
  info.address = uint64_t(reinterpret_cast<uintptr_t>(offline.settings_.address.c_str()));
  info.dqlite_role = uint64_t(Role::voter);
  if (dqlite_node_recover_ext(offline.node_, &info, 1) != 0)
    return damaged_store(settings.directory,
                         std::string("recover: ") + dqlite_node_errmsg(offline.node_));
  return check_no_damage(settings.directory);
}

}  // namespace weft::store::dqlite
