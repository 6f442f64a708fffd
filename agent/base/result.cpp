// SPDX-License-Identifier: Apache-2.0
#include "base/result.h"

#include <system_error>

namespace weft {

Error errno_error(std::string_view context, int number) {
  const ErrorCode code = number == EPERM || number == EACCES        ? ErrorCode::denied
                         : number == ENOENT                         ? ErrorCode::not_found
                         : number == EEXIST || number == EADDRINUSE ? ErrorCode::conflict
                                                                    : ErrorCode::failed;
  return Error(code, std::string(context) + ": " + std::generic_category().message(number))
      .with_errno(number);
}

}  // namespace weft
