// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <string>

namespace weft::shim {

// Splits what a task writes into lines with time and origin. Two files of at most `limit` bytes
// each: the current one, and the one before.
class LogFile {
 public:
  LogFile(std::string path, std::string old_path, size_t limit);
  ~LogFile();
  LogFile(const LogFile&) = delete;
  LogFile& operator=(const LogFile&) = delete;

  // origin 'o' or 'e'.
  void add(char origin, const char* data, size_t size);
  // Writes what has no line end yet.
  void flush();

 private:
  void write_line(char origin, const std::string& text);
  void open(bool truncate);

  std::string path_;
  std::string old_path_;
  size_t limit_;
  size_t size_ = 0;
  int fd_ = -1;
  std::string pending_[2];
};

}  // namespace weft::shim
