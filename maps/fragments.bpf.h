/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Ports of fragmented datagrams. */
#pragma once
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

#include "weft/abi/types.h"

struct {
  __uint(type, BPF_MAP_TYPE_LRU_HASH);
  __type(key, struct weft_fragment_key);
  __type(value, struct weft_fragment);
  __uint(max_entries, 4096);
} fragments SEC(".maps");
