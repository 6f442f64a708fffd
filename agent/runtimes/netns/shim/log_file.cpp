// SPDX-License-Identifier: Apache-2.0
#include "log_file.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

namespace weft::shim {
namespace {

// Longer lines are cut into several.
constexpr size_t longest_line = 16 * 1024;

long long now_milliseconds() {
  timespec now{};
  clock_gettime(CLOCK_REALTIME, &now);
  return now.tv_sec * 1000LL + now.tv_nsec / 1'000'000;
}

}  // namespace

LogFile::LogFile(std::string path, std::string old_path, size_t limit)
    : path_(std::move(path)), old_path_(std::move(old_path)), limit_(limit) {
  open(false);
}

LogFile::~LogFile() {
  if (fd_ >= 0) close(fd_);
}

void LogFile::open(bool truncate) {
  fd_ = ::open(path_.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | (truncate ? O_TRUNC : 0),
               0600);
  struct stat info {};
  size_ = fd_ >= 0 && fstat(fd_, &info) == 0 ? size_t(info.st_size) : 0;
}

void LogFile::write_line(char origin, const std::string& text) {
  const std::string line = std::to_string(now_milliseconds()) + " " + origin + " " + text + "\n";
  if (size_ + line.size() > limit_ && size_ > 0) {
    if (fd_ >= 0) close(fd_);
    rename(path_.c_str(), old_path_.c_str());
    open(true);
  }
  // On a full disk lines are lost; the task must not block or die for its log.
  if (fd_ >= 0) {
    const ssize_t written = write(fd_, line.data(), line.size());
    if (written > 0) size_ += size_t(written);
  }
}

void LogFile::add(char origin, const char* data, size_t size) {
  std::string& pending = pending_[origin == 'e'];
  for (size_t i = 0; i < size; ++i) {
    if (data[i] == '\n' || pending.size() >= longest_line) {
      write_line(origin, pending);
      pending.clear();
      if (data[i] == '\n') continue;
    }
    pending += data[i];
  }
}

void LogFile::flush() {
  for (const char origin : {'o', 'e'}) {
    std::string& pending = pending_[origin == 'e'];
    if (!pending.empty()) write_line(origin, pending);
    pending.clear();
  }
}

}  // namespace weft::shim
