// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <atomic>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <memory>
#include <thread>
#include <vector>

#include "base/fd.h"
#include "frontends/control/control_server.h"
#include "frontends/control/query.h"
#include "frontends/control/routes.h"
#include "weft/api/weft.pb.h"

using namespace weft;
using namespace weft::control;

namespace {

const Routes& routes() {
  static const Routes instance;
  return instance;
}

template <typename Message>
Message resolved(const std::string& method, const std::string& target,
                 const std::string& body = "") {
  auto call = routes().resolve({.method = method, .target = target, .body = body});
  REQUIRE_MESSAGE(call, (call ? "" : call.error().message()));
  Message message;
  REQUIRE(message.ParseFromString(call->payload));
  return message;
}

Error refused(const std::string& method, const std::string& target, const std::string& body = "") {
  auto call = routes().resolve({.method = method, .target = target, .body = body});
  REQUIRE(!call);
  return call.error();
}

// A folder of its own for each test, removed at its end.
struct Folder {
  std::string path;
  Folder() {
    char name[] = "/tmp/weft-unit-control-XXXXXX";
    REQUIRE(::mkdtemp(name));
    path = name;
  }
  ~Folder() { std::filesystem::remove_all(path); }
  std::string socket() const { return path + "/weftd.sock"; }
};

Fd connect_to(const std::string& path) {
  sockaddr_un address{.sun_family = AF_UNIX, .sun_path = {}};
  std::strcpy(address.sun_path, path.c_str());
  Fd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (::connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) return Fd();
  return fd;
}

// Sends bytes as they are and reads until the other side closes.
std::string exchange(const std::string& path, const std::string& request) {
  Fd fd = connect_to(path);
  REQUIRE(fd);
  ::send(fd.get(), request.data(), request.size(), MSG_NOSIGNAL);
  std::string answer;
  char buffer[4096];
  for (ssize_t n; (n = ::recv(fd.get(), buffer, sizeof buffer, 0)) > 0;) {
    answer.append(buffer, static_cast<size_t>(n));
  }
  return answer;
}

std::string http(const std::string& method, const std::string& target, const std::string& body = "",
                 const std::string& headers = "") {
  std::string text = method + " " + target + " HTTP/1.1\r\nHost: weft\r\nConnection: close\r\n";
  text += headers;
  if (!body.empty()) text += "Content-Length: " + std::to_string(body.size()) + "\r\n";
  return text + "\r\n" + body;
}

int status_of(const std::string& answer) {
  return answer.size() > 12 ? std::atoi(answer.c_str() + 9) : 0;
}
std::string body_of(const std::string& answer) {
  const size_t end = answer.find("\r\n\r\n");
  return end == std::string::npos ? "" : answer.substr(end + 4);
}

std::unique_ptr<ControlServer> serve(const Folder& folder, Handler handler,
                                     ControlOptions options = {}) {
  options.path = folder.socket();
  auto server = ControlServer::start(options, std::move(handler));
  REQUIRE_MESSAGE(server, (server ? "" : server.error().message()));
  return std::move(server).value();
}

void answer_version(const std::string&, bool, std::string, Reply reply) {
  api::VersionReply version;
  version.set_version("0.1.0");
  reply(version.SerializeAsString());
}

}  // namespace

TEST_CASE("every method of the schema has a route and no two share one") {
  const auto* service = api::Empty::descriptor()->file()->FindServiceByName("Control");
  CHECK(routes().all().size() == static_cast<size_t>(service->method_count()));
  for (const Route& route : routes().all()) {
    std::string target;
    for (const auto& segment : route.path) target += "/" + (segment.is_field ? "x" : segment.text);
    auto call = routes().resolve({.method = route.http_method, .target = target, .body = ""});
    REQUIRE(call);
    CHECK(call->route->name == route.name);
  }
}

TEST_CASE("a method says whether the leader answers it") {
  CHECK(routes().resolve({"GET", "/v1/networks", ""})->route->leader);
  CHECK(!routes().resolve({"GET", "/v1/status", ""})->route->leader);
}

