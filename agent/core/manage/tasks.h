// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/manage/draft.h"

namespace weft::manage {

// The task will never run again: its addresses are released, the record stays as history.
void end_task(Draft& draft, const api::Task& task, api::TaskState state,
              const std::string& message);
void free_endpoint(Draft& draft, const api::Endpoint& endpoint);
// Takes over what a node reports of its own tasks; others, unknown and finished ones are left.
void take_reports(Draft& draft, const std::string& node_id,
                  const google::protobuf::RepeatedPtrField<api::TaskStatus>& reports);
// Endpoints that a node has and the managers do not know (they were restored from an older dump)
// are taken in again, if network and addresses allow it.
void adopt_endpoints(Draft& draft, const std::string& node_id,
                     const google::protobuf::RepeatedPtrField<api::Endpoint>& endpoints);

}  // namespace weft::manage
