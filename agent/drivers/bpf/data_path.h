// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "base/fd.h"
#include "base/result.h"
#include "drivers/bpf/map_store.h"
#include "weft/abi/types.h"

struct bpf_object;

namespace weft::bpf {

struct FreeObject {
  void operator()(bpf_object* object) const;
};

// One loaded program and what the kernel calls its type.
struct Program {
  std::string name;
  int fd = -1;               // owned by the DataPath
  uint32_t type = 0;         // BPF_PROG_TYPE_*
  uint32_t attach_type = 0;  // cgroup hooks: what attach_cgroup wants
};

struct LoadOptions {
  std::string bpffs = "/sys/fs/bpf/weft";
  weft_config config{};
  // Objects (file names in bpf/) to load; empty: all that are built in.
  std::vector<std::string> objects;
};

// The node's programs and pinned maps. Nothing is attached by loading: a failed load changes no
// traffic. Maps pinned by an earlier agent are used again if they are equal. One of another layout
// is made anew if the plan can fill it; an array with state that only changed its length keeps what
// fits (a new counter); any other is an error.
class DataPath {
 public:
  static Result<DataPath> load(const LoadOptions& options);

  Maps& maps() { return maps_; }
  const std::vector<Program>& programs() const { return programs_; }
  // By the name of its function; null if there is none.
  const Program* find(std::string_view name) const;
  // Socket, cgroup and XDP programs that this kernel refuses: the agent goes on without them.
  const std::vector<std::string>& warnings() const { return warnings_; }

 private:
  Result<> load_object(std::string_view name, ByteView elf, const LoadOptions& options);
  Result<> share_maps(bpf_object* object, const std::string& folder);
  Result<> keep_maps(bpf_object* object, const std::string& folder);

  Maps maps_;
  Maps outgrown_;  // arrays of another length, to be copied into their successors
  std::vector<Program> programs_;
  std::vector<Fd> program_fds_;
  std::vector<std::string> warnings_;
};

// Names of the objects that are built in.
std::vector<std::string> object_names();

// Makes the folder on a bpffs; mounts one if there is none (at /sys/fs/bpf for folders below it,
// else at the folder itself).
Result<> ensure_bpffs(const std::string& folder);
// Folder for the pins of XDP and cgroup links.
std::string links_folder(const std::string& bpffs);
// Removes pins of maps in other versions than ours. Call when the new programs are attached.
Result<std::vector<std::string>> remove_old_pins(const std::string& bpffs);
// Detaches all pinned links, removes all pins and the folder, and the bpffs if it was mounted for
// it. A missing folder is fine.
Result<> unpin_all(const std::string& bpffs);

}  // namespace weft::bpf
