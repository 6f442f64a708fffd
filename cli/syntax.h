// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "base/result.h"

// The forms of option values. Errors are wrong usage and name the value.
namespace weft::cli {

using Json = nlohmann::json;

Result<uint64_t> parse_number(const std::string& text, uint64_t low, uint64_t high);

// "500ms", "10s", "1m30s", "2h"; a bare number is not a time.
Result<std::chrono::milliseconds> parse_duration(const std::string& text);

// KEY=VALUE pairs as a JSON object. A key given twice is wrong.
Result<Json> parse_pairs(const std::vector<std::string>& pairs);

// [IP:]PUBLISHED:TARGET[/tcp|udp|sctp][,mode=ingress|host], TARGET alone for a port that Weft
// chooses, ranges on one side or (equally long) on both, or docker's long form
// published=..,target=..,protocol=..,mode=... Several PublishedPorts of the API for a range.
Result<Json> parse_publish(const std::string& text);

// HOST[:PORT] with the managers' port put in: "10.0.0.1:2377", "[fd00::1]:2377".
Result<std::string> parse_manager(const std::string& text);

}  // namespace weft::cli
