// SPDX-License-Identifier: Apache-2.0
#include "io/files.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

namespace weft::io {
namespace {

Error file_error(std::string_view verb, const std::string& path, int number) {
  return errno_error("cannot " + std::string(verb) + " " + path, number);
}

std::string folder_of(const std::string& path) {
  const size_t slash = path.rfind('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

// Returns errno, 0 if all is written and on the disk.
int write_all(int fd, std::string_view content) {
  while (!content.empty()) {
    const ssize_t n = ::write(fd, content.data(), content.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return errno;
    if (n == 0) return EIO;
    content.remove_prefix(size_t(n));
  }
  return ::fsync(fd) == 0 ? 0 : errno;
}

}  // namespace

Result<std::string> read_file(const std::string& path, size_t max_bytes) {
  const Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) return file_error("read", path, errno);
  std::string content;
  char buffer[65536];
  while (true) {
    const ssize_t n = ::read(fd.get(), buffer, sizeof(buffer));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return file_error("read", path, errno);
    if (n == 0) return content;
    if (content.size() + size_t(n) > max_bytes) return file_error("read", path, EFBIG);
    content.append(buffer, size_t(n));
  }
}

Result<> write_file_atomically(const std::string& path, std::string_view content, mode_t mode) {
  const std::string folder = folder_of(path);
  const Fd directory(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!directory) return file_error("write", path, errno);
  // One fixed name beside the target: what a crash left is overwritten by the next attempt. There
  // is one writer (FileLock).
  const std::string temporary = path + ".new";
  if (::unlink(temporary.c_str()) != 0 && errno != ENOENT) return file_error("write", path, errno);
  Fd fd(::open(temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, mode));
  if (!fd) return file_error("write", path, errno);
  int number = ::fchmod(fd.get(), mode) == 0 ? 0 : errno;  // whatever the umask is
  if (number == 0) number = write_all(fd.get(), content);
  if (number == 0 && ::close(fd.release()) != 0) number = errno;
  if (number == 0 && ::rename(temporary.c_str(), path.c_str()) != 0) number = errno;
  if (number != 0) {
    (void)::unlink(temporary.c_str());
    return file_error("write", path, number);
  }
  if (::fsync(directory.get()) != 0) return file_error("write", path, errno);
  return Ok;
}

Result<> make_directories(const std::string& path, mode_t mode) {
  for (size_t end = path.find('/', 1); true; end = path.find('/', end + 1)) {
    const std::string part = path.substr(0, end);
    if (::mkdir(part.c_str(), mode) == 0) {
      if (::chmod(part.c_str(), mode) != 0) return file_error("create", part, errno);
    } else if (const int number = errno; number != EEXIST) {
      return file_error("create", part, number);
    }
    if (end == std::string::npos) break;
  }
  struct stat info {};
  if (::stat(path.c_str(), &info) != 0) return file_error("create", path, errno);
  if (!S_ISDIR(info.st_mode)) return file_error("create", path, ENOTDIR);
  return Ok;
}

Result<FileLock> FileLock::take(const std::string& directory) {
  const std::string path = directory + "/lock";
  Fd fd(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  if (!fd) return file_error("lock", path, errno);
  if (::flock(fd.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno == EWOULDBLOCK)
      return Error(ErrorCode::conflict, "another weftd uses " + directory +
                                            ": stop it first, or give this one another folder");
    return file_error("lock", path, errno);
  }
  return FileLock(std::move(fd));
}

}  // namespace weft::io
