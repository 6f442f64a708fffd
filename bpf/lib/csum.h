/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Internet checksums (RFC 1071, RFC 1624), incremental and whole. Sums are kept unfolded in 64
 * bits. */
#pragma once
#include "parse.h"

ALWAYS_INLINE __u16 fold(__u64 sum) {
  sum = (sum & 0xffffffff) + (sum >> 32);
  sum = (sum & 0xffff) + (sum >> 16);
  sum = (sum & 0xffff) + (sum >> 16);
  sum = (sum & 0xffff) + (sum >> 16);
  return (__u16)sum;
}

ALWAYS_INLINE __u32 fold32(__u64 sum) {
  sum = (sum & 0xffffffff) + (sum >> 32);
  return (__u32)((sum & 0xffffffff) + (sum >> 32));
}

/* Sum of new minus old. The v4-mapped prefix cancels, so one function serves both families. */
ALWAYS_INLINE __u64 address_difference(const union address* from, const union address* to) {
  __u64 sum = 0;
#pragma unroll
  for (int i = 0; i < 4; i++) sum += (__u64)(__u32)~from->word[i] + to->word[i];
  return sum;
}

ALWAYS_INLINE __u64 port_difference(__be16 from, __be16 to) { return (__u64)(__u16)~from + to; }

/* RFC 1624 equation 3 on a checksum in the packet. */
ALWAYS_INLINE void update_checksum(__u16* field, __u64 difference) {
  *field = ~fold((__u64)(__u16) ~*field + difference);
}

/* One's-complement sum of `words` 16-bit words at `data`; the caller has checked the bounds. */
ALWAYS_INLINE __u64 sum_words(const __u16* data, __u32 words) {
  __u64 sum = 0;
#pragma unroll
  for (__u32 i = 0; i < words; i++) sum += data[i];
  return sum;
}

ALWAYS_INLINE __u64 sum_address(const union address* a) {
  return (__u64)a->word[0] + a->word[1] + a->word[2] + a->word[3];
}

/* Corrects the transport checksum in the packet for changed addresses (part of the pseudo header)
 * and ports, whatever the state of the skb (partial, complete, segmentation). Packet pointers are
 * invalid after. */
ALWAYS_INLINE int correct_transport(struct __sk_buff* skb, const struct packet* p,
                                    __u64 address_sum, __u64 port_sum) {
  __u32 offset = 0;
  __u64 flags = 0;
  if (p->fragment == LATER_FRAGMENT) return 0;
  if (p->protocol == IPPROTO_TCP) {
    offset = p->l4 + 16;
  } else if (p->protocol == IPPROTO_UDP) {
    offset = p->l4 + 6;
    flags = BPF_F_MARK_MANGLED_0;
  } else if (p->protocol == IPPROTO_ICMPV6) {
    offset = p->l4 + 2;
  } else if (p->protocol == IPPROTO_ICMP) {
    offset = p->l4 + 2;
    address_sum = 0; /* no pseudo header */
  } else {
    return 0;
  }
  if (address_sum) {
    __u32 difference = fold32(address_sum);
    if (bpf_l4_csum_replace(skb, offset, 0, difference, flags | BPF_F_PSEUDO_HDR)) return -1;
    /* IPv6 has no header checksum that would balance the new address in skb->csum. */
    if (p->family == 6) bpf_csum_update(skb, difference);
  }
  if (port_sum && bpf_l4_csum_replace(skb, offset, 0, fold32(port_sum), flags)) return -1;
  return 0;
}
