// SPDX-License-Identifier: Apache-2.0
#include "drivers/bpf/attach.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <fcntl.h>
#include <linux/if_link.h>
#include <net/if.h>

#include <cstring>
#include <fstream>
#include <sstream>

namespace weft::bpf {
namespace {

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

}  // namespace weft::bpf
