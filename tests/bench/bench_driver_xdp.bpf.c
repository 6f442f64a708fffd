/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "bench_driver.h"

SEC("xdp")
int bench_xdp_noop(struct xdp_md* xdp) {
  (void)xdp;
  return XDP_PASS;
}

SEC("xdp")
int bench_xdp_driver(struct xdp_md* xdp) {
  __u32 zero = 0;
  struct driver_config* config = bpf_map_lookup_elem(&driver, &zero);
  if (!config) return XDP_ABORTED;
  if (xdp->data_end - xdp->data == config->bytes + 50 && bpf_xdp_adjust_head(xdp, 50))
    return XDP_ABORTED;
  if (restore((void*)(long)xdp->data, (void*)(long)xdp->data_end, config)) return XDP_ABORTED;
  bpf_tail_call(xdp, &subject, 0);
  return XDP_ABORTED;
}

char _license[] SEC("license") = "Dual BSD/GPL";
