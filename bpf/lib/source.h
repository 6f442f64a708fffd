/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Anti-spoofing: a container sends from its own MAC and addresses only. */
#pragma once
#include "deliver.h"

ALWAYS_INLINE int is_multicast(const union address* a) {
  if (a->word[0] == 0 && a->word[1] == 0 && a->word[2] == bpf_htonl(0xffff))
    return (a->bytes[12] & 0xf0) == 0xe0 || a->word[3] == 0xffffffff;
  return a->bytes[0] == 0xff;
}

ALWAYS_INLINE int is_own_mac(const struct weft_port* port, const void* mac) {
  return port->flags & WEFT_PORT_HOST || same_mac(mac, port->mac);
}

/* The link-local address that IPv6 derives from the MAC (RFC 4291 appendix A). */
ALWAYS_INLINE int is_own_link_local(const struct weft_port* port, const union address* a) {
  const __u8* m = port->mac;
  return a->word[0] == bpf_htonl(0xfe800000) && a->word[1] == 0 && a->bytes[8] == (m[0] ^ 2) &&
         a->bytes[9] == m[1] && a->bytes[10] == m[2] && a->bytes[11] == 0xff &&
         a->bytes[12] == 0xfe && a->bytes[13] == m[3] && a->bytes[14] == m[4] &&
         a->bytes[15] == m[5];
}

ALWAYS_INLINE int is_own_source(const struct weft_port* port, const struct packet* p) {
  if (port->flags & WEFT_PORT_HOST) return 1;
  if (p->family == 4) return same_address(&p->source, port->address4);
  return same_address(&p->source, port->address6) || is_own_link_local(port, &p->source);
}

/* Is the destination in the port's subnet (whether or not anybody has it)? */
ALWAYS_INLINE int is_in_subnet(const struct weft_port* port, const struct packet* p) {
  __u32 bits = p->family == 4 ? 96u + port->prefix4 : port->prefix6;
  const __u8* own = port_address(port, p->family);
  const __u32* words = (const __u32*)own;
  if (words[0] == 0 && words[1] == 0 && words[2] == 0) return 0; /* no address of this family */
#pragma unroll
  for (int i = 0; i < 4; i++) {
    if (bits == 0) break;
    __u32 mask = bits >= 32 ? 0xffffffff : ~(0xffffffffu >> bits);
    if ((p->destination.word[i] ^ words[i]) & bpf_htonl(mask)) return 0;
    bits = bits >= 32 ? bits - 32 : 0;
  }
  return 1;
}
