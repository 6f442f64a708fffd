/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What processes of the node called. */
#pragma once
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

#include "weft/abi/types.h"

struct {
  __uint(type, BPF_MAP_TYPE_LRU_HASH);
  __type(key, struct weft_host_call_key);
  __type(value, struct weft_address);
  __uint(max_entries, 65536);
} host_calls SEC(".maps");
