// SPDX-License-Identifier: Apache-2.0
// asio's own code, compiled once.

// First: asio's configuration looks for macros of the C++ library without including one of its
// headers, and without them it frees here with another function than loop.cpp allocated with.
#include <cstdlib>

#include <asio/impl/src.hpp>
