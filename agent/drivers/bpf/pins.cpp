// SPDX-License-Identifier: Apache-2.0
// The bpffs folder of class DataPath.
#include <linux/magic.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>

#include "drivers/bpf/attach.h"
#include "drivers/bpf/data_path.h"
#include "registry.h"

namespace weft::bpf {
namespace {

namespace fs = std::filesystem;

constexpr const char* usual_mount = "/sys/fs/bpf";

bool on_bpffs(const std::string& path) {
  struct statfs info {};
  return statfs(path.c_str(), &info) == 0 && uint32_t(info.f_type) == BPF_FS_MAGIC;
}

bool exists(const std::string& path) {
  struct stat info {};
  return stat(path.c_str(), &info) == 0;
}

std::string parent_of(const std::string& path) { return fs::path(path).parent_path().string(); }

Result<> make_folders(const std::string& path) {
  if (path.empty() || exists(path)) return Ok;
  TRY(make_folders(parent_of(path)));
  if (mkdir(path.c_str(), 0700) < 0 && errno != EEXIST)
    return errno_error("cannot create the folder '" + path + "'");
  return Ok;
}

Result<> mount_bpffs(const std::string& path) {
  if (mount("bpf", path.c_str(), "bpf", 0, "mode=0700") == 0) return Ok;
  const int number = errno;
  if (number == ENODEV)
    return Error("the kernel has no BPF file system (CONFIG_BPF_SYSCALL)").with_errno(number);
  return errno_error("cannot mount a BPF file system at '" + path + "'", number);
}

bool is_mount_point(const std::string& path) {
  struct stat here {
  }, above{};
  return stat(path.c_str(), &here) == 0 && stat(parent_of(path).c_str(), &above) == 0 &&
         here.st_dev != above.st_dev;
}

Result<std::vector<std::string>> files_in(const std::string& folder) {
  std::error_code error;
  std::vector<std::string> out;
  for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error))
    out.push_back(it->path().filename().string());
  if (error && error.value() != ENOENT)
    return errno_error("cannot list '" + folder + "'", error.value());
  std::sort(out.begin(), out.end());
  return out;
}

}  // namespace

std::string links_folder(const std::string& bpffs) { return bpffs + "/links"; }

Result<> ensure_bpffs(const std::string& folder) {
  if (folder.empty() || folder[0] != '/')
    return Error(ErrorCode::invalid, "the bpffs folder '" + folder + "' is not an absolute path");
  std::string ancestor = folder;
  while (!exists(ancestor)) ancestor = parent_of(ancestor);
  if (!on_bpffs(ancestor)) {
    const bool usual = folder.starts_with(std::string(usual_mount) + "/") && exists(usual_mount);
    if (usual) {
      TRY(mount_bpffs(usual_mount));
    } else {
      TRY(make_folders(folder));
      TRY(mount_bpffs(folder));
    }
  }
  return make_folders(links_folder(folder));
}

Result<std::vector<std::string>> remove_old_pins(const std::string& bpffs) {
  std::vector<std::string> removed;
  for (const std::string& file : TRY(files_in(bpffs))) {
    for (const MapEntry& entry : map_registry) {
      const std::string stem = std::string(entry.name) + "_v";
      if (!file.starts_with(stem) || file == stem + std::to_string(entry.version)) continue;
      if (file.find_first_not_of("0123456789", stem.size()) != std::string::npos) continue;
      if (unlink((bpffs + "/" + file).c_str()) < 0) return errno_error("cannot remove " + file);
      removed.push_back(file);
    }
  }
  return removed;
}

Result<> unpin_all(const std::string& bpffs) {
  if (!exists(bpffs)) return Ok;
  if (!on_bpffs(bpffs))
    return Error(ErrorCode::invalid, "'" + bpffs + "' is not on a BPF file system");
  const std::string links = links_folder(bpffs);
  for (const std::string& file : TRY(files_in(links))) TRY(detach_link(links + "/" + file));
  if (rmdir(links.c_str()) < 0 && errno != ENOENT) return errno_error("cannot remove " + links);
  // Names with a dot are the kernel's own (maps.debug) and leave with the mount.
  for (const std::string& file : TRY(files_in(bpffs)))
    if (file.find('.') == std::string::npos && unlink((bpffs + "/" + file).c_str()) < 0)
      return errno_error("cannot remove " + bpffs + "/" + file);
  if (is_mount_point(bpffs) && bpffs != usual_mount && umount2(bpffs.c_str(), MNT_DETACH) < 0)
    return errno_error("cannot unmount " + bpffs);
  if (bpffs != usual_mount && rmdir(bpffs.c_str()) < 0 && errno != ENOENT)
    return errno_error("cannot remove " + bpffs);
  return Ok;
}

}  // namespace weft::bpf
