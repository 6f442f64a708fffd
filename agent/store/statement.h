// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sqlite3.h>

#include <memory>
#include <string>
#include <string_view>

#include "base/free_with.h"

namespace weft::store {

// A prepared statement, bound and stepped again and again.
class Statement {
 public:
  // sqlite's result code.
  int prepare(sqlite3* database, const char* sql) {
    sqlite3_stmt* raw = nullptr;
    const int code = sqlite3_prepare_v2(database, sql, -1, &raw, nullptr);
    handle_.reset(raw);
    return code;
  }
  Statement& reset() {
    sqlite3_reset(handle_.get());
    sqlite3_clear_bindings(handle_.get());
    next_ = 1;
    return *this;
  }
  // The text must live until the step.
  Statement& bind(std::string_view text) {
    sqlite3_bind_text(handle_.get(), next_++, text.data(), int(text.size()), SQLITE_STATIC);
    return *this;
  }
  Statement& bind_bytes(std::string_view bytes) {
    sqlite3_bind_blob(handle_.get(), next_++, bytes.data(), int(bytes.size()), SQLITE_STATIC);
    return *this;
  }
  Statement& bind(int64_t number) {
    sqlite3_bind_int64(handle_.get(), next_++, number);
    return *this;
  }
  // SQLITE_ROW, SQLITE_DONE or an error.
  int step() { return sqlite3_step(handle_.get()); }
  // Steps a statement without rows and leaves it ready for the next use.
  int run() {
    const int code = step();
    sqlite3_reset(handle_.get());
    return code;
  }
  std::string text(int column) const {
    const auto* data = static_cast<const char*>(sqlite3_column_blob(handle_.get(), column));
    const int size = sqlite3_column_bytes(handle_.get(), column);
    return data ? std::string(data, size_t(size)) : std::string();
  }
  int columns() const { return sqlite3_column_count(handle_.get()); }
  int type(int column) const { return sqlite3_column_type(handle_.get(), column); }
  int64_t number(int column) const { return sqlite3_column_int64(handle_.get(), column); }

 private:
  std::unique_ptr<sqlite3_stmt, FreeWith<sqlite3_finalize>> handle_;
  int next_ = 1;
};

}  // namespace weft::store
