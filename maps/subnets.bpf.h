/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Subnets of every network of the cluster: such an address never leaves as outside traffic. */
#pragma once
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

#include "weft/abi/types.h"

struct {
  __uint(type, BPF_MAP_TYPE_LPM_TRIE);
  __type(key, struct weft_subnet_key);
  __type(value, struct weft_subnet);
  __uint(max_entries, WEFT_MAX_NETWORKS);
  __uint(map_flags, BPF_F_NO_PREALLOC);
} subnets SEC(".maps");
