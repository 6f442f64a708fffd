/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* tc ingress of the host side of an endpoint's veth: what a container sends. */
#include "lib/arp.h"
#include "lib/mesh.h"
#include "lib/nd.h"
#include "lib/source.h"
#include "ports.bpf.h"

/* The network's gateway is this node. Its own processes mean "a published port here" by it. */
ALWAYS_INLINE int to_gateway(struct __sk_buff* skb, struct packet* p,
                             const struct weft_port* port) {
  if (port->flags & WEFT_PORT_HOST) {
    struct scratch* work = get_scratch();
    struct packet* view = work ? view_of_call(skb, p, work) : 0;
    struct weft_published* published = view ? find_called(view) : 0;
    return published ? mesh_in(skb, p, published) : DROP(NO_ENDPOINT);
  }
  if (is_echo_request(p)) return answer_echo(skb, p);
  if (port->flags & WEFT_PORT_INTERNAL) return DROP(INTERNAL);
  count(WEFT_COUNT_OUTSIDE);
  return TC_ACT_OK;
}

/* An endpoint's own address, here or on another node. */
GLOBAL int to_client(struct __sk_buff* skb, struct packet* p, const struct weft_port* port,
                     const struct weft_endpoint* endpoint) {
  if (!p || !port || !endpoint) return DROP(NO_ENDPOINT);
  if (endpoint->kind == WEFT_ENDPOINT_LOCAL) {
    struct weft_port* to = find_local(endpoint->mac);
    if (!to) return DROP(NO_ENDPOINT);
    int failed = write_destination_mac(skb, to->mac);
    return failed ? failed : deliver(skb, to);
  }
  if (endpoint->kind != WEFT_ENDPOINT_REMOTE) return DROP(NO_ENDPOINT);
  struct tunnel tunnel = {.vni = port->vni, .node = endpoint->node, .hash = (__u32)hash_packet(p)};
  copy_mac(tunnel.mac, endpoint->mac);
  return encapsulate(skb, p, &tunnel);
}

/* From the node itself, above all answers from outside that its NAT has turned back. */
GLOBAL int to_own_container(struct __sk_buff* skb, struct packet* p, __u32 vni) {
  if (!p) return DROP(NO_ENDPOINT);
  struct weft_endpoint* endpoint = find_endpoint(vni, &p->destination);
  if (!endpoint || endpoint->kind != WEFT_ENDPOINT_LOCAL) return DROP(NO_ENDPOINT);
  struct weft_port* to = find_local(endpoint->mac);
  if (!to) return DROP(NO_ENDPOINT);
  int failed = write_destination_mac(skb, to->mac);
  return failed ? failed : deliver(skb, to);
}

/* A VIP: the packet keeps it until the node of the backend. */
GLOBAL int to_service(struct __sk_buff* skb, struct packet* p, const struct weft_port* port,
                      __u32 index) {
  if (!p || !port) return DROP(NO_BACKEND);
  struct scratch* work = get_scratch();
  if (!work) return DROP(NO_BACKEND);
  struct call* call = &work->call;
  if (!is_carried(p)) return DROP(PROTOCOL);
  if (p->fragment) {
    int failed = resolve_fragment(p, port->vni);
    if (failed) return failed;
  }
  struct packet* view = view_of_call(skb, p, work);
  if (!view) return DROP(MALFORMED);
  struct weft_service* service = find_service(index);
  if (!service) return DROP(NO_BACKEND);
  *call = (struct call){.service = index,
                        .vni = port->vni,
                        .node = weft_config.node,
                        .hash = hash_for(service, view),
                        .target_port = view->destination_port};
  struct weft_backend* backend = pick(service, index, view, call->hash);
  if (!backend) return DROP(NO_BACKEND);
  if (backend->flags & WEFT_BACKEND_LOCAL) {
    struct weft_port* to = find_local(backend->mac);
    if (!to) return DROP(NO_BACKEND);
    if (view != p) return translate_error(skb, p, &work->quoted_packet, to, call);
    return translate(skb, p, to, call);
  }
  work->tunnel =
      (struct tunnel){.vni = port->vni, .node = backend->node, .hash = (__u32)call->hash};
  copy_mac(work->tunnel.mac, backend->mac);
  return encapsulate(skb, p, &work->tunnel);
}

/* A known address of the container's own network. */
ALWAYS_INLINE int to_endpoint(struct __sk_buff* skb, struct packet* p, const struct weft_port* port,
                              const struct weft_endpoint* endpoint) {
  if (endpoint->kind == WEFT_ENDPOINT_VIP) return to_service(skb, p, port, endpoint->service);
  if (endpoint->kind == WEFT_ENDPOINT_GATEWAY) return to_gateway(skb, p, port);
  return to_client(skb, p, port, endpoint);
}

