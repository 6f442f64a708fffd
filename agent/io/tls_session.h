// SPDX-License-Identifier: Apache-2.0
// For .cpp files that speak OpenSSL.
#pragma once

#include <string>

#include "base/fd.h"
#include "io/openssl_handles.h"
#include "io/tls.h"

namespace weft::io {

// What TlsStream::release() takes out of a stream, to go on elsewhere, also on another thread.
struct TlsSession {
  Fd fd;
  SslHandle ssl;       // on two memory BIOs; what came already may still be in them
  std::string unsent;  // encrypted
  PeerIdentity peer;
};

}  // namespace weft::io