TEST_CASE("path, query and body fill the request message") {
  CHECK(resolved<api::NameRequest>("GET", "/v1/networks/app").name() == "app");
  CHECK(resolved<api::NameRequest>("GET", "/v1/networks/a%2Fb%20c").name() == "a/b c");

  const auto tasks = resolved<api::TaskListRequest>("GET", "/v1/tasks?service=web+1&all=true");
  CHECK(tasks.service() == "web 1");
  CHECK(tasks.all());

  const auto dump =
      resolved<api::MapDumpRequest>("GET", "/v1/maps/vteps?key=a&key=b%26c&limit=10&");
  CHECK(dump.name() == "vteps");
  REQUIRE(dump.key_size() == 2);
  CHECK(dump.key(1) == "b&c");
  CHECK(dump.limit() == 10);

  const auto network = resolved<api::NetworkCreateRequest>(
      "POST", "/v1/networks",
      R"({"name":"app","subnets":["10.1.0.0/24"],"labels":{"a":"b"},"ipv6":true})");
  CHECK(network.subnets(0) == "10.1.0.0/24");
  CHECK(network.labels().at("a") == "b");
  CHECK(network.ipv6());

  const auto scale =
      resolved<api::ServiceScaleRequest>("POST", "/v1/services/web/scale", R"({"replicas": 3})");
  CHECK(scale.name() == "web");
  CHECK(scale.replicas() == 3);
  CHECK(resolved<api::NodeRemoveRequest>("DELETE", "/v1/nodes/n1?force").force());
}

TEST_CASE("an unknown path is not found and a wrong method says which fit") {
  CHECK(refused("GET", "/v1/nothing").code() == ErrorCode::not_found);
  CHECK(refused("GET", "/").code() == ErrorCode::not_found);
  CHECK(refused("GET", "/v1/networks/").code() == ErrorCode::not_found);
  const Error wrong = refused("PATCH", "/v1/networks");
  CHECK(wrong.code() == ErrorCode::invalid);
  CHECK(wrong.message() == "/v1/networks does not take PATCH, only POST, GET");
}