/* Not an address of its network: a published port of this node, or the outside, if the container
 * may. */
ALWAYS_INLINE int to_outside(struct __sk_buff* skb, struct packet* p,
                             const struct weft_port* port) {
  if (is_in_subnet(port, p)) return DROP(NO_ENDPOINT);
  struct weft_subnet* subnet = find_subnet(&p->destination);
  if (subnet && port->flags & WEFT_PORT_HOST) return to_own_container(skb, p, subnet->vni);
  if (subnet) return DROP(OTHER_NETWORK);
  if (port->flags & WEFT_PORT_INTERNAL) return DROP(INTERNAL);
  if (is_node_address(&p->destination)) {
    if (p->fragment) resolve_fragment(p, port->vni);
    struct scratch* work = get_scratch();
    struct packet* view = work ? view_of_call(skb, p, work) : 0;
    struct weft_published* published = view ? find_called(view) : 0;
    if (published) return mesh_in(skb, p, published);
  }
  count(WEFT_COUNT_OUTSIDE);
  return TC_ACT_OK;
}

/* The answer of a backend goes back as the address that was called, to the node that the call came
 * through. NEXT: it is no such answer. */
GLOBAL int answer(struct __sk_buff* skb, struct packet* p, const struct weft_port* port) {
  if (!p || !port) return NEXT;
  struct scratch* work = get_scratch();
  if (!work) return NEXT;
  struct reply reply = {};
  if (p->fragment) resolve_fragment(p, port->vni);
  struct packet* view = view_of_call(skb, p, work);
  if (!view || !find_reply(view, port, &work->to, &reply)) return NEXT;
  int failed;
  if (view == p) {
    failed = rewrite(skb, p, &work->to);
  } else {
    /* The container refuses what it was sent: it quotes the call as it saw it. */
    struct tuple* quoted = &work->quoted;
    quoted->source = work->to.destination;
    quoted->destination = work->to.source;
    quoted->source_port = work->to.destination_port;
    quoted->destination_port = work->to.source_port;
    failed = rewrite_error(skb, p, &work->quoted_packet, &work->to, quoted);
  }
  if (failed) return failed;
  count(WEFT_COUNT_RESTORED);
  if (!(reply.flags & WEFT_FLOW_OUTSIDE)) {
    struct weft_endpoint* endpoint = find_endpoint(port->vni, &p->destination);
    return endpoint ? to_client(skb, p, port, endpoint) : DROP(NO_ENDPOINT);
  }
  if (reply.node == weft_config.node) return mesh_out(skb, p);
  /* Clients of the overlay are known to their own node only. */
  if (reply.direct && !find_subnet(&p->destination)) return mesh_out(skb, p);
  struct weft_vtep* vtep = find_vtep(reply.node);
  if (!vtep) return DROP(NO_ROUTE);
  work->tunnel =
      (struct tunnel){.vni = reply.vni, .node = reply.node, .hash = (__u32)hash_packet(p)};
  copy_mac(work->tunnel.mac, vtep->host_mac);
  return encapsulate(skb, p, &work->tunnel);
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
  if (is_neighbour_discovery(p)) return answer_nd(skb, p, port);
  if (is_multicast(&p->destination)) return DROP(BROADCAST);
  if (!is_own_source(port, p)) return DROP(SPOOFED_ADDRESS);
  if (port->flags & WEFT_PORT_BACKEND) {
    int verdict = answer(skb, p, port);
    if (verdict != NEXT) return verdict;
  }
  struct weft_endpoint* endpoint = find_endpoint(port->vni, &p->destination);
  if (endpoint) return to_endpoint(skb, p, port, endpoint);
  return to_outside(skb, p, port);
}

SEC("tc")
int weft_from_container(struct __sk_buff* skb) {
  __u32 ifindex = skb->ifindex;
  struct scratch* work = get_scratch();
  if (!work) return tc_drop(WEFT_DROP_REWRITE); /* cannot be: one entry on every CPU */
  struct packet* packet = &work->packet;
  __builtin_memset(packet, 0, sizeof(*packet));
  count(WEFT_COUNT_FROM_CONTAINER);
  struct weft_port* port = bpf_map_lookup_elem(&ports, &ifindex);
  if (!port) return tc_verdict(skb, DROP(UNKNOWN_PORT), packet, 0);
  int verdict = from_container(skb, packet, port);
  if (unlikely(verdict == DROP(TOO_BIG) && packet->too_big_mtu))
    verdict = send_too_big(skb, packet, packet->too_big_mtu);
  return tc_verdict(skb, verdict, packet, port->vni);
}

char _license[] SEC("license") = "Dual BSD/GPL";
