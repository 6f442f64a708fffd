// SPDX-License-Identifier: Apache-2.0
#include "drivers/link/sysctl.h"

#include <fcntl.h>

#include "base/fd.h"
#include "drivers/netns/netns.h"

namespace weft::link {
namespace {

Result<Fd> open_sysctl(const std::string& name, int flags) {
  const std::string path = "/proc/sys/" + name;
  Fd file(::open(path.c_str(), flags | O_CLOEXEC));
  if (file) return file;
  const int number = errno;
  if (number == ENOENT)
    return Error(ErrorCode::not_found, "the kernel has no setting " + name).with_errno(number);
  return errno_error("cannot open " + path, number);
}

Result<std::string> read_here(const std::string& name) {
  const Fd file = TRY(open_sysctl(name, O_RDONLY));
  char text[256];
  const ssize_t size = ::read(file.get(), text, sizeof text);
  if (size < 0) return errno_error("cannot read /proc/sys/" + name);
  std::string value(text, size_t(size));
  while (!value.empty() && value.back() == '\n') value.pop_back();
  return value;
}

Result<> write_here(const std::string& name, std::string_view value) {
  if (TRY(read_here(name)) == value) return Ok;
  const Fd file = TRY(open_sysctl(name, O_WRONLY));
  if (::write(file.get(), value.data(), value.size()) != ssize_t(value.size()))
    return errno_error("cannot set " + name + " to " + std::string(value));
  return Ok;
}

}  // namespace

// /proc/sys/net shows the namespace of the thread that looks.
Result<> write_sysctl(int netns, const std::string& name, std::string_view value) {
  if (netns < 0) return write_here(name, value);
  return netns::run_in_netns(netns, [&] { return write_here(name, value); });
}

Result<std::string> read_sysctl(int netns, const std::string& name) {
  if (netns < 0) return read_here(name);
  return netns::in_netns(netns, [&] { return read_here(name); });
}

}  // namespace weft::link
