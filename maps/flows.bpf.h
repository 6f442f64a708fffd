/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Tracked connections of the backends of this node. */
#pragma once
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

#include "weft/abi/types.h"

struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __type(key, __u32);
  __type(value, struct weft_flow_set);
  __uint(max_entries, WEFT_FLOW_SETS);
} flows SEC(".maps");
