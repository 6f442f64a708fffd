// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "base/address.h"
#include "base/mac.h"
#include "base/result.h"
#include "drivers/link/endpoint.h"
#include "node/attachment_log.h"

namespace weft::node {

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
  // Ids of the endpoints in a namespace, by its path.
  const std::set<std::string>& in_netns(const std::string& netns) const;
  // Is it the host side of an attachment's link?
  bool has_link(uint32_t ifindex) const { return links_of_.contains(ifindex); }

  // Idempotent. Remembers first, so that a kill between the two steps leaves nothing unknown.
  Result<Attachment> attach(Attachment wanted, const AttachmentNetwork& network);
  Result<> detach(const std::string& endpoint_id);
  // After a start: finds the links of remembered attachments. Those whose namespace has gone are
  // forgotten and returned; host links that nobody remembers are removed.
  Result<std::vector<std::string>> adopt();
  // Removes everything.
  Result<> clear();

 private:
  Attachments(int node_netns, AttachmentLog log, link::Links links)
      : node_netns_(node_netns), log_(std::move(log)), links_(std::move(links)) {}
  void forget(const std::string& endpoint_id);

  int node_netns_;
  AttachmentLog log_;
  link::Links links_;
  std::map<std::string, Attachment> all_;
  std::map<std::string, std::set<std::string>> by_netns_;
  std::set<uint32_t> links_of_;  // ifindices
  uint32_t next_local_id_ = 0;
};

}  // namespace weft::node
