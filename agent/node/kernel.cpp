// SPDX-License-Identifier: Apache-2.0
#include "node/kernel.h"

#include <linux/bpf.h>
#include <sys/utsname.h>

#include <algorithm>
#include <cstdio>
#include <cstring>

#include "drivers/bpf/attach.h"
#include "drivers/bpf/features.h"
#include "drivers/link/endpoint.h"
#include "drivers/netns/netns.h"

namespace weft::node {

namespace {

constexpr uint16_t outer_bytes = WEFT_OUTER_BYTES;
const Mac weft0_host_mac{{0x02, 0x57, 0, 0, 0, 1}};

void copy(const Address& address, __u8 (&out)[16]) {
  std::copy(address.bytes().begin(), address.bytes().end(), out);
}

Address address_or_none(const std::string& text) {
  auto parsed = Address::parse(text);
  return parsed ? *parsed : Address();
}

uint8_t protocol_number(const std::string& name) {
  return uint8_t(name == "udp"    ? link::PortProtocol::udp
                 : name == "sctp" ? link::PortProtocol::sctp
                                  : link::PortProtocol::tcp);
}

Address address_of(const __u8 (&from)[16]) {
  Address::Bytes bytes;
  std::memcpy(bytes.data(), from, bytes.size());
  return Address(bytes);
}

plan::HeldPort held_port_of(const weft_published_key& key) {
  return {address_of(key.address), __builtin_bswap16(key.port), uint8_t(key.protocol)};
}

bool kernel_at_least(unsigned major, unsigned minor) {
  utsname name{};
  unsigned a = 0, b = 0;
  if (::uname(&name) != 0 || std::sscanf(name.release, "%u.%u", &a, &b) != 2) return false;
  return a > major || (a == major && b >= minor);
}

uint16_t overlay_mtu(const Surroundings& around) {
  return uint16_t(std::min<uint32_t>(around.uplink.link.mtu_bytes, 0xffff) - outer_bytes);
}

}  // namespace

Result<std::unique_ptr<Kernel>> Kernel::start(const Config& config, const api::Node& self,
                                              const api::Network& ingress, Surroundings& around) {
  Fd netns = TRY(netns::open_own_netns());
  link::Links links = TRY(link::Links::open(netns.get()));
  std::unique_ptr<Kernel> kernel(new Kernel(config, std::move(netns), std::move(links)));
  TRY(kernel->make_devices(self, ingress, around));
  TRY_IN("load the data path", kernel->load(self, ingress, around));
  TRY(kernel->attach(around));
  TRY(kernel->data_path_->maps().read_back(kernel->held_));
  kernel->fresh_ = kernel->held_.networks.empty();
  kernel->problems_ = kernel->start_problems_;
  return kernel;
}

Result<> Kernel::make_devices(const api::Node& self, const api::Network& ingress,
                              Surroundings& around) {
  TRY(link::prepare_node(netns_.get(), around.uplink.link.name));
  link::VxlanSpec vxlan;
  vxlan.port = config_.vxlan_port;
  vxlan.mtu_bytes = overlay_mtu(around);
  vxlan_ifindex_ = TRY(links_.ensure_vxlan(vxlan)).index;
  TRY(links_.set_up(vxlan_ifindex_));
  link::NodeEndpointSpec spec;
  spec.mac = TRY(Mac::parse(self.ingress_mac()));
  spec.host_mac = weft0_host_mac;
  spec.mtu_bytes = ingress.mtu_bytes() ? ingress.mtu_bytes() : overlay_mtu(around);
  for (const std::string& text : {self.ingress_address4(), self.ingress_address6()})
    if (!text.empty()) node_addresses_.push_back(TRY(Address::parse(text)));
  spec.addresses = node_addresses_;
  const link::EndpointLinks links = TRY_IN("make the node's own endpoint",
                                           link::ensure_node_endpoint(links_, netns_.get(), spec));
  host_ifindex_ = links.host.index;
  node_ifindex_ = links.inside.index;
  uplink_ifindex_ = around.uplink.link.index;
  around.vxlan_port = config_.vxlan_port;
  around.host.address4 = address_or_none(self.ingress_address4());
  around.host.address6 = address_or_none(self.ingress_address6());
  around.host.mac = spec.mac;
  around.host.host_mac = spec.host_mac;
  around.host.ifindex = host_ifindex_;
  around.host.mtu_bytes = uint16_t(spec.mtu_bytes);
  around.host.id = 1;
  return Ok;
}

Result<> Kernel::load(const api::Node& self, const api::Network& ingress,
                      const Surroundings& around) {
  bpf::LoadOptions options;
  options.bpffs = config_.bpffs;
  weft_config& c = options.config;
  copy(address_or_none(self.address()), c.node_address);
  c.ingress_vni = ingress.vni();
  c.uplink_ifindex = uplink_ifindex_;
  c.vxlan_ifindex = vxlan_ifindex_;
  c.host_ifindex = host_ifindex_;
  c.vxlan_port = __builtin_bswap16(config_.vxlan_port);
  c.node = uint16_t(self.index());
  c.overlay_mtu_bytes = overlay_mtu(around);
  c.flags = kernel_at_least(6, 3) ? WEFT_CONFIG_DECAP_IPV6 : 0;
  c.jiffies_per_second = bpf::kernel_ticks_per_second();
  c.drain_seconds = uint32_t(std::chrono::duration_cast<std::chrono::seconds>(drain_time).count());
  c.netns_cookie = TRY(netns::netns_cookie(netns_.get()));
  copy(around.host.address4, c.host_address4);
  copy(around.host.address6, c.host_address6);
  copy(address_or_none(ingress.gateway4()), c.host_gateway4);
  copy(address_or_none(ingress.gateway6()), c.host_gateway6);
  data_path_ = std::make_unique<bpf::DataPath>(TRY(bpf::DataPath::load(options)));
  for (const std::string& warning : data_path_->warnings()) start_problems_.push_back(warning);
  return Ok;
}

Result<> Kernel::attach(const Surroundings& around) {
  const auto tc = [&](uint32_t ifindex, const char* name) -> Result<> {
    const bpf::Program* program = data_path_->find(name);
    WEFT_ASSERT(program != nullptr);
    return bpf::attach_tc(ifindex, bpf::TcHook::ingress, program->fd);
  };
  TRY_IN("attach to the node's own endpoint", tc(host_ifindex_, "weft_from_container"));
  TRY_IN("attach to the VXLAN device", tc(vxlan_ifindex_, "weft_from_overlay"));
  TRY_IN("attach to the uplink " + around.uplink.link.name,
         tc(uplink_ifindex_, "weft_from_underlay"));
  attach_xdp(around);
  attach_cgroup();
  auto old = bpf::remove_old_pins(config_.bpffs);
  if (!old) start_problems_.push_back(old.error().message());
  return Ok;
}

void Kernel::attach_xdp(const Surroundings& around) {
  const std::string pin = bpf::links_folder(config_.bpffs) + "/xdp_underlay";
  const bpf::Program* program = data_path_->find("weft_xdp_underlay");
  // XDP on a veth loses the peer's segmentation offload: bulk TCP falls to a tenth.
  const bool virtual_link = around.uplink.link.kind == "veth";
  const bool wanted = config_.xdp == "native" || config_.xdp == "generic" ||
                      (config_.xdp == "auto" && !virtual_link && around.uplink.link.kind.empty());
  if (!wanted || !program) {
    if (auto done = bpf::detach_link(pin); !done) start_problems_.push_back(done.error().message());
    return;
  }
  const auto mode = config_.xdp == "generic" ? bpf::XdpMode::generic : bpf::XdpMode::native;
  if (auto done = bpf::attach_xdp(uplink_ifindex_, program->fd, mode, pin); !done)
    start_problems_.push_back("no XDP on the uplink, tc does its work: " + done.error().message());
}

void Kernel::attach_cgroup() {
  if (config_.cgroup == "off") return;
  std::string root = config_.cgroup;
  if (root == "auto") {
    auto found = bpf::cgroup2_root();
    if (!found) {
      start_problems_.push_back("published ports do not answer at localhost: " +
                                found.error().message());
      return;
    }
    root = *found;
  }
  for (const bpf::Program& program : data_path_->programs()) {
    if (program.type != BPF_PROG_TYPE_CGROUP_SOCK_ADDR) continue;
    const std::string pin = bpf::links_folder(config_.bpffs) + "/" + program.name;
    if (auto done = bpf::attach_cgroup(root, program.attach_type, program.fd, pin); !done) {
      start_problems_.push_back("published ports do not answer at localhost: " +
                                done.error().message());
      return;
    }
  }
}

Result<> Kernel::guard(uint32_t ifindex) {
  // On a link without an address the kernel's reverse path filter, even a loose one, drops what the
  // container sends outside.
  for (const Address& address : node_addresses_)
    if (address.is_v4()) TRY(links_.ensure_address(ifindex, {address, 32}, false));
  // Not tcx: attaching one waits for an RCU grace period, which an endpoint would come up later by.
  return bpf::attach_tc(ifindex, bpf::TcHook::ingress, data_path_->find("weft_from_container")->fd,
                        bpf::TcWay::clsact);
}

Result<std::vector<std::string>> Kernel::links_without_program(
    const std::map<std::string, Attachment>& attachments) {
  std::vector<uint32_t> guarded = {host_ifindex_, vxlan_ifindex_, uplink_ifindex_};
  for (const auto& [id, attachment] : attachments)
    if (attachment.ifindex != 0) guarded.push_back(attachment.ifindex);
  std::vector<std::string> out;
  for (const uint32_t ifindex : guarded) {
    if (TRY(bpf::attached_tc(ifindex, bpf::TcHook::ingress))) continue;
    const auto link = TRY(links_.find(ifindex));
    out.push_back(link ? link->name : "a link that has gone");
  }
  return out;
}

Result<Instant> Kernel::apply(const plan::DesiredState& desired, Instant now) {
  // Routes and NAT first: by the time an address can be found, its packets have a way back.
  TRY(sync_routes(desired));
  TRY(sync_nat(desired));
  sync_ports(desired);
  const Instant deadline =
      TRY(taken_.empty() ? sync_maps(desired, now) : sync_maps(without_taken(desired), now));
  problems_ = start_problems_;
  for (const auto* more : {&port_problems_, &diff_problems_, &nat_problems_})
    problems_.insert(problems_.end(), more->begin(), more->end());
  return deadline;
}

Result<Instant> Kernel::sync_maps(const plan::DesiredState& desired, Instant now) {
  diff::Difference difference = diff::diff(desired, held_, memory_, drain_time, now);
  for (const diff::Operation& operation : difference.operations) {
    TRY(data_path_->maps().apply(operation));
    held_.note(operation);
  }
  if (!difference.operations.empty()) held_.forget_unused_slots();
  memory_ = std::move(difference.memory);
  diff_problems_ = std::move(difference.problems);
  return difference.deadline;
}

Result<> Kernel::sync_routes(const plan::DesiredState& desired) {
  std::set<Prefix> wanted;
  for (const plan::Route& route : desired.routes) wanted.insert(route.subnet);
  if (wanted == routes_) return Ok;
  TRY_IN("routes", link::sync_node_routes(links_, node_ifindex_, wanted, node_addresses_));
  routes_ = std::move(wanted);
  return Ok;
}

Result<> Kernel::sync_nat(const plan::DesiredState& desired) {
  link::NatSpec spec;
  for (const auto& [key, subnet] : desired.subnets) {
    const Address address = address_of(key.address);
    spec.subnets.insert({address, uint8_t(key.prefix_bits - (address.is_v4() ? 96 : 0))});
  }
  spec.outgoing.insert(desired.masqueraded.begin(), desired.masqueraded.end());
  if (nat_ && *nat_ == spec) return Ok;
  nat_problems_ = TRY_IN("NAT rules", link::apply_nat(netns_.get(), spec));
  nat_ = std::make_unique<link::NatSpec>(std::move(spec));
  return Ok;
}

plan::DesiredState Kernel::without_taken(plan::DesiredState desired) const {
  for (plan::PlannedService& service : desired.services)
    std::erase_if(service.published, [&](const plan::PlannedPort& port) {
      return taken_.contains(held_port_of(port.key));
    });
  return desired;
}

bool Kernel::taken_by_others(const api::PublishedPort& port) {
  const plan::HeldPort wanted{address_or_none(port.address()), uint16_t(port.published()),
                              protocol_number(port.protocol())};
  if (ports_.contains(wanted)) return false;
  const auto held = link::hold_port(wanted.address, wanted.port,
                                    link::PortProtocol(wanted.protocol), netns_.get());
  return !held && held.error().code() == ErrorCode::conflict;
}

void Kernel::sync_ports(const plan::DesiredState& desired) {
  port_problems_.clear();
  taken_.clear();
  std::map<plan::HeldPort, Fd> now;
  for (const plan::HeldPort& wanted : desired.held_ports) {
    if (auto known = ports_.find(wanted); known != ports_.end()) {
      now.emplace(wanted, std::move(known->second));
      continue;
    }
    auto held = link::hold_port(wanted.address, wanted.port, link::PortProtocol(wanted.protocol),
                                netns_.get());
    if (held) {
      now.emplace(wanted, std::move(*held));
    } else if (held.error().code() == ErrorCode::conflict) {
      taken_.insert(wanted);
      port_problems_.push_back(held.error().message() +
                               ": what is sent to it here goes to that program, not to the service "
                               "that publishes it; stop it, or publish another port");
    } else if (held.error().code() != ErrorCode::not_found) {  // not_found: another node's address
      port_problems_.push_back(held.error().message());
    }
  }
  ports_ = std::move(now);
}

Result<> Kernel::remove() {
  ports_.clear();
  TRY(link::remove_nat(netns_.get()));
  TRY(link::sweep_links(links_, {}));
  TRY(bpf::sweep_tc());
  return bpf::unpin_all(config_.bpffs);
}

}  // namespace weft::node
