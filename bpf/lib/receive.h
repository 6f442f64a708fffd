/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* An overlay packet from another node, whichever way it came. */
#pragma once
#include "mesh.h"
#include "networks.bpf.h"
#include "peers.bpf.h"

struct arrival {
  union address from; /* outer source */
  __u32 vni;
  __u32
      frame; /* where the inner frame begins: WEFT_OUTER_BYTES, or 0 when the kernel decapsulated */
  __u32 node; /* the sender */
  __u8 mark;  /* WEFT_VXLAN_* */
};

ALWAYS_INLINE int find_sender(struct arrival* arrival) {
  struct weft_peer_key key = {.vni = arrival->vni};
  __builtin_memcpy(key.address, arrival->from.bytes, 16);
  struct weft_peer* peer = bpf_map_lookup_elem(&peers, &key);
  if (unlikely(!peer))
    return bpf_map_lookup_elem(&networks, &arrival->vni) ? DROP(UNKNOWN_VTEP) : DROP(UNKNOWN_VNI);
  arrival->node = peer->node;
  return 0;
}

/* For an address that is not the endpoint's own: a VIP, or a published port of the node that was
 * called. */
ALWAYS_INLINE int receive_call(struct __sk_buff* skb, struct packet* p, struct weft_port* port,
                               const struct arrival* arrival) {
  struct scratch* work = get_scratch();
  if (!work) return DROP(NO_BACKEND);
  struct call* call = &work->call;
  *call = (struct call){.vni = arrival->vni,
                        .node = arrival->node,
                        .frame = arrival->frame,
                        .target_port = p->destination_port,
                        .mark = arrival->mark};
  struct packet* view = view_of_call(skb, p, work);
  if (!view) return DROP(MALFORMED);
  if (p->fragment) {
    int failed = resolve_fragment(p, arrival->vni);
    if (failed) return failed;
    call->target_port = p->destination_port;
  }
  if (view != p) call->target_port = view->destination_port;
  if (arrival->vni == weft_config.ingress_vni) {
    struct weft_published* published = find_called(view);
    if (!published) return DROP(NO_ENDPOINT);
    call->service = published->service;
    call->target_port = published->target_port;
    call->outside = 1;
    /* After a detour the sender is not the node that was called; the called address tells it. */
    if (arrival->mark) {
      struct weft_peer_key key = {.vni = arrival->vni};
      __builtin_memcpy(key.address, p->destination.bytes, 16);
      struct weft_peer* called = bpf_map_lookup_elem(&peers, &key);
      if (called) call->node = called->node;
    }
  } else {
    struct weft_endpoint* endpoint = find_endpoint(arrival->vni, &p->destination);
    if (!endpoint || endpoint->kind != WEFT_ENDPOINT_VIP) return DROP(NO_ENDPOINT);
    if (!is_carried(p)) return DROP(PROTOCOL);
    call->service = endpoint->service;
  }
  struct weft_service* service = find_service(call->service);
  if (!service) return DROP(NO_BACKEND);
  call->hash = hash_for(service, view);
  if (view != p) return translate_error(skb, p, &work->quoted_packet, port, call);
  return translate(skb, p, port, call);
}

ALWAYS_INLINE int receive_here(struct __sk_buff* skb, struct packet* p, struct weft_port* port,
                               const struct arrival* arrival, int mesh_reply) {
  if (mesh_reply) {
    struct scratch* work = get_scratch();
    struct packet* view = work ? view_of_call(skb, p, work) : 0;
    if (!view || !is_published_source(view)) return DROP(MESH_REPLY);
  }
  if (arrival->frame) {
    if (needs_kernel(skb, p, port)) return leave_to_kernel(skb);
    int failed = decapsulate(skb, p);
    if (failed) return failed;
  }
  return mesh_reply ? mesh_out(skb, p) : deliver(skb, port);
}

ALWAYS_INLINE int receive(struct __sk_buff* skb, struct packet* p, struct arrival* arrival) {
  int failed = find_sender(arrival);
  if (failed) return failed;
  void* data = packet_data(skb);
  void* end = packet_end(skb);
  __u32 frame = arrival->frame;
  if (data + frame + ETH_BYTES > end) return DROP(MALFORMED);
  int reason = parse_ip(data, end, frame + ETH_BYTES, *(__be16*)(data + frame + 12), p);
  if (reason) return -reason;
  struct weft_port* port = find_local(data + frame);
  if (!port) return DROP(NO_ENDPOINT);
  int own = same_address(&p->destination, port_address(port, p->family));
  if (port->vni != arrival->vni && (own || arrival->vni != weft_config.ingress_vni))
    return DROP(OTHER_NETWORK);
  count_received(arrival->node, skb->len - frame);
  if (likely(own)) return receive_here(skb, p, port, arrival, 0);
  if (port->flags & WEFT_PORT_HOST) return receive_here(skb, p, port, arrival, 1);
  return receive_call(skb, p, port, arrival);
}
