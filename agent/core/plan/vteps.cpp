// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <array>

#include "core/plan/context.h"

namespace weft::plan {
namespace {

constexpr size_t ethernet_bytes = 14;
constexpr size_t ipv4_bytes = 20;

// Ethernet, IPv4 (RFC 791), UDP, VXLAN (RFC 7348). Lengths, IP checksum, source port and VNI are
// the packet's and stay zero; a zero UDP checksum means none (RFC 7348 5). The identification is
// zero too, so the packet must not be fragmented on the way: DF is set (RFC 6864).
void write_header(weft_vtep& vtep, const Self& self, const Member& member) {
  const NextHop& hop = *member.next_hop;
  __u8* ethernet = vtep.header;
  std::copy(hop.destination.bytes.begin(), hop.destination.bytes.end(), ethernet);
  std::copy(hop.source.bytes.begin(), hop.source.bytes.end(), ethernet + 6);
  ethernet[12] = 0x08;

  __u8* ip = ethernet + ethernet_bytes;
  ip[0] = 0x45;
  ip[6] = 0x40;  // DF
  ip[8] = 64;    // TTL
  ip[9] = WEFT_PROTOCOL_UDP;
  const auto put_v4 = [](__u8* to, const Address& a) {
    std::copy(a.bytes().begin() + 12, a.bytes().end(), to);
  };
  put_v4(ip + 12, self.underlay);
  put_v4(ip + 16, member.underlay);
  __u32 sum = 0;
  for (size_t i = 0; i < ipv4_bytes; i += 2) {
    __u16 word;
    std::memcpy(&word, ip + i, sizeof(word));
    sum += word;
  }
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >> 16);
  vtep.ip_checksum = __u16(sum);

  __u8* udp = ip + ipv4_bytes;
  udp[2] = __u8(self.vxlan_port >> 8);
  udp[3] = __u8(self.vxlan_port);
  __u8* vxlan = udp + 8;
  vxlan[0] = 0x08;  // the VNI is valid
}

weft_vtep own_vtep(const Self& self) {
  weft_vtep vtep{};
  copy_address(vtep.address, self.underlay);
  vtep.ifindex = self.uplink_ifindex;
  vtep.mtu_bytes = self.uplink_mtu_bytes;
  vtep.flags = WEFT_VTEP_KNOWN | WEFT_VTEP_SELF;
  copy_mac(vtep.host_mac, self.host.mac);
  return vtep;
}

weft_vtep member_vtep(const Self& self, const Member& member) {
  weft_vtep vtep{};
  copy_address(vtep.address, member.underlay);
  vtep.ifindex = self.uplink_ifindex;
  vtep.mtu_bytes = member.path_mtu_bytes != 0 ? member.path_mtu_bytes : self.uplink_mtu_bytes;
  vtep.flags = WEFT_VTEP_KNOWN;
  copy_mac(vtep.host_mac, member.host_mac);
  if (member.next_hop && member.underlay.is_v4() && self.underlay.is_v4()) {
    write_header(vtep, self, member);
    vtep.ifindex = member.next_hop->ifindex;
    vtep.flags |= WEFT_VTEP_FAST;
  }
  return vtep;
}

}  // namespace

void plan_vteps(const Context& context, DesiredState& out) {
  const Self& self = context.view().self;
  if (self.index != 0) out.vteps.emplace_back(self.index, own_vtep(self));
  // A dead member keeps its entry: packets of flows that outlive a false suspicion find their way.
  for (const Member* m : context.others()) out.vteps.emplace_back(m->index, member_vtep(self, *m));
  sort_unique(out.vteps);

  const auto add_peer = [&](uint32_t vni, const Address& address, uint16_t node) {
    weft_peer_key key{.vni = vni};
    copy_address(key.address, address);
    out.peers.emplace_back(key, weft_peer{.node = node});
  };
  std::array<const Member*, WEFT_MAX_NODES> by_index{};
  for (const Member* m : context.others()) by_index[m->index] = m;
  // Many endpoints share a node: one entry for each pair that occurs.
  std::vector<std::pair<uint32_t, uint16_t>> pairs;
  for (const VisibleEndpoint& e : context.endpoints())
    if (e.node != self.index) pairs.emplace_back(e.network->vni, e.node);
  std::sort(pairs.begin(), pairs.end());
  pairs.erase(std::unique(pairs.begin(), pairs.end()), pairs.end());
  for (const auto& [vni, node] : pairs) add_peer(vni, by_index[node]->underlay, node);
  // Every node can be an entry of the routing mesh.
  if (context.ingress() != nullptr)
    for (const Member* m : context.others())
      if (m->state != MemberState::gone) add_peer(context.ingress()->vni, m->underlay, m->index);
  sort_unique(out.peers);
}

}  // namespace weft::plan
