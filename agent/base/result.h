// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cerrno>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>

#include "base/assert.h"

namespace weft {

// What a caller may want to tell apart. Frontends map these to exit status, HTTP status and CNI
// codes.
enum class ErrorCode {
  failed,       // the system refused, or something broke
  invalid,      // the input is wrong; the same request can never succeed
  not_found,    // the named thing does not exist
  conflict,     // it clashes with something that exists (name taken, address in use, object in use)
  exhausted,    // no address, port or number is left
  unavailable,  // try again later: no manager, no leader, starting up
  denied,       // not allowed: no root, wrong token, wrong role
};

// A failure in one sentence. `in` puts the outer context in front: "attach x: no such device".
class Error {
 public:
  Error(ErrorCode code, std::string message) : code_(code), message_(std::move(message)) {}
  explicit Error(std::string message) : Error(ErrorCode::failed, std::move(message)) {}

  ErrorCode code() const { return code_; }
  const std::string& message() const { return message_; }
  // errno of the system call that failed, 0 if there was none.
  int system_error() const { return system_error_; }

  Error in(std::string_view context) && {
    message_.insert(0, ": ").insert(0, context);
    return std::move(*this);
  }
  Error with_errno(int number) && {
    system_error_ = number;
    return std::move(*this);
  }

 private:
  ErrorCode code_;
  std::string message_;
  int system_error_ = 0;
};

// "context: No such file or directory", with errno kept for callers that ask.
Error errno_error(std::string_view context, int number = errno);

struct Done {};
inline constexpr Done Ok{};

// A value or an Error; never neither.
template <typename T = Done>
class [[nodiscard]] Result {
 public:
  Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}
  Result(Error error) : state_(std::in_place_index<1>, std::move(error)) {}

  bool has_value() const { return state_.index() == 0; }
  explicit operator bool() const { return has_value(); }

  T& value() & {
    WEFT_ASSERT(has_value());
    return std::get<0>(state_);
  }
  const T& value() const& {
    WEFT_ASSERT(has_value());
    return std::get<0>(state_);
  }
  T&& value() && {
    WEFT_ASSERT(has_value());
    return std::get<0>(std::move(state_));
  }
  T& operator*() & { return value(); }
  const T& operator*() const& { return value(); }
  T&& operator*() && { return std::move(*this).value(); }
  T* operator->() { return &value(); }
  const T* operator->() const { return &value(); }

  Error& error() & {
    WEFT_ASSERT(!has_value());
    return std::get<1>(state_);
  }
  const Error& error() const& {
    WEFT_ASSERT(!has_value());
    return std::get<1>(state_);
  }
  Error&& error() && {
    WEFT_ASSERT(!has_value());
    return std::get<1>(std::move(state_));
  }

 private:
  std::variant<T, Error> state_;
};

}  // namespace weft

// Evaluates to the value, or returns the error from the enclosing function.
#define TRY(expression)                                        \
  ({                                                           \
    auto weft_result_ = (expression);                          \
    if (!weft_result_) return std::move(weft_result_).error(); \
    std::move(weft_result_).value();                           \
  })

// The same with context put in front of the error.
#define TRY_IN(context, expression)                                        \
  ({                                                                       \
    auto weft_result_ = (expression);                                      \
    if (!weft_result_) return std::move(weft_result_).error().in(context); \
    std::move(weft_result_).value();                                       \
  })
