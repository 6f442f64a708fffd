// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "core/dns/view.h"
#include "core/plan/desired_state.h"
#include "core/plan/node_view.h"

namespace weft::plan {

// Rules:
//  - A network is present on the node while an endpoint of it is attached here; the ingress network
//    always. Only present networks have entries, except `subnets`, which knows all.
//  - Endpoints of gone or unknown members are hidden. Those of suspect and dead members stay
//    reachable, but as backends they drain: dead ones always (an agent that is being restarted
//    looks dead, while its containers serve on), suspect ones unless their service has nothing
//    better. Names of the dead are not answered.
//  - A starting endpoint has an address but is no backend yet.
//  - Two claims on one address: VIP before gateway before endpoint; among endpoints an alive node's
//    before a suspect's before a dead one's, ready before starting before draining, then the
//    smaller id. Among VIPs and published ports the smaller service id.
DesiredState plan(const NodeView& view);

// The names of the networks present on this node, for dns::NetworkNames::build.
struct Names {
  std::vector<std::string> present;         // ids, sorted
  std::vector<dns::NetworkInput> networks;  // the wanted ones of them, sorted by id
};
Names plan_names(const NodeView& view, const std::function<bool(std::string_view id)>& wanted);
// Of all of them.
std::vector<dns::NetworkInput> plan_names(const NodeView& view);

}  // namespace weft::plan
