/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Later fragments have no ports: they take those that the first one showed. */
#pragma once
#include "fragments.bpf.h"
#include "verdict.h"

/* Learns from a first fragment, or completes a later one. Called where ports decide the way. */
GLOBAL int resolve_fragment(struct packet* p, __u32 vni) {
  if (!p) return DROP(FRAGMENT);
  struct weft_fragment_key key = {
      .identification = p->fragment_id, .vni = vni, .protocol = p->protocol};
  __builtin_memcpy(key.source, p->source.bytes, 16);
  __builtin_memcpy(key.destination, p->destination.bytes, 16);
  if (p->fragment == FIRST_FRAGMENT) {
    struct weft_fragment ports = {p->source_port, p->destination_port};
    bpf_map_update_elem(&fragments, &key, &ports, BPF_ANY);
    return 0;
  }
  struct weft_fragment* known = bpf_map_lookup_elem(&fragments, &key);
  if (!known) return DROP(FRAGMENT);
  p->source_port = known->source_port;
  p->destination_port = known->destination_port;
  /* Only requests are fragmented towards a service and only replies from one; the type is not
   * needed again. */
  if (p->protocol == IPPROTO_ICMP) p->icmp_type = p->source_port ? ECHO_REQUEST4 : ECHO_REPLY4;
  if (p->protocol == IPPROTO_ICMPV6) p->icmp_type = p->source_port ? ECHO_REQUEST6 : ECHO_REPLY6;
  return 0;
}
