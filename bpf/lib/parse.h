/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* One cursor for tc and XDP: reads Ethernet, IPv4, IPv6 and the ports once, into 16-byte addresses.
 */
#pragma once
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/tcp.h>
#include <linux/udp.h>

#include "config.h"

#define ETH_BYTES 14u
#define IP4_BYTES 20u
#define IP6_BYTES 40u
#define OFFSET_MASK \
  0x1ffu /* headers begin within the first 512 bytes; bounds the verifier's view */
#define MAX_EXTENSIONS 4

/* 16 bytes with the alignment that makes copies and compares two words. */
union address {
  __u8 bytes[16];
  __u32 word[4];
  __u64 half[2];
};

enum fragment_part { NOT_FRAGMENT = 0, FIRST_FRAGMENT = 1, LATER_FRAGMENT = 2 };

#define TCP_FIN 0x01
#define TCP_SYN 0x02
#define TCP_RST 0x04
#define TCP_ACK 0x10

/* SCTP (RFC 9260): common header, then chunks. */
#define SCTP_HEADER_BYTES 12u
#define SCTP_INIT 1
#define SCTP_ABORT 6
#define SCTP_SHUTDOWN_COMPLETE 14

struct packet {
  union address source;
  union address destination;
  __be16 source_port; /* ICMP echo: request's id here and 0 there, reply's the other way round */
  __be16 destination_port;
  __u32 l3; /* offsets from the start of the frame */
  __u32 l4;
  __u32 fragment_id;
  __u32 ip_bytes; /* length of the IP packet as its header says; 0: BIG TCP */
  __u8 family;    /* 4 or 6 */
  __u8 protocol;
  __u8 ttl;
  __u8 tcp_flags; /* SCTP: what the first chunk means, in TCP's terms */
  __u8 fragment;  /* enum fragment_part */
  __u8 dont_fragment;
  __u8 icmp_type;
  __u8 icmp_code;
  __u8 tcp_bytes; /* length of the TCP header */
  __u8 pad[3];
  __u32 too_big_mtu; /* set with TOO_BIG: what would have passed */
};

ALWAYS_INLINE int same_address(const union address* a, const __u8* b) {
  const __u32* w = (const __u32*)b;
  return a->word[3] == w[3] && a->word[2] == w[2] && a->word[1] == w[1] && a->word[0] == w[0];
}

ALWAYS_INLINE void set_v4(union address* a, __be32 v4) {
  a->half[0] = 0;
  a->word[2] = bpf_htonl(0xffff);
  a->word[3] = v4;
}

ALWAYS_INLINE void load_address(union address* a, const __u8* bytes) {
  const __u32* w = (const __u32*)bytes;
  a->word[0] = w[0];
  a->word[1] = w[1];
  a->word[2] = w[2];
  a->word[3] = w[3];
}

/* Compares 6 bytes; `mac` is 2-byte aligned. */
ALWAYS_INLINE int same_mac(const void* a, const void* b) {
  const __u16 *x = a, *y = b;
  return x[0] == y[0] && x[1] == y[1] && x[2] == y[2];
}

ALWAYS_INLINE void copy_mac(void* to, const void* from) {
  __u16* x = to;
  const __u16* y = from;
  x[0] = y[0];
  x[1] = y[1];
  x[2] = y[2];
}

#define UNREACHABLE4 3
#define TIME_EXCEEDED4 11
#define PARAMETER_PROBLEM4 12
#define ECHO_REQUEST4 8
#define ECHO_REPLY4 0
#define ECHO_REQUEST6 128
#define ECHO_REPLY6 129

ALWAYS_INLINE int is_echo_request(const struct packet* p) {
  return p->protocol == IPPROTO_ICMP     ? p->icmp_type == ECHO_REQUEST4
         : p->protocol == IPPROTO_ICMPV6 ? p->icmp_type == ECHO_REQUEST6
                                         : 0;
}

ALWAYS_INLINE int is_echo_reply(const struct packet* p) {
  return p->protocol == IPPROTO_ICMP     ? p->icmp_type == ECHO_REPLY4
         : p->protocol == IPPROTO_ICMPV6 ? p->icmp_type == ECHO_REPLY6
                                         : 0;
}

/* Destination unreachable, time exceeded, packet too big, parameter problem. */
ALWAYS_INLINE int is_icmp_error(const struct packet* p) {
  if (p->protocol == IPPROTO_ICMP)
    return p->icmp_type == UNREACHABLE4 || p->icmp_type == TIME_EXCEEDED4 ||
           p->icmp_type == PARAMETER_PROBLEM4;
  return p->protocol == IPPROTO_ICMPV6 && p->icmp_type >= 1 && p->icmp_type <= 4;
}

/* Protocols with ports, which can be published. */
ALWAYS_INLINE int has_ports(const struct packet* p) {
  return p->protocol == IPPROTO_TCP || p->protocol == IPPROTO_UDP || p->protocol == IPPROTO_SCTP;
}

/* Both ends know of each other's end: no packet of an unknown flow is harmless. */
ALWAYS_INLINE int has_connections(const struct packet* p) {
  return p->protocol == IPPROTO_TCP || p->protocol == IPPROTO_SCTP;
}

ALWAYS_INLINE __u8 sctp_flags(__u8 chunk) {
  return chunk == SCTP_INIT                ? TCP_SYN
         : chunk == SCTP_ABORT             ? TCP_RST
         : chunk == SCTP_SHUTDOWN_COMPLETE ? TCP_FIN
                                           : TCP_ACK;
}

