/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* To another node: VXLAN (RFC 7348) from the node's template straight to the uplink, or by the
 * kernel's device where the fast way cannot serve. */
#pragma once
#include "outer.h"

ALWAYS_INLINE int send_kernel_way(struct __sk_buff* skb, const struct weft_vtep* vtep, __u32 vni) {
  struct bpf_tunnel_key key = {.tunnel_id = vni, .tunnel_ttl = 64};
  __u64 flags = BPF_F_ZERO_CSUM_TX;
  const __u32* address = (const __u32*)vtep->address;
  if (address[2] == bpf_htonl(0xffff) && !address[1] && !address[0]) {
    key.remote_ipv4 = bpf_ntohl(address[3]);
  } else {
    __builtin_memcpy(key.remote_ipv6, vtep->address, 16);
    flags |= BPF_F_TUNINFO_IPV6;
  }
  if (bpf_skb_set_tunnel_key(skb, &key, sizeof(key), flags)) return DROP(REWRITE);
  count(WEFT_COUNT_KERNEL_WAY);
  return bpf_redirect(weft_config.vxlan_ifindex, 0);
}

ALWAYS_INLINE int write_destination_mac(struct __sk_buff* skb, const __u8* mac) {
  void* data = packet_data(skb);
  if (data + ETH_BYTES > packet_end(skb)) return DROP(MALFORMED);
  copy_mac(data, mac);
  return 0;
}

/* Can the fast way carry this packet? Segments of UDP cannot (their outer header would be wrong).
 */
ALWAYS_INLINE int is_fast(const struct __sk_buff* skb, const struct packet* p,
                          const struct weft_vtep* vtep) {
  return vtep->flags & WEFT_VTEP_FAST && (!skb->gso_size || p->protocol == IPPROTO_TCP);
}

#define GROW_FLAGS                                              \
  (BPF_F_ADJ_ROOM_ENCAP_L3_IPV4 | BPF_F_ADJ_ROOM_ENCAP_L4_UDP | \
   BPF_F_ADJ_ROOM_ENCAP_L2(ETH_BYTES) | BPF_F_ADJ_ROOM_ENCAP_L2_ETH)

/* Sends the packet to a node; its addresses stay as they are. TOO_BIG leaves it unchanged. */
GLOBAL int encapsulate(struct __sk_buff* skb, struct packet* p, const struct tunnel* to) {
  if (!p || !to) return DROP(NO_ROUTE);
  struct weft_vtep* vtep = find_vtep(to->node);
  if (!vtep) return DROP(NO_ROUTE);
  __u32 most = inner_mtu(vtep);
  int fast = is_fast(skb, p, vtep);
  __u64 flags = GROW_FLAGS;
  if (skb->gso_size) {
    /* Without FIXED_GSO the kernel makes the segments smaller by what we add. */
    if (skb->gso_size + (p->l4 - p->l3) + p->tcp_bytes <= most) flags |= BPF_F_ADJ_ROOM_FIXED_GSO;
  } else if (unlikely(skb->len - ETH_BYTES > most)) {
    if (p->dont_fragment) {
      p->too_big_mtu = most;
      return DROP(TOO_BIG);
    }
    fast = 0;
  }
  count(WEFT_COUNT_ENCAPSULATED);
  count_sent(to->node, skb->len);
  if (unlikely(!fast || bpf_skb_adjust_room(skb, WEFT_OUTER_BYTES, BPF_ADJ_ROOM_MAC, flags))) {
    int failed = write_destination_mac(skb, to->mac);
    return failed ? failed : send_kernel_way(skb, vtep, to->vni);
  }
  void* data = packet_data(skb);
  if (data + WEFT_OUTER_BYTES + ETH_BYTES > packet_end(skb)) return DROP(REWRITE);
  copy_mac(data + WEFT_OUTER_BYTES, to->mac);
  copy_mac(data + WEFT_OUTER_BYTES + 6, data + 6);
  *(__be16*)(data + WEFT_OUTER_BYTES + 12) = *(__be16*)(data + 12);
  write_outer(data, vtep, to, skb->len - ETH_BYTES);
  return bpf_redirect(vtep->ifindex, 0);
}

/* Sends a packet that still has its outer headers on to another node, in place. NEXT: it cannot. */
ALWAYS_INLINE int reencapsulate(struct __sk_buff* skb, const struct tunnel* to) {
  struct weft_vtep* vtep = find_vtep(to->node);
  if (!vtep || !(vtep->flags & WEFT_VTEP_FAST)) return NEXT;
  void* data = packet_data(skb);
  if (data + WEFT_OUTER_BYTES + ETH_BYTES > packet_end(skb)) return NEXT;
  copy_mac(data + WEFT_OUTER_BYTES, to->mac);
  write_outer(data, vtep, to, skb->len - ETH_BYTES);
  count(WEFT_COUNT_ENCAPSULATED);
  count_sent(to->node, skb->len - WEFT_OUTER_BYTES);
  return bpf_redirect(vtep->ifindex, 0);
}
