/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Both ends of a service flow: at the backend's node the called address becomes the container's,
 * and back. */
#pragma once
#include "deliver.h"
#include "encap.h"
#include "flow.h"
#include "frag.h"
#include "rewrite.h"

/* A packet that calls a service. */
struct call {
  __u64 hash; /* of the flow */
  __u32 service;
  __u32 vni;   /* network it came in */
  __u32 node;  /* node it came through */
  __u32 frame; /* 0, or WEFT_OUTER_BYTES while it has its outer headers */
  __be16 target_port;
  __u8 mark;    /* WEFT_VXLAN_* */
  __u8 outside; /* through a published port */
};

/* The flow of a packet while it is looked for. */
struct tracking {
  struct weft_flow flow;
  struct flow_place place;
  __u8 mac[6]; /* of another endpoint of this node that knows the flow */
  __u8 found;
  __u8 pad;
} __attribute__((aligned(8)));

/* What does not fit on the 512 bytes of stack that all frames share. Programs of one CPU do not
 * interrupt each other. Private to each object: neither pinned nor shared. */
struct scratch {
  struct packet packet;
  struct call call;
  struct tracking track;
  struct tunnel tunnel;
  struct tuple to;
  struct tuple quoted;
  struct packet quoted_packet; /* what an ICMP error quotes */
  struct packet turned;        /* the same, seen in the direction of the call */
};
struct {
  __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
  __type(key, __u32);
  __type(value, struct scratch);
  __uint(max_entries, 1);
} scratch SEC(".maps");

ALWAYS_INLINE struct scratch* get_scratch(void) {
  __u32 zero = 0;
  return bpf_map_lookup_elem(&scratch, &zero);
}

/* What a VIP carries. */
ALWAYS_INLINE int is_carried(const struct packet* p) {
  return has_ports(p) || is_echo_request(p) || is_icmp_error(p) ||
         (p->fragment == LATER_FRAGMENT &&
          (p->protocol == IPPROTO_ICMP || p->protocol == IPPROTO_ICMPV6));
}

/* Segments of UDP, and IPv6 on kernels that cannot change the skb's protocol, are decapsulated by
 * the kernel's VXLAN device; from_overlay meets them again. */
ALWAYS_INLINE int needs_kernel(const struct __sk_buff* skb, const struct packet* p,
                               const struct weft_port* port) {
  if (skb->gso_size && (p->protocol != IPPROTO_TCP || port->flags & WEFT_PORT_HOST)) return 1;
  return p->family == 6 && !(weft_config.flags & WEFT_CONFIG_DECAP_IPV6);
}

ALWAYS_INLINE int leave_to_kernel(struct __sk_buff* skb) {
  void* data = packet_data(skb);
  if (data + WEFT_OUTER_BYTES > packet_end(skb)) return DROP(MALFORMED);
  *(__u8*)(data + VXLAN_MARK) = 0; /* the kernel refuses reserved bits */
  count(WEFT_COUNT_KERNEL_WAY);
  return TC_ACT_OK;
}

ALWAYS_INLINE void describe_flow(struct weft_flow* flow, const struct packet* p,
                                 const struct weft_port* port, const struct call* call) {
  int hairpin = same_address(&p->source, port_address(port, p->family));
  __builtin_memcpy(flow->client, hairpin ? p->destination.bytes : p->source.bytes, 16);
  __builtin_memcpy(flow->vip, p->destination.bytes, 16);
  flow->client_port = p->source_port;
  flow->original_port = p->source_port;
  flow->vip_port = p->destination_port;
  flow->container_port = call->target_port;
  flow->port_id = port->id;
  flow->service = call->service;
  flow->vni = call->vni;
  flow->node = call->node;
  flow->protocol = p->protocol;
  flow->flags = (hairpin ? WEFT_FLOW_HAIRPIN : 0) | (call->outside ? WEFT_FLOW_OUTSIDE : 0);
}

