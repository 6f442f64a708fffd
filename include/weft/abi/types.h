/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What the agent and the BPF programs agree on: keys and values of the pinned maps. Plain C,
 * compiled by both. Addresses are 16 bytes, IPv4 in the v4-mapped form ::ffff:a.b.c.d; ports are
 * big-endian as on the wire; a layout change needs a new version in maps/registry.h.
 */
#ifndef WEFT_ABI_TYPES_H
#define WEFT_ABI_TYPES_H

#include <linux/types.h>

#ifdef __cplusplus
#include <type_traits>
#define WEFT_ABI(type, size)                                    \
  static_assert(sizeof(type) == (size), #type " changed size"); \
  static_assert(std::has_unique_object_representations_v<type>, #type " has hidden padding")
#define WEFT_ENUM(name) enum name : __u8
#else
#define WEFT_ABI(type, size) _Static_assert(sizeof(type) == (size), #type " changed size")
#define WEFT_ENUM(name) enum __attribute__((packed)) name
#endif

#define WEFT_NO_NODE 0xffffu /* node index: none */
#define WEFT_NO_SERVICE 0xffffffffu

/* Numbers of the fixed-size tables; changing one needs a new version of the map. */
#define WEFT_MAX_NODES 4096u
#define WEFT_MAX_PORTS 4096u
#define WEFT_MAX_ENDPOINTS 262144u
#define WEFT_MAX_NETWORKS 4096u
#define WEFT_MAX_SERVICES 8192u
#define WEFT_MAX_SLOTS 4194304u
#define WEFT_MAX_BACKENDS 262144u
#define WEFT_MAX_PUBLISHED 16384u

/* One 16-byte address. */
struct weft_address {
  __u8 bytes[16];
};
WEFT_ABI(struct weft_address, 16);

/* An endpoint's attachment on this node. Map `ports` finds it by the index of its host-side link,
 * map `local_macs` by the container's MAC. */
#define WEFT_PORT_HOST \
  0x01u /* the node's own endpoint: host namespace, forwarded packets allowed */
#define WEFT_PORT_INTERNAL 0x02u /* no way to the outside */
#define WEFT_PORT_BACKEND 0x04u  /* may answer service flows: look up `flows` */
#define WEFT_PORT_MULTICAST 0x08u
struct weft_port {
  __u32 ifindex; /* host-side link */
  __u32 vni;
  __u8 address4[16]; /* all zero: none */
  __u8 address6[16];
  __u8 gateway4[16];
  __u8 gateway6[16];
  __u8 mac[6];      /* the container's */
  __u8 host_mac[6]; /* the host-side link's: answers ARP and ND for the gateway */
  __u16 mtu_bytes;  /* the container link's */
  __u16 flags;      /* WEFT_PORT_* */
  __u32 id;         /* stable number of the endpoint on this node; part of the key of its flows */
  __u8 prefix4;     /* length of the subnet, in the family's own count */
  __u8 prefix6;
  __u16 pad;
};
WEFT_ABI(struct weft_port, 96);

struct weft_mac_key {
  __u8 mac[6];
  __u16 pad;
};
WEFT_ABI(struct weft_mac_key, 8);

/* Where an address of an overlay network is. */
WEFT_ENUM(weft_endpoint_kind){
    WEFT_ENDPOINT_NONE = 0,    WEFT_ENDPOINT_LOCAL = 1, /* a container on this node: ifindex, mac */
    WEFT_ENDPOINT_REMOTE = 2,                           /* on node `node` */
    WEFT_ENDPOINT_VIP = 3,                              /* a service: `service` */
    WEFT_ENDPOINT_GATEWAY = 4,                          /* the network's gateway: this node */
};
struct weft_endpoint_key {
  __u32 vni;
  __u8 address[16];
};
WEFT_ABI(struct weft_endpoint_key, 20);
struct weft_endpoint {
  __u32 ifindex; /* local: host-side link, else 0 */
  __u32 service; /* VIP: index in `services`, else WEFT_NO_SERVICE */
  __u16 node;    /* index in `vteps`, or WEFT_NO_NODE */
  __u8 mac[6];
  enum weft_endpoint_kind kind;
  __u8 pad[3];
};
WEFT_ABI(struct weft_endpoint, 20);

/* An overlay network as this node sees it. Key: VNI. */
#define WEFT_NETWORK_INTERNAL 0x01u
#define WEFT_NETWORK_MULTICAST 0x02u
#define WEFT_NETWORK_INGRESS 0x04u
#define WEFT_NETWORK_ENCRYPTED 0x08u
struct weft_network {
  __u8 subnet4[16];
  __u8 subnet6[16];
  __u8 prefix4;
  __u8 prefix6;
  __u16 mtu_bytes;
  __u32 flags; /* WEFT_NETWORK_* */
};
WEFT_ABI(struct weft_network, 40);

/* Longest-prefix match over all subnets of the cluster: what is a network's address and so never
 * goes outside. prefix_bits counts in 128 bits (v4: 96 + length). */
struct weft_subnet_key {
  __u32 prefix_bits;
  __u8 address[16];
};
WEFT_ABI(struct weft_subnet_key, 20);
struct weft_subnet {
  __u32 vni;
};
WEFT_ABI(struct weft_subnet, 4);

/* A node of the cluster. Index: node number from the manager (1..WEFT_MAX_NODES-1). header is the
 * outer Ethernet (14), IPv4 (20), UDP (8) and VXLAN (8) header with lengths, checksum, source port
 * and VNI left for the packet; ip_checksum is the one's-complement sum of the header without total
 * length. */
#define WEFT_VTEP_KNOWN 0x01u /* the node exists: its packets are accepted where `peers` allows */
#define WEFT_VTEP_FAST 0x02u  /* header is true: next hop resolved, uplink up */
#define WEFT_VTEP_SELF 0x04u
#define WEFT_OUTER_BYTES 50u
struct weft_vtep {
  __u8 address[16]; /* the node's underlay address */
  __u8 header[50];
  __u16
      ip_checksum;  /* as accumulated in native order over header bytes 14..33, total length zero */
  __u32 ifindex;    /* uplink to send to */
  __u16 mtu_bytes;  /* of the path: largest outer IP packet */
  __u16 flags;      /* WEFT_VTEP_* */
  __u8 host_mac[6]; /* MAC of that node's own endpoint (weft0): replies of the routing mesh go there
                     */
  __u16 pad;
};
WEFT_ABI(struct weft_vtep, 84);

/* Per CPU, index as in `vteps`. */
struct weft_traffic {
  __u64 tx_packets;
  __u64 tx_bytes;
  __u64 rx_packets;
  __u64 rx_bytes;
};
WEFT_ABI(struct weft_traffic, 32);

/* Which underlay address may send packets of which VNI to us. */
struct weft_peer_key {
  __u32 vni;
  __u8 address[16];
};
WEFT_ABI(struct weft_peer_key, 20);
struct weft_peer {
  __u16 node;
  __u16 pad;
};
WEFT_ABI(struct weft_peer, 4);

/* A service. Index: given by the agent of this node. A table switch is one 8-byte store of `table`:
 * low 32 bits first slot, bits 32..39 log2 of the number of slots; 0 slots-log with base
 * 0xffffffff: no backend. */
#define WEFT_NO_TABLE 0xffffffffull
#define WEFT_SERVICE_AFFINITY 0x01u /* pick by client address alone */
#define WEFT_SERVICE_DIRECT_RETURN 0x02u
struct weft_service {
  __u64 table;
  __u32 backends;      /* first index in `backends`; slots hold offsets from here */
  __u32 vni;           /* network of the VIP and of the backends */
  __u32 backend_count; /* highest offset in use plus 1; unused entries have flags 0 */
  __u32 flags;
  __u8 vip4[16];
  __u8 vip6[16];
  __u64 id; /* for the agent alone: which service it is, so that a fresh agent keeps its index;
               0: this index is free */
};
WEFT_ABI(struct weft_service, 64);

/* Two pairs per 8-byte element: slot s is pair[s & 1] of element s >> 1. Offsets are 15 bits. */
#define WEFT_SLOT_MOVING 0x8000u /* the owner changed within the drain time: remember flows */
#define WEFT_SLOT_NONE 0x7fffu   /* no backend */
struct weft_slot_pair {
  __u16 primary; /* offset | WEFT_SLOT_MOVING */
  __u16 secondary;
};
WEFT_ABI(struct weft_slot_pair, 4);
struct weft_slots {
  struct weft_slot_pair pair[2];
};
WEFT_ABI(struct weft_slots, 8);

#define WEFT_BACKEND_READY 0x01u    /* gets new flows */
#define WEFT_BACKEND_DRAINING 0x02u /* keeps its flows */
#define WEFT_BACKEND_LOCAL 0x04u    /* on this node */
#define WEFT_BACKEND_LOST 0x08u     /* its agent does not answer: only TCP flows stay */
struct weft_backend {
  __u8 mac[6];
  __u16 node;    /* index in `vteps` */
  __u32 ifindex; /* host-side link when local, else 0 */
  __u16 flags;   /* WEFT_BACKEND_*; 0: dead or unused, never send to it */
  __u16 pad;
};
WEFT_ABI(struct weft_backend, 16);

/* A published port. address all zero: on every address of the node. */
WEFT_ENUM(weft_protocol){WEFT_PROTOCOL_ICMP = 1, WEFT_PROTOCOL_TCP = 6, WEFT_PROTOCOL_UDP = 17,
                         WEFT_PROTOCOL_ICMP6 = 58, WEFT_PROTOCOL_SCTP = 132};
struct weft_published_key {
  __u8 address[16];
  __be16 port;
  enum weft_protocol protocol;
  __u8 pad;
};
WEFT_ABI(struct weft_published_key, 20);
#define WEFT_PUBLISHED_HOST 0x01u /* mode=host: backends of this node only */
struct weft_published {
  __u32 service;
  __be16 target_port;
  __u16 flags; /* WEFT_PUBLISHED_* */
};
WEFT_ABI(struct weft_published, 8);

/* Addresses of the node itself in the host namespace: published ports answer there. */
struct weft_node_address {
  __u32 ifindex;
};
WEFT_ABI(struct weft_node_address, 4);

/* A tracked connection of a local backend, found by what the container sees: its own port and the
 * client. Array of sets of WEFT_FLOW_WAYS: way i is free while tag[i] is 0. The tag is written last
 * and WEFT_FLOW_BUSY marks a way that is being filled. */
#define WEFT_FLOW_SETS 65536u
#define WEFT_FLOW_WAYS 4u
#define WEFT_FLOW_BUSY 1u
#define WEFT_FLOW_HAIRPIN 0x01u /* the client is the backend itself: it sees the VIP as client */
#define WEFT_FLOW_CLOSING 0x02u /* FIN or RST seen */
#define WEFT_FLOW_OUTSIDE 0x04u /* came through a published port */
#define WEFT_FLOW_REPLIED 0x08u /* the container has answered */
struct weft_flow {
  __u8 client[16];       /* as the container sees it */
  __u8 vip[16];          /* VIP, or the node address that was called */
  __be16 client_port;    /* as the container sees it; ICMP: echo id */
  __be16 container_port; /* target port; ICMP: 0 */
  __be16 vip_port;       /* what the client called; ICMP: 0 */
  __be16 original_port;  /* the client's own port, when it had to be re-picked, else equal
                            client_port */
  __u32 port_id;         /* weft_port.id of the backend */
  __u32 service;
  __u32 vni;  /* network the client's packets came in: the VIP's, or the ingress network's */
  __u16 node; /* node the client's packets came through; own index when local */
  enum weft_protocol protocol;
  __u8 flags; /* WEFT_FLOW_* */
};
WEFT_ABI(struct weft_flow, 56);
struct weft_flow_set {
  __u32 tag[WEFT_FLOW_WAYS];
  __u32 seen[WEFT_FLOW_WAYS]; /* jiffies >> 8 when last used */
  struct weft_flow way[WEFT_FLOW_WAYS];
};
WEFT_ABI(struct weft_flow_set, 256);

/* Entry side: which backend a flow of a moving slot was given. One cache line a set. */
#define WEFT_CACHE_SETS 65536u
#define WEFT_CACHE_WAYS 4u
struct weft_cache_entry {
  __u64 tag;    /* 64-bit hash of flow and service; 0: free */
  __u32 seen;   /* jiffies >> 8 */
  __u16 offset; /* backend, as in a slot */
  __u16 pad;
};
WEFT_ABI(struct weft_cache_entry, 16);
struct weft_cache_set {
  struct weft_cache_entry way[WEFT_CACHE_WAYS];
};
WEFT_ABI(struct weft_cache_set, 64);

/* Ports of a fragmented datagram, learnt from its first fragment. */
struct weft_fragment_key {
  __u8 source[16];
  __u8 destination[16];
  __u32 identification;
  __u32 vni; /* 0 on the underlay */
  enum weft_protocol protocol;
  __u8 pad[3];
};
WEFT_ABI(struct weft_fragment_key, 44);
struct weft_fragment {
  __be16 source_port;
  __be16 destination_port;
};
WEFT_ABI(struct weft_fragment, 4);

/* What a process of this node called before its socket was led to the routing mesh, so that it can
 * be told the peer it knows. */
struct weft_host_call_key {
  __u64 cookie; /* of the socket */
  __be16 port;
  __u8 family; /* 4 or 6 */
  __u8 pad[5];
};
WEFT_ABI(struct weft_host_call_key, 16);

/* VXLAN header, last byte (reserved, RFC 7348): where a packet of an unknown flow has been. */
#define WEFT_VXLAN_SECOND_CHANCE 0x01u /* the first choice did not know it */
#define WEFT_VXLAN_FINAL 0x02u         /* the second did not either: the first takes it */

/* Why a packet was dropped. Index of `drops` (per CPU). New reasons go at the end. */
enum weft_drop_reason {
  WEFT_DROP_NONE = 0,
  WEFT_DROP_MALFORMED, /* headers cut short or inconsistent */
  WEFT_DROP_NOT_IP,    /* neither IP nor ARP */
  WEFT_DROP_SPOOFED_MAC,
  WEFT_DROP_SPOOFED_ADDRESS,
  WEFT_DROP_UNKNOWN_PORT,  /* a link that no endpoint is known for */
  WEFT_DROP_NO_ENDPOINT,   /* address in the network, but nobody has it */
  WEFT_DROP_OTHER_NETWORK, /* address of a network the container is not in */
  WEFT_DROP_INTERNAL,      /* internal network: no way outside */
  WEFT_DROP_UNKNOWN_VTEP,  /* overlay packet from a node that is not in that network */
  WEFT_DROP_UNKNOWN_VNI,
  WEFT_DROP_BAD_VXLAN,
  WEFT_DROP_NO_BACKEND, /* service without a live backend */
  WEFT_DROP_TTL,
  WEFT_DROP_TOO_BIG,
  WEFT_DROP_FRAGMENT,  /* fragment whose first part was not seen */
  WEFT_DROP_NO_ROUTE,  /* node without a usable next hop */
  WEFT_DROP_BROADCAST, /* broadcast or multicast where none is carried */
  WEFT_DROP_PROTOCOL,  /* protocol that a VIP or published port does not carry */
  WEFT_DROP_FLOWS_FULL,
  WEFT_DROP_CONFLICT,   /* no free client port for a second identical flow */
  WEFT_DROP_REWRITE,    /* the kernel refused to change the packet */
  WEFT_DROP_MESH_REPLY, /* reply for a published port we do not have */
  WEFT_DROP_REASONS,
};

/* What the programs did. Index of `counters` (per CPU). New ones go at the end. */
enum weft_counter {
  WEFT_COUNT_FROM_CONTAINER = 0,
  WEFT_COUNT_LOCAL, /* delivered on the node */
  WEFT_COUNT_ENCAPSULATED,
  WEFT_COUNT_DECAPSULATED,
  WEFT_COUNT_KERNEL_WAY, /* left to the kernel's VXLAN device */
  WEFT_COUNT_OUTSIDE,    /* left to the host's stack */
  WEFT_COUNT_ARP_ANSWERED,
  WEFT_COUNT_ND_ANSWERED,
  WEFT_COUNT_PICKED,
  WEFT_COUNT_TRANSLATED,
  WEFT_COUNT_RESTORED,
  WEFT_COUNT_SECOND_CHANCE,
  WEFT_COUNT_MESH_IN,
  WEFT_COUNT_MESH_REPLY,
  WEFT_COUNT_FLOW_NEW,
  WEFT_COUNT_FLOW_EVICTED,
  WEFT_COUNT_TOO_BIG_SENT,
  WEFT_COUNTERS,
};

/* Ring buffer record about one packet. */
WEFT_ENUM(weft_event_kind){WEFT_EVENT_DROP = 1};
struct weft_event {
  __u8 source[16];
  __u8 destination[16];
  __be16 source_port;
  __be16 destination_port;
  __u32 vni;
  __u32 ifindex;
  __u32 length_bytes;
  __u8 reason; /* enum weft_drop_reason */
  enum weft_protocol protocol;
  enum weft_event_kind kind;
  __u8 pad;
};
WEFT_ABI(struct weft_event, 52);

/* What the agent knows at load time: `const volatile struct weft_config weft_config` in .rodata. */
#define WEFT_CONFIG_EVENTS 0x01u     /* send an event for (rate-limited) drops */
#define WEFT_CONFIG_DECAP_IPV6 0x02u /* kernel has BPF_F_ADJ_ROOM_DECAP_L3_IPV6 (6.3) */
struct weft_config {
  __u8 node_address[16]; /* underlay address */
  __u32 ingress_vni;
  __u32 uplink_ifindex;
  __u32 vxlan_ifindex; /* collect_md device */
  __u32 host_ifindex;  /* host side of the node's own endpoint */
  __be16 vxlan_port;
  __u16 node;              /* own index */
  __u16 overlay_mtu_bytes; /* largest inner IP packet: uplink MTU - 50 */
  __u16 flags;             /* WEFT_CONFIG_* */
  __u32 jiffies_per_second;
  __u32 drain_seconds;
  __u64 netns_cookie;     /* of the node's namespace, for the cgroup programs */
  __u8 host_address4[16]; /* the node's own address in the ingress network */
  __u8 host_address6[16];
  __u8 host_gateway4[16]; /* gateway of the ingress network: stands for "this node" in host calls */
  __u8 host_gateway6[16];
};
WEFT_ABI(struct weft_config, 120);

#endif
