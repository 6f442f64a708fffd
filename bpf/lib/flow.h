/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Tracked connections of the backends of this node, keyed by what the container sees. */
#pragma once
#include "flows.bpf.h"
#include "lb.h"

/* Client ports that are tried when the container already has a connection with the client's own
 * port. */
#define FLOW_CANDIDATES 4
#define aligned_flow struct weft_flow __attribute__((aligned(8)))

enum flow_match { FLOW_NONE, FLOW_SAME, FLOW_CONFLICT };

/* Where a flow is, or where it would go: numbers, not pointers. */
struct flow_place {
  __u32 set;
  __u32 way;
  __u32 tag; /* 0: no place */
  __u32 pad;
};

ALWAYS_INLINE struct weft_flow_set* find_set(__u32 set) {
  return bpf_map_lookup_elem(&flows, &set);
}

ALWAYS_INLINE __u64 hash_seen(const struct weft_flow* flow) {
  const __u64* half = (const __u64*)flow->client;
  __u64 ports = (__u64) * (const __u32*)&flow->client_port << 32 | flow->port_id;
  __u64 hash = hash_round(half[0], half[1]);
  hash = hash_round(hash, ports);
  hash = hash_round(hash, flow->protocol);
  return hash ^ (hash >> 32);
}

/* The same for the container: client, both ports it sees, endpoint, protocol. */
ALWAYS_INLINE int same_seen(const struct weft_flow* a, const struct weft_flow* b) {
  const __u64 *x = (const __u64*)a->client, *y = (const __u64*)b->client;
  return x[0] == y[0] && x[1] == y[1] &&
         *(const __u32*)&a->client_port == *(const __u32*)&b->client_port &&
         a->port_id == b->port_id && a->protocol == b->protocol;
}

ALWAYS_INLINE int same_called(const struct weft_flow* a, const struct weft_flow* b) {
  const __u64 *x = (const __u64*)a->vip, *y = (const __u64*)b->vip;
  return x[0] == y[0] && x[1] == y[1] && *(const __u32*)&a->vip_port == *(const __u32*)&b->vip_port;
}

ALWAYS_INLINE int find_flow(const struct weft_flow* wanted, struct flow_place* place) {
  __u64 hash = hash_seen(wanted);
  place->set = hash & (WEFT_FLOW_SETS - 1);
  place->tag = (__u32)(hash >> 32) | 2; /* neither free nor WEFT_FLOW_BUSY */
  struct weft_flow_set* set = find_set(place->set);
  if (!set) return FLOW_NONE;
#pragma unroll
  for (__u32 i = 0; i < WEFT_FLOW_WAYS; i++) {
    if (set->tag[i] != place->tag) continue;
    struct weft_flow* flow = &set->way[i];
    if (!same_seen(flow, wanted)) continue;
    place->way = i;
    return same_called(flow, wanted) ? FLOW_SAME : FLOW_CONFLICT;
  }
  return FLOW_NONE;
}

/* The n-th client port to try; the same on every packet of a flow. */
ALWAYS_INLINE __be16 candidate_port(const struct weft_flow* flow, __u32 n) {
  const __u64* vip = (const __u64*)flow->vip;
  __u64 hash = hash_round(vip[0] + n, vip[1]);
  hash = hash_round(hash, *(const __u64*)&flow->client_port & ~0xffffull);
  return bpf_htons(1024 + ((hash >> 32) % 64512));
}

/* A way for a new flow: free, else closing, else never answered, else the oldest. */
ALWAYS_INLINE __u32 choose_way(const struct weft_flow_set* set, __u32 seen) {
  __u32 best = 0, best_score = 0;
#pragma unroll
  for (__u32 i = 0; i < WEFT_FLOW_WAYS; i++) {
    __u32 score;
    if (!set->tag[i]) {
      score = 0xffffffff;
    } else {
      __u8 flags = set->way[i].flags;
      __u32 age = (seen - set->seen[i]) & 0x0fffffff;
      score = age + (flags & WEFT_FLOW_CLOSING      ? 0x20000000
                     : !(flags & WEFT_FLOW_REPLIED) ? 0x10000000
                                                    : 1);
    }
    if (score > best_score) {
      best_score = score;
      best = i;
    }
  }
  return best;
}

/* Two CPUs may want one way: the tag is claimed first, and the loser does without an entry; its
 * flow's next packet tries again. */
GLOBAL int insert_flow(const struct weft_flow* flow, const struct flow_place* place) {
  if (!flow || !place) return -1;
  struct weft_flow_set* set = find_set(place->set);
  if (!set) return -1;
  __u32 seen = now_seen();
  __u32 way = choose_way(set, seen) & (WEFT_FLOW_WAYS - 1);
  __u32 before = set->tag[way];
  if (before == WEFT_FLOW_BUSY) return -1;
  if (__sync_val_compare_and_swap(&set->tag[way], before, WEFT_FLOW_BUSY) != before) return -1;
  if (before) count(WEFT_COUNT_FLOW_EVICTED);
  __u64* to = (__u64*)&set->way[way];
  const __u64* from = (const __u64*)flow;
#pragma unroll
  for (__u32 i = 0; i < sizeof(*flow) / 8; i++) to[i] = from[i];
  set->seen[way] = seen;
  barrier();
  *(volatile __u32*)&set->tag[way] = place->tag;
  count(WEFT_COUNT_FLOW_NEW);
  return 0;
}

ALWAYS_INLINE void touch_flow(struct weft_flow_set* set, __u32 way, const struct packet* p,
                              __u8 reply) {
  struct weft_flow* flow = &set->way[way];
  __u32 seen = now_seen();
  if (set->seen[way] != seen) set->seen[way] = seen;
  __u8 flags = flow->flags | reply;
  if (has_connections(p)) {
    if (p->tcp_flags & (TCP_FIN | TCP_RST)) flags |= WEFT_FLOW_CLOSING;
    if (is_first_of_connection(p)) flags &= ~WEFT_FLOW_CLOSING;
  }
  if (flags != flow->flags) flow->flags = flags;
}

/* Finds the flow under one of its later candidates. On FLOW_NONE wanted->client_port is the first
 * that is free and *place where to insert; place->tag is 0 when there is none. */
GLOBAL int find_candidate(struct weft_flow* wanted, struct flow_place* place, __u32 first_taken) {
  if (!wanted || !place) return FLOW_NONE;
  struct flow_place at = {}, vacant = {};
  __be16 vacant_port = wanted->client_port;
  if (!first_taken) vacant = *place;
  for (__u32 n = 1; n < FLOW_CANDIDATES; n++) {
    wanted->client_port = candidate_port(wanted, n);
    int match = find_flow(wanted, &at);
    if (match == FLOW_SAME) {
      *place = at;
      return FLOW_SAME;
    }
    if (match == FLOW_NONE && !vacant.tag) {
      vacant = at;
      vacant_port = wanted->client_port;
    }
  }
  wanted->client_port = vacant_port;
  *place = vacant;
  return FLOW_NONE;
}
