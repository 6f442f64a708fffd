// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "base/fd.h"
#include "base/result.h"

namespace weft::dns {

// A container's name server, as sockets: UDP bound and TCP listening at 127.0.0.11:53 inside the
// container's network namespace. No NAT rule is involved.
struct DnsSockets {
  Fd udp;
  Fd tcp;
};

// Opens them in the namespace behind `netns` (an open file of it), whose lo must be up. Runs on a
// short-lived thread, so that the caller's stays in its own namespace. Needs CAP_SYS_ADMIN.
Result<DnsSockets> open_dns_sockets(int netns);

}  // namespace weft::dns
