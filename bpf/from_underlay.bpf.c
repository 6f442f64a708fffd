/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* tc ingress of the uplink: overlay packets of other nodes. Everything else passes. */
#include "lib/receive.h"

ALWAYS_INLINE int is_vxlan(void* data, void* end) {
  if (data + WEFT_OUTER_BYTES + ETH_BYTES > end) return 0;
  struct iphdr* ip = data + ETH_BYTES;
  struct udphdr* udp = (void*)(ip + 1);
  return *(__be16*)(data + 12) == bpf_htons(ETH_P_IP) && *(__u8*)ip == 0x45 &&
         ip->protocol == IPPROTO_UDP && udp->dest == weft_config.vxlan_port &&
         ip->daddr == *(const volatile __u32*)(weft_config.node_address + 12) &&
         /* Fragments: the kernel puts them together, then its device takes them. */
         !(ip->frag_off & bpf_htons(0x3fff));
}

ALWAYS_INLINE int from_vxlan(struct __sk_buff* skb, struct packet* p, struct arrival* arrival) {
  void* data = packet_data(skb);
  void* end = packet_end(skb);
  if (data + WEFT_OUTER_BYTES + ETH_BYTES > end) return DROP(MALFORMED);
  __be32 source = ((struct iphdr*)(data + ETH_BYTES))->saddr;
  __u8 flags = *(__u8*)(data + VXLAN_FLAGS);
  __u32 vni = bpf_ntohl(*(__be32*)(data + VXLAN_VNI));
  if (flags != 0x08) return DROP(BAD_VXLAN);
  set_v4(&arrival->from, source);
  arrival->vni = vni >> 8;
  arrival->mark = vni & 0xff;
  arrival->frame = WEFT_OUTER_BYTES;
  return receive(skb, p, arrival);
}

SEC("tc")
int weft_from_underlay(struct __sk_buff* skb) {
  struct packet packet = {};
  struct arrival arrival = {};
  pull_headers(skb);
  if (!is_vxlan(packet_data(skb), packet_end(skb))) return TC_ACT_OK;
  return tc_verdict(skb, from_vxlan(skb, &packet, &arrival), &packet, arrival.vni);
}

char _license[] SEC("license") = "Dual BSD/GPL";
