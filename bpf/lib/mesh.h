/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The routing mesh: published ports on every node, with the client's address kept. */
#pragma once
#include "addresses.h"
#include "icmp.h"
#include "mss.h"
#include "published.bpf.h"
#include "service.h"
#include "subnets.bpf.h"
#include "toobig.h"

#define FAMILY4 2
#define FAMILY6 10

ALWAYS_INLINE int is_host_gateway(const union address* a) {
  const volatile __u32* four = (const volatile __u32*)weft_config.host_gateway4;
  const volatile __u32* six = (const volatile __u32*)weft_config.host_gateway6;
  if (a->word[3] == four[3] && a->word[2] == four[2] && a->word[1] == 0 && a->word[0] == 0)
    return 1;
  return a->word[3] == six[3] && a->word[2] == six[2] && a->word[1] == six[1] &&
         a->word[0] == six[0];
}

ALWAYS_INLINE int hold_mss(struct __sk_buff* skb, const struct packet* p, __u32 mtu) {
  __u32 difference = clamp_mss(packet_data(skb), packet_end(skb), p, mtu);
  return difference ? bpf_l4_csum_replace(skb, p->l4 + 16, 0, difference, 0) : 0;
}

/* A call of a published port on this node. NEXT: it is none. */
ALWAYS_INLINE struct weft_published* find_called(const struct packet* p) {
  if (!has_ports(p)) return 0;
  return find_published(&p->destination, p->destination_port, p->protocol);
}

GLOBAL int mesh_in(struct __sk_buff* skb, struct packet* p,
                   const struct weft_published* published) {
  if (!p || !published) return DROP(NO_BACKEND);
  struct scratch* work = get_scratch();
  struct weft_service* service = find_service(published->service);
  if (!service || !work) return DROP(NO_BACKEND);
  int error = is_icmp_error(p);
  const struct packet* view = error ? &work->turned : p; /* made where the port was found */
  struct call* call = &work->call;
  *call = (struct call){.service = published->service,
                        .vni = weft_config.ingress_vni,
                        .node = weft_config.node,
                        .hash = hash_for(service, view),
                        .target_port = published->target_port,
                        .outside = 1};
  struct weft_backend* backend = pick(service, call->service, view, call->hash);
  if (!backend) return DROP(NO_BACKEND);
  int local = backend->flags & WEFT_BACKEND_LOCAL;
  if (!local && published->flags & WEFT_PUBLISHED_HOST) return DROP(NO_BACKEND);
  int failed = decrement_ttl(packet_data(skb), packet_end(skb), p);
  if (failed) return failed;
  count(WEFT_COUNT_MESH_IN);
  if (local) {
    struct weft_port* port = find_local(backend->mac);
    if (!port) return DROP(NO_BACKEND);
    if (error) return translate_error(skb, p, &work->quoted_packet, port, call);
    return translate(skb, p, port, call);
  }
  if (p->protocol == IPPROTO_TCP && p->tcp_flags & TCP_SYN) {
    struct weft_vtep* vtep = find_vtep(backend->node);
    if (vtep && hold_mss(skb, p, inner_mtu(vtep))) return DROP(REWRITE);
  }
  work->tunnel =
      (struct tunnel){.vni = call->vni, .node = backend->node, .hash = (__u32)call->hash};
  copy_mac(work->tunnel.mac, backend->mac);
  return encapsulate(skb, p, &work->tunnel);
}

/* The address belongs to an overlay network: an endpoint of this node, or nobody from here. */
ALWAYS_INLINE int to_overlay_client(struct __sk_buff* skb, const struct packet* p, __u32 vni) {
  struct weft_endpoint* endpoint = find_endpoint(vni, &p->destination);
  if (!endpoint || endpoint->kind != WEFT_ENDPOINT_LOCAL) return DROP(NO_ENDPOINT);
  struct weft_port* port = find_local(endpoint->mac);
  if (!port) return DROP(NO_ENDPOINT);
  int failed = write_destination_mac(skb, port->mac);
  return failed ? failed : deliver(skb, port);
}

ALWAYS_INLINE int to_underlay(struct __sk_buff* skb, struct packet* p) {
  struct bpf_fib_lookup route = {.ifindex = weft_config.uplink_ifindex, .l4_protocol = p->protocol};
  if (p->family == 4) {
    route.family = FAMILY4;
    route.ipv4_src = p->source.word[3];
    route.ipv4_dst = p->destination.word[3];
  } else {
    route.family = FAMILY6;
    __builtin_memcpy(route.ipv6_src, p->source.bytes, 16);
    __builtin_memcpy(route.ipv6_dst, p->destination.bytes, 16);
  }
  int failed = decrement_ttl(packet_data(skb), packet_end(skb), p);
  if (failed) return failed;
  int found = bpf_fib_lookup(skb, &route, sizeof(route), 0);
  if (found == BPF_FIB_LKUP_RET_SUCCESS) {
    void* data = packet_data(skb);
    if (data + ETH_BYTES > packet_end(skb)) return DROP(REWRITE);
    copy_mac(data, route.dmac);
    copy_mac(data + 6, route.smac);
    return bpf_redirect(route.ifindex, 0);
  }
  if (found == BPF_FIB_LKUP_RET_NO_NEIGH) return bpf_redirect_neigh(route.ifindex, 0, 0, 0);
  /* A node that does not forward still answers its clients. */
  if (found == BPF_FIB_LKUP_RET_FWD_DISABLED || found == BPF_FIB_LKUP_RET_NOT_FWDED)
    return bpf_redirect_neigh(weft_config.uplink_ifindex, 0, 0, 0);
  return found == BPF_FIB_LKUP_RET_FRAG_NEEDED ? DROP(TOO_BIG) : DROP(NO_ROUTE);
}

ALWAYS_INLINE struct weft_subnet* find_subnet(const union address* address) {
  struct weft_subnet_key key = {.prefix_bits = 128};
  __builtin_memcpy(key.address, address->bytes, 16);
  return bpf_map_lookup_elem(&subnets, &key);
}

/* An answer leaves the mesh by the node where the call came in. Its source is the called address
 * again. */
GLOBAL int mesh_out(struct __sk_buff* skb, struct packet* p) {
  if (!p) return DROP(MESH_REPLY);
  count(WEFT_COUNT_MESH_REPLY);
  struct weft_subnet* subnet = find_subnet(&p->destination);
  if (subnet) return to_overlay_client(skb, p, subnet->vni);
  return to_underlay(skb, p);
}

/* May this node answer as that address and port? */
ALWAYS_INLINE int is_published_source(const struct packet* p) {
  if (!has_ports(p)) return 0;
  if (!find_published(&p->source, p->source_port, p->protocol)) return 0;
  return is_node_address(&p->source) || is_host_gateway(&p->source);
}
