// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sqlite3.h>

#include <cstring>

namespace weft::test {

// An sqlite VFS over the system's that fails the k-th write, sync or truncate, and all after it
// until it is disarmed: a disk that is full or gone.
struct FaultyVfs {
  static constexpr const char* name = "weft-faulty";
  static inline int calls_left = -1;  // negative: never fail
  static inline int error = SQLITE_FULL;

  static void install() {
    static sqlite3_vfs vfs = *real();
    vfs.zName = name;
    vfs.szOsFile = int(sizeof(File)) + real()->szOsFile;
    vfs.xOpen = open;
    sqlite3_vfs_register(&vfs, 0);
  }

 private:
  struct File {
    sqlite3_file base;
    sqlite3_io_methods methods;  // the real file's, three of them replaced
  };
  static sqlite3_vfs* real() {
    static sqlite3_vfs* found = sqlite3_vfs_find(nullptr);
    return found;
  }
  static sqlite3_file* inner(sqlite3_file* file) {
    return reinterpret_cast<sqlite3_file*>(reinterpret_cast<File*>(file) + 1);
  }
  static bool fails() {
    if (calls_left < 0) return false;
    if (calls_left == 0) return true;
    calls_left--;
    return false;
  }
  static int open(sqlite3_vfs*, const char* path, sqlite3_file* file, int flags, int* out) {
    auto* own = reinterpret_cast<File*>(file);
    own->base.pMethods = nullptr;
    std::memset(inner(file), 0, size_t(real()->szOsFile));
    const int code = real()->xOpen(real(), path, inner(file), flags, out);
    if (inner(file)->pMethods == nullptr) return code;
    sqlite3_io_methods& m = own->methods;
    m = {};
    m.iVersion = 1;  // no shared memory: the store locks its file for itself
    m.xClose = [](sqlite3_file* f) { return inner(f)->pMethods->xClose(inner(f)); };
    m.xRead = [](sqlite3_file* f, void* to, int n, sqlite3_int64 at) {
      return inner(f)->pMethods->xRead(inner(f), to, n, at);
    };
    m.xWrite = [](sqlite3_file* f, const void* from, int n, sqlite3_int64 at) {
      return fails() ? error : inner(f)->pMethods->xWrite(inner(f), from, n, at);
    };
    m.xTruncate = [](sqlite3_file* f, sqlite3_int64 size) {
      return fails() ? error : inner(f)->pMethods->xTruncate(inner(f), size);
    };
    m.xSync = [](sqlite3_file* f, int how) {
      return fails() ? SQLITE_IOERR_FSYNC : inner(f)->pMethods->xSync(inner(f), how);
    };
    m.xFileSize = [](sqlite3_file* f, sqlite3_int64* size) {
      return inner(f)->pMethods->xFileSize(inner(f), size);
    };
    m.xLock = [](sqlite3_file* f, int how) { return inner(f)->pMethods->xLock(inner(f), how); };
    m.xUnlock = [](sqlite3_file* f, int how) { return inner(f)->pMethods->xUnlock(inner(f), how); };
    m.xCheckReservedLock = [](sqlite3_file* f, int* held) {
      return inner(f)->pMethods->xCheckReservedLock(inner(f), held);
    };
    m.xFileControl = [](sqlite3_file* f, int what, void* argument) {
      return inner(f)->pMethods->xFileControl(inner(f), what, argument);
    };
    m.xSectorSize = [](sqlite3_file* f) { return inner(f)->pMethods->xSectorSize(inner(f)); };
    m.xDeviceCharacteristics = [](sqlite3_file* f) {
      return inner(f)->pMethods->xDeviceCharacteristics(inner(f));
    };
    own->base.pMethods = &m;
    return code;
  }
};

}  // namespace weft::test
