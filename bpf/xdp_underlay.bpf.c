/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* XDP on the uplink: calls of published ports whose backend is on another node leave by the same
 * port, before the kernel has made an skb of them. Everything else passes to tc, which knows all of
 * it. */
#include "lib/addresses.h"
#include "lib/lb.h"
#include "lib/mss.h"
#include "lib/outer.h"
#include "lib/rewrite.h"

/* Grows the frame at its front, and makes it a VXLAN packet to the backend's node. */
ALWAYS_INLINE int send_encapsulated(struct xdp_md* xdp, const struct tunnel* to,
                                    const struct weft_vtep* vtep) {
  if (bpf_xdp_adjust_head(xdp, -(int)WEFT_OUTER_BYTES)) return DROP(REWRITE);
  void* data = (void*)(long)xdp->data;
  void* end = (void*)(long)xdp->data_end;
  if (data + WEFT_OUTER_BYTES + ETH_BYTES > end) return DROP(REWRITE);
  copy_mac(data + WEFT_OUTER_BYTES, to->mac);
  __u32 bytes = end - data;
  write_outer(data, vtep, to, bytes - ETH_BYTES);
  count(WEFT_COUNT_ENCAPSULATED);
  count_sent(to->node, bytes - WEFT_OUTER_BYTES);
  if (vtep->ifindex == xdp->ingress_ifindex) return XDP_TX;
  return bpf_redirect(vtep->ifindex, 0);
}

ALWAYS_INLINE int from_outside(struct xdp_md* xdp, struct packet* p) {
  void* data = (void*)(long)xdp->data;
  void* end = (void*)(long)xdp->data_end;
  if (data + ETH_BYTES > end) return XDP_PASS;
  if (parse_ip(data, end, ETH_BYTES, *(__be16*)(data + 12), p)) return XDP_PASS;
  if (!has_ports(p) || p->fragment) return XDP_PASS;
  if (!is_node_address(&p->destination)) return XDP_PASS;
  struct weft_published* published =
      find_published(&p->destination, p->destination_port, p->protocol);
  if (!published) return XDP_PASS;
  struct weft_service* service = find_service(published->service);
  if (!service) return XDP_PASS;
  __u64 hash = hash_for(service, p);
  struct weft_backend* backend = pick(service, published->service, p, hash);
  if (!backend) return DROP(NO_BACKEND);
  if (backend->flags & WEFT_BACKEND_LOCAL || published->flags & WEFT_PUBLISHED_HOST)
    return XDP_PASS;
  struct tunnel tunnel = {
      .vni = weft_config.ingress_vni, .node = backend->node, .hash = (__u32)hash};
  struct weft_vtep* vtep = find_vtep(tunnel.node);
  if (!vtep) return DROP(NO_ROUTE);
  __u32 bytes = end - data;
  if (!(vtep->flags & WEFT_VTEP_FAST) || bytes - ETH_BYTES > inner_mtu(vtep)) return XDP_PASS;
  int failed = decrement_ttl(data, end, p);
  if (failed) return failed;
  if (p->protocol == IPPROTO_TCP && p->tcp_flags & TCP_SYN) {
    __u32 difference = clamp_mss(data, end, p, inner_mtu(vtep));
    struct tcphdr* tcp = data + (p->l4 & OFFSET_MASK);
    if (difference && (void*)(tcp + 1) <= end) update_checksum(&tcp->check, difference);
  }
  copy_mac(tunnel.mac, backend->mac);
  count(WEFT_COUNT_MESH_IN);
  return send_encapsulated(xdp, &tunnel, vtep);
}

SEC("xdp")
int weft_xdp_underlay(struct xdp_md* xdp) {
  struct packet packet = {};
  int verdict = from_outside(xdp, &packet);
  if (likely(verdict >= 0)) return verdict;
  count_drop(-verdict, &packet, weft_config.ingress_vni, xdp->ingress_ifindex,
             (__u32)(xdp->data_end - xdp->data));
  return XDP_DROP;
}

char _license[] SEC("license") = "Dual BSD/GPL";
