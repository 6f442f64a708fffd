/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What helpers return: an action of the hook (TC_ACT_*, XDP_*), or a drop reason as a negative
 * number. The entry function alone turns the latter into an action. */
#pragma once
#include "count.h"

#define DROP(reason) (-(int)WEFT_DROP_##reason)
#define NEXT 0x100 /* no verdict yet: the story goes on */

/* A drop before there is a packet to tell of. */
ALWAYS_INLINE int tc_drop(__u32 reason) {
  __u64* value = bpf_map_lookup_elem(&drops, &reason);
  if (value) (*value)++;
  return TC_ACT_SHOT;
}

ALWAYS_INLINE int tc_verdict(struct __sk_buff* skb, int verdict, const struct packet* packet,
                             __u32 vni) {
  /* Not ours: programs and filters of others behind us see it too. */
  if (verdict == TC_ACT_OK) return TC_ACT_UNSPEC;
  if (likely(verdict >= 0)) return verdict;
  count_drop(-verdict, packet, vni, skb->ifindex, skb->len);
  return TC_ACT_SHOT;
}
