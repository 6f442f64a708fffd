// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <linux/types.h>

#include <cstring>
#include <map>
#include <string>
#include <vector>

#include "base/address.h"
#include "base/mac.h"
#include "harness/packet.h"
#include "weft/abi/types.h"

struct bpf_object;

namespace weft::test {

inline constexpr int tc_pass = -1;  // on to whoever comes next
inline constexpr int tc_shot = 2;
inline constexpr int tc_redirect = 7;
inline constexpr int xdp_drop = 1;
inline constexpr int xdp_pass = 2;
inline constexpr int xdp_tx = 3;
inline constexpr int xdp_redirect = 4;

struct Verdict {
  int action = -1;
  Frame frame;
};

// One node's data plane: the real programs with maps of their own, run packet by packet with
// BPF_PROG_TEST_RUN. The tests' conventions: node N has underlay address 192.168.1.N, uplink MAC
// 02:00:00:00:01:0N, its own endpoint 10.255.0.1N with MAC 02:42:0a:ff:00:1N.
class Node {
 public:
  static constexpr uint32_t ingress_vni = 4000;
  static constexpr uint32_t vni = 4096;

  explicit Node(uint16_t number, uint16_t flags = WEFT_CONFIG_DECAP_IPV6);
  ~Node();
  Node(const Node&) = delete;
  Node& operator=(const Node&) = delete;

  static Address underlay(uint16_t number) { return Address::v4(0xc0a80100u + number); }
  static Mac uplink_mac(uint16_t number);
  static Address host_address(uint16_t number) { return Address::v4(0x0aff0010u + number); }
  static Mac host_mac(uint16_t number) { return Mac::from_v4(host_address(number)); }
  static Address host_gateway() { return Address::v4(0x0aff0001u); }

  uint16_t number() const { return number_; }

  // A container of this node: fills local_macs; `port()` returns what `from_container` will use.
  weft_port add_port(uint32_t id, const Address& address4, const Address& address6, uint16_t flags,
                     uint32_t network = vni);
  void add_endpoint(uint32_t network, const Address& address, weft_endpoint_kind kind,
                    const Mac& mac, uint16_t node, uint32_t service = WEFT_NO_SERVICE);
  void add_vtep(uint16_t node, uint16_t flags = WEFT_VTEP_KNOWN | WEFT_VTEP_FAST,
                uint16_t mtu = 1500);
  void add_peer(uint16_t node, uint32_t network);
  void add_network(uint32_t network, const Prefix& prefix);
  void add_published(uint16_t port, weft_protocol protocol, uint32_t service, uint16_t target,
                     uint16_t flags = 0, const Address& address = {});

  // A service of 16 slots. Slot s has primary slots[s % n] and the secondary beside it; the numbers
  // are indices into `backends`. With an address, it is a VIP of `network`.
  struct Backend {
    Mac mac;
    uint16_t node;
    uint16_t flags = WEFT_BACKEND_READY;
  };
  struct Slot {
    uint16_t primary;
    uint16_t secondary = WEFT_SLOT_NONE;
    bool moving = false;
  };
  void set_service(uint32_t index, const Address& vip, const std::vector<Backend>& backends,
                   const std::vector<Slot>& slots, uint32_t network = vni, uint32_t flags = 0);

  template <typename Key, typename Value>
  void put(const char* map, const Key& key, const Value& value) {
    put_bytes(map, &key, &value);
  }
  template <typename Value, typename Key>
  Value get(const char* map, const Key& key) {
    Value value;
    std::memset(&value, 0, sizeof value);
    get_bytes(map, &key, &value);
    return value;
  }
  void put_bytes(const char* map, const void* key, const void* value);
  bool get_bytes(const char* map, const void* key, void* value);
  int map_fd(const char* map) const;
  int program_fd(const std::string& program) const;

  Verdict from_container(const weft_port& port, const Frame& frame);
  Verdict from_underlay(const Frame& frame);
  Verdict from_overlay(const Frame& frame);
  Verdict xdp_underlay(const Frame& frame);

  uint64_t dropped(weft_drop_reason reason) { return per_cpu("drops", reason); }
  uint64_t counted(weft_counter counter) { return per_cpu("counters", counter); }
  // Flows in use.
  std::vector<weft_flow> flows();

 private:
  uint64_t per_cpu(const char* map, uint32_t index);
  Verdict run(const std::string& program, const Frame& frame, bool xdp = false);
  template <typename Skeleton>
  void load(Skeleton* skeleton, int (*load)(Skeleton*));
  void share_maps(bpf_object* object, bool before);

  uint16_t number_;
  uint16_t flags_;
  std::map<std::string, int> maps_;
  std::map<std::string, int> programs_;
  std::vector<bpf_object*> objects_;
};

void copy(uint8_t (&to)[16], const Address& from);
void copy(uint8_t (&to)[6], const Mac& from);

}  // namespace weft::test
