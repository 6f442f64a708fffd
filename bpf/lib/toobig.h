/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* "Fragmentation needed" (RFC 1191) and "packet too big" (RFC 8201) to the sender of a packet that
 * the overlay cannot carry whole. */
#pragma once
#include "rewrite.h"

#define ICMP_HEADER 8u
#define QUOTE4 68u /* the longest IPv4 header and 8 bytes: whatever the options, enough */
#define QUOTE6 128u

/* A transport checksum that is still to be made (partial) covers everything from the transport
 * header to the end, so its making will change bytes that we quote. Tells whether it is, by a
 * change that only a finished checksum shows. */
ALWAYS_INLINE int is_partial(struct __sk_buff* skb, const struct packet* p, __u16* seed) {
  if (p->protocol != IPPROTO_TCP && p->protocol != IPPROTO_UDP) return 0;
  __u32 at = p->l4 + (p->protocol == IPPROTO_TCP ? 16 : 6);
  __u16 after = 0;
  if (bpf_skb_load_bytes(skb, at, seed, 2)) return 0;
  if (bpf_l4_csum_replace(skb, at, 0, 1, 0) || bpf_skb_load_bytes(skb, at, &after, 2)) return 0;
  if (after == *seed) return 1;
  bpf_skb_store_bytes(skb, at, seed, 2, 0);
  return 0;
}

ALWAYS_INLINE void write_headers(void* data, const struct packet* p) {
  __u16 mac[3];
  copy_mac(mac, data);
  copy_mac(data, data + 6);
  copy_mac(data + 6, mac);
  void* ip = data + ETH_BYTES;
  if (p->family == 4) {
    struct iphdr* ip4 = ip;
    __u16* words = ip;
    __builtin_memset(ip4, 0, sizeof(*ip4));
    *(__u8*)ip = 0x45;
    ip4->tot_len = bpf_htons(IP4_BYTES + ICMP_HEADER + QUOTE4);
    ip4->ttl = 64;
    ip4->protocol = IPPROTO_ICMP;
    write_address(ip + 12, &p->destination, 4);
    write_address(ip + 16, &p->source, 4);
    ip4->check = ~fold(sum_words(words, IP4_BYTES / 2));
  } else {
    struct ipv6hdr* ip6 = ip;
    __builtin_memset(ip6, 0, 8);
    *(__u8*)ip = 0x60;
    ip6->payload_len = bpf_htons(ICMP_HEADER + QUOTE6);
    ip6->nexthdr = IPPROTO_ICMPV6;
    ip6->hop_limit = 64;
    write_address(ip + 8, &p->destination, 6);
    write_address(ip + 24, &p->source, 6);
  }
}

/* Answers from the address that was called. The packet itself is gone: what is sent back quotes its
 * front. */
GLOBAL int send_too_big(struct __sk_buff* skb, const struct packet* p, __u32 mtu) {
  if (!p) return DROP(TOO_BIG);
  __u32 header = p->family == 4 ? IP4_BYTES : IP6_BYTES;
  __u32 quote = p->family == 4 ? QUOTE4 : QUOTE6;
  __u16 seed = 0;
  int partial = is_partial(skb, p, &seed);
  if (partial && p->l4 - p->l3 != header) return DROP(TOO_BIG);
  if (bpf_skb_change_tail(skb, ETH_BYTES + quote, 0)) return DROP(TOO_BIG);
  if (bpf_skb_adjust_room(skb, header + ICMP_HEADER, BPF_ADJ_ROOM_MAC, 0)) return DROP(TOO_BIG);
  bpf_skb_pull_data(skb, 0);
  void* data = packet_data(skb);
  void* end = packet_end(skb);
  if (data + ETH_BYTES + IP6_BYTES > end) return DROP(TOO_BIG);
  write_headers(data, p);
  __u16* icmp = data + ETH_BYTES + header;
  __u64 sum = 0;
  if (p->family == 4) {
    if ((void*)icmp + ICMP_HEADER + QUOTE4 > end) return DROP(TOO_BIG);
    *(__be32*)icmp = bpf_htonl(3 << 24 | 4 << 16);
    ((__be32*)icmp)[1] = bpf_htonl(mtu);
    sum = sum_words(icmp, (ICMP_HEADER + IP4_BYTES) / 2);
    if (!partial) sum += sum_words(icmp + (ICMP_HEADER + IP4_BYTES) / 2, (QUOTE4 - IP4_BYTES) / 2);
  } else {
    if ((void*)icmp + ICMP_HEADER + QUOTE6 > end) return DROP(TOO_BIG);
    *(__be32*)icmp = bpf_htonl(2 << 24);
    ((__be32*)icmp)[1] = bpf_htonl(mtu);
    if (!partial) sum = sum_words(icmp + (ICMP_HEADER + IP6_BYTES) / 2, (QUOTE6 - IP6_BYTES) / 2);
    sum += sum_words(icmp, (ICMP_HEADER + IP6_BYTES) / 2) + sum_address(&p->source) +
           sum_address(&p->destination) + bpf_htonl(ICMP_HEADER + QUOTE6) +
           bpf_htonl(IPPROTO_ICMPV6);
  }
  /* Once made, the quoted checksum brings its range to the complement of what it started from. */
  if (partial) sum += (__u16)~seed;
  icmp[1] = ~fold(sum);
  count(WEFT_COUNT_TOO_BIG_SENT);
  return bpf_redirect(skb->ifindex, 0);
}
