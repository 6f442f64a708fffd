/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* cgroup hooks of sockets: processes of the node itself that call a published port on 127.0.0.1,
 * ::1 or an address of the node are led to the ingress network's gateway, where from_container on
 * the node's own endpoint meets them. They keep seeing the peer that they called. */
#include "host_calls.bpf.h"
#include "lib/lb.h"
#include "node_addresses.bpf.h"

#define STREAM 1
#define DATAGRAM 2
#define ALLOW 1

ALWAYS_INLINE int is_ours(struct bpf_sock_addr* ctx) {
  return bpf_get_netns_cookie(ctx) == weft_config.netns_cookie;
}

ALWAYS_INLINE int is_mapped(const union address* a) {
  return !a->half[0] && a->word[2] == bpf_htonl(0xffff);
}

ALWAYS_INLINE int is_loopback(const union address* a) {
  if (is_mapped(a)) return a->bytes[12] == 127;
  return !a->half[0] && !a->word[2] && a->word[3] == bpf_htonl(1);
}

/* What stands for "this node" in the address's family; 0: the family has none. */
ALWAYS_INLINE int load_gateway(union address* gateway, int mapped) {
  const volatile __u32* from =
      (const volatile __u32*)(mapped ? weft_config.host_gateway4 : weft_config.host_gateway6);
  gateway->word[0] = from[0];
  gateway->word[1] = from[1];
  gateway->word[2] = from[2];
  gateway->word[3] = from[3];
  return (gateway->half[0] | gateway->half[1]) != 0;
}

ALWAYS_INLINE struct weft_host_call_key call_key(struct bpf_sock_addr* ctx, int mapped) {
  struct weft_host_call_key key = {.cookie = bpf_get_socket_cookie(ctx),
                                   .port = (__be16)ctx->user_port,
                                   .family = mapped ? 4 : 6};
  return key;
}

/* Does the socket call a published port of this node? *to becomes where it is led. */
ALWAYS_INLINE int lead(struct bpf_sock_addr* ctx, const union address* called, union address* to) {
  if (!is_ours(ctx)) return 0;
  __u8 protocol = ctx->type == STREAM ? IPPROTO_TCP : IPPROTO_UDP;
  if (ctx->type != STREAM && ctx->type != DATAGRAM) return 0;
  struct weft_address address;
  __builtin_memcpy(address.bytes, called->bytes, 16);
  if (!is_loopback(called) && !bpf_map_lookup_elem(&node_addresses, &address)) return 0;
  if (!find_published(called, (__be16)ctx->user_port, protocol)) return 0;
  int mapped = is_mapped(called);
  if (!load_gateway(to, mapped)) return 0;
  struct weft_host_call_key key = call_key(ctx, mapped);
  return !bpf_map_update_elem(&host_calls, &key, &address, BPF_ANY);
}

/* The address that the socket called, when its peer is where we led it. */
ALWAYS_INLINE int recall(struct bpf_sock_addr* ctx, const union address* peer,
                         union address* called) {
  union address gateway;
  int mapped = is_mapped(peer);
  if (!is_ours(ctx) || !load_gateway(&gateway, mapped)) return 0;
  if (gateway.half[0] != peer->half[0] || gateway.half[1] != peer->half[1]) return 0;
  struct weft_host_call_key key = call_key(ctx, mapped);
  struct weft_address* known = bpf_map_lookup_elem(&host_calls, &key);
  if (!known) return 0;
  __builtin_memcpy(called->bytes, known->bytes, 16);
  return 1;
}

ALWAYS_INLINE int lead4(struct bpf_sock_addr* ctx) {
  union address called, to;
  set_v4(&called, ctx->user_ip4);
  if (lead(ctx, &called, &to)) ctx->user_ip4 = to.word[3];
  return ALLOW;
}

ALWAYS_INLINE int recall4(struct bpf_sock_addr* ctx) {
  union address peer, called;
  set_v4(&peer, ctx->user_ip4);
  if (recall(ctx, &peer, &called)) ctx->user_ip4 = called.word[3];
  return ALLOW;
}

ALWAYS_INLINE void load6(union address* a, struct bpf_sock_addr* ctx) {
  a->word[0] = ctx->user_ip6[0];
  a->word[1] = ctx->user_ip6[1];
  a->word[2] = ctx->user_ip6[2];
  a->word[3] = ctx->user_ip6[3];
}

ALWAYS_INLINE void store6(struct bpf_sock_addr* ctx, const union address* a) {
  ctx->user_ip6[0] = a->word[0];
  ctx->user_ip6[1] = a->word[1];
  ctx->user_ip6[2] = a->word[2];
  ctx->user_ip6[3] = a->word[3];
}

ALWAYS_INLINE int lead6(struct bpf_sock_addr* ctx) {
  union address called, to;
  load6(&called, ctx);
  if (lead(ctx, &called, &to)) store6(ctx, &to);
  return ALLOW;
}

ALWAYS_INLINE int recall6(struct bpf_sock_addr* ctx) {
  union address peer, called;
  load6(&peer, ctx);
  if (recall(ctx, &peer, &called)) store6(ctx, &called);
  return ALLOW;
}

SEC("cgroup/connect4")
int weft_connect4(struct bpf_sock_addr* ctx) { return lead4(ctx); }

SEC("cgroup/connect6")
int weft_connect6(struct bpf_sock_addr* ctx) { return lead6(ctx); }

SEC("cgroup/sendmsg4")
int weft_sendmsg4(struct bpf_sock_addr* ctx) { return lead4(ctx); }

SEC("cgroup/sendmsg6")
int weft_sendmsg6(struct bpf_sock_addr* ctx) { return lead6(ctx); }

SEC("cgroup/recvmsg4")
int weft_recvmsg4(struct bpf_sock_addr* ctx) { return recall4(ctx); }

SEC("cgroup/recvmsg6")
int weft_recvmsg6(struct bpf_sock_addr* ctx) { return recall6(ctx); }

SEC("cgroup/getpeername4")
int weft_getpeername4(struct bpf_sock_addr* ctx) { return recall4(ctx); }

SEC("cgroup/getpeername6")
int weft_getpeername6(struct bpf_sock_addr* ctx) { return recall6(ctx); }

char _license[] SEC("license") = "Dual BSD/GPL";
