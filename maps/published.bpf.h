/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Published ports of this node. */
#pragma once
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

#include "weft/abi/types.h"

struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __type(key, struct weft_published_key);
  __type(value, struct weft_published);
  __uint(max_entries, WEFT_MAX_PUBLISHED);
  __uint(map_flags, BPF_F_NO_PREALLOC);
} published SEC(".maps");
