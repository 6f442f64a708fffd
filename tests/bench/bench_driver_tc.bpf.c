/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include <linux/pkt_cls.h>
#include "bench_driver.h"

SEC("tc")
int bench_tc_noop(struct __sk_buff* skb) {
  (void)skb;
  return TC_ACT_OK;
}

SEC("tc")
int bench_tc_driver(struct __sk_buff* skb) {
  __u32 zero = 0;
  struct driver_config* config = bpf_map_lookup_elem(&driver, &zero);
  if (!config) return TC_ACT_SHOT;
  int missing = (int)config->bytes - (int)skb->len;
  if (missing == 50) {
    if (bpf_skb_adjust_room(skb, 50, BPF_ADJ_ROOM_MAC, 0)) return TC_ACT_SHOT;
  } else if (missing) {
    return TC_ACT_SHOT;
  }
  if (restore((void*)(long)skb->data, (void*)(long)skb->data_end, config)) return TC_ACT_SHOT;
  bpf_tail_call(skb, &subject, 0);
  return TC_ACT_SHOT;
}

/* What the driver costs when its packet comes back short: the measured program here takes the bytes
 * off and does nothing else. */
SEC("tc")
int bench_tc_shrink(struct __sk_buff* skb) {
  return bpf_skb_adjust_room(skb, -50, BPF_ADJ_ROOM_MAC, BPF_F_ADJ_ROOM_FIXED_GSO) ? TC_ACT_SHOT
                                                                                   : TC_ACT_OK;
}

char _license[] SEC("license") = "Dual BSD/GPL";