TEST_CASE("what the schema does not take is refused in a sentence that names it") {
  const auto message = [](const Error& error) {
    CHECK(error.code() == ErrorCode::invalid);
    CHECK(error.message().find('\n') == std::string::npos);
    return error.message();
  };
  CHECK(message(refused("GET", "/v1/tasks?servce=web")) == "there is no parameter 'servce'");
  CHECK(message(refused("GET", "/v1/tasks?all=perhaps")) ==
        "parameter 'all': 'perhaps' is neither true nor false");
  CHECK(message(refused("GET", "/v1/tasks?node=a&node=b")) == "parameter 'node' is given twice");
  CHECK(message(refused("GET", "/v1/maps/x?limit=-1")) ==
        "parameter 'limit': '-1' is not a number that fits");
  CHECK(message(refused("GET", "/v1/maps/x?limit=4294967296")) ==
        "parameter 'limit': '4294967296' is not a number that fits");
  CHECK(message(refused("POST", "/v1/networks?labels=a")) ==
        "parameter 'labels': it can only be given in a JSON body");
  CHECK(message(refused("GET", "/v1/networks/%zz")) ==
        "the request's address has a broken %-escape");
  CHECK(message(refused("GET", "/v1/networks/a%2")) ==
        "the request's address has a broken %-escape");
  CHECK(message(refused("GET", "/v1/networks/%ff")) == "the request's address is not UTF-8 text");
  CHECK(message(refused("GET", "/v1/networks/%00")) == "the request's address is not UTF-8 text");
  CHECK(message(refused("PUT", "/v1/nodes/a", R"({"name":"b"})")) ==
        "field 'name' is 'b' but the path says 'a'");

  const auto body = [&](const std::string& text) {
    return message(refused("POST", "/v1/services", text));
  };
  const std::string wrong = "the request's JSON is wrong: ";
  CHECK(body(R"({"spce":{}})") == wrong + "there is no field 'spce'");
  CHECK(body(R"({"spec":{"replicaz":1}})") == wrong + "there is no field 'spec.replicaz'");
  CHECK(body(R"({"spec":{"replicas":"many"}})") ==
        wrong + "field 'spec.replicas' cannot be \"many\"");
  CHECK(body(R"({"spec":{"replicas":-1}})") == wrong + "field 'spec.replicas' cannot be -1");
  CHECK(body(R"({"spec":{"endpoint_mode":"BOTH"}})") ==
        wrong + "field 'spec.endpoint_mode' cannot be \"BOTH\"");
  CHECK(body(R"({"spec":{"name":["a"]}})").find("'spec.name'") != std::string::npos);
  CHECK(body(R"({"spec":[]})").find("field 'spec': ") != std::string::npos);
  CHECK(body("[1]") == "the request's body is not a JSON object");
  CHECK(body("null") == "the request's body is not a JSON object");
  CHECK(body("hello") == "the request's body is not a JSON object");
  for (const auto* text :
       {"{", "{\"spec\"", "{\"spec\":}", "{}x", "{\"spec\":{\"name\":\"\xff\"}}"}) {
    INFO(text);
    CHECK(body(text).starts_with("the request's JSON is wrong: "));
  }
  CHECK(!body(std::string(100'000, '{')).empty());
}

TEST_CASE("an answer shows every field under its schema name") {
  const Route* route = routes().resolve({"GET", "/v1/version", ""})->route;
  api::VersionReply version;
  version.set_version("1.2.3");
  CHECK(*answer_json(*route, version.SerializeAsString()) ==
        R"({"version":"1.2.3","abi":"","kernel":""})");
  CHECK(!answer_json(*route, "\xff\xff"));
}

TEST_CASE("each error code has its status and its word") {
  struct Row {
    ErrorCode code;
    int status;
    const char* word;
  };
  const Row rows[] = {
      {ErrorCode::failed, 500, "failed"},          {ErrorCode::invalid, 400, "invalid"},
      {ErrorCode::not_found, 404, "not_found"},    {ErrorCode::conflict, 409, "conflict"},
      {ErrorCode::exhausted, 409, "exhausted"},    {ErrorCode::denied, 403, "denied"},
      {ErrorCode::unavailable, 503, "unavailable"}};
  Folder folder;
  ErrorCode code{};
  auto server =
      serve(folder, [&](auto&, bool, auto, Reply reply) { reply(Error(code, "no \"x\"")); });
  for (const Row& row : rows) {
    code = row.code;
    const std::string answer = exchange(folder.socket(), http("GET", "/v1/status"));
    CHECK(status_of(answer) == row.status);
    CHECK(body_of(answer) == std::string(R"({"code":")") + row.word + R"(","message":"no \"x\""})");
  }
}

TEST_CASE("a request over the socket reaches the handler and its reply comes back as JSON") {
  Folder folder;
  std::string method, payload;
  bool leader = false;
  std::vector<std::thread> owners;
  auto server = serve(folder, [&](const std::string& m, bool l, std::string p, Reply reply) {
    method = m;
    leader = l;
    payload = std::move(p);
    // As the agent does: another thread answers.
    owners.emplace_back([reply] {
      api::Network network;
      network.set_name("app");
      network.set_vni(4096);
      reply(network.SerializeAsString());
    });
  });
  const std::string answer =
      exchange(folder.socket(), http("POST", "/v1/networks", R"({"name":"app"})",
                                     "Content-Type: application/x-www-form-urlencoded\r\n"));
  for (auto& owner : owners) owner.join();
  CHECK(status_of(answer) == 200);
  CHECK(answer.find("Content-Type: application/json") != std::string::npos);
  CHECK(body_of(answer).find(R"("vni":4096)") != std::string::npos);
  CHECK(body_of(answer).find(R"("ip_range4":"")") != std::string::npos);
  CHECK(method == "NetworkCreate");
  CHECK(leader);
  api::NetworkCreateRequest request;
  REQUIRE(request.ParseFromString(payload));
  CHECK(request.name() == "app");
}

TEST_CASE("a refused request never reaches the handler") {
  Folder folder;
  int calls = 0;
  auto server = serve(folder, [&](auto&, bool, auto, Reply reply) {
    ++calls;
    reply(std::string());
  });
  CHECK(status_of(exchange(folder.socket(), http("POST", "/v1/networks", "{oops"))) == 400);
  CHECK(status_of(exchange(folder.socket(), http("GET", "/v2/networks"))) == 404);
  const std::string garbage = exchange(folder.socket(), "\x16\x03\x01 garbage\r\n\r\n");
  CHECK(status_of(garbage) == 400);
  CHECK(calls == 0);
}

TEST_CASE("a POST that announces no body is answered at once") {
  Folder folder;
  auto server = serve(folder, [](auto&, bool, auto, Reply reply) {
    reply(api::ClusterInitReply().SerializeAsString());
  });
  const auto start = std::chrono::steady_clock::now();
  CHECK(status_of(exchange(folder.socket(), http("POST", "/v1/cluster/init"))) == 200);
  CHECK(std::chrono::steady_clock::now() - start < std::chrono::seconds(2));
}

TEST_CASE("a body over the limit is refused, chunked or not") {
  Folder folder;
  bool called = false;
  auto server = serve(folder, [&](auto&, bool, auto, Reply reply) {
    called = true;
    reply(std::string());
  });
  const std::string large = R"({"name":")" + std::string(1 << 20, 'a') + "\"}";
  const std::string answer = exchange(folder.socket(), http("POST", "/v1/networks", large));
  CHECK(status_of(answer) == 413);
  CHECK(body_of(answer).find("larger than 1048576 bytes") != std::string::npos);
  char size[16];
  std::snprintf(size, sizeof size, "%zx\r\n", large.size());
  std::string chunked =
      "POST /v1/networks HTTP/1.1\r\nHost: weft\r\nConnection: close\r\n"
      "Transfer-Encoding: chunked\r\n\r\n" +
      (size + large) + "\r\n0\r\n\r\n";
  CHECK(status_of(exchange(folder.socket(), chunked)) == 413);
  CHECK(!called);
  // A body of form type and more than httplib's 8 kB for forms is taken.
  const std::string medium = R"({"name":")" + std::string(20'000, 'a') + "\"}";
  CHECK(status_of(exchange(folder.socket(),
                           http("POST", "/v1/networks", medium,
                                "Content-Type: application/x-www-form-urlencoded\r\n"))) == 200);
}

TEST_CASE("a request without a reply ends: by time-out, when dropped, and when the server stops") {
  Folder folder;
  std::vector<Reply> kept;
  std::atomic<bool> keep = true, arrived = false;
  const Handler handler = [&](auto&, bool, auto, Reply reply) {
    if (keep) kept.push_back(std::move(reply));
    arrived = true;
  };
  auto server = serve(folder, handler, {.request_timeout = std::chrono::milliseconds(100)});
  std::string answer = exchange(folder.socket(), http("GET", "/v1/status"));
  CHECK(status_of(answer) == 503);
  CHECK(body_of(answer).find("Status got no answer within 0.1 s") != std::string::npos);
  kept.back()(std::string());  // too late, and harmless

  keep = false;
  answer = exchange(folder.socket(), http("GET", "/v1/status"));
  CHECK(status_of(answer) == 500);
  CHECK(body_of(answer).find("dropped") != std::string::npos);

  keep = true;
  server.reset();
  server = serve(folder, handler, {.request_timeout = std::chrono::seconds(60)});
  arrived = false;
  std::thread client([&] { answer = exchange(folder.socket(), http("GET", "/v1/status")); });
  while (!arrived) std::this_thread::yield();
  const auto start = std::chrono::steady_clock::now();
  server.reset();
  client.join();
  CHECK(status_of(answer) == 503);
  CHECK(body_of(answer).find("weftd is stopping") != std::string::npos);
  CHECK(std::chrono::steady_clock::now() - start < std::chrono::seconds(2));
}

TEST_CASE("the socket has its mode, replaces a dead one and is removed at the end") {
  Folder folder;
  struct stat status {};
  {
    // A socket file that nobody listens on: what SIGKILL leaves.
    sockaddr_un address{.sun_family = AF_UNIX, .sun_path = {}};
    std::strcpy(address.sun_path, folder.socket().c_str());
    Fd dead(::socket(AF_UNIX, SOCK_STREAM, 0));
    REQUIRE(::bind(dead.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) == 0);
  }
  auto server = serve(folder, answer_version);
  REQUIRE(::stat(folder.socket().c_str(), &status) == 0);
  CHECK((status.st_mode & 07777) == 0660);
  CHECK(status_of(exchange(folder.socket(), http("GET", "/v1/version"))) == 200);

  auto second = ControlServer::start({.path = folder.socket()}, answer_version);
  REQUIRE(!second);
  CHECK(second.error().code() == ErrorCode::conflict);
  CHECK(second.error().message() == "another weftd answers at " + folder.socket());
  CHECK(status_of(exchange(folder.socket(), http("GET", "/v1/version"))) == 200);

  server.reset();
  CHECK(::stat(folder.socket().c_str(), &status) != 0);
  CHECK(std::filesystem::is_empty(folder.path));
}

TEST_CASE("a path that cannot be a socket is refused and left as it is") {
  Folder folder;
  std::ofstream(folder.socket()) << "precious";
  auto server = ControlServer::start({.path = folder.socket()}, answer_version);
  REQUIRE(!server);
  CHECK(server.error().message() == folder.socket() + " exists and is not a socket: remove it");
  CHECK(std::filesystem::file_size(folder.socket()) == 8);
  CHECK(!ControlServer::start({.path = ""}, answer_version));
  CHECK(!ControlServer::start({.path = "/tmp/" + std::string(200, 'x')}, answer_version));
  CHECK(!ControlServer::start({.path = folder.path + "/a/b/c"}, answer_version));
}

TEST_CASE("many callers at once are all answered") {
  Folder folder;
  std::atomic<int> good = 0;
  auto server = serve(folder, answer_version);
  std::vector<std::thread> callers;
  for (int i = 0; i < 40; ++i) {
    callers.emplace_back(
        [&] { good += status_of(exchange(folder.socket(), http("GET", "/v1/version"))) == 200; });
  }
  for (auto& caller : callers) caller.join();
  CHECK(good == 40);
}
