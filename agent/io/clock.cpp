// SPDX-License-Identifier: Apache-2.0
#include "io/clock.h"

#include <time.h>

namespace weft::io {

Instant clock_now() {
  timespec t{};
  clock_gettime(CLOCK_BOOTTIME, &t);
  return {std::chrono::seconds(t.tv_sec) + std::chrono::nanoseconds(t.tv_nsec)};
}

WallTime clock_wall_now() {
  timespec t{};
  clock_gettime(CLOCK_REALTIME, &t);
  return {int64_t(t.tv_sec) * 1000 + t.tv_nsec / 1'000'000};
}

}  // namespace weft::io
