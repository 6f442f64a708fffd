// SPDX-License-Identifier: Apache-2.0
#include "store/dqlite/layout.h"

#include <sys/statvfs.h>

#include <filesystem>
#include <sstream>

#include "io/files.h"
#include "io/pki.h"

namespace weft::store::dqlite {
namespace {

// Three pieces of the log, of 8 MiB each.
constexpr uint64_t min_free_bytes = 24 << 20;
constexpr size_t generation_bytes = 16;

}  // namespace

std::string raft_folder(const std::string& directory) { return directory + "/raft"; }
std::string member_file(const std::string& directory) { return directory + "/member"; }
std::string backup_file(const std::string& directory) { return directory + "/backup.db"; }

Result<MemberIdentity> read_member(const std::string& directory) {
  std::istringstream text(TRY(io::read_file(member_file(directory), 4096)));
  MemberIdentity member;
  std::string version;
  text >> version >> member.id >> member.address >> member.generation;
  if (!text || version != "1" || member.id == 0 || member.generation.size() != 2 * generation_bytes)
    return Error(member_file(directory) +
                 " is damaged: restore the newest backup, or move the folder away and let this "
                 "manager join anew");
  return member;
}

Result<> write_member(const std::string& directory, const MemberIdentity& member) {
  return io::write_file_atomically(
      member_file(directory),
      "1 " + std::to_string(member.id) + " " + member.address + " " + member.generation + "\n");
}

std::string new_generation() {
  static constexpr char digits[] = "0123456789abcdef";
  std::string text;
  for (const uint8_t byte : io::random_bytes(generation_bytes)) {
    text += digits[byte >> 4];
    text += digits[byte & 15];
  }
  return text;
}

Result<> check_has_log(const std::string& directory) {
  const std::string folder = raft_folder(directory);
  std::error_code error;
  if (std::filesystem::exists(folder + "/metadata1", error) ||
      std::filesystem::exists(folder + "/metadata2", error))
    return Ok;
  return Error("the store in " + directory +
               " has lost its log: if there are other managers, remove this one, move the folder "
               "away and let it join anew; if there are none, `weft cluster restore` the newest "
               "backup");
}

Result<> check_space(const std::string& directory) {
  struct statvfs space {};
  if (::statvfs(directory.c_str(), &space) != 0) return errno_error("cannot read " + directory);
  if (uint64_t(space.f_bavail) * space.f_frsize >= min_free_bytes) return Ok;
  return Error("the disk is full: " + directory +
               " needs 24 MiB of free space; nothing was changed: free some and try again");
}

}  // namespace weft::store::dqlite
