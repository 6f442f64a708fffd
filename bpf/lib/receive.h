/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* An overlay packet from another node, whichever way it came. */
#pragma once
#include "deliver.h"
#include "encap.h"
#include "networks.bpf.h"
#include "peers.bpf.h"

struct arrival {
  union address from; /* outer source */
  __u32 vni;
  __u32 frame; /* where the inner frame begins: WEFT_OUTER_BYTES, or 0 when the kernel decapsulated */
  __u32 node;  /* the sender */
  __u8 mark;   /* WEFT_VXLAN_* */
};

ALWAYS_INLINE int find_sender(struct arrival* arrival) {
  struct weft_peer_key key = {.vni = arrival->vni};
  __builtin_memcpy(key.address, arrival->from.bytes, 16);
  struct weft_peer* peer = bpf_map_lookup_elem(&peers, &key);
  if (unlikely(!peer))
    return bpf_map_lookup_elem(&networks, &arrival->vni) ? DROP(UNKNOWN_VTEP) : DROP(UNKNOWN_VNI);
  arrival->node = peer->node;
  return 0;
}

/* Segments of UDP, and IPv6 on kernels that cannot change the skb's protocol, are decapsulated by the
 * kernel's VXLAN device; from_overlay meets them again. */
ALWAYS_INLINE int needs_kernel(const struct __sk_buff* skb, const struct packet* p,
                               const struct weft_port* port) {
  if (skb->gso_size && (p->protocol != IPPROTO_TCP || port->flags & WEFT_PORT_HOST)) return 1;
  return p->family == 6 && !(weft_config.flags & WEFT_CONFIG_DECAP_IPV6);
}

ALWAYS_INLINE int receive(struct __sk_buff* skb, struct packet* p, struct arrival* arrival) {
  int failed = find_sender(arrival);
  if (failed) return failed;
  void* data = packet_data(skb);
  void* end = packet_end(skb);
  __u32 frame = arrival->frame;
  if (data + frame + ETH_BYTES > end) return DROP(MALFORMED);
  int reason = parse_ip(data, end, frame + ETH_BYTES, *(__be16*)(data + frame + 12), p);
  if (reason) return -reason;
  struct weft_port* port = find_local(data + frame);
  if (!port) return DROP(NO_ENDPOINT);
  if (port->vni != arrival->vni) return DROP(OTHER_NETWORK);
  if (frame && needs_kernel(skb, p, port)) {
    count(WEFT_COUNT_KERNEL_WAY);
    return TC_ACT_OK;
  }
  count_received(arrival->node, skb->len - frame);
  if (!same_address(&p->destination, port_address(port, p->family))) return DROP(NO_ENDPOINT);
  if (frame && (failed = decapsulate(skb, p))) return failed;
  return deliver(skb, port);
}
