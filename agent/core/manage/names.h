// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/manage/draft.h"

namespace weft::manage {

inline const std::string& name_of(const api::Node& o) { return o.name(); }
inline const std::string& name_of(const api::Network& o) { return o.name(); }
inline const std::string& name_of(const api::Service& o) { return o.spec().name(); }
inline const std::string& name_of(const api::Task& o) { return o.name(); }
inline const std::string& name_of(const api::Endpoint& o) { return o.name(); }

// By id, by name, or by the start of an id if only one object has it. The pointer lives as that of
// Draft::find. Errors: not_found, invalid (ambiguous or empty).
template <typename T>
Result<const T*> resolve(const Draft& draft, const std::string& text) {
  const std::string kind = kind_of<T>;
  if (text.empty()) return Error(ErrorCode::invalid, "the name of the " + kind + " is missing");
  if (const T* found = draft.find<T>(text)) return found;
  const T* by_name = nullptr;
  const T* by_prefix = nullptr;
  size_t named = 0, prefixed = 0;
  for (const T* object : draft.all<T>()) {
    if (name_of(*object) == text) {
      by_name = object;
      named++;
    }
    if (key_of(*object).starts_with(text)) {
      by_prefix = object;
      prefixed++;
    }
  }
  if (named == 1) return by_name;
  if (named > 1)
    return Error(ErrorCode::invalid, std::to_string(named) + " " + kind + "s are named '" + text +
                                         "': give the id instead");
  if (prefixed == 1) return by_prefix;
  if (prefixed > 1)
    return Error(ErrorCode::invalid, "'" + text + "' is the start of " + std::to_string(prefixed) +
                                         " " + kind + " ids: give more digits");
  return Error(ErrorCode::not_found,
               "there is no " + kind + " '" + text + "': 'weft " + kind + " ls' shows all");
}

// Letters, digits, '_', '.', '-', starting with a letter or digit, up to 63.
Result<> check_name(const std::string& kind, const std::string& name);

// The text in single quotes, for error texts.
std::string quoted(const std::string& text);

}  // namespace weft::manage
