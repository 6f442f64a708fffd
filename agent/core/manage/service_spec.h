// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/manage/draft.h"

namespace weft::manage {

constexpr uint32_t max_replicas = 10000;

// Checks everything that does not depend on other services, fills in defaults, and turns network
// names into ids. A service with a port in the routing mesh is on the ingress network too, first;
// so is one with a host-mode port and no network that leads outside.
Result<> complete_spec(const Draft& draft, api::ServiceSpec& spec);

// Copies the named fields of `from` (all if none is named).
Result<> take_fields(const api::ServiceSpec& from,
                     const google::protobuf::RepeatedPtrField<std::string>& fields,
                     api::ServiceSpec& to);

// What a running task is made of: a difference here needs a new task, any other does not.
std::string task_fingerprint(const api::ServiceSpec& spec);

}  // namespace weft::manage
