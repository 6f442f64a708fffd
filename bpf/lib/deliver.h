/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Into a container of this node, and out of the tunnel. */
#pragma once
#include "endpoints.bpf.h"
#include "local_macs.bpf.h"
#include "verdict.h"

#ifndef BPF_F_ADJ_ROOM_DECAP_L3_IPV6
#define BPF_F_ADJ_ROOM_DECAP_L3_IPV6 (1ull << 8)
#endif
#define PACKET_HOST 0

ALWAYS_INLINE struct weft_port* find_local(const void* mac) {
  struct weft_mac_key key = {};
  copy_mac(key.mac, mac);
  return bpf_map_lookup_elem(&local_macs, &key);
}

ALWAYS_INLINE struct weft_endpoint* find_endpoint(__u32 vni, const union address* address) {
  struct weft_endpoint_key key = {.vni = vni};
  __builtin_memcpy(key.address, address->bytes, 16);
  return bpf_map_lookup_elem(&endpoints, &key);
}

ALWAYS_INLINE const __u8* port_address(const struct weft_port* port, __u8 family) {
  return family == 4 ? port->address4 : port->address6;
}

/* The destination MAC is the container's already. redirect_peer crosses into another namespace
 * only, so the node's own endpoint takes the ordinary way over its veth. */
ALWAYS_INLINE int deliver(struct __sk_buff* skb, const struct weft_port* port) {
  count(WEFT_COUNT_LOCAL);
  if (port->flags & WEFT_PORT_HOST) return bpf_redirect(port->ifindex, 0);
  if (skb->pkt_type != PACKET_HOST) bpf_skb_change_type(skb, PACKET_HOST);
  return bpf_redirect_peer(port->ifindex, 0);
}

/* Takes the outer headers off. The inner frame begins at WEFT_OUTER_BYTES; *p moves along. */
ALWAYS_INLINE int decapsulate(struct __sk_buff* skb, struct packet* p) {
  void* data = packet_data(skb);
  if (data + WEFT_OUTER_BYTES + ETH_BYTES > packet_end(skb)) return DROP(MALFORMED);
  __u16 ethernet[7];
#pragma unroll
  for (int i = 0; i < 7; i++) ethernet[i] = ((__u16*)(data + WEFT_OUTER_BYTES))[i];
  __u64 flags = BPF_F_ADJ_ROOM_FIXED_GSO | BPF_F_ADJ_ROOM_NO_CSUM_RESET;
  if (p->family == 6) flags |= BPF_F_ADJ_ROOM_DECAP_L3_IPV6;
  if (bpf_skb_adjust_room(skb, -(int)WEFT_OUTER_BYTES, BPF_ADJ_ROOM_MAC, flags))
    return DROP(REWRITE);
  bpf_csum_level(skb, BPF_CSUM_LEVEL_DEC);
  data = packet_data(skb);
  if (data + ETH_BYTES > packet_end(skb)) return DROP(REWRITE);
#pragma unroll
  for (int i = 0; i < 7; i++) ((__u16*)data)[i] = ethernet[i];
  p->l3 -= WEFT_OUTER_BYTES;
  p->l4 -= WEFT_OUTER_BYTES;
  count(WEFT_COUNT_DECAPSULATED);
  return 0;
}
