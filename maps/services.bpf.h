/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Services, by index. */
#pragma once
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

#include "weft/abi/types.h"

struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __type(key, __u32);
  __type(value, struct weft_service);
  __uint(max_entries, WEFT_MAX_SERVICES);
} services SEC(".maps");
