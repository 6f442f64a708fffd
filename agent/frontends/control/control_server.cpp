// SPDX-License-Identifier: Apache-2.0
#include "frontends/control/control_server.h"

#include <httplib.h>
#include <sys/socket.h>

#include <atomic>
#include <future>
#include <optional>
#include <thread>

#include "frontends/control/routes.h"
#include "frontends/control/socket_path.h"

namespace weft::control {
namespace {

constexpr auto json_type = "application/json";
// Connections that the kernel keeps while all threads are busy. httplib's own 5 makes a burst of
// callers fail: connect on a full local socket does not wait.
constexpr int connection_backlog = 128;
// How soon a waiting request notices that the server stops.
constexpr auto stop_interval = std::chrono::milliseconds(50);

void answer_error(httplib::Response& response, const Error& error) {
  response.status = http_status(error.code());
  response.set_content(error_json(error), json_type);
}

std::string seconds_text(std::chrono::milliseconds time) {
  const auto tenths = time.count() / 100;
  return std::to_string(tenths / 10) + (tenths % 10 ? "." + std::to_string(tenths % 10) : "") +
         " s";
}

}  // namespace

struct ControlServer::State {
  ControlOptions options;
  Handler handler;
  Routes routes;
  httplib::Server http;
  std::atomic<bool> stopping = false;
  std::atomic<bool> exited = false;
  ino_t inode = 0;
  std::thread thread;

  Result<> bind();
  void serve(const HttpRequest& request, httplib::Response& response);
  Result<std::string> call(const Call& call);
  void serve_with_body(const httplib::Request& request, httplib::Response& response,
                       const httplib::ContentReader& read);
};

Result<> ControlServer::State::bind() {
  const std::string bound = options.path + ".new";
  ::unlink(bound.c_str());
  int listener = -1;
  http.set_address_family(AF_UNIX);
  http.set_socket_options([&](socket_t socket) { listener = socket; });
  if (!http.bind_to_port(bound, 80)) return errno_error("cannot listen at " + options.path);
  if (::listen(listener, connection_backlog) != 0) return errno_error("cannot listen");
  auto inode_published = publish_socket(bound, options.path, options.group);
  if (!inode_published) {
    ::unlink(bound.c_str());
    return std::move(inode_published).error();
  }
  inode = *inode_published;
  return Ok;
}

// Hands the call over and waits for the reply, the time-out or the end of the server.
Result<std::string> ControlServer::State::call(const Call& call) {
  // The promise lives as long as the reply can still be called, which may be after the time-out.
  auto promise = std::make_shared<std::promise<Result<std::string>>>();
  auto future = promise->get_future();
  handler(call.route->name, call.route->leader, call.payload,
          [promise](Result<std::string> result) { promise->set_value(std::move(result)); });
  promise.reset();
  const auto deadline = std::chrono::steady_clock::now() + options.request_timeout;
  while (future.wait_for(stop_interval) != std::future_status::ready) {
    if (stopping) return Error(ErrorCode::unavailable, "weftd is stopping: try again");
    if (std::chrono::steady_clock::now() >= deadline) {
      return Error(ErrorCode::unavailable, call.route->name + " got no answer within " +
                                               seconds_text(options.request_timeout) +
                                               "; it may still take effect");
    }
  }
  try {
    return future.get();
  } catch (const std::future_error&) {
    return Error(call.route->name + " was dropped without an answer");
  }
}

void ControlServer::State::serve(const HttpRequest& request, httplib::Response& response) {
  auto resolved = routes.resolve(request);
  if (!resolved) return answer_error(response, resolved.error());
  auto reply = call(*resolved);
  if (!reply) return answer_error(response, reply.error());
  auto json = answer_json(*resolved->route, *reply);
  if (!json) return answer_error(response, json.error());
  response.status = 200;
  response.set_content(*json, json_type);
}

void ControlServer::State::serve_with_body(const httplib::Request& request,
                                           httplib::Response& response,
                                           const httplib::ContentReader& read) {
  std::string body;
  // A request that announces no body has none (RFC 9112 6.3); httplib would wait for one until
  // its read time-out. Reading here also keeps it from taking JSON for form data, which is what
  // curl -d calls it.
  if (request.has_header("Content-Length") || request.has_header("Transfer-Encoding")) {
    bool too_large = false;
    const bool complete = read([&](const char* data, size_t size) {
      too_large = body.size() + size > options.body_limit_bytes;
      if (!too_large) body.append(data, size);
      return !too_large;
    });
    if (too_large || response.status == 413) {
      response.set_header("Connection", "close");
      answer_error(response, Error(ErrorCode::invalid,
                                   "the request's body is larger than " +
                                       std::to_string(options.body_limit_bytes) + " bytes"));
      response.status = 413;
      return;
    }
    if (!complete) {
      return answer_error(response, Error(ErrorCode::invalid, "the request's body is cut off"));
    }
  }
  serve({.method = request.method, .target = request.target, .body = body}, response);
}

Result<std::unique_ptr<ControlServer>> ControlServer::start(ControlOptions options,
                                                            Handler handler) {
  TRY(claim_socket_path(options.path));
  auto owned = std::make_unique<State>();
  State& state = *owned;
  state.options = std::move(options);
  state.handler = std::move(handler);
  TRY(state.bind());

  state.http.new_task_queue = [threads = state.options.threads] {
    return new httplib::ThreadPool(threads);  // check: httplib takes ownership
  };
  state.http.set_keep_alive_max_count(1000);
  // An idle connection holds a thread.
  state.http.set_keep_alive_timeout(1);
  state.http.set_payload_max_length(state.options.body_limit_bytes);
  state.http.Get(".*", [&state](const httplib::Request& request, httplib::Response& response) {
    state.serve({.method = request.method, .target = request.target, .body = ""}, response);
  });
  const auto with_body = [&state](const httplib::Request& request, httplib::Response& response,
                                  const httplib::ContentReader& read) {
    state.serve_with_body(request, response, read);
  };
  state.http.Post(".*", with_body).Put(".*", with_body).Patch(".*", with_body);
  state.http.Delete(".*", with_body);
  // What httplib refuses by itself (a broken request line, a header too long) has no body yet.
  state.http.set_error_handler([](const httplib::Request&, httplib::Response& response) {
    if (!response.body.empty()) return;
    const int status = response.status;
    answer_error(response, Error(ErrorCode::invalid, "the HTTP request is not understood"));
    response.status = status;
  });
  state.thread = std::thread([&state] {
    state.http.listen_after_bind();
    state.exited = true;
  });
  // stop() of a server that does not run yet would be lost.
  while (!state.http.is_running() && !state.exited) std::this_thread::yield();
  return std::unique_ptr<ControlServer>(new ControlServer(std::move(owned)));
}

ControlServer::ControlServer(std::unique_ptr<State> state) : state_(std::move(state)) {}

ControlServer::~ControlServer() {
  // Nobody may connect to a server that only refuses.
  remove_socket(state_->options.path, state_->inode);
  state_->stopping = true;
  state_->http.stop();
  state_->thread.join();
}

}  // namespace weft::control
