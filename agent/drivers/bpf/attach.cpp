// SPDX-License-Identifier: Apache-2.0
#include "drivers/bpf/attach.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <fcntl.h>
#include <linux/if_link.h>
#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>
#include <net/if.h>

#include <cstring>
#include <fstream>
#include <sstream>

#include "drivers/link/link.h"
#include "drivers/link/netlink.h"

namespace weft::bpf {
namespace {

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

std::string link_name(uint32_t ifindex) {
  char name[IF_NAMESIZE];
  return if_indextoname(ifindex, name) ? name : "link " + std::to_string(ifindex);
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

struct PinnedLink {
  Fd fd;
  bpf_link_info info{};
};

std::optional<PinnedLink> open_link(const std::string& pin) {
  PinnedLink link;
  link.fd = Fd(bpf_obj_get(pin.c_str()));
  uint32_t size = sizeof link.info;
  if (!link.fd || bpf_obj_get_info_by_fd(link.fd.get(), &link.info, &size) < 0) return std::nullopt;
  return link;
}

// Makes a link, pinned; replaces what is pinned there already.
Result<> pin_new_link(int program, int target, bpf_attach_type type,
                      const bpf_link_create_opts* options, const std::string& pin,
                      const std::string& where) {
  TRY(detach_link(pin));
  const Fd link(bpf_link_create(program, target, type, options));
  if (!link) {
    const int number = errno;
    if (number == EBUSY || number == EEXIST)
      return Error(ErrorCode::conflict, where + " already has another program").with_errno(number);
    return errno_error("cannot attach to " + where, number);
  }
  if (bpf_obj_pin(link.get(), pin.c_str()) < 0) return errno_error("cannot pin " + pin);
  return Ok;
}

}  // namespace

Result<> attach_tc(uint32_t ifindex, TcHook hook, int program) {
  const QuietLibbpf quiet;
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

Result<std::optional<uint32_t>> attached_tc(uint32_t ifindex, TcHook hook) {
  const QuietLibbpf quiet;
  bpf_tc_hook point = hook_of(ifindex, point_of(hook));
  LIBBPF_OPTS(bpf_tc_opts, options, .handle = 1, .priority = tc_priority);
  const int done = bpf_tc_query(&point, &options);
  // EINVAL: the link has no clsact qdisc.
  if (done == -ENOENT || done == -EINVAL || done == -ENODEV) return std::optional<uint32_t>();
  if (done < 0) return errno_error("cannot ask for programs of " + link_name(ifindex), -done);
  return std::optional<uint32_t>(options.prog_id);
}

Result<> detach_tc(uint32_t ifindex) {
  const QuietLibbpf quiet;
  bool ours = false;
  for (const TcHook hook : {TcHook::ingress, TcHook::egress}) {
    if (!TRY(attached_tc(ifindex, hook))) continue;
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

Result<XdpSetting> parse_xdp_setting(std::string_view text) {
  if (text == "auto") return XdpSetting::automatic;
  if (text == "native") return XdpSetting::native;
  if (text == "generic") return XdpSetting::generic;
  if (text == "off") return XdpSetting::off;
  return Error(ErrorCode::invalid,
               "'" + std::string(text) + "' is no XDP mode: auto, native, generic or off");
}

std::optional<XdpMode> xdp_mode(XdpSetting setting, const link::Link& uplink) {
  switch (setting) {
    case XdpSetting::native:
      return XdpMode::native;
    case XdpSetting::generic:
      return XdpMode::generic;
    case XdpSetting::off:
      return std::nullopt;
    case XdpSetting::automatic:
      break;
  }
  if (uplink.kind.empty()) return XdpMode::native;
  return std::nullopt;
}

Result<> attach_xdp(uint32_t ifindex, int program, XdpMode mode, const std::string& pin) {
  if (auto link = open_link(pin);
      link && link->info.type == BPF_LINK_TYPE_XDP && link->info.xdp.ifindex == ifindex) {
    LIBBPF_OPTS(bpf_link_update_opts, update);
    // Fails when the mode of the device changed: then the link is made anew.
    if (bpf_link_update(link->fd.get(), program, &update) == 0) return Ok;
  }
  LIBBPF_OPTS(bpf_link_create_opts, options,
              .flags = mode == XdpMode::native ? XDP_FLAGS_DRV_MODE : XDP_FLAGS_SKB_MODE);
  return pin_new_link(program, int(ifindex), BPF_XDP, &options, pin,
                      "the XDP hook of " + link_name(ifindex));
}

Result<> attach_cgroup(const std::string& cgroup, uint32_t attach_type, int program,
                       const std::string& pin) {
  const Fd folder(::open(cgroup.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!folder) return errno_error("cannot open cgroup '" + cgroup + "'");
  if (auto link = open_link(pin); link && link->info.type == BPF_LINK_TYPE_CGROUP &&
                                  link->info.cgroup.attach_type == attach_type) {
    LIBBPF_OPTS(bpf_link_update_opts, update);
    if (bpf_link_update(link->fd.get(), program, &update) == 0) return Ok;
  }
  LIBBPF_OPTS(bpf_link_create_opts, options);
  return pin_new_link(program, folder.get(), bpf_attach_type(attach_type), &options, pin,
                      "cgroup '" + cgroup + "'");
}

Result<> detach_link(const std::string& pin) {
  // Other descriptors would keep the link attached without its pin.
  if (auto link = open_link(pin)) bpf_link_detach(link->fd.get());
  if (unlink(pin.c_str()) < 0 && errno != ENOENT) return errno_error("cannot remove " + pin);
  return Ok;
}

Result<std::string> cgroup2_root() {
  std::ifstream mounts("/proc/self/mounts");
  for (std::string line; std::getline(mounts, line);) {
    std::istringstream words(line);
    std::string device, folder, type;
    words >> device >> folder >> type;
    if (type == "cgroup2") return folder;
  }
  return Error(ErrorCode::not_found,
               "no cgroup2 hierarchy is mounted: mount -t cgroup2 none /sys/fs/cgroup");
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
