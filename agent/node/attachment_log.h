// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "base/address.h"
#include "base/fd.h"
#include "base/mac.h"
#include "base/result.h"

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

// The attachments of this node in a file: one line for each that was made or removed, so that a
// change costs one write however many there are. Survives the agent, not the machine: a power cut
// takes the last lines, and all the namespaces they speak of.
class AttachmentLog {
 public:
  using All = std::map<std::string, Attachment>;
  struct Contents {
    All all;
    // 0 is nobody, 1 the node's own endpoint. Never used twice: flows of a removed endpoint may
    // linger.
    uint32_t next_local_id = 2;
  };

  // Reads the file into `contents`. A damaged one is an error, unless the machine has restarted.
  static Result<AttachmentLog> open(std::string path, Contents& contents);

  // After an error nothing was noted. `all` is what the file should say in the end.
  Result<> note_attached(const Attachment& attachment, const All& all);
  Result<> note_detached(const std::string& endpoint_id, const All& all);

 private:
  AttachmentLog(std::string path, std::string boot_id)
      : path_(std::move(path)), boot_id_(std::move(boot_id)) {}
  Result<> read(Contents& contents);
  Result<> append(const std::string& line);
  // Writes the file anew, without what is over.
  Result<> rewrite(const All& all);
  Result<> rewrite_if_long(const All& all);

  std::string path_;
  std::string boot_id_;
  Fd file_;
  size_t lines_ = 0;
  uint32_t next_local_id_ = 2;
};

}  // namespace weft::node
