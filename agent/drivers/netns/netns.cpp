// SPDX-License-Identifier: Apache-2.0
#include "drivers/netns/netns.h"

#include <fcntl.h>
#include <linux/nsfs.h>
#include <net/if.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <cstring>
#include <system_error>
#include <thread>

#include "base/assert.h"

namespace weft::netns {
namespace {

constexpr const char* own_netns_path = "/proc/thread-self/ns/net";

// std::thread throws when the system has no thread left; this is the one place that catches it.
Result<> run_on_thread(const std::function<Result<>()>& function) {
  std::optional<Result<>> out;
  try {
    std::thread thread([&] { out.emplace(function()); });
    thread.join();
  } catch (const std::system_error& error) {
    return errno_error("cannot start a thread", error.code().value());
  }
  return std::move(*out);
}

Result<> loopback_up() {
  Fd socket(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!socket) return errno_error("cannot open a socket");
  ifreq request{};
  std::strcpy(request.ifr_name, "lo");
  request.ifr_flags = IFF_UP;
  if (ioctl(socket.get(), SIOCSIFFLAGS, &request) < 0) return errno_error("cannot set lo up");
  return Ok;
}

// On a thread of its own: leaves the caller's namespace and hands the new one out.
Result<Fd> enter_new_netns() {
  if (unshare(CLONE_NEWNET) < 0) {
    const int number = errno;
    if (number == EPERM)
      return Error(ErrorCode::denied,
                   "cannot create a network namespace: needs root (CAP_SYS_ADMIN)")
          .with_errno(number);
    return errno_error("cannot create a network namespace", number);
  }
  if (auto up = loopback_up(); !up) return std::move(up).error();
  return open_own_netns();
}

class ComeBack {
 public:
  explicit ComeBack(int home) : home_(home) {}
  // A thread that stayed would go on in a container's network.
  ~ComeBack() { WEFT_ASSERT(setns(home_, CLONE_NEWNET) == 0); }
  ComeBack(const ComeBack&) = delete;
  ComeBack& operator=(const ComeBack&) = delete;

 private:
  int home_;
};

}  // namespace

Result<Fd> open_netns(const std::string& path) {
  Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!fd) {
    const int number = errno;
    const auto code = number == ENOENT || number == ENOTDIR || number == ESRCH
                          ? ErrorCode::not_found
                          : ErrorCode::failed;
    return Error(code, "cannot open network namespace '" + path + "': " + std::strerror(number))
        .with_errno(number);
  }
  if (ioctl(fd.get(), NS_GET_NSTYPE) != CLONE_NEWNET)
    return Error(ErrorCode::invalid, "'" + path + "' is not a network namespace");
  return fd;
}

Result<Fd> open_netns(pid_t process) {
  return open_netns("/proc/" + std::to_string(process) + "/ns/net");
}

Result<Fd> open_own_netns() { return open_netns(own_netns_path); }

Result<Fd> make_anonymous_netns() {
  Fd out;
  auto made = run_on_thread([&]() -> Result<> {
    out = TRY(enter_new_netns());
    return Ok;
  });
  if (!made) return std::move(made).error();
  return out;
}

Result<Fd> make_named_netns(const std::string& path) {
  Fd file(::open(path.c_str(), O_RDONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0444));
  if (!file) {
    const int number = errno;
    if (number == EEXIST)
      return Error(ErrorCode::conflict, "network namespace '" + path + "' already exists")
          .with_errno(number);
    return errno_error("cannot create '" + path + "'", number);
  }
  Fd out;
  auto made = run_on_thread([&]() -> Result<> {
    out = TRY(enter_new_netns());
    if (mount(own_netns_path, path.c_str(), "none", MS_BIND, nullptr) < 0)
      return errno_error("cannot keep the network namespace at '" + path + "'");
    return Ok;
  });
  if (!made) {
    unlink(path.c_str());
    return std::move(made).error();
  }
  return out;
}

Result<> remove_named_netns(const std::string& path) {
  // EINVAL: not a mount point, as after a reboot or a creation that was cut short.
  if (umount2(path.c_str(), MNT_DETACH) < 0 && errno != EINVAL && errno != ENOENT)
    return errno_error("cannot unmount '" + path + "'");
  // Deleting the file also detaches the copies of the mount in other mount namespaces.
  if (unlink(path.c_str()) < 0 && errno != ENOENT)
    return errno_error("cannot delete '" + path + "'");
  return Ok;
}

// The calling thread goes there and back: a thread of its own costs ten times as much, and more on
// a busy machine.
Result<> run_in_netns(int netns, const std::function<Result<>()>& function) {
  const Fd home = TRY(open_own_netns());
  if (setns(netns, CLONE_NEWNET) < 0) {
    const int number = errno;
    if (number == EPERM)
      return Error(ErrorCode::denied,
                   "cannot enter the network namespace: needs root (CAP_SYS_ADMIN)")
          .with_errno(number);
    return errno_error("cannot enter the network namespace", number);
  }
  const ComeBack back(home.get());
  return function();
}

Result<Fd> socket_in_netns(int netns, int domain, int type, int protocol) {
  const auto open = [&]() -> Result<Fd> {
    Fd socket(::socket(domain, type | SOCK_CLOEXEC, protocol));
    if (!socket) return errno_error("cannot open a socket");
    return socket;
  };
  return netns < 0 ? open() : in_netns(netns, open);
}

Result<Fd> claim_own_netns() {
  // Names of abstract sockets belong to the network namespace, and go with their process.
  constexpr std::string_view name("\0weftd", 6);
  Fd claim(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!claim) return errno_error("cannot open a socket");
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  name.copy(address.sun_path, name.size());
  const auto size = socklen_t(offsetof(sockaddr_un, sun_path) + name.size());
  if (::bind(claim.get(), reinterpret_cast<const sockaddr*>(&address), size) == 0) return claim;
  if (errno == EADDRINUSE)
    return Error(ErrorCode::conflict,
                 "another weftd runs in this network namespace: stop it first, or run this one in "
                 "a namespace of its own");
  return errno_error("cannot claim this network namespace");
}

Result<uint64_t> netns_cookie(int netns) {
  const Fd socket = TRY(socket_in_netns(netns, AF_INET, SOCK_DGRAM, 0));
  uint64_t cookie = 0;
  socklen_t size = sizeof cookie;
  if (getsockopt(socket.get(), SOL_SOCKET, SO_NETNS_COOKIE, &cookie, &size) < 0)
    return errno_error("cannot read the network namespace's cookie");
  return cookie;
}

Result<NetnsId> netns_id(int netns) {
  struct stat info {};
  if (fstat(netns, &info) < 0) return errno_error("cannot identify the network namespace");
  return NetnsId{info.st_dev, info.st_ino};
}

}  // namespace weft::netns
