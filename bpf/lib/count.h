/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Counters, drop reasons and events. Every drop of every program passes through here. */
#pragma once
#include "config.h"
#include "counters.bpf.h"
#include "drops.bpf.h"
#include "events.bpf.h"
#include "parse.h"
#include "vtep_traffic.bpf.h"

ALWAYS_INLINE void count(__u32 what) {
  __u64* value = bpf_map_lookup_elem(&counters, &what);
  if (value) (*value)++;
}

ALWAYS_INLINE void count_sent(__u32 node, __u32 bytes) {
  struct weft_traffic* traffic = bpf_map_lookup_elem(&vtep_traffic, &node);
  if (!traffic) return;
  traffic->tx_packets++;
  traffic->tx_bytes += bytes;
}

ALWAYS_INLINE void count_received(__u32 node, __u32 bytes) {
  struct weft_traffic* traffic = bpf_map_lookup_elem(&vtep_traffic, &node);
  if (!traffic) return;
  traffic->rx_packets++;
  traffic->rx_bytes += bytes;
}

/* A flood of drops must not become a flood of events: of each reason, every CPU tells of its first
 * ones, and then of one in so many. */
#define EVENT_EVERY 64

ALWAYS_INLINE void send_event(__u32 reason, const struct packet* packet, __u32 vni, __u32 ifindex,
                              __u32 length_bytes) {
  struct weft_event* event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);
  if (!event) return;
  __builtin_memset(event, 0, sizeof(*event));
  __builtin_memcpy(event->source, packet->source.bytes, 16);
  __builtin_memcpy(event->destination, packet->destination.bytes, 16);
  event->source_port = packet->source_port;
  event->destination_port = packet->destination_port;
  event->vni = vni;
  event->ifindex = ifindex;
  event->length_bytes = length_bytes;
  event->reason = reason;
  event->protocol = packet->protocol;
  event->kind = WEFT_EVENT_DROP;
  bpf_ringbuf_submit(event, 0);
}

ALWAYS_INLINE void count_drop(__u32 reason, const struct packet* packet, __u32 vni, __u32 ifindex,
                              __u32 length_bytes) {
  __u64* value = bpf_map_lookup_elem(&drops, &reason);
  if (!value) return;
  __u64 before = (*value)++;
  if (weft_config.flags & WEFT_CONFIG_EVENTS && (before < EVENT_EVERY || before % EVENT_EVERY == 0))
    send_event(reason, packet, vni, ifindex, length_bytes);
}
