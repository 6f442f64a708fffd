/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Answers ARP (RFC 826) for every address of the container's network: nothing is ever flooded. */
#pragma once
#include "deliver.h"
#include "verdict.h"

#define ARP_BYTES 28u
#define ARP_REQUEST 1
#define ARP_REPLY 2

struct arp {
  __be16 hardware, protocol;
  __u8 hardware_bytes, protocol_bytes;
  __be16 operation;
  __u16 sender_mac[3];
  __u16 sender[2];
  __u16 target_mac[3];
  __u16 target[2];
};

/* The MAC by which the container reaches an address of its network; 0: nobody has it. */
ALWAYS_INLINE const __u8* resolve(const struct weft_port* port, const union address* target) {
  if (same_address(target, port->gateway4) || same_address(target, port->gateway6))
    return port->host_mac;
  struct weft_endpoint* endpoint = find_endpoint(port->vni, target);
  if (!endpoint) return 0;
  if (endpoint->kind == WEFT_ENDPOINT_VIP || endpoint->kind == WEFT_ENDPOINT_GATEWAY)
    return port->host_mac;
  return endpoint->mac;
}

GLOBAL int answer_arp(struct __sk_buff* skb, const struct weft_port* port) {
  if (!port) return DROP(MALFORMED);
  void* data = packet_data(skb);
  struct arp* arp = data + ETH_BYTES;
  if ((void*)(arp + 1) > packet_end(skb)) return DROP(MALFORMED);
  if (arp->hardware != bpf_htons(1) || arp->protocol != bpf_htons(ETH_P_IP) ||
      arp->hardware_bytes != 6 || arp->protocol_bytes != 4)
    return DROP(MALFORMED);
  __u32 sender = (__u32)arp->sender[1] << 16 | arp->sender[0];
  if (!(port->flags & WEFT_PORT_HOST)) {
    if (!same_mac(arp->sender_mac, port->mac)) return DROP(SPOOFED_MAC);
    if (sender && sender != *(const __u32*)(port->address4 + 12)) return DROP(SPOOFED_ADDRESS);
  }
  /* The host asked for the container's address; the answer is the host's. */
  if (arp->operation == bpf_htons(ARP_REPLY)) return TC_ACT_OK;
  if (arp->operation != bpf_htons(ARP_REQUEST)) return DROP(MALFORMED);
  union address target;
  set_v4(&target, (__u32)arp->target[1] << 16 | arp->target[0]);
  /* Announcing or probing its own address (RFC 5227): nobody objects. */
  if (same_address(&target, port->address4)) return DROP(BROADCAST);
  const __u8* mac = resolve(port, &target);
  if (!mac) return DROP(NO_ENDPOINT);
  copy_mac(data, arp->sender_mac);
  copy_mac(data + 6, mac);
  arp->operation = bpf_htons(ARP_REPLY);
  copy_mac(arp->target_mac, arp->sender_mac);
  copy_mac(arp->sender_mac, mac);
  __u16 low = arp->sender[0], high = arp->sender[1];
  arp->sender[0] = arp->target[0];
  arp->sender[1] = arp->target[1];
  arp->target[0] = low;
  arp->target[1] = high;
  count(WEFT_COUNT_ARP_ANSWERED);
  return bpf_redirect(skb->ifindex, 0);
}
