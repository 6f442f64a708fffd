// SPDX-License-Identifier: Apache-2.0
#include "harness/bpf_node.h"

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include <stdexcept>

#include "bpf/from_container.skel.h"
#include "bpf/from_overlay.skel.h"
#include "bpf/from_underlay.skel.h"
#include "bpf/xdp_underlay.skel.h"
#include "registry.h"

namespace weft::test {
namespace {

constexpr uint32_t loopback = 1;  // the only device that every namespace has

[[noreturn]] void fail(const std::string& what) {
  throw std::runtime_error(what + ": " + std::strerror(errno));
}

bool is_shared(const std::string& name) {
  for (const auto& entry : map_registry)
    if (entry.name == name) return true;
  return false;
}

int quiet(libbpf_print_level level, const char* format, va_list arguments) {
  return level == LIBBPF_WARN ? std::vfprintf(stderr, format, arguments) : 0;
}

}  // namespace

void copy(uint8_t (&to)[16], const Address& from) { std::memcpy(to, from.bytes().data(), 16); }
void copy(uint8_t (&to)[6], const Mac& from) { std::memcpy(to, from.bytes.data(), 6); }

Mac Node::uplink_mac(uint16_t number) { return Mac{{2, 0, 0, 0, 1, uint8_t(number)}}; }

void Node::share_maps(bpf_object* object, bool before) {
  bpf_map* map;
  bpf_object__for_each_map(map, object) {
    std::string name = bpf_map__name(map);
    if (!is_shared(name)) continue;
    auto known = maps_.find(name);
    if (before && known != maps_.end()) bpf_map__reuse_fd(map, known->second);
    if (!before && known == maps_.end()) maps_[name] = bpf_map__fd(map);
  }
}

template <typename Skeleton>
void Node::load(Skeleton* skeleton, int (*load)(Skeleton*)) {
  if (!skeleton) fail("open a program");
  weft_config config{};
  copy(config.node_address, underlay(number_));
  config.ingress_vni = ingress_vni;
  config.uplink_ifindex = config.vxlan_ifindex = config.host_ifindex = loopback;
  config.vxlan_port = htons(4789);
  config.node = number_;
  config.overlay_mtu_bytes = 1450;
  config.flags = flags_;
  config.jiffies_per_second = 250;
  config.drain_seconds = 30;
  copy(config.host_address4, host_address(number_));
  copy(config.host_gateway4, host_gateway());
  std::memcpy((void*)&skeleton->rodata->weft_config, &config, sizeof config);
  share_maps(skeleton->obj, true);
  if (load(skeleton)) fail("load a program");
  share_maps(skeleton->obj, false);
  objects_.push_back(skeleton->obj);
  bpf_program* program;
  bpf_object__for_each_program(program, skeleton->obj) programs_[bpf_program__name(program)] =
      bpf_program__fd(program);
}

Node::Node(uint16_t number, uint16_t flags) : number_(number), flags_(flags) {
  libbpf_set_print(quiet);
  libbpf_set_strict_mode(LIBBPF_STRICT_ALL);
  load(from_container__open(), from_container__load);
  load(from_underlay__open(), from_underlay__load);
  load(from_overlay__open(), from_overlay__load);
  load(xdp_underlay__open(), xdp_underlay__load);
  add_vtep(number, WEFT_VTEP_KNOWN | WEFT_VTEP_SELF);
  weft_address own{};
  copy(own.bytes, underlay(number));
  put("node_addresses", own, weft_node_address{loopback});
}

Node::~Node() {
  for (auto* object : objects_) bpf_object__close(object);
}

int Node::map_fd(const char* map) const { return maps_.at(map); }
int Node::program_fd(const std::string& program) const { return programs_.at(program); }

void Node::put_bytes(const char* map, const void* key, const void* value) {
  if (bpf_map_update_elem(map_fd(map), key, value, BPF_ANY)) fail(std::string("update ") + map);
}

bool Node::get_bytes(const char* map, const void* key, void* value) {
  return bpf_map_lookup_elem(map_fd(map), key, value) == 0;
}

weft_port Node::add_port(uint32_t id, const Address& address4, const Address& address6,
                         uint16_t flags, uint32_t network) {
  weft_port port{};
  port.ifindex = 100 + id;
  port.vni = network;
  copy(port.address4, address4);
  copy(port.address6, address6);
  if (network == ingress_vni)
    copy(port.gateway4, host_gateway());
  else
    copy(port.gateway4, Address::v4((address4.to_v4() & 0xffffff00) + 1));
  Mac mac = Mac::from_v4(address4);
  copy(port.mac, mac);
  copy(port.host_mac, Mac{{2, 0, 0, 0, 0xee, uint8_t(id)}});
  port.mtu_bytes = 1450;
  port.flags = flags;
  port.id = id;
  port.prefix4 = 24;
  port.prefix6 = 64;
  weft_mac_key key{};
  copy(key.mac, mac);
  put("local_macs", key, port);
  add_endpoint(network, address4, WEFT_ENDPOINT_LOCAL, mac, number_);
  if (!address6.is_none()) add_endpoint(network, address6, WEFT_ENDPOINT_LOCAL, mac, number_);
  return port;
}

void Node::add_endpoint(uint32_t network, const Address& address, weft_endpoint_kind kind,
                        const Mac& mac, uint16_t node, uint32_t service) {
  weft_endpoint_key key{network, {}};
  copy(key.address, address);
  weft_endpoint value{};
  value.service = service;
  value.node = node;
  copy(value.mac, mac);
  value.kind = kind;
  put("endpoints", key, value);
}

void Node::add_vtep(uint16_t node, uint16_t flags, uint16_t mtu) {
  weft_vtep vtep{};
  copy(vtep.address, underlay(node));
  Frame header = Packet()
                     .ethernet(uplink_mac(node), uplink_mac(number_))
                     .ip(underlay(number_), underlay(node))
                     .udp(0, 4789, true)
                     .vxlan(0)
                     .build();
  header[16] = header[17] = header[24] = header[25] = 0;
  std::memcpy(vtep.header, header.data(), 50);
  uint32_t total = 0;
  for (size_t i = 14; i < 34; i += 2) {
    uint16_t word;
    std::memcpy(&word, &header[i], 2);
    total += word;
  }
  while (total >> 16) total = (total & 0xffff) + (total >> 16);
  vtep.ip_checksum = uint16_t(total);
  vtep.ifindex = loopback;
  vtep.mtu_bytes = mtu;
  vtep.flags = flags;
  copy(vtep.host_mac, host_mac(node));
  put("vteps", uint32_t(node), vtep);
}

void Node::add_peer(uint16_t node, uint32_t network) {
  weft_peer_key key{network, {}};
  copy(key.address, underlay(node));
  put("peers", key, weft_peer{node, 0});
}

void Node::add_network(uint32_t network, const Prefix& prefix) {
  weft_network value{};
  put("networks", network, value);
  weft_subnet_key key{};
  key.prefix_bits = prefix.length + (prefix.address.is_v4() ? 96u : 0u);
  copy(key.address, prefix.address);
  put("subnets", key, weft_subnet{network});
}

void Node::add_published(uint16_t port, weft_protocol protocol, uint32_t service, uint16_t target,
                         uint16_t flags, const Address& address) {
  weft_published_key key{};
  copy(key.address, address);
  key.port = htons(port);
  key.protocol = protocol;
  put("published", key, weft_published{service, htons(target), flags});
}

void Node::set_service(uint32_t index, const Address& vip, const std::vector<Backend>& backends,
                       const std::vector<Slot>& slots, uint32_t network, uint32_t flags) {
  constexpr uint32_t per_service = 16;
  weft_service service{};
  service.table = slots.empty() ? WEFT_NO_TABLE : uint64_t(4) << 32 | index * per_service;
  service.backends = index * per_service;
  service.vni = network;
  service.backend_count = uint32_t(backends.size());
  service.flags = flags;
  for (uint32_t i = 0; i < per_service; i++) {
    weft_backend backend{};
    if (i < backends.size()) {
      copy(backend.mac, backends[i].mac);
      backend.node = backends[i].node;
      backend.flags = backends[i].flags;
      if (backend.flags && backend.node == number_) backend.flags |= WEFT_BACKEND_LOCAL;
    }
    put("backends", service.backends + i, backend);
  }
  for (uint32_t i = 0; !slots.empty() && i < per_service; i += 2) {
    weft_slots element{};
    for (uint32_t k = 0; k < 2; k++) {
      const Slot& slot = slots[(i + k) % slots.size()];
      element.pair[k].primary = uint16_t(slot.primary | (slot.moving ? WEFT_SLOT_MOVING : 0));
      element.pair[k].secondary = slot.secondary;
    }
    put("service_slots", (index * per_service + i) / 2, element);
  }
  put("services", index, service);
  if (vip.is_none()) return;
  copy(vip.is_v4() ? service.vip4 : service.vip6, vip);
  add_endpoint(network, vip, WEFT_ENDPOINT_VIP, {}, WEFT_NO_NODE, index);
}

Verdict Node::run(const std::string& program, const Frame& frame, bool xdp) {
  Verdict verdict;
  verdict.frame.resize(frame.size() + 256);
  LIBBPF_OPTS(bpf_test_run_opts, options);
  options.data_in = frame.data();
  options.data_size_in = uint32_t(frame.size());
  options.data_out = verdict.frame.data();
  options.data_size_out = uint32_t(verdict.frame.size());
  if (bpf_prog_test_run_opts(program_fd(program), &options)) fail("run " + program);
  (void)xdp;
  verdict.action = int(options.retval);
  verdict.frame.resize(options.data_size_out);
  return verdict;
}

Verdict Node::from_container(const weft_port& port, const Frame& frame) {
  put("ports", loopback, port);
  return run("weft_from_container", frame);
}
Verdict Node::from_underlay(const Frame& frame) { return run("weft_from_underlay", frame); }
Verdict Node::from_overlay(const Frame& frame) { return run("weft_from_overlay", frame); }
Verdict Node::xdp_underlay(const Frame& frame) { return run("weft_xdp_underlay", frame, true); }

uint64_t Node::per_cpu(const char* map, uint32_t index) {
  std::vector<uint64_t> values(static_cast<size_t>(libbpf_num_possible_cpus()));
  if (!get_bytes(map, &index, values.data())) fail(std::string("look up ") + map);
  uint64_t total = 0;
  for (uint64_t value : values) total += value;
  return total;
}

std::vector<weft_flow> Node::flows() {
  std::vector<weft_flow> found;
  for (uint32_t index = 0; index < WEFT_FLOW_SETS; index++) {
    weft_flow_set set;
    if (!get_bytes("flows", &index, &set)) fail("look up flows");
    for (uint32_t way = 0; way < WEFT_FLOW_WAYS; way++)
      if (set.tag[way] > WEFT_FLOW_BUSY) found.push_back(set.way[way]);
  }
  return found;
}

}  // namespace weft::test
