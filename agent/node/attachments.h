// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "base/address.h"
#include "base/mac.h"
#include "base/result.h"
#include "drivers/link/endpoint.h"

namespace weft::node {

// An endpoint of this node: a link between the node and a container's namespace.
struct Attachment {
  std::string endpoint_id;
  std::string network_id;
  std::string task_id;    // empty: attached by hand
  std::string netns;      // path of the namespace; survives a restart of the agent
  std::string interface;  // inside: "eth0"
  Mac mac;
  Mac host_mac;
  Address address4, address6;
  uint32_t mtu_bytes = 0;
  uint32_t local_id = 0;  // weft_port.id: part of the keys of tracked flows, so it never changes
  uint32_t ifindex = 0;   // host side; 0 while the links are not there
};

// What an attachment is made of besides its identity.
struct AttachmentNetwork {
  Prefix subnet4, subnet6;     // length 0 and no address: none
  Address gateway4, gateway6;  // none: no way outside
  bool default_route = true;
};

// Makes and remembers the links of this node's containers. The list is kept in a file, so that a
// restarted agent finds them again and can tell its own links from leftovers.
class Attachments {
 public:
  // `node_netns` stays the caller's. Reads the list; a damaged one is an error.
  static Result<Attachments> open(int node_netns, std::string file);

  const std::map<std::string, Attachment>& all() const { return all_; }
  const Attachment* find(const std::string& endpoint_id) const;

  // Idempotent. Remembers first, so that a kill between the two steps leaves nothing unknown.
  Result<Attachment> attach(Attachment wanted, const AttachmentNetwork& network);
  Result<> detach(const std::string& endpoint_id);
  // After a start: finds the links of remembered attachments. Those whose namespace has gone are
  // forgotten and returned; host links that nobody remembers are removed.
  Result<std::vector<std::string>> adopt();
  // Removes everything.
  Result<> clear();

 private:
  Attachments(int node_netns, std::string file, link::Links links)
      : node_netns_(node_netns), file_(std::move(file)), links_(std::move(links)) {}
  Result<> load();
  Result<> save() const;

  int node_netns_;
  std::string file_;
  link::Links links_;
  std::map<std::string, Attachment> all_;
  // 0 is nobody, 1 the node's own endpoint. Never used twice: flows of a removed endpoint may
  // linger.
  uint32_t next_local_id_ = 2;
};

}  // namespace weft::node
