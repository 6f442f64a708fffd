// SPDX-License-Identifier: Apache-2.0
#include "core/manage/names.h"

namespace weft::manage {

namespace {

bool is_alphanumeric(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

}  // namespace

std::string quoted(const std::string& text) { return "'" + text + "'"; }

Result<> check_name(const std::string& kind, const std::string& name) {
  bool good = !name.empty() && name.size() <= 63 && is_alphanumeric(name[0]);
  for (const char c : name) good = good && (is_alphanumeric(c) || c == '_' || c == '.' || c == '-');
  if (good) return Ok;
  return Error(ErrorCode::invalid,
               quoted(name) + " is not a valid " + kind +
                   " name: use up to 63 letters, digits, '-', '_' and '.', starting with a letter "
                   "or digit");
}

}  // namespace weft::manage
