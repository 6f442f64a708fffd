/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Brings a packet back to what it was before the measured program changed it, gives it the next
 * flow, and tail-calls that program. */
#pragma once
#include <linux/bpf.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define HEADER_WORDS 13 /* outer 50, Ethernet 14, IPv4 20, TCP 20 */

struct driver_config {
  __u64 header[HEADER_WORDS];
  __u32 bytes; /* of the packet */
  __u32 header_words;
  __u32 flow_mask; /* number of flows less one */
  __u32 new_flows; /* every packet another address */
  __u32 source_at; /* offset of the client's address; its port follows 8 bytes later */
  __u32 pad;
};

struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __type(key, __u32);
  __type(value, struct driver_config);
  __uint(max_entries, 1);
} driver SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_PROG_ARRAY);
  __type(key, __u32);
  __type(value, __u32);
  __uint(max_entries, 1);
} subject SEC(".maps");

static __u32 turn;

/* Writes headers and flow; `data` .. `end` is the whole packet again. */
static __attribute__((always_inline)) inline int restore(void* data, void* end,
                                                         const struct driver_config* config) {
  if (data + HEADER_WORDS * 8 > end) return -1;
  __u64* words = data;
#pragma unroll
  for (int i = 0; i < HEADER_WORDS; i++)
    if (i < 7 || config->header_words > 7) words[i] = config->header[i];
  __u32 next = turn++;
  __u32 flow = (next * 40503u) & config->flow_mask;
  __u32 at = config->source_at & 127;
  if (data + at + 12 > end) return -1;
  *(__u16*)(data + at + 8) = bpf_htons(flow);
  if (config->new_flows) *(__u32*)(data + at) = bpf_htonl(0x0b000000 | (next & 0xffffff));
  return 0;
}
