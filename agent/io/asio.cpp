// SPDX-License-Identifier: Apache-2.0
// asio's own code, compiled once.
#include <asio/impl/src.hpp>
