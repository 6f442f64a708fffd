/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Addresses of the node itself. */
#pragma once
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

#include "weft/abi/types.h"

struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __type(key, struct weft_address);
  __type(value, struct weft_node_address);
  __uint(max_entries, 1024);
  __uint(map_flags, BPF_F_NO_PREALLOC);
} node_addresses SEC(".maps");
