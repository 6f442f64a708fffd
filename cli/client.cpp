// SPDX-License-Identifier: Apache-2.0
#include "cli/client.h"

#include <httplib.h>
#include <unistd.h>

#include <nlohmann/json.hpp>

namespace weft::cli {
namespace {

// Longer than weftd's own limit, so that its sentence is what the user reads.
constexpr time_t answer_timeout_seconds = 90;

std::string encode(const std::string& text) {
  constexpr char digits[] = "0123456789ABCDEF";
  std::string out;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (std::isalnum(byte) || c == '-' || c == '.' || c == '_' || c == '~') {
      out += c;
    } else {
      out += {'%', digits[byte >> 4], digits[byte & 15]};
    }
  }
  return out;
}

std::string with_query(std::string target, const Parameters& query) {
  char separator = '?';
  for (const auto& [name, value] : query) {
    target += separator + encode(name) + "=" + encode(value);
    separator = '&';
  }
  return target;
}

Error no_answer(const std::string& socket, httplib::Error error) {
  if (::access(socket.c_str(), R_OK | W_OK) != 0 && errno == EACCES) {
    return Error(ErrorCode::denied,
                 "not allowed to use " + socket + ": run as root, or join the group weft");
  }
  if (error == httplib::Error::Read || error == httplib::Error::Write) {
    return Error(ErrorCode::unavailable, "weftd at " + socket +
                                             " took the request and did not answer: it may have "
                                             "stopped (systemctl status weftd)");
  }
  return Error(ErrorCode::unavailable,
               "weftd does not answer at " + socket + ": is it running? (systemctl status weftd)");
}

ErrorCode code_of(const std::string& word) {
  if (word == "not_found") return ErrorCode::not_found;
  if (word == "conflict") return ErrorCode::conflict;
  if (word == "exhausted") return ErrorCode::exhausted;
  if (word == "unavailable") return ErrorCode::unavailable;
  if (word == "denied") return ErrorCode::denied;
  return ErrorCode::failed;
}

}  // namespace

std::string path_of(const std::string& collection, const std::string& name,
                    const std::string& action) {
  return "/v1/" + collection + "/" + encode(name) + (action.empty() ? "" : "/" + action);
}

Result<Client> Client::of(const std::string& host) {
  std::string path = host;
  if (path.starts_with("unix://")) path = path.substr(7);
  if (!path.starts_with('/')) {
    return Error(ErrorCode::invalid, "'" + host + "' is not a weftd socket: give unix:///PATH");
  }
  return Client(path);
}

Result<Json> Client::send(const std::string& method, const std::string& target,
                          const std::string& body) const {
  httplib::ClientImpl http(socket_, 80);
  http.set_address_family(AF_UNIX);
  http.set_url_encode(false);  // it is encoded already
  http.set_connection_timeout(5);
  http.set_read_timeout(answer_timeout_seconds);
  httplib::Request request;
  request.method = method;
  request.path = target;
  request.headers = {{"Host", "weft"}};
  if (!body.empty()) {
    request.body = body;
    request.headers.emplace("Content-Type", "application/json");
  }
  const auto result = http.send(request);
  if (!result) return no_answer(socket_, result.error());

  Json answer = Json::parse(result->body, nullptr, false);
  if (answer.is_discarded() || !answer.is_object()) {
    return Error("the answer from " + socket_ + " is not weftd's (HTTP " +
                 std::to_string(result->status) + ")");
  }
  if (result->status == 200) return answer;
  return Error(code_of(answer.value("code", "")),
               answer.value("message", "weftd refused without a reason"));
}

Result<Json> Client::get(const std::string& path, const Parameters& query) const {
  return send("GET", with_query(path, query), "");
}
Result<Json> Client::post(const std::string& path, const Json& body) const {
  return send("POST", path, body.dump());
}
Result<Json> Client::put(const std::string& path, const Json& body) const {
  return send("PUT", path, body.dump());
}
Result<Json> Client::remove(const std::string& path, const Parameters& query) const {
  return send("DELETE", with_query(path, query), "");
}

}  // namespace weft::cli
