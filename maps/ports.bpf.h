/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Endpoints of this node, by the index of the host-side link. */
#pragma once
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

#include "weft/abi/types.h"

struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __type(key, __u32);
  __type(value, struct weft_port);
  __uint(max_entries, WEFT_MAX_PORTS);
  __uint(map_flags, BPF_F_NO_PREALLOC);
} ports SEC(".maps");
