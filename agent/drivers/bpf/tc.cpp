// SPDX-License-Identifier: Apache-2.0
// tc programs of a link: tcx (Linux 6.6), or a filter in a clsact qdisc.
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>
#include <net/if.h>

#include <array>
#include <cstring>

#include "drivers/bpf/attach.h"
#include "drivers/link/link.h"
#include "drivers/link/netlink.h"

namespace weft::bpf {
namespace {

constexpr std::string_view program_prefix = "weft_";

// libbpf prints what the kernel says to standard error; here it is part of the result, or expected.
class QuietLibbpf {
 public:
  QuietLibbpf() : previous_(libbpf_set_print(nullptr)) {}
  ~QuietLibbpf() { libbpf_set_print(previous_); }
  QuietLibbpf(const QuietLibbpf&) = delete;
  QuietLibbpf& operator=(const QuietLibbpf&) = delete;

 private:
  libbpf_print_fn_t previous_;
};

bpf_tc_hook hook_of(uint32_t ifindex, bpf_tc_attach_point point) {
  bpf_tc_hook hook{};
  hook.sz = sizeof hook;
  hook.ifindex = int(ifindex);
  hook.attach_point = point;
  return hook;
}

bpf_tc_attach_point point_of(TcHook hook) {
  return hook == TcHook::ingress ? BPF_TC_INGRESS : BPF_TC_EGRESS;
}

// Filters of anybody at one hook.
Result<size_t> count_filters(uint32_t ifindex, TcHook hook) {
  auto socket = TRY(link::NetlinkSocket::open(-1));
  link::NetlinkMessage message(RTM_GETTFILTER, 0);
  tcmsg info{};
  info.tcm_family = AF_UNSPEC;
  info.tcm_ifindex = int(ifindex);
  info.tcm_parent =
      TC_H_MAKE(TC_H_CLSACT, hook == TcHook::ingress ? TC_H_MIN_INGRESS : TC_H_MIN_EGRESS);
  message.fixed(info);
  size_t filters = 0;
  auto dumped = socket.dump(message, [&](uint16_t, ByteView) { ++filters; });
  if (!dumped) return std::move(dumped).error().in("list filters");
  return filters;
}

// ---- tcx: numbers that libbpf 1.1 has no names for ----

constexpr uint32_t most_programs = 64;  // the kernel's own limit for one hook

bpf_attach_type tcx_type(TcHook hook) { return bpf_attach_type(hook == TcHook::ingress ? 46 : 47); }

// Ids of everybody's programs, in the order they run in.
Result<std::vector<uint32_t>> tcx_programs(uint32_t ifindex, TcHook hook) {
  std::array<uint32_t, most_programs> ids{};
  LIBBPF_OPTS(bpf_prog_query_opts, query, .prog_ids = ids.data(), .prog_cnt = most_programs);
  const int done = bpf_prog_query_opts(int(ifindex), tcx_type(hook), &query);
  // EINVAL: a kernel without tcx.
  if (done == -ENOENT || done == -EINVAL || done == -ENODEV) return std::vector<uint32_t>();
  if (done < 0) return errno_error("cannot ask for programs of " + link_name(ifindex), -done);
  return std::vector<uint32_t>(ids.begin(), ids.begin() + query.prog_cnt);
}

struct TcxProgram {
  uint32_t id = 0;
  Fd fd;
};

// Ours is the one with our name.
Result<std::optional<TcxProgram>> our_tcx(uint32_t ifindex, TcHook hook) {
  for (const uint32_t id : TRY(tcx_programs(ifindex, hook))) {
    TcxProgram program{id, Fd(bpf_prog_get_fd_by_id(id))};
    bpf_prog_info info{};
    uint32_t size = sizeof info;
    if (!program.fd || bpf_obj_get_info_by_fd(program.fd.get(), &info, &size) < 0) continue;
    if (std::string_view(info.name).starts_with(program_prefix))
      return std::optional(std::move(program));
  }
  return std::optional<TcxProgram>();
}

Result<> attach_tcx(uint32_t ifindex, TcHook hook, int program) {
  const auto before = TRY(our_tcx(ifindex, hook));
  LIBBPF_OPTS(bpf_prog_attach_opts, options);
  if (before) {
    options.flags = BPF_F_REPLACE;
    options.replace_prog_fd = before->fd.get();
  }
  const int done = bpf_prog_attach_opts(program, int(ifindex), tcx_type(hook), &options);
  // EEXIST: it is this very program already.
  if (done < 0 && done != -EEXIST)
    return errno_error("cannot attach the program to " + link_name(ifindex), -done);
  return Ok;
}

Result<> detach_tcx(uint32_t ifindex, TcHook hook) {
  const auto ours = TRY(our_tcx(ifindex, hook));
  if (!ours) return Ok;
  const int done = bpf_prog_detach2(ours->fd.get(), int(ifindex), tcx_type(hook));
  if (done < 0 && done != -ENOENT && done != -ENODEV)
    return errno_error("cannot detach the program from " + link_name(ifindex), -done);
  return Ok;
}

// ---- clsact ----

Result<> attach_clsact(uint32_t ifindex, TcHook hook, int program) {
  bpf_tc_hook qdisc = hook_of(ifindex, bpf_tc_attach_point(BPF_TC_INGRESS | BPF_TC_EGRESS));
  if (const int done = bpf_tc_hook_create(&qdisc); done < 0 && done != -EEXIST)
    return errno_error("cannot add qdisc clsact to " + link_name(ifindex), -done);
  bpf_tc_hook point = hook_of(ifindex, point_of(hook));
  LIBBPF_OPTS(bpf_tc_opts, options, .prog_fd = program, .flags = BPF_TC_F_REPLACE, .handle = 1,
              .priority = tc_priority);
  if (const int done = bpf_tc_attach(&point, &options); done < 0)
    return errno_error("cannot attach the program to " + link_name(ifindex), -done);
  return Ok;
}

Result<std::optional<uint32_t>> attached_clsact(uint32_t ifindex, TcHook hook) {
  bpf_tc_hook point = hook_of(ifindex, point_of(hook));
  LIBBPF_OPTS(bpf_tc_opts, options, .handle = 1, .priority = tc_priority);
  const int done = bpf_tc_query(&point, &options);
  // EINVAL: the link has no clsact qdisc.
  if (done == -ENOENT || done == -EINVAL || done == -ENODEV) return std::optional<uint32_t>();
  if (done < 0) return errno_error("cannot ask for programs of " + link_name(ifindex), -done);
  return std::optional<uint32_t>(options.prog_id);
}

Result<> detach_clsact(uint32_t ifindex) {
  bool ours = false;
  for (const TcHook hook : {TcHook::ingress, TcHook::egress}) {
    if (!TRY(attached_clsact(ifindex, hook))) continue;
    ours = true;
    bpf_tc_hook point = hook_of(ifindex, point_of(hook));
    LIBBPF_OPTS(bpf_tc_opts, options, .handle = 1, .priority = tc_priority);
    const int done = bpf_tc_detach(&point, &options);
    if (done < 0 && done != -ENOENT && done != -ENODEV)
      return errno_error("cannot detach the program from " + link_name(ifindex), -done);
  }
  if (!ours) return Ok;
  for (const TcHook hook : {TcHook::ingress, TcHook::egress})
    if (TRY(count_filters(ifindex, hook)) > 0) return Ok;
  bpf_tc_hook qdisc = hook_of(ifindex, bpf_tc_attach_point(BPF_TC_INGRESS | BPF_TC_EGRESS));
  if (const int done = bpf_tc_hook_destroy(&qdisc); done < 0 && done != -ENOENT && done != -ENODEV)
    return errno_error("cannot remove qdisc clsact from " + link_name(ifindex), -done);
  return Ok;
}

}  // namespace

std::string link_name(uint32_t ifindex) {
  char name[IF_NAMESIZE];
  return if_indextoname(ifindex, name) ? name : "link " + std::to_string(ifindex);
}

TcWay tc_way() {
  static const TcWay way = [] {
    const QuietLibbpf quiet;
    LIBBPF_OPTS(bpf_prog_query_opts, query);
    const int done = bpf_prog_query_opts(1, tcx_type(TcHook::ingress), &query);
    return done == -EINVAL ? TcWay::clsact : TcWay::tcx;
  }();
  return way;
}

Result<> attach_tc(uint32_t ifindex, TcHook hook, int program, TcWay way) {
  const QuietLibbpf quiet;
  return way == TcWay::tcx ? attach_tcx(ifindex, hook, program)
                           : attach_clsact(ifindex, hook, program);
}

Result<std::optional<uint32_t>> attached_tc(uint32_t ifindex, TcHook hook) {
  const QuietLibbpf quiet;
  if (const auto ours = TRY(our_tcx(ifindex, hook))) return std::optional<uint32_t>(ours->id);
  return attached_clsact(ifindex, hook);
}

Result<> detach_tc(uint32_t ifindex) {
  const QuietLibbpf quiet;
  for (const TcHook hook : {TcHook::ingress, TcHook::egress}) TRY(detach_tcx(ifindex, hook));
  return detach_clsact(ifindex);
}

Result<std::vector<std::string>> sweep_tc() {
  std::vector<std::string> out;
  auto links = TRY(link::Links::open(-1));
  for (const link::Link& link : TRY(links.list())) {
    const bool ingress = TRY(attached_tc(link.index, TcHook::ingress)).has_value();
    const bool egress = TRY(attached_tc(link.index, TcHook::egress)).has_value();
    if (!ingress && !egress) continue;
    TRY(detach_tc(link.index));
    out.push_back(link.name);
  }
  return out;
}

}  // namespace weft::bpf
