// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/types.h>

#include <string>
#include <string_view>

#include "base/fd.h"
#include "base/result.h"

namespace weft::io {

// The whole file. More than `max_bytes` is an error. A missing file is ErrorCode::not_found.
Result<std::string> read_file(const std::string& path, size_t max_bytes = 64 << 20);

// After this returned Ok the new content survives a power cut; on any error, a full disk included,
// and after a crash at any moment, the old file is there unchanged.
Result<> write_file_atomically(const std::string& path, std::string_view content,
                               mode_t mode = 0600);

// mkdir -p; only folders made here get `mode`.
Result<> make_directories(const std::string& path, mode_t mode = 0700);

// Keeps other agents away from a folder for as long as it lives; the kernel ends it with the
// process. The lock file stays: removing it would open a race.
class FileLock {
 public:
  // Locks `directory`/lock. Error: "another weftd uses /var/lib/weft".
  static Result<FileLock> take(const std::string& directory);

 private:
  explicit FileLock(Fd fd) : fd_(std::move(fd)) {}
  Fd fd_;
};

}  // namespace weft::io
