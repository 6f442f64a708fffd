/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Who has an address of an overlay network. */
#pragma once
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

#include "weft/abi/types.h"

struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __type(key, struct weft_endpoint_key);
  __type(value, struct weft_endpoint);
  __uint(max_entries, WEFT_MAX_ENDPOINTS);
  __uint(map_flags, BPF_F_NO_PREALLOC);
} endpoints SEC(".maps");
