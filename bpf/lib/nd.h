/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Neighbour discovery (RFC 4861), answered like ARP; and echo to the gateway. */
#pragma once
#include "arp.h"
#include "rewrite.h"
#include "source.h"

#define ND_ROUTER_SOLICIT 133
#define ND_SOLICIT 135
#define ND_ADVERT 136
#define ND_REDIRECT 137
#define ND_BYTES 32u /* message with one link-layer address option */
#define ND_FRAME (ETH_BYTES + IP6_BYTES + ND_BYTES)

struct nd {
  __u8 type;
  __u8 code;
  __u16 checksum;
  __be32 flags;
  __u32 target[4];
  __u8 option_type;
  __u8 option_units;
  __u16 option_mac[3];
};

ALWAYS_INLINE int is_neighbour_discovery(const struct packet* p) {
  return p->protocol == IPPROTO_ICMPV6 && p->icmp_type >= ND_ROUTER_SOLICIT &&
         p->icmp_type <= ND_REDIRECT && p->fragment == NOT_FRAGMENT;
}

ALWAYS_INLINE int is_unspecified(const union address* a) { return !(a->half[0] | a->half[1]); }

/* Writes the advertisement over the solicitation. */
ALWAYS_INLINE int advertise(struct __sk_buff* skb, const struct packet* p,
                            const union address* target, const __u8* mac) {
  if (skb->len != ND_FRAME && bpf_skb_change_tail(skb, ND_FRAME, 0)) return DROP(REWRITE);
  void* data = packet_data(skb);
  if (data + ND_FRAME > packet_end(skb)) return DROP(REWRITE);
  copy_mac(data, data + 6);
  copy_mac(data + 6, mac);
  struct ipv6hdr* ip = data + ETH_BYTES;
  struct nd* nd = (void*)(ip + 1);
  ip->payload_len = bpf_htons(ND_BYTES);
  ip->nexthdr = IPPROTO_ICMPV6;
  ip->hop_limit = 255;
  write_address(&ip->saddr, target, 6);
  write_address(&ip->daddr, &p->source, 6);
  nd->type = ND_ADVERT;
  nd->code = 0;
  nd->checksum = 0;
  nd->flags = bpf_htonl(0x60000000); /* solicited, override */
  write_address(nd->target, target, 6);
  nd->option_type = 2; /* target link-layer address */
  nd->option_units = 1;
  copy_mac(nd->option_mac, mac);
  __u64 sum = sum_address(target) + sum_address(&p->source) + bpf_htonl(ND_BYTES) +
              bpf_htonl(IPPROTO_ICMPV6);
  nd->checksum = ~fold(sum + sum_words((__u16*)nd, ND_BYTES / 2));
  count(WEFT_COUNT_ND_ANSWERED);
  return bpf_redirect(skb->ifindex, 0);
}

GLOBAL int answer_nd(struct __sk_buff* skb, const struct packet* p, const struct weft_port* port) {
  if (!p || !port) return DROP(MALFORMED);
  /* Probing for duplicates has no source yet (RFC 4862). */
  if (!is_unspecified(&p->source) && !is_own_source(port, p)) return DROP(SPOOFED_ADDRESS);
  /* The host asked for the container's address; the answer is the host's. */
  if (p->icmp_type == ND_ADVERT && !is_multicast(&p->destination)) return TC_ACT_OK;
  if (p->icmp_type != ND_SOLICIT) return DROP(BROADCAST);
  struct nd* nd = packet_data(skb) + ETH_BYTES + IP6_BYTES;
  if (p->l4 != ETH_BYTES + IP6_BYTES || (void*)nd + 24 > packet_end(skb)) return DROP(MALFORMED);
  union address target;
  load_address(&target, (__u8*)nd->target);
  if (is_unspecified(&p->source) || same_address(&target, port->address6)) return DROP(BROADCAST);
  const __u8* mac = resolve(port, &target);
  return mac ? advertise(skb, p, &target, mac) : DROP(NO_ENDPOINT);
}

/* Turns an echo request to the gateway into its reply. */
ALWAYS_INLINE int answer_echo(struct __sk_buff* skb, const struct packet* p) {
  void* data = packet_data(skb);
  void* end = packet_end(skb);
  __u8* icmp = data + (p->l4 & OFFSET_MASK);
  if (data + ETH_BYTES + IP4_BYTES > end || icmp + 8 > (__u8*)end) return DROP(MALFORMED);
  if (p->fragment) return DROP(FRAGMENT);
  __u16 mac[3];
  copy_mac(mac, data);
  copy_mac(data, data + 6);
  copy_mac(data + 6, mac);
  if (p->family == 4) {
    struct iphdr* ip = data + ETH_BYTES;
    ip->saddr = p->destination.word[3];
    ip->daddr = p->source.word[3];
  } else {
    struct ipv6hdr* ip = data + ETH_BYTES;
    if ((void*)(ip + 1) > end) return DROP(MALFORMED);
    write_address(&ip->saddr, &p->destination, 6);
    write_address(&ip->daddr, &p->source, 6);
  }
  __u16 before = *(__u16*)icmp;
  icmp[0] = p->family == 4 ? ECHO_REPLY4 : ECHO_REPLY6;
  update_checksum((__u16*)(icmp + 2), port_difference(before, *(__u16*)icmp));
  count(WEFT_COUNT_LOCAL);
  return bpf_redirect(skb->ifindex, 0);
}
