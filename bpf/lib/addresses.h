/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Addresses of the node itself. */
#pragma once
#include "node_addresses.bpf.h"
#include "parse.h"

/* The address that other nodes know is the one that is called most: no look-up for it. */
ALWAYS_INLINE int is_node_address(const union address* a) {
  const volatile __u32* own = (const volatile __u32*)weft_config.node_address;
  if (a->word[3] == own[3] && a->word[2] == own[2] && a->word[1] == own[1] && a->word[0] == own[0])
    return 1;
  struct weft_address key;
  __builtin_memcpy(key.bytes, a->bytes, 16);
  return bpf_map_lookup_elem(&node_addresses, &key) != 0;
}
