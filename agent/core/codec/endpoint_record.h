// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/address.h"
#include "base/mac.h"
#include "base/result.h"

namespace weft::codec {

enum class EndpointState : uint8_t { starting = 0, ready = 1, draining = 2 };

// What a node says in gossip about an endpoint of its own. The record's key is the endpoint's id,
// its scope the network's VNI, its owner the node.
struct EndpointRecord {
  Address address4;  // none: has none
  Address address6;
  Mac mac;
  EndpointState state = EndpointState::starting;
  std::string service_id;
  std::string task_id;
  uint32_t slot = 0;
  std::string name;
  std::string hostname;
  std::vector<std::string> aliases;
  uint32_t weight = 1;
  bool operator==(const EndpointRecord&) const = default;
};

// weft.api.EndpointRecord, serialized.
std::string encode(const EndpointRecord& record);
// ErrorCode::invalid for bytes that are no such message, or whose addresses have a wrong length or
// family, or whose MAC is not a unicast one.
Result<EndpointRecord> decode_endpoint_record(std::string_view bytes);

}  // namespace weft::codec
