// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/rng.h"
#include "core/dns/view.h"

namespace weft::dns {

// Who asks: what a container's names mean depends on its networks.
struct Asker {
  std::vector<std::string> networks;  // ids; the first that has the name answers
  // The container's own `options ndots:N`, 0 if unset. With it, names of one label are not
  // forwarded: the container's resolver has tried its search domains already.
  int ndots = 0;
  bool internal_only = false;  // attached to internal networks alone: nothing is forwarded
  bool operator==(const Asker&) const = default;
};

enum class Transport { udp, tcp };

struct Decision {
  enum class Action { answer, forward, drop };
  Action action = Action::drop;
  bool truncated = false;
};

// What to do with a packet that a container sent to its name server; `answer` gets the bytes of an
// answer, and is cleared otherwise. Total: any bytes give a decision.
//
// Nothing internal is forwarded: not a name that any network of the cluster has, nor one below a
// network's name, `tasks.X`, a service's former task, nor an address of a known subnet.
Decision resolve(const DnsView& view, const Asker& asker, ByteView packet, Transport transport,
                 Rng& rng, Bytes& answer);

}  // namespace weft::dns
