// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <utility>
#include <vector>

#include "base/result.h"

namespace weft::cli {

using Json = nlohmann::json;
using Parameters = std::vector<std::pair<std::string, std::string>>;

// Speaks the control API's JSON over weftd's socket, one connection per request.
class Client {
 public:
  // `host` is "unix:///PATH" or "/PATH". Errors: invalid for anything else.
  static Result<Client> of(const std::string& host);

  // The answer, or weftd's word why there is none. What weftd calls `invalid` comes back as
  // `failed`: the command line was right, the request was refused.
  Result<Json> get(const std::string& path, const Parameters& query = {}) const;
  Result<Json> post(const std::string& path, const Json& body) const;
  Result<Json> put(const std::string& path, const Json& body) const;
  Result<Json> remove(const std::string& path, const Parameters& query = {}) const;

 private:
  explicit Client(std::string socket) : socket_(std::move(socket)) {}
  Result<Json> send(const std::string& method, const std::string& target,
                    const std::string& body) const;
  std::string socket_;
};

// "/v1/networks/" and a name, percent-encoded.
std::string path_of(const std::string& collection, const std::string& name,
                    const std::string& action = "");

}  // namespace weft::cli
