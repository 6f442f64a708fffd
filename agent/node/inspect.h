// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "base/result.h"
#include "core/dns/resolve.h"
#include "core/plan/desired_state.h"
#include "node/cluster_view.h"
#include "node/kernel.h"
#include "weft/api/weft.pb.h"

namespace weft::node {

// Answers of the agent about itself: the LOCAL methods that only look.

Result<api::MapList> list_maps(Kernel& kernel, const std::string& bpffs);
// Entries as text. `key` of the request: texts that must be equal to fields of the key, in their
// order.
Result<api::MapDumpReply> dump_map(Kernel& kernel, const api::MapDumpRequest& request);

// Flows are left out.
api::LbList list_services(const Kernel& kernel, const plan::DesiredState& desired,
                          const KnownState& known, const ClusterView& view);

// Fills in the flows of this node's own backends: those of a task's every attachment, as callers of
// its published ports come through another than those of its VIP.
Result<> add_flows(Kernel& kernel, const std::map<std::string, Attachment>& attachments,
                   api::LbService& service);

// Asks this node's own resolver as a container of the network (or of the endpoint) would.
Result<api::DnsQueryReply> query_dns(const dns::DnsView& view, const dns::Asker& asker,
                                     const api::DnsQueryRequest& request, Rng& rng);

// Sums over all CPUs, zeros left out: "encapsulated" -> 17.
Result<std::map<std::string, uint64_t>> sums_by_name(Kernel& kernel, const std::string& map);

}  // namespace weft::node
