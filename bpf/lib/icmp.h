/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* ICMP errors about service flows (RFC 792, RFC 4443): the packet that they quote tells the flow.
 * The quoted headers are translated too, or the receiver could not find its socket. */
#pragma once
#include "service.h"

#define ICMP_BYTES 8u
#define QUOTED_L4_BYTES 8u /* what every error quotes of the transport header */

/* Reads the quoted packet into *q. Its ports are those of the quoted direction. */
GLOBAL int parse_quoted(struct __sk_buff* skb, const struct packet* p, struct packet* q) {
  if (!p || !q) return WEFT_DROP_MALFORMED;
  void* data = packet_data(skb);
  void* end = packet_end(skb);
  __u32 at = (p->l4 & OFFSET_MASK) + ICMP_BYTES;
  void* ip = data + at;
  if (p->family == 4) {
    struct iphdr* ip4 = ip;
    if ((void*)(ip4 + 1) > end || ip4->version != 4 || ip4->ihl < 5) return WEFT_DROP_MALFORMED;
    q->l4 = at + ip4->ihl * 4;
    q->protocol = ip4->protocol;
    set_v4(&q->source, ip4->saddr);
    set_v4(&q->destination, ip4->daddr);
    if (ip4->frag_off & bpf_htons(0x1fff)) return WEFT_DROP_FRAGMENT;
  } else {
    struct ipv6hdr* ip6 = ip;
    if ((void*)(ip6 + 1) > end || ip6->version != 6) return WEFT_DROP_MALFORMED;
    q->l4 = at + IP6_BYTES;
    q->protocol = ip6->nexthdr;
    load_address(&q->source, ip6->saddr.in6_u.u6_addr8);
    load_address(&q->destination, ip6->daddr.in6_u.u6_addr8);
  }
  q->family = p->family;
  q->l3 = at;
  q->tcp_flags = TCP_ACK; /* never a first packet */
  __be16* l4 = data + (q->l4 & OFFSET_MASK);
  if ((void*)l4 + QUOTED_L4_BYTES > end) return WEFT_DROP_MALFORMED;
  if (has_ports(q)) {
    q->source_port = l4[0];
    q->destination_port = l4[1];
    return WEFT_DROP_NONE;
  }
  q->icmp_type = *(__u8*)l4;
  if (is_echo_request(q)) {
    q->source_port = l4[2];
    return WEFT_DROP_NONE;
  }
  if (is_echo_reply(q)) {
    q->destination_port = l4[2];
    return WEFT_DROP_NONE;
  }
  return WEFT_DROP_PROTOCOL;
}

/* Writes new addresses and ports into the quoted packet and new addresses around it. The quoted
 * transport checksum stays: what it covers is not all there. An error is whole in the skb (the
 * kernel makes it so), hence plain writes. */
GLOBAL int rewrite_error(struct __sk_buff* skb, struct packet* p, const struct packet* q,
                         const struct tuple* outer, const struct tuple* quoted) {
  if (!p || !q || !outer || !quoted) return DROP(REWRITE);
  void* data = packet_data(skb);
  void* end = packet_end(skb);
  void* ip = data + (p->l3 & OFFSET_MASK);
  __u64 sum = ports_difference(q, quoted);
  /* IPv4: the quoted header's own checksum balances its addresses. One packet after the other, so
   * that they share their room on the stack. */
  __u64 difference = tuple_difference(p, outer);
  if (p->family == 6) sum += difference;
  if (write_addresses(ip, end, p->family, outer, difference)) return DROP(REWRITE);
  barrier();
  void* quoted_ip = data + (q->l3 & OFFSET_MASK);
  difference = tuple_difference(q, quoted);
  if (p->family == 6) sum += difference;
  if (write_addresses(quoted_ip, end, p->family, quoted, difference)) return DROP(REWRITE);
  barrier();
  __be16* l4 = data + (q->l4 & OFFSET_MASK);
  if ((void*)l4 + QUOTED_L4_BYTES > end) return DROP(REWRITE);
  if (has_ports(q)) {
    l4[0] = quoted->source_port;
    l4[1] = quoted->destination_port;
  } else {
    l4[2] = is_echo_request(q) ? quoted->source_port : quoted->destination_port;
  }
  __u16* checksum = data + (p->l4 & OFFSET_MASK) + 2;
  if ((void*)(checksum + 1) > end) return DROP(REWRITE);
  if (sum) update_checksum(checksum, sum);
  p->source = outer->source;
  p->destination = outer->destination;
  return 0;
}

/* Turns the quoted answer of a service into the call that it belongs to: pick and flow know that
 * one. */
ALWAYS_INLINE void turn(const struct packet* q, struct packet* call) {
  call->source = q->destination;
  call->destination = q->source;
  call->source_port = q->destination_port;
  call->destination_port = q->source_port;
  call->family = q->family;
  call->protocol = q->protocol;
  call->tcp_flags = TCP_ACK;
  call->icmp_type = is_echo_reply(q) ? (q->family == 4 ? ECHO_REQUEST4 : ECHO_REQUEST6) : 0;
}

/* The packet by which a call is known: the packet itself, or what an ICMP error quotes, turned
 * round. 0: it quotes nothing usable. */
ALWAYS_INLINE struct packet* view_of_call(struct __sk_buff* skb, struct packet* p,
                                          struct scratch* work) {
  if (likely(!is_icmp_error(p))) return p;
  __builtin_memset(&work->quoted_packet, 0, sizeof(struct packet));
  __builtin_memset(&work->turned, 0, sizeof(struct packet));
  if (parse_quoted(skb, p, &work->quoted_packet)) return 0;
  turn(&work->quoted_packet, &work->turned);
  return &work->turned;
}

/* An error about what the container answered comes to the called address; `called` is the call's
 * view. Finds the flow and delivers the error to the container. */
GLOBAL int translate_error(struct __sk_buff* skb, struct packet* p, const struct packet* q,
                           const struct weft_port* port, const struct call* call) {
  struct scratch* work = get_scratch();
  if (!p || !q || !port || !call || !work) return DROP(NO_BACKEND);
  struct tracking* track = &work->track;
  describe_flow(&track->flow, &work->turned, port, call);
  int match = find_flow(&track->flow, &track->place);
  if (match != FLOW_SAME)
    match = find_candidate(&track->flow, &track->place, match == FLOW_CONFLICT);
  if (match != FLOW_SAME) return DROP(NO_ENDPOINT);
  struct weft_flow_set* set = find_set(track->place.set);
  if (!set) return DROP(NO_ENDPOINT);
  struct weft_flow* flow = &set->way[track->place.way & (WEFT_FLOW_WAYS - 1)];
  struct tuple* quoted = &work->quoted;
  load_address(&quoted->source, port_address(port, p->family));
  load_address(&quoted->destination, flow->client);
  quoted->source_port = flow->container_port;
  quoted->destination_port = flow->client_port;
  work->to.source = p->source;
  work->to.destination = quoted->source;
  struct packet* at = &work->quoted_packet;
  *at = *q;
  if (call->frame) {
    if (needs_kernel(skb, p, port)) return leave_to_kernel(skb);
    int failed = decapsulate(skb, p);
    if (failed) return failed;
    at->l3 -= WEFT_OUTER_BYTES;
    at->l4 -= WEFT_OUTER_BYTES;
  }
  int failed = write_destination_mac(skb, port->mac);
  if (!failed) failed = rewrite_error(skb, p, at, &work->to, quoted);
  if (failed) return failed;
  count(WEFT_COUNT_TRANSLATED);
  return deliver(skb, port);
}
