/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Records of struct weft_event for whoever watches. */
#pragma once
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

struct {
  __uint(type, BPF_MAP_TYPE_RINGBUF);
  __uint(max_entries, 256 * 1024);
} events SEC(".maps");
