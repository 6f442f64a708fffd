/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* tc ingress of the collect_md VXLAN device: overlay packets that the kernel decapsulated. */
#include "lib/receive.h"

ALWAYS_INLINE int from_overlay(struct __sk_buff* skb, struct packet* p, struct arrival* arrival) {
  struct bpf_tunnel_key key = {};
  pull_headers(skb);
  if (!bpf_skb_get_tunnel_key(skb, &key, sizeof(key), 0)) {
    set_v4(&arrival->from, bpf_htonl(key.remote_ipv4));
  } else if (!bpf_skb_get_tunnel_key(skb, &key, sizeof(key), BPF_F_TUNINFO_IPV6)) {
    __builtin_memcpy(arrival->from.bytes, key.remote_ipv6, 16);
  } else {
    return DROP(BAD_VXLAN);
  }
  arrival->vni = key.tunnel_id;
  return receive(skb, p, arrival);
}

SEC("tc")
int weft_from_overlay(struct __sk_buff* skb) {
  struct scratch* work = get_scratch();
  if (!work) return tc_drop(WEFT_DROP_REWRITE); /* cannot be: one entry on every CPU */
  struct packet* packet = &work->packet;
  struct arrival arrival = {};
  __builtin_memset(packet, 0, sizeof(*packet));
  return tc_verdict(skb, from_overlay(skb, packet, &arrival), packet, arrival.vni);
}

char _license[] SEC("license") = "Dual BSD/GPL";
