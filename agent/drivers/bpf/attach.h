// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/fd.h"
#include "base/result.h"
#include "drivers/link/link.h"

namespace weft::bpf {

// Our filters in a clsact qdisc have this priority and handle 1, so that a new agent finds and
// replaces them. With tcx, ours is the program whose name begins with "weft_".
inline constexpr uint32_t tc_priority = 5700;

enum class TcHook { ingress, egress };
enum class TcWay { clsact, tcx };
enum class XdpMode { native, generic };
enum class XdpSetting { automatic, native, generic, off };

// All of these act in the calling thread's network namespace.

// For messages.
std::string link_name(uint32_t ifindex);

// What this kernel has: tcx (Linux 6.6) costs less per packet.
TcWay tc_way();
// Attaches the program, or replaces ours atomically: no packet passes without a program. It stays
// when the agent ends.
Result<> attach_tc(uint32_t ifindex, TcHook hook, int program, TcWay way = tc_way());
// Nothing attached is fine. Removes the clsact qdisc when nobody else has a filter there.
Result<> detach_tc(uint32_t ifindex);
// Id of our program there, if any.
Result<std::optional<uint32_t>> attached_tc(uint32_t ifindex, TcHook hook);

// "auto", "native", "generic", "off".
Result<XdpSetting> parse_xdp_setting(std::string_view text);
// None: no XDP. Automatic is native on hardware and nothing on virtual links: XDP on a veth costs
// bulk traffic nine tenths of its rate.
std::optional<XdpMode> xdp_mode(XdpSetting setting, const link::Link& uplink);

// A link pinned at `pin` carries the program over the agent's end; a pinned link that still hangs
// on the same device gets the new program atomically.
Result<> attach_xdp(uint32_t ifindex, int program, XdpMode mode, const std::string& pin);
// The same for a cgroup hook (BPF_CGROUP_INET4_CONNECT ...) of the folder `cgroup`.
Result<> attach_cgroup(const std::string& cgroup, uint32_t attach_type, int program,
                       const std::string& pin);
// Detaches by removing the pin. A missing pin is fine.
Result<> detach_link(const std::string& pin);

// The cgroup2 hierarchy's folder, out of /proc/mounts. not_found: there is none.
Result<std::string> cgroup2_root();

// Detaches our tc programs from every link of the namespace. Returns the links' names.
Result<std::vector<std::string>> sweep_tc();

}  // namespace weft::bpf
