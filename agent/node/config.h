// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/address.h"
#include "base/result.h"

namespace weft::node {

// How weftd was told to run: /etc/weft/weftd.json, overridden by flags. Every key is also a flag
// `--key`.
struct Config {
  std::string name;                        // default: the host's name
  std::string state = "/var/lib/weft";     // what must survive a reboot; mode 0700
  std::string run = "/run/weft";           // weftd.sock and what may vanish at reboot
  std::string bpffs = "/sys/fs/bpf/weft";  // pinned maps and links
  std::string uplink;             // device of the underlay; default: that of the default route
  std::string advertise_address;  // default: first IPv4 address of the uplink
  uint16_t gossip_port = 7946;
  uint16_t manager_port = 2377;
  uint16_t vxlan_port = 4789;
  std::string xdp = "auto";     // auto, native, generic, off
  std::string cgroup = "auto";  // cgroup2 mount for localhost access to published ports, or off
  std::vector<std::string> resolvers;  // upstream DNS servers; default: those of /etc/resolv.conf
  std::string log_level = "info";
  std::string log_format = "text";  // text, json

  std::string socket() const { return run + "/weftd.sock"; }
};

struct CommandLine {
  Config config;
  bool show_help = false;
  bool show_version = false;
  std::string help;
};

// Reads the file named by --config (default /etc/weft/weftd.json, which may be absent) and the
// flags. Errors name the file, the line and the key: "/etc/weft/weftd.json: line 3: unknown key
// 'vin'".
Result<CommandLine> parse_command_line(int argc, const char* const* argv);

// The file's text applied to `config`; `path` is for error messages.
Result<> apply_config_file(Config& config, const std::string& path, const std::string& text);

}  // namespace weft::node
