/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Picks the backend of a flow. The same packet gives the same slot on every node; state is kept
 * only for connections of slots that moved lately. */
#pragma once
#include "backends.bpf.h"
#include "count.h"
#include "flow_cache.bpf.h"
#include "hash.h"
#include "published.bpf.h"
#include "service_slots.bpf.h"
#include "services.bpf.h"

#define SEEN_SHIFT 8 /* entries age in units of 256 jiffies */

ALWAYS_INLINE __u32 now_seen(void) { return (__u32)(bpf_jiffies64() >> SEEN_SHIFT); }

ALWAYS_INLINE int is_first_of_connection(const struct packet* p) {
  return has_connections(p) && (p->tcp_flags & (TCP_SYN | TCP_ACK)) == TCP_SYN;
}

ALWAYS_INLINE struct weft_service* find_service(__u32 service) {
  return bpf_map_lookup_elem(&services, &service);
}

ALWAYS_INLINE struct weft_published* find_published(const union address* address, __be16 port,
                                                    __u8 protocol) {
  struct weft_published_key key = {.port = port, .protocol = protocol};
  struct weft_published* found;
  __builtin_memcpy(key.address, address->bytes, 16);
  found = bpf_map_lookup_elem(&published, &key);
  if (found) return found;
  __builtin_memset(key.address, 0, 16);
  return bpf_map_lookup_elem(&published, &key);
}

ALWAYS_INLINE __u64 hash_for(const struct weft_service* service, const struct packet* p) {
  return service->flags & WEFT_SERVICE_AFFINITY ? hash_client(&p->source) : hash_packet(p);
}

ALWAYS_INLINE struct weft_backend* find_backend(const struct weft_service* service, __u16 offset) {
  __u32 index = service->backends + (offset & 0x7fff);
  if ((offset & 0x7fff) == WEFT_SLOT_NONE) return 0;
  struct weft_backend* backend = bpf_map_lookup_elem(&backends, &index);
  return backend && backend->flags ? backend : 0;
}

ALWAYS_INLINE int find_slot(const struct weft_service* service, __u64 hash,
                            struct weft_slot_pair* pair) {
  __u64 table = *(const volatile __u64*)&service->table;
  __u32 first = (__u32)table;
  __u32 mask = (1u << ((table >> 32) & 31)) - 1;
  if (first == (__u32)WEFT_NO_TABLE) return -1;
  __u32 slot = first + ((__u32)hash & mask);
  __u32 element = slot >> 1;
  struct weft_slots* slots = bpf_map_lookup_elem(&service_slots, &element);
  if (!slots) return -1;
  *pair = slot & 1 ? slots->pair[1] : slots->pair[0];
  return 0;
}

/* The choice made for this flow since its slot moved: the backend's offset, or WEFT_SLOT_NONE. A
 * SYN stores `offset` instead. */
GLOBAL __u32 cached_choice(__u64 hash, __u32 service, __u32 offset, __u32 store) {
  __u64 tag = hash_round(hash, service) | 1;
  __u32 index = (tag >> 20) & (WEFT_CACHE_SETS - 1);
  struct weft_cache_set* set = bpf_map_lookup_elem(&flow_cache, &index);
  if (!set) return WEFT_SLOT_NONE;
  __u32 seen = now_seen();
  __u32 victim = 0, oldest = 0;
#pragma unroll
  for (__u32 i = 0; i < WEFT_CACHE_WAYS; i++) {
    if (set->way[i].tag == tag) {
      if (store) set->way[i].offset = offset;
      if (set->way[i].seen != seen) set->way[i].seen = seen;
      return set->way[i].offset;
    }
    __u32 age = set->way[i].tag ? seen - set->way[i].seen : 0xffffffff;
    if (i == 0 || age > oldest) {
      oldest = age;
      victim = i;
    }
  }
  if (!store) return WEFT_SLOT_NONE;
  struct weft_cache_entry* way = &set->way[victim & (WEFT_CACHE_WAYS - 1)];
  way->tag = 0;
  way->offset = offset;
  way->seen = seen;
  way->tag = tag;
  return offset;
}

/* The backend for a packet of the service, or 0. */
ALWAYS_INLINE struct weft_backend* pick(const struct weft_service* service, __u32 service_index,
                                        const struct packet* p, __u64 hash) {
  struct weft_slot_pair pair;
  if (find_slot(service, hash, &pair)) return 0;
  int first = is_first_of_connection(p);
  __u32 offset = pair.primary & 0x7fff;
  struct weft_backend* chosen = find_backend(service, offset);
  if (unlikely(!chosen || (first && !(chosen->flags & WEFT_BACKEND_READY)))) {
    /* Dead: everything leaves it. Draining: new connections do. */
    struct weft_backend* second = find_backend(service, pair.secondary);
    if (second && (!chosen || second->flags & WEFT_BACKEND_READY)) {
      chosen = second;
      offset = pair.secondary & 0x7fff;
    }
  }
  if (unlikely(pair.primary & WEFT_SLOT_MOVING && has_connections(p))) {
    __u32 known = cached_choice(hash, service_index, offset, first && chosen);
    struct weft_backend* backend = find_backend(service, known);
    if (backend) chosen = backend;
  }
  if (chosen) count(WEFT_COUNT_PICKED);
  return chosen;
}
