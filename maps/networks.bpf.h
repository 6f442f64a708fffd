/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Networks known to this node, by VNI. */
#pragma once
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

#include "weft/abi/types.h"

struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __type(key, __u32);
  __type(value, struct weft_network);
  __uint(max_entries, WEFT_MAX_NETWORKS);
  __uint(map_flags, BPF_F_NO_PREALLOC);
} networks SEC(".maps");
