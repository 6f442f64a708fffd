/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The outer headers of an overlay packet, for tc and XDP. */
#pragma once
#include "csum.h"
#include "verdict.h"
#include "vteps.bpf.h"

#define OUTER_SOURCE_PORT 34u
#define VXLAN_FLAGS 42u
#define VXLAN_VNI 46u
#define VXLAN_MARK 49u
#define PORT_LOW 32768u /* outer source ports: 32768..61439 */
#define PORT_RANGE_MASK 0x6fffu

struct tunnel {
  __u32 vni;
  __u32 node;  /* index in vteps */
  __u32 hash;  /* of the inner flow: outer source port */
  __u8 mac[6]; /* inner destination */
  __u8 mark;   /* WEFT_VXLAN_* */
  __u8 pad;
};

ALWAYS_INLINE struct weft_vtep* find_vtep(__u32 node) {
  struct weft_vtep* vtep = bpf_map_lookup_elem(&vteps, &node);
  return vtep && vtep->flags & WEFT_VTEP_KNOWN ? vtep : 0;
}

/* The largest inner IP packet for a node: outer IP, UDP and VXLAN and the inner Ethernet header
 * come on top. */
ALWAYS_INLINE __u32 inner_mtu(const struct weft_vtep* vtep) {
  return vtep->mtu_bytes - WEFT_OUTER_BYTES;
}

/* Writes the 50 outer bytes at `outer`; the caller has checked the bounds. `ip_bytes`: outer IP
 * packet. */
ALWAYS_INLINE void write_outer(void* outer, const struct weft_vtep* vtep, const struct tunnel* to,
                               __u32 ip_bytes) {
  const __u64* from = (const __u64*)vtep->header;
  __u64* words = outer;
#pragma unroll
  for (int i = 0; i < 6; i++) words[i] = from[i];
  *(__u16*)(outer + 48) = 0;
  __u16 total = ip_bytes > 0xffff ? 0 : bpf_htons(ip_bytes);
  __u16 id = 0;
  /* Packets that a router may fragment need an id; the others may do without (RFC 6864). */
  if (!(vtep->header[20] & 0x40)) id = (__u16)bpf_get_prandom_u32();
  *(__u16*)(outer + 16) = total;
  *(__u16*)(outer + 18) = id;
  *(__u16*)(outer + 24) = ~fold((__u64)vtep->ip_checksum + total + id);
  __u16 port = PORT_LOW + (to->hash & PORT_RANGE_MASK);
  *(__be16*)(outer + OUTER_SOURCE_PORT) = bpf_htons(port);
  *(__be16*)(outer + 38) = ip_bytes > 0xffff ? 0 : bpf_htons(ip_bytes - IP4_BYTES);
  *(__be32*)(outer + VXLAN_VNI) = bpf_htonl(to->vni << 8 | to->mark);
}
