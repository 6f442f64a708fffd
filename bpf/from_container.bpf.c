/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* tc ingress of the host side of an endpoint's veth: what a container sends. */
#include "lib/arp.h"
#include "lib/encap.h"
#include "lib/hash.h"
#include "lib/source.h"
#include "networks.bpf.h"
#include "ports.bpf.h"
#include "subnets.bpf.h"

/* A known address of the container's own network. */
ALWAYS_INLINE int to_endpoint(struct __sk_buff* skb, const struct packet* p,
                              const struct weft_port* port, const struct weft_endpoint* endpoint) {
  if (endpoint->kind == WEFT_ENDPOINT_LOCAL) {
    struct weft_port* to = find_local(endpoint->mac);
    if (!to) return DROP(NO_ENDPOINT);
    return deliver(skb, to);
  }
  if (endpoint->kind == WEFT_ENDPOINT_REMOTE) {
    struct tunnel tunnel = {.vni = port->vni, .node = endpoint->node, .hash = hash_packet(p)};
    copy_mac(tunnel.mac, endpoint->mac);
    return encapsulate(skb, p, &tunnel);
  }
  return DROP(NO_ENDPOINT);
}

/* Not an address of its network: the outside, if the container may. */
ALWAYS_INLINE int to_outside(const struct packet* p, const struct weft_port* port) {
  if (is_in_subnet(port, p)) return DROP(NO_ENDPOINT);
  struct weft_subnet_key key = {.prefix_bits = 128};
  __builtin_memcpy(key.address, p->destination.bytes, 16);
  if (bpf_map_lookup_elem(&subnets, &key)) return DROP(OTHER_NETWORK);
  if (port->flags & WEFT_PORT_INTERNAL) return DROP(INTERNAL);
  count(WEFT_COUNT_OUTSIDE);
  return TC_ACT_OK;
}

ALWAYS_INLINE int from_container(struct __sk_buff* skb, struct packet* p,
                                 const struct weft_port* port) {
  pull_headers(skb);
  void* data = packet_data(skb);
  void* end = packet_end(skb);
  if (data + ETH_BYTES > end) return DROP(MALFORMED);
  __be16 ethertype = *(__be16*)(data + 12);
  if (!is_own_mac(port, data + 6)) return DROP(SPOOFED_MAC);
  if (ethertype == bpf_htons(ETH_P_ARP)) return answer_arp(skb, port);
  int reason = parse_ip(data, end, ETH_BYTES, ethertype, p);
  if (reason) return -reason;
  if (!is_own_source(port, p)) return DROP(SPOOFED_ADDRESS);
  if (is_multicast(&p->destination)) return DROP(BROADCAST);
  struct weft_endpoint* endpoint = find_endpoint(port->vni, &p->destination);
  if (endpoint) return to_endpoint(skb, p, port, endpoint);
  return to_outside(p, port);
}

SEC("tc")
int weft_from_container(struct __sk_buff* skb) {
  struct packet packet = {};
  __u32 ifindex = skb->ifindex;
  count(WEFT_COUNT_FROM_CONTAINER);
  struct weft_port* port = bpf_map_lookup_elem(&ports, &ifindex);
  if (!port) return tc_verdict(skb, DROP(UNKNOWN_PORT), &packet, 0);
  return tc_verdict(skb, from_container(skb, &packet, port), &packet, port->vni);
}

char _license[] SEC("license") = "Dual BSD/GPL";
