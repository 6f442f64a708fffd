/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* tc ingress of the uplink: overlay packets of other nodes, and calls of published ports. All else
 * passes. */
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

/* A client outside calls this node. What is not for a published port is the host's. */
ALWAYS_INLINE int from_outside(struct __sk_buff* skb, struct packet* p) {
  void* data = packet_data(skb);
  void* end = packet_end(skb);
  if (data + ETH_BYTES > end) return TC_ACT_OK;
  if (parse_ip(data, end, ETH_BYTES, *(__be16*)(data + 12), p)) return TC_ACT_OK;
  if (!is_node_address(&p->destination)) return TC_ACT_OK;
  if (p->fragment && resolve_fragment(p, 0)) return TC_ACT_OK;
  struct scratch* work = get_scratch();
  struct packet* view = work ? view_of_call(skb, p, work) : 0;
  if (!view) return TC_ACT_OK;
  struct weft_published* published = find_called(view);
  return published ? mesh_in(skb, p, published) : TC_ACT_OK;
}

SEC("tc")
int weft_from_underlay(struct __sk_buff* skb) {
  struct scratch* work = get_scratch();
  if (!work) return tc_drop(WEFT_DROP_REWRITE); /* cannot be: one entry on every CPU */
  struct packet* packet = &work->packet;
  struct arrival arrival = {};
  __builtin_memset(packet, 0, sizeof(*packet));
  pull_headers(skb);
  int verdict = is_vxlan(packet_data(skb), packet_end(skb)) ? from_vxlan(skb, packet, &arrival)
                                                            : from_outside(skb, packet);
  if (unlikely(verdict == DROP(TOO_BIG) && !arrival.vni && packet->too_big_mtu))
    verdict = send_too_big(skb, packet, packet->too_big_mtu);
  return tc_verdict(skb, verdict, packet, arrival.vni);
}

char _license[] SEC("license") = "Dual BSD/GPL";
