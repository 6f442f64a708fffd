// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>
#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <string>

#include "io/files.h"

using namespace weft;
using namespace weft::io;

namespace {

struct Folder {
  Folder() {
    char name[] = "/tmp/weft-unit-io-XXXXXX";
    REQUIRE(mkdtemp(name) != nullptr);
    path = name;
  }
  ~Folder() { std::filesystem::remove_all(path); }
  std::string operator/(const std::string& name) const { return path + "/" + name; }
  std::string path;
};

size_t entries(const std::string& folder) {
  size_t count = 0;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    (void)entry;
    ++count;
  }
  return count;
}

// Runs `body` in a child process, whose limits and mounts are its own; true if `body` was.
template <typename Body>
bool in_child(Body body) {
  const pid_t child = fork();
  REQUIRE(child >= 0);
  if (child == 0) _exit(body() ? 0 : 1);
  int status = 0;
  REQUIRE(waitpid(child, &status, 0) == child);
  return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

}  // namespace

TEST_CASE("a file that was written is read back, with its mode, whatever the umask") {
  const Folder folder;
  const std::string path = folder / "key.pem";
  const mode_t before = umask(0777);
  const auto written = write_file_atomically(path, "secret", 0600);
  umask(before);
  REQUIRE(written);
  CHECK(*read_file(path) == "secret");
  struct stat info {};
  REQUIRE(stat(path.c_str(), &info) == 0);
  CHECK((info.st_mode & 07777) == 0600);
  REQUIRE(write_file_atomically(path, "", 0640));
  CHECK(read_file(path)->empty());
  CHECK(entries(folder.path) == 1);
}

TEST_CASE("a write that fails half-way leaves the old file and no rest") {
  const Folder folder;
  const std::string path = folder / "state";
  REQUIRE(write_file_atomically(path, "old"));
  CHECK(in_child([&] {
    signal(SIGXFSZ, SIG_IGN);
    const rlimit limit{4096, 4096};
    if (setrlimit(RLIMIT_FSIZE, &limit) != 0) return false;
    const auto failed = write_file_atomically(path, std::string(100'000, 'x'));
    return !failed && failed.error().message() == "cannot write " + path + ": File too large";
  }));
  CHECK(*read_file(path) == "old");
  CHECK(entries(folder.path) == 1);
}

TEST_CASE("a full disk is an error and leaves the old file") {
  if (geteuid() != 0) {
    MESSAGE("skipped: mounting a small tmpfs needs root");
    return;
  }
  const Folder folder;
  CHECK(in_child([&] {
    if (unshare(CLONE_NEWNS) != 0) return false;
    if (mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) return false;
    if (mount("weft-test", folder.path.c_str(), "tmpfs", 0, "size=64k") != 0) return false;
    const std::string path = folder / "state";
    if (!write_file_atomically(path, "old")) return false;
    const auto failed = write_file_atomically(path, std::string(200'000, 'x'));
    return !failed && failed.error().system_error() == ENOSPC && *read_file(path) == "old" &&
           entries(folder.path) == 1;
  }));
}

TEST_CASE("what a crash left of a write does not hinder the next") {
  const Folder folder;
  const std::string path = folder / "state";
  REQUIRE(write_file_atomically(path + ".new", "half of it"));
  REQUIRE(write_file_atomically(path, "whole"));
  CHECK(*read_file(path) == "whole");
  CHECK(entries(folder.path) == 1);
}

TEST_CASE("reading says what is missing or too large") {
  const Folder folder;
  const auto missing = read_file(folder / "none");
  REQUIRE(!missing);
  CHECK(missing.error().code() == ErrorCode::not_found);
  CHECK(missing.error().message() ==
        "cannot read " + (folder / "none") + ": No such file or directory");
  REQUIRE(write_file_atomically(folder / "large", std::string(11, 'x')));
  CHECK(!read_file(folder / "large", 10));
  CHECK(read_file(folder / "large", 11)->size() == 11);
}

TEST_CASE("missing folders are made with their mode, existing ones are left alone") {
  const Folder folder;
  REQUIRE(chmod(folder.path.c_str(), 0755) == 0);
  REQUIRE(make_directories(folder / "a/b/c", 0700));
  struct stat info {};
  REQUIRE(stat((folder / "a/b").c_str(), &info) == 0);
  CHECK((info.st_mode & 07777) == 0700);
  REQUIRE(stat(folder.path.c_str(), &info) == 0);
  CHECK((info.st_mode & 07777) == 0755);
  CHECK(make_directories(folder / "a/b/c", 0700));
  REQUIRE(write_file_atomically(folder / "file", "x"));
  CHECK(!make_directories(folder / "file/below"));
  CHECK(!make_directories(folder / "file"));
}

TEST_CASE("a folder has one agent at a time") {
  const Folder folder;
  {
    const auto first = FileLock::take(folder.path);
    REQUIRE(first);
    const auto second = FileLock::take(folder.path);
    REQUIRE(!second);
    CHECK(second.error().message() ==
          "another weftd uses " + folder.path + ": stop it first, or give this one another folder");
    CHECK(second.error().code() == ErrorCode::conflict);
  }
  CHECK(FileLock::take(folder.path));
}
