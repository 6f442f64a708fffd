/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Nodes of the cluster, by node index: where and how to send. */
#pragma once
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

#include "weft/abi/types.h"

struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __type(key, __u32);
  __type(value, struct weft_vtep);
  __uint(max_entries, WEFT_MAX_NODES);
} vteps SEC(".maps");
