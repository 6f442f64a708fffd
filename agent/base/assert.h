// SPDX-License-Identifier: Apache-2.0
#pragma once

namespace weft {

[[noreturn]] void assertion_failed(const char* expression, const char* file, int line);

}  // namespace weft

// A broken invariant stops the program, in every build: a wrong map entry is worse than a restart.
#define WEFT_ASSERT(expression) \
  ((expression) ? void(0) : ::weft::assertion_failed(#expression, __FILE__, __LINE__))
