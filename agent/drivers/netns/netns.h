// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/types.h>

#include <compare>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <type_traits>

#include "base/fd.h"
#include "base/result.h"

namespace weft::netns {

// Two descriptors are the same namespace if and only if these are equal.
struct NetnsId {
  uint64_t device = 0;
  uint64_t inode = 0;
  auto operator<=>(const NetnsId&) const = default;
};

// Opens a namespace by its file (/run/netns/x, /proc/7/ns/net). A missing file is not_found; a file
// that is not a network namespace is invalid.
Result<Fd> open_netns(const std::string& path);
Result<Fd> open_netns(pid_t process);
// The namespace of the calling thread.
Result<Fd> open_own_netns();

// A new namespace with lo up, alive as long as the descriptor (or a link of it) is.
Result<Fd> make_anonymous_netns();
// The same, kept by a bind mount on the new file `path`, whose folder must exist. A file that
// exists is a conflict.
Result<Fd> make_named_netns(const std::string& path);
// Unmounts and deletes what make_named_netns made. A missing file is fine.
Result<> remove_named_netns(const std::string& path);

// Runs the function inside the namespace, on the calling thread, which comes back whatever
// happens.
Result<> run_in_netns(int netns, const std::function<Result<>()>& function);

// The same for a function that returns a Result with a value.
template <typename Function>
auto in_netns(int netns, Function&& function) -> std::invoke_result_t<Function&> {
  std::optional<std::invoke_result_t<Function&>> out;
  auto ran = run_in_netns(netns, [&]() -> Result<> {
    out.emplace(function());
    return Ok;
  });
  if (!ran) return std::move(ran).error();
  return std::move(*out);
}

// A socket that belongs to the namespace; -1 is the caller's own. Close-on-exec.
Result<Fd> socket_in_netns(int netns, int domain, int type, int protocol);

// Makes the caller the only agent of its network namespace, as long as the descriptor is open: two
// would undo each other's devices and programs. A second caller gets a conflict.
Result<Fd> claim_own_netns();

// The kernel's number for the namespace, as BPF programs see it (bpf_get_netns_cookie).
Result<uint64_t> netns_cookie(int netns);
Result<NetnsId> netns_id(int netns);

}  // namespace weft::netns
