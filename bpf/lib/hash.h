/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The flow hash. Nodes must agree on it: the entry node picks with it and the backend's node
 * recomputes the choice. Multiply-and-fold rounds over 64-bit words; not keyed, a collision costs
 * balance, never safety. */
#pragma once
#include "parse.h"

#define HASH_MULTIPLIER 0x9e3779b97f4a7c15ull

ALWAYS_INLINE __u64 hash_round(__u64 hash, __u64 word) {
  hash = (hash ^ word) * HASH_MULTIPLIER;
  return hash ^ (hash >> 29);
}

ALWAYS_INLINE __u64 hash_flow(const union address* client, const union address* service,
                              __be16 client_port, __be16 service_port, __u8 protocol) {
  __u64 ports = (__u64)client_port << 32 | (__u64)service_port << 8 | protocol;
  __u64 hash = hash_round(client->half[0], client->half[1]);
  hash = hash_round(hash, service->half[0]);
  hash = hash_round(hash, service->half[1]);
  hash = hash_round(hash, ports);
  return hash ^ (hash >> 32);
}

ALWAYS_INLINE __u64 hash_client(const union address* client) {
  __u64 hash = hash_round(client->half[0], client->half[1]);
  hash = hash_round(hash, HASH_MULTIPLIER);
  return hash ^ (hash >> 32);
}

ALWAYS_INLINE __u64 hash_packet(const struct packet* p) {
  return hash_flow(&p->source, &p->destination, p->source_port, p->destination_port, p->protocol);
}
