// SPDX-License-Identifier: Apache-2.0
#include "drivers/bpf/features.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/capability.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>

#include "drivers/bpf/attach.h"
#include "drivers/bpf/raw_map.h"
#include "drivers/link/link.h"
#include "drivers/link/nat.h"
#include "drivers/netns/netns.h"

namespace weft::bpf {
namespace {

Result<> check_version() {
  utsname name{};
  int major = 0;
  int minor = 0;
  if (uname(&name) < 0 || sscanf(name.release, "%d.%d", &major, &minor) != 2)
    return Error("cannot tell the kernel's version");
  if (major > 6 || (major == 6 && minor >= 1)) return Ok;
  return Error("the kernel is " + std::string(name.release) + "; 6.1 is the oldest supported");
}

Result<> check_privileges() {
  const std::pair<unsigned, const char*> needed[] = {{CAP_NET_ADMIN, "CAP_NET_ADMIN"},
                                                     {CAP_SYS_ADMIN, "CAP_SYS_ADMIN"}};
  __user_cap_header_struct header{.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
  __user_cap_data_struct held[_LINUX_CAPABILITY_U32S_3] = {};
  if (syscall(SYS_capget, &header, held) < 0) return errno_error("cannot read its capabilities");
  std::string missing;
  for (const auto& [capability, name] : needed)
    if ((held[CAP_TO_INDEX(capability)].effective & CAP_TO_MASK(capability)) == 0)
      missing += (missing.empty() ? "" : " and ") + std::string(name);
  if (missing.empty()) return Ok;
  return Error(ErrorCode::denied, "needs root: it lacks " + missing +
                                      " to make network devices and load BPF programs");
}

Result<> check_maps() {
  auto map = RawMap::create("weft_probe", {BPF_MAP_TYPE_HASH, 4, 4, 16, BPF_F_NO_PREALLOC});
  if (map) return Ok;
  switch (map.error().system_error()) {
    case ENOSYS:
      return Error("the kernel has no BPF (CONFIG_BPF_SYSCALL)");
    case EPERM:
      return Error(ErrorCode::denied,
                   "creating BPF maps is not allowed: run as root (CAP_BPF, CAP_NET_ADMIN), raise "
                   "the memlock limit (LimitMEMLOCK=infinity), and check kernel lockdown");
    default:
      return std::move(map).error();
  }
}

Result<> check_helpers() {
  const std::pair<bpf_func_id, const char*> needed[] = {
      {BPF_FUNC_redirect_peer, "bpf_redirect_peer"},
      {BPF_FUNC_redirect_neigh, "bpf_redirect_neigh"},
      {BPF_FUNC_skb_adjust_room, "bpf_skb_adjust_room"},
      {BPF_FUNC_skb_set_tunnel_key, "bpf_skb_set_tunnel_key"},
      {BPF_FUNC_csum_level, "bpf_csum_level"},
      {BPF_FUNC_jiffies64, "bpf_jiffies64"},
      {BPF_FUNC_ringbuf_reserve, "bpf_ringbuf_reserve"},
  };
  for (const auto& [helper, name] : needed)
    if (libbpf_probe_bpf_helper(BPF_PROG_TYPE_SCHED_CLS, helper, nullptr) == 0)
      return Error(std::string("the kernel's tc programs have no ") + name +
                   " (CONFIG_NET_CLS_BPF, CONFIG_BPF_SYSCALL; Linux 6.1 or newer)");
  return Ok;
}

// A program that lets every packet pass.
Result<Fd> pass_program() {
  const bpf_insn code[] = {
      {.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = 0, .src_reg = 0, .off = 0, .imm = 0},
      {.code = BPF_JMP | BPF_EXIT, .dst_reg = 0, .src_reg = 0, .off = 0, .imm = 0},
  };
  Fd program(bpf_prog_load(BPF_PROG_TYPE_SCHED_CLS, "weft_probe", "GPL", code, 2, nullptr));
  if (!program) return errno_error("cannot load a program");
  return program;
}

// In the scratch namespace.
Result<> check_clsact() {
  const Fd program = TRY(pass_program());
  auto attached = attach_tc(1, TcHook::ingress, program.get());
  if (!attached)
    return Error(
        "the kernel has no clsact qdisc with BPF filters (CONFIG_NET_SCH_INGRESS, "
        "CONFIG_NET_CLS_BPF): " +
        attached.error().message());
  return Ok;
}

Result<> check_veth() {
  auto links = TRY(link::Links::open(-1));
  auto made = links.ensure_veth({.name = "a", .peer_name = "b"});
  if (made) return Ok;
  return Error("the kernel has no veth pairs (module veth): " + made.error().message());
}

Result<> check_vxlan() {
  auto links = TRY(link::Links::open(-1));
  auto made = links.ensure_vxlan({});
  if (!made) return std::move(made).error();
  return Ok;
}

Result<> check_nat() {
  const Prefix subnet{Address::v4(0x0a000000), 24};
  link::NatSpec spec;
  spec.subnets = {subnet};
  spec.outgoing = {subnet};
  auto applied = link::apply_nat(-1, spec);
  if (!applied) return std::move(applied).error();
  return Ok;
}

Result<> check_cgroup() {
  if (auto root = cgroup2_root(); !root)
    return Error(root.error().message() +
                 "; processes of the node itself reach published ports "
                 "and VIPs less well without");
  return Ok;
}

Result<> check_xdp() {
  if (libbpf_probe_bpf_prog_type(BPF_PROG_TYPE_XDP, nullptr) == 1) return Ok;
  return Error("the kernel has no XDP; published ports are served by tc alone");
}

Result<> check_jit() {
  FILE* file = fopen("/proc/sys/net/core/bpf_jit_enable", "re");
  if (file == nullptr) return Ok;  // kernels that always compile have no such setting
  int enabled = 1;
  const int read = fscanf(file, "%d", &enabled);
  fclose(file);
  if (read == 1 && enabled == 0)
    return Error("BPF programs are interpreted, which is slow: sysctl net.core.bpf_jit_enable=1");
  return Ok;
}

Feature feature(const char* name, const Result<>& result, FeatureResult otherwise) {
  if (result) return {name, FeatureResult::ok, {}};
  return {name, otherwise, result.error().message()};
}

}  // namespace

std::vector<Feature> feature_check() {
  constexpr auto failed = FeatureResult::failed;
  constexpr auto warning = FeatureResult::warning;
  std::vector<Feature> out;
  out.push_back(feature("kernel version", check_version(), failed));
  out.push_back(feature("privileges", check_privileges(), failed));
  if (out.back().result == failed) return out;
  const libbpf_print_fn_t previous = libbpf_set_print(nullptr);
  out.push_back(feature("BPF maps", check_maps(), failed));
  const bool maps = out.back().result == FeatureResult::ok;
  auto scratch = netns::make_anonymous_netns();
  out.push_back(
      feature("network namespaces", scratch ? Result<>(Ok) : Result<>(scratch.error()), failed));
  if (scratch && maps) {
    const auto in_scratch = [&](Result<> (*check)()) {
      return netns::run_in_netns(scratch->get(), check);
    };
    out.push_back(feature("BPF helpers", check_helpers(), failed));
    out.push_back(feature("tc programs", in_scratch(check_clsact), failed));
    out.push_back(feature("veth", in_scratch(check_veth), failed));
    out.push_back(feature("VXLAN", in_scratch(check_vxlan), failed));
    out.push_back(feature("nftables", in_scratch(check_nat), failed));
    out.push_back(feature("XDP", check_xdp(), warning));
  }
  out.push_back(feature("cgroup2", check_cgroup(), warning));
  out.push_back(feature("BPF compiler", check_jit(), warning));
  libbpf_set_print(previous);
  return out;
}

unsigned kernel_ticks_per_second() {
  // The coarse clock advances once per tick.
  timespec tick{};
  WEFT_ASSERT(clock_getres(CLOCK_MONOTONIC_COARSE, &tick) == 0 && tick.tv_nsec > 0);
  return unsigned((1'000'000'000 + tick.tv_nsec / 2) / tick.tv_nsec);
}

}  // namespace weft::bpf
