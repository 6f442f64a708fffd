/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Endpoints of this node, by the container's MAC: the one lookup of delivery. */
#pragma once
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

#include "weft/abi/types.h"

struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __type(key, struct weft_mac_key);
  __type(value, struct weft_port);
  __uint(max_entries, WEFT_MAX_PORTS);
  __uint(map_flags, BPF_F_NO_PREALLOC);
} local_macs SEC(".maps");