/* Where else a flow that is unknown here may be known: the slot's other backend, once each way. */
ALWAYS_INLINE struct weft_backend* other_backend(const struct packet* p,
                                                 const struct weft_port* port,
                                                 const struct call* call) {
  struct weft_slot_pair pair;
  struct weft_backend* other;
  struct weft_service* service = find_service(call->service);
  if (!service || call->mark & WEFT_VXLAN_FINAL || find_slot(service, call->hash, &pair)) return 0;
  struct weft_backend* primary = find_backend(service, pair.primary);
  if (!primary) return 0;
  int here = same_mac(primary->mac, port->mac);
  if (call->mark & WEFT_VXLAN_SECOND_CHANCE) return here ? 0 : primary;
  if (!(has_connections(p) || pair.primary & WEFT_SLOT_MOVING)) return 0;
  /* The picker's table may be a moment ahead of ours: what it took from us may be ours to send on.
   */
  other = here ? find_backend(service, pair.secondary) : primary;
  /* UDP leaves a lost backend at once: nothing there would tell it that it is gone. */
  if (other && other->flags & WEFT_BACKEND_LOST && !has_connections(p)) return 0;
  return other && !same_mac(other->mac, port->mac) ? other : 0;
}

/* The other backend is on this node too: does it know the flow? */
ALWAYS_INLINE int is_known_to(const struct weft_backend* other, const struct packet* p,
                              const struct call* call, struct tracking* track) {
  struct weft_port* there = find_local(other->mac);
  if (!there) return 0;
  describe_flow(&track->flow, p, there, call);
  int match = find_flow(&track->flow, &track->place);
  if (match != FLOW_SAME)
    match = find_candidate(&track->flow, &track->place, match == FLOW_CONFLICT);
  return match == FLOW_SAME;
}

/* Passes a packet of an unknown flow to the other backend, or says that this one is on the node and
 * knows the flow. NEXT: the packet stays. */
GLOBAL int second_chance(struct __sk_buff* skb, struct packet* p, const struct weft_port* port,
                         const struct call* call, struct tracking* other_track) {
  if (!p || !port || !call || !other_track) return NEXT;
  struct weft_backend* other = other_backend(p, port, call);
  if (!other) return NEXT;
  if (other->flags & WEFT_BACKEND_LOCAL) {
    if (!is_known_to(other, p, call, other_track)) return NEXT;
    copy_mac(other_track->mac, other->mac);
    other_track->found = 1;
    return NEXT;
  }
  struct tunnel tunnel = {.vni = call->vni, .node = other->node, .hash = (__u32)call->hash};
  tunnel.mark = call->mark ? WEFT_VXLAN_FINAL : WEFT_VXLAN_SECOND_CHANCE;
  copy_mac(tunnel.mac, other->mac);
  /* Only the fast way carries the mark. */
  struct weft_vtep* vtep = find_vtep(tunnel.node);
  if (!vtep || !is_fast(skb, p, vtep)) return NEXT;
  count(WEFT_COUNT_SECOND_CHANCE);
  return call->frame ? reencapsulate(skb, &tunnel) : encapsulate(skb, p, &tunnel);
}

/* Finds or makes the flow. NEXT: track->place says where it is; its tag is 0 for a new flow, which
 * track->flow describes. */
ALWAYS_INLINE int track_flow(struct __sk_buff* skb, struct packet* p, struct weft_port** port,
                             const struct call* call, struct tracking* track) {
  describe_flow(&track->flow, p, *port, call);
  int match = find_flow(&track->flow, &track->place);
  if (likely(match == FLOW_SAME)) return NEXT;
  int first = is_first_of_connection(p);
  if (match == FLOW_CONFLICT || !first) {
    match = find_candidate(&track->flow, &track->place, match == FLOW_CONFLICT);
    if (match == FLOW_SAME) return NEXT;
  }
  if (!first && !(call->mark & WEFT_VXLAN_FINAL)) {
    struct flow_place vacant = track->place;
    __be16 port_seen = track->flow.client_port;
    int verdict = second_chance(skb, p, *port, call, track);
    if (verdict != NEXT) return verdict;
    if (track->found) {
      *port = find_local(track->mac);
      return *port ? NEXT : DROP(NO_BACKEND);
    }
    describe_flow(&track->flow, p, *port, call);
    track->flow.client_port = port_seen;
    track->place = vacant;
  }
  if (!track->place.tag) return DROP(CONFLICT);
  if (insert_flow(&track->flow, &track->place)) return DROP(FLOWS_FULL);
  track->place.tag = 0;
  return NEXT;
}

