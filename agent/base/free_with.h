// SPDX-License-Identifier: Apache-2.0
#pragma once

namespace weft {

// Deleter for C handles: using NlSocket = std::unique_ptr<nl_sock, FreeWith<nl_socket_free>>;
template <auto function>
struct FreeWith {
  template <typename T>
  void operator()(T* handle) const {
    function(handle);
  }
};

}  // namespace weft
