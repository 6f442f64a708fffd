/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Holds the MSS option of a SYN (RFC 9293 3.7.1) to what fits into the overlay. */
#pragma once
#include "csum.h"

#define TCP_OPTION_END 0
#define TCP_OPTION_NOP 1
#define TCP_OPTION_MSS 2
#define MAX_TCP_OPTIONS 6 /* senders put the MSS first or among the first */

/* `mtu`: largest IP packet that passes. Returns what the TCP checksum must be corrected by, 0 for
 * nothing: an skb whose checksum is still to be made is corrected in another way than a finished
 * one. */
ALWAYS_INLINE __u32 clamp_mss(void* data, void* end, const struct packet* p, __u32 mtu) {
  __u8* tcp = data + (p->l4 & OFFSET_MASK);
  __u32 most = mtu - 20 - (p->family == 4 ? IP4_BYTES : IP6_BYTES);
  __u32 at = 20;
#pragma unroll
  for (int i = 0; i < MAX_TCP_OPTIONS; i++) {
    at &= 63;
    __u8* option = tcp + at;
    if (at + 4 > p->tcp_bytes || option + 4 > (__u8*)end || option[0] == TCP_OPTION_END) return 0;
    if (option[0] == TCP_OPTION_NOP) {
      at++;
      continue;
    }
    if (option[0] == TCP_OPTION_MSS && option[1] == 4) {
      __u16 before = (__u16)option[2] << 8 | option[3];
      if (before <= most) return 0;
      option[2] = most >> 8;
      option[3] = most;
      __be16 from = bpf_htons(before), to = bpf_htons(most);
      /* An option at an odd offset counts with its bytes swapped. */
      if (at & 1) {
        from = __builtin_bswap16(from);
        to = __builtin_bswap16(to);
      }
      return fold32(port_difference(from, to));
    }
    if (option[1] < 2) return 0;
    at += option[1];
  }
  return 0;
}
