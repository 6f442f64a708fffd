// SPDX-License-Identifier: Apache-2.0
#include "core/plan/plan.h"

#include "core/plan/context.h"

namespace weft::plan {

DesiredState plan(const NodeView& view) {
  const Context context(view);
  DesiredState out;
  plan_vteps(context, out);
  plan_networks(context, out);
  plan_endpoints(context, out);
  plan_services(context, out);
  return out;
}

}  // namespace weft::plan