ALWAYS_INLINE int parse_ports(void* data, void* data_end, struct packet* p) {
  if (p->fragment == LATER_FRAGMENT) return WEFT_DROP_NONE;
  void* l4 = data + (p->l4 & OFFSET_MASK);
  if (p->protocol == IPPROTO_TCP) {
    if (l4 + sizeof(struct tcphdr) > data_end) return WEFT_DROP_MALFORMED;
    __be16* ports = l4;
    p->source_port = ports[0];
    p->destination_port = ports[1];
    p->tcp_flags = ((__u8*)l4)[13];
    p->tcp_bytes = (((__u8*)l4)[12] >> 4) * 4;
  } else if (p->protocol == IPPROTO_SCTP) {
    if (l4 + SCTP_HEADER_BYTES + 4 > data_end) return WEFT_DROP_MALFORMED;
    __be16* ports = l4;
    p->source_port = ports[0];
    p->destination_port = ports[1];
    p->tcp_flags = sctp_flags(((__u8*)l4)[SCTP_HEADER_BYTES]);
  } else if (p->protocol == IPPROTO_UDP || p->protocol == IPPROTO_ICMP ||
             p->protocol == IPPROTO_ICMPV6) {
    if (l4 + sizeof(struct udphdr) > data_end) return WEFT_DROP_MALFORMED;
    __be16* half = l4;
    if (p->protocol == IPPROTO_UDP) {
      p->source_port = half[0];
      p->destination_port = half[1];
    } else {
      p->icmp_type = ((__u8*)l4)[0];
      p->icmp_code = ((__u8*)l4)[1];
      if (is_echo_request(p)) p->source_port = half[2];
      if (is_echo_reply(p)) p->destination_port = half[2];
    }
  }
  return WEFT_DROP_NONE;
}

ALWAYS_INLINE int parse_ip4(void* data, void* data_end, __u32 l3, struct packet* p) {
  struct iphdr* ip = data + l3;
  if ((void*)(ip + 1) > data_end || ip->version != 4 || ip->ihl < 5) return WEFT_DROP_MALFORMED;
  p->family = 4;
  p->l3 = l3;
  p->l4 = l3 + ip->ihl * 4;
  p->protocol = ip->protocol;
  p->ttl = ip->ttl;
  p->ip_bytes = bpf_ntohs(ip->tot_len);
  set_v4(&p->source, ip->saddr);
  set_v4(&p->destination, ip->daddr);
  __u16 offset = bpf_ntohs(ip->frag_off);
  p->dont_fragment = (offset & 0x4000) != 0;
  if (unlikely(offset & 0x3fff)) {
    p->fragment = offset & 0x1fff ? LATER_FRAGMENT : FIRST_FRAGMENT;
    p->fragment_id = ip->id;
  }
  return parse_ports(data, data_end, p);
}

ALWAYS_INLINE int parse_ip6(void* data, void* data_end, __u32 l3, struct packet* p) {
  struct ipv6hdr* ip = data + l3;
  if ((void*)(ip + 1) > data_end || ip->version != 6) return WEFT_DROP_MALFORMED;
  p->family = 6;
  p->l3 = l3;
  p->ttl = ip->hop_limit;
  p->ip_bytes = ip->payload_len ? bpf_ntohs(ip->payload_len) + IP6_BYTES : 0;
  load_address(&p->source, ip->saddr.in6_u.u6_addr8);
  load_address(&p->destination, ip->daddr.in6_u.u6_addr8);
  p->dont_fragment = 1;
  __u32 l4 = l3 + IP6_BYTES;
  __u8 next = ip->nexthdr;
#pragma unroll
  for (int i = 0; i < MAX_EXTENSIONS; i++) {
    if (likely(next != IPPROTO_HOPOPTS && next != IPPROTO_ROUTING && next != IPPROTO_DSTOPTS &&
               next != IPPROTO_FRAGMENT))
      break;
    __u8* header = data + (l4 & OFFSET_MASK);
    if (header + 8 > (__u8*)data_end) return WEFT_DROP_MALFORMED;
    if (next == IPPROTO_FRAGMENT) {
      __u16 offset = bpf_ntohs(*(__be16*)(header + 2));
      if (offset & 0xfff9) {
        p->fragment = offset & 0xfff8 ? LATER_FRAGMENT : FIRST_FRAGMENT;
        p->fragment_id = *(__u32*)(header + 4);
      }
      l4 += 8;
    } else {
      l4 += (header[1] + 1) * 8;
    }
    next = header[0];
    if (p->fragment == LATER_FRAGMENT) break;
  }
  p->protocol = next;
  p->l4 = l4;
  return parse_ports(data, data_end, p);
}

/* Reads the IP packet at `l3`; `ethertype` as on the wire. *p is zeroed by the caller. */
ALWAYS_INLINE int parse_ip(void* data, void* data_end, __u32 l3, __be16 ethertype,
                           struct packet* p) {
  if (ethertype == bpf_htons(ETH_P_IP)) return parse_ip4(data, data_end, l3, p);
  if (ethertype == bpf_htons(ETH_P_IPV6)) return parse_ip6(data, data_end, l3, p);
  return WEFT_DROP_NOT_IP;
}

/* Makes the first bytes of a packet directly readable; most packets are already. */
#define HEADER_BYTES 160u
ALWAYS_INLINE void pull_headers(struct __sk_buff* skb) {
  __u32 linear = skb->data_end - skb->data;
  __u32 wanted = skb->len < HEADER_BYTES ? skb->len : HEADER_BYTES;
  if (unlikely(linear < wanted)) bpf_skb_pull_data(skb, wanted);
}

ALWAYS_INLINE void* packet_data(struct __sk_buff* skb) { return (void*)(long)skb->data; }
ALWAYS_INLINE void* packet_end(struct __sk_buff* skb) { return (void*)(long)skb->data_end; }
