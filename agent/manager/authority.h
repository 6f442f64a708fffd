// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "base/result.h"

namespace weft::manager {

struct Joined {
  std::string certificate_pem;
  std::string ca_pem;
};

// The cluster's CA and the source of all secrets, as the manager needs them.
class Authority {
 public:
  virtual ~Authority() = default;
  // A node certificate: CN node id, OU "worker" or "manager", O the cluster's id. Error: invalid
  // for a request that is malformed or not signed by its own key.
  virtual Result<Joined> sign(const std::string& csr_pem, const std::string& node_id,
                              const std::string& role, const std::string& cluster_id) = 0;
  // The CA itself, which the cluster's state keeps so that every manager can sign.
  struct Ca {
    std::string certificate_pem;
    std::string key_pem;
  };
  virtual Ca ca() { return {}; }
  virtual std::string new_join_secret() = 0;
  // What a person gives to `weft cluster join`: the CA's digest and the secret.
  virtual std::string join_token(const std::string& secret) = 0;
  virtual std::string random_bytes(size_t count) = 0;
};

}  // namespace weft::manager
