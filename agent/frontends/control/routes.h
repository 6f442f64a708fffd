// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace google::protobuf {
class MethodDescriptor;
}

namespace weft::control {

// One method of service weft.api.Control and how HTTP reaches it.
struct Route {
  struct Segment {
    bool is_field = false;  // {text} is a field of the request; else text stands as it is
    std::string text;
  };

  std::string name;         // "NetworkCreate"
  std::string http_method;  // "POST"
  std::vector<Segment> path;
  bool leader = false;  // answered by the managers' leader
  const google::protobuf::MethodDescriptor* method = nullptr;
};

// An HTTP request as text: what the socket read, nothing decoded.
struct HttpRequest {
  std::string method;
  std::string target;  // "/v1/tasks?service=web"
  std::string body;
};

// A request that names a method and carries its request message, ready for whoever answers it.
struct Call {
  const Route* route = nullptr;
  std::string payload;
};

// The HTTP side of the schema, built from the (http) and (where) options of its methods.
class Routes {
 public:
  Routes();

  const std::vector<Route>& all() const { return routes_; }

  // Finds the method and builds its request message from path, query and JSON body. Errors:
  // not_found for an unknown path, invalid for everything that the schema does not take.
  Result<Call> resolve(const HttpRequest& request) const;

 private:
  std::vector<Route> routes_;
};

// The JSON mapping of a method's reply message: every field is present, names as in the schema.
Result<std::string> answer_json(const Route& route, const std::string& payload);

// {"code": ..., "message": ...}: ErrorReply of the schema.
std::string error_json(const Error& error);

// 400 invalid, 404 not_found, 409 conflict and exhausted, 503 unavailable, 403 denied, 500 failed.
int http_status(ErrorCode code);

// The schema's word for a code: "not_found".
std::string_view code_name(ErrorCode code);

}  // namespace weft::control
