// SPDX-License-Identifier: Apache-2.0
#include "frontends/control/socket_path.h"

#include <grp.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <cstring>

#include "base/fd.h"

namespace weft::control {
namespace {

Result<> make_folder_of(const std::string& path) {
  const size_t slash = path.rfind('/');
  if (slash == std::string::npos || slash == 0) return Ok;
  const std::string folder = path.substr(0, slash);
  if (::mkdir(folder.c_str(), 0755) != 0 && errno != EEXIST) {
    return errno_error("cannot make folder " + folder);
  }
  return Ok;
}

Result<bool> someone_answers(const std::string& path) {
  sockaddr_un address{.sun_family = AF_UNIX, .sun_path = {}};
  std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
  Fd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!socket) return errno_error("cannot make a socket");
  if (::connect(socket.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) == 0) {
    return true;
  }
  // EAGAIN: it listens, but its queue is full.
  return errno == EAGAIN;
}

}  // namespace

Result<> claim_socket_path(const std::string& path) {
  // Room for the name it is bound under first; see publish_socket.
  if (path.empty() || path.size() + 5 > sizeof sockaddr_un{}.sun_path) {
    return Error(ErrorCode::invalid, "the socket's path '" + path + "' is empty or too long");
  }
  TRY(make_folder_of(path));
  struct stat status {};
  if (::lstat(path.c_str(), &status) != 0) {
    if (errno == ENOENT) return Ok;
    return errno_error("cannot look at " + path);
  }
  if (!S_ISSOCK(status.st_mode)) {
    return Error(ErrorCode::invalid, path + " exists and is not a socket: remove it");
  }
  if (TRY(someone_answers(path))) {
    return Error(ErrorCode::conflict, "another weftd answers at " + path);
  }
  return Ok;
}

Result<ino_t> publish_socket(const std::string& bound, const std::string& path,
                             const std::string& group) {
  if (::chmod(bound.c_str(), 0660) != 0) return errno_error("cannot set the mode of " + bound);
  // The group's name is a convenience: who has it may use the socket; without it, root may.
  if (const auto* entry = group.empty() ? nullptr : ::getgrnam(group.c_str())) {
    if (::chown(bound.c_str(), static_cast<uid_t>(-1), entry->gr_gid) != 0) {
      return errno_error("cannot give " + path + " to group " + group);
    }
  }
  struct stat status {};
  if (::lstat(bound.c_str(), &status) != 0) return errno_error("cannot look at " + bound);
  if (::rename(bound.c_str(), path.c_str()) != 0) {
    return errno_error("cannot move the socket to " + path);
  }
  return status.st_ino;
}

void remove_socket(const std::string& path, ino_t inode) {
  struct stat status {};
  if (::lstat(path.c_str(), &status) == 0 && status.st_ino == inode) ::unlink(path.c_str());
}

}  // namespace weft::control
