// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

namespace weft::bpf {

enum class FeatureResult { ok, warning, failed };

// One thing of the kernel that the agent needs (failed) or would like (warning).
struct Feature {
  std::string name;
  FeatureResult result = FeatureResult::ok;
  std::string detail;  // one sentence: what is missing and what to do; empty if ok
};

// Tries each on objects of its own, in a network namespace of its own; changes nothing.
std::vector<Feature> feature_check();

// Jiffies of this kernel, for weft_config.
unsigned kernel_ticks_per_second();

}  // namespace weft::bpf
