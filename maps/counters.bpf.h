/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What the programs did, by enum weft_counter. */
#pragma once
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

#include "weft/abi/types.h"

struct {
  __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
  __type(key, __u32);
  __type(value, __u64);
  __uint(max_entries, WEFT_COUNTERS);
} counters SEC(".maps");
