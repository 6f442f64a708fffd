/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Changes addresses and ports of a packet, with all its checksums. */
#pragma once
#include "csum.h"
#include "verdict.h"

struct tuple {
  union address source;
  union address destination;
  __be16 source_port;
  __be16 destination_port;
  __u32 pad;
};

ALWAYS_INLINE void write_address(void* at, const union address* a, __u8 family) {
  __u32* words = at;
  if (family == 4) {
    words[0] = a->word[3];
    return;
  }
  words[0] = a->word[0];
  words[1] = a->word[1];
  words[2] = a->word[2];
  words[3] = a->word[3];
}

/* Writes new addresses into the IP header at `ip` and corrects its own checksum. Each family has a
 * bounds check of its own: older verifiers do not see that a common one depends on the family. */
ALWAYS_INLINE int write_addresses(void* ip, void* end, __u8 family, const struct tuple* to,
                                  __u64 difference) {
  if (family == 4) {
    barrier_value(ip);
    if (ip + IP4_BYTES > end) return -1;
    write_address(ip + 12, &to->source, 4);
    write_address(ip + 16, &to->destination, 4);
    update_checksum(ip + 10, difference);
  } else {
    barrier_value(ip);
    if (ip + IP6_BYTES > end) return -1;
    write_address(ip + 8, &to->source, 6);
    write_address(ip + 24, &to->destination, 6);
  }
  return 0;
}

ALWAYS_INLINE __u64 tuple_difference(const struct packet* p, const struct tuple* to) {
  return address_difference(&p->source, &to->source) +
         address_difference(&p->destination, &to->destination);
}

ALWAYS_INLINE __u64 ports_difference(const struct packet* p, const struct tuple* to) {
  if (p->source_port == to->source_port && p->destination_port == to->destination_port) return 0;
  return port_difference(p->source_port, to->source_port) +
         port_difference(p->destination_port, to->destination_port);
}

/* The packet and *p get the addresses and ports of *to. Packet pointers are invalid after. */
GLOBAL int rewrite(struct __sk_buff* skb, struct packet* p, const struct tuple* to) {
  if (!p || !to) return DROP(REWRITE);
  void* data = packet_data(skb);
  void* end = packet_end(skb);
  void* ip = data + (p->l3 & OFFSET_MASK);
  __u64 addresses = tuple_difference(p, to);
  __u64 ports = ports_difference(p, to);
  /* CRC32c covers the ports of SCTP, and nobody here can make it anew. */
  if (unlikely(p->protocol == IPPROTO_SCTP && ports)) return DROP(CONFLICT);
  if (write_addresses(ip, end, p->family, to, addresses)) return DROP(REWRITE);
  if (ports && p->fragment != LATER_FRAGMENT) {
    __be16* l4 = data + (p->l4 & OFFSET_MASK);
    if ((void*)(l4 + 4) > end) return DROP(REWRITE);
    if (has_ports(p)) {
      l4[0] = to->source_port;
      l4[1] = to->destination_port;
    } else {
      l4[2] = is_echo_request(p) ? to->source_port : to->destination_port;
    }
  }
  if (correct_transport(skb, p, addresses, ports)) return DROP(REWRITE);
  p->source = to->source;
  p->destination = to->destination;
  p->source_port = to->source_port;
  p->destination_port = to->destination_port;
  return 0;
}

/* One routed hop. */
ALWAYS_INLINE int decrement_ttl(void* data, void* end, struct packet* p) {
  if (p->ttl <= 1) return DROP(TTL);
  __u8* ip = data + (p->l3 & OFFSET_MASK);
  if (p->family == 4) {
    if ((void*)(ip + IP4_BYTES) > end) return DROP(MALFORMED);
    __u16 before = *(__u16*)(ip + 8);
    ip[8]--;
    update_checksum((__u16*)(ip + 10), port_difference(before, *(__u16*)(ip + 8)));
  } else {
    if ((void*)(ip + IP6_BYTES) > end) return DROP(MALFORMED);
    ip[7]--;
  }
  p->ttl--;
  return 0;
}