/* The packet reaches the container that was picked: the called address becomes its own. */
GLOBAL int translate(struct __sk_buff* skb, struct packet* p, struct weft_port* port,
                     const struct call* call) {
  struct scratch* work = get_scratch();
  if (!p || !port || !call || !work) return DROP(NO_BACKEND);
  struct tracking* track = &work->track;
  struct tuple* to = &work->to;
  track->found = 0;
  int verdict = track_flow(skb, p, &port, call, track);
  if (verdict != NEXT) return verdict;
  if (likely(track->place.tag)) {
    struct weft_flow_set* set = find_set(track->place.set);
    if (!set) return DROP(FLOWS_FULL);
    __u32 way = track->place.way & (WEFT_FLOW_WAYS - 1);
    struct weft_flow* flow = &set->way[way];
    /* A client may come back through another node; a marked packet only made a detour. */
    if (unlikely(flow->node != call->node && !call->mark)) flow->node = call->node;
    touch_flow(set, way, p, 0);
    load_address(&to->source, flow->client);
    to->source_port = flow->client_port;
    to->destination_port = flow->container_port;
  } else {
    load_address(&to->source, track->flow.client);
    to->source_port = track->flow.client_port;
    to->destination_port = track->flow.container_port;
  }
  load_address(&to->destination, port_address(port, p->family));
  if (call->frame) {
    if (needs_kernel(skb, p, port)) return leave_to_kernel(skb);
    if ((verdict = decapsulate(skb, p))) return verdict;
  }
  if ((verdict = write_destination_mac(skb, port->mac))) return verdict;
  if ((verdict = rewrite(skb, p, to))) return verdict;
  count(WEFT_COUNT_TRANSLATED);
  return deliver(skb, port);
}

struct reply {
  __u32 vni;
  __u16 node;
  __u8 flags;
  __u8 direct; /* from here, not through the node that was called */
};

/* A container's answer in a service flow: how it goes back. */
ALWAYS_INLINE int find_reply(const struct packet* p, const struct weft_port* port, struct tuple* to,
                             struct reply* reply) {
  aligned_flow wanted = {.client_port = p->destination_port,
                         .container_port = p->source_port,
                         .port_id = port->id,
                         .protocol = p->protocol};
  struct flow_place place = {};
  __builtin_memcpy(wanted.client, p->destination.bytes, 16);
  if (find_flow(&wanted, &place) == FLOW_NONE) return 0;
  struct weft_flow_set* set = find_set(place.set);
  if (!set) return 0;
  __u32 way = place.way & (WEFT_FLOW_WAYS - 1);
  struct weft_flow* flow = &set->way[way];
  touch_flow(set, way, p, WEFT_FLOW_REPLIED);
  load_address(&to->source, flow->vip);
  if (flow->flags & WEFT_FLOW_HAIRPIN)
    load_address(&to->destination, port_address(port, p->family));
  else
    load_address(&to->destination, flow->client);
  to->source_port = flow->vip_port;
  to->destination_port = flow->original_port;
  reply->vni = flow->vni;
  reply->node = flow->node;
  reply->flags = flow->flags;
  struct weft_service* service = find_service(flow->service);
  reply->direct = service && service->flags & WEFT_SERVICE_DIRECT_RETURN ? 1 : 0;
  return 1;
}
