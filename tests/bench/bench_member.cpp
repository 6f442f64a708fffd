// SPDX-License-Identifier: Apache-2.0
//
//   bench_member --token T --manager ADDRESS --address ADDRESS --name NAME --network NETWORK
//                --services N --backends N [--first NUMBER]
//
// A node with very many endpoints and no containers: it joins the cluster as any node does, has the
// managers create services and allocate an endpoint for each of their backends, and announces them
// in gossip. It speaks the real protocols with the agent's own code; all that it lacks is the
// links. Prints "ready SECONDS" and stays until it is ended.
#include <sys/prctl.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <map>
#include <string>

#include "core/codec/endpoint_record.h"
#include "io/pki.h"
#include "io/rpc.h"
#include "node/gossip_shell.h"
#include "node/known_state.h"
#include "node/session.h"

using namespace weft;

namespace {

constexpr size_t calls_at_once = 8;
constexpr uint16_t gossip_port = 7946, manager_port = 2377;

[[noreturn]] void fail(const std::string& what) {
  std::fprintf(stderr, "bench_member: %s\n", what.c_str());
  std::_Exit(1);
}

template <typename T>
T need(Result<T> result, const std::string& what) {
  if (!result) fail(what + ": " + result.error().message());
  return std::move(*result);
}

void check(const Result<>& result, const std::string& what) {
  if (!result) fail(what + ": " + result.error().message());
}

std::string hex(ByteView bytes) {
  static constexpr char digits[] = "0123456789abcdef";
  std::string out;
  for (uint8_t byte : bytes) {
    out += digits[byte >> 4];
    out += digits[byte & 15];
  }
  return out;
}

struct Options {
  std::map<std::string, std::string> given;
  const std::string& operator[](const std::string& key) const {
    const auto found = given.find(key);
    if (found == given.end()) fail("--" + key + " is missing");
    return found->second;
  }
  size_t number(const std::string& key) const {
    return std::strtoul((*this)[key].c_str(), nullptr, 10);
  }
};

class Member {
 public:
  Member(io::Loop& loop, Options options)
      : loop_(loop), options_(std::move(options)), begun_(loop.now()) {
    services_ = options_.number("services");
    backends_ = options_.number("backends");
    id_ = io::random_bytes(16);
  }

  void join() {
    const auto token = need(io::JoinToken::parse(options_["token"]), "token");
    key_ = need(io::create_key(), "key");
    api::JoinRequest request;
    request.set_secret(token.secret);
    request.set_csr_pem(need(io::create_signing_request(key_), "signing request"));
    request.set_name(options_["name"]);
    request.set_address(options_["address"]);
    request.set_gossip_port(gossip_port);
    request.set_manager_port(manager_port);
    request.set_uplink_mtu_bytes(1500);
    request.set_node_id(hex(id_));
    io::RpcConnectOptions rpc;
    rpc.trust = token.ca_digest;
    io::rpc_connect(loop_, manager(), std::move(rpc),
                    [this, request](Result<io::RpcConnectionHandle> connection) {
                      connection_ = need(std::move(connection), "manager");
                      connection_->call("Join", request.SerializeAsString(), 10s,
                                        [this](Result<std::string> answer) {
                                          joined(need(std::move(answer), "join"));
                                        });
                    });
  }

 private:
  SocketAddress manager() const {
    return need(SocketAddress::parse(options_["manager"], manager_port), "manager");
  }

  void joined(const std::string& answer) {
    api::JoinReply reply;
    reply.ParseFromString(answer);
    connection_->close();
    node::Session::Callbacks callbacks;
    callbacks.hello = [this] {
      api::SessionRequest hello;
      hello.set_name(options_["name"]);
      hello.set_address(options_["address"]);
      hello.set_gossip_port(gossip_port);
      return hello;
    };
    callbacks.on_assignment = [this](const api::Assignment& assignment) { told(assignment); };
    callbacks.local_logs = [](const api::LocalLogsRequest&) { return api::LogReply(); };
    callbacks.on_change = [](bool connected, const std::string& why) {
      if (!connected) fail("no manager: " + why);
    };
    session_ = std::make_unique<node::Session>(
        loop_, io::TlsIdentity{reply.ca_pem(), reply.certificate_pem(), key_},
        std::vector<SocketAddress>{manager()}, std::move(callbacks));
  }

  void told(const api::Assignment& assignment) {
    known_.apply(assignment);
    if (!gossip_) start_gossip();
    // The network is this node's with its first endpoint.
    for (const auto& [id, network] : known_.networks)
      if (!gossip_->core().in_scope(network.vni()))
        check(gossip_->core().enter_scope(loop_.now(), network.vni()), "scope");
    std::vector<api::Endpoint> waiting;
    waiting.swap(unannounced_);
    for (const api::Endpoint& endpoint : waiting) announce(endpoint);
    gossip_->flush();
  }

  void start_gossip() {
    node::GossipKeys keys;
    for (const api::GossipKey& key : known_.gossip_keys)
      keys.keys.push_back({key.epoch(), key.key()});
    keys.seal_with = known_.gossip_epoch;
    cluster::Gossip::Self self;
    std::copy(id_.begin(), id_.end(), self.id.bytes.begin());
    self.boot_epoch = 1;
    self.info.name = options_["name"];
    self.info.node_index = known_.self.index();
    self.info.underlay = need(Address::parse(options_["address"]), "address");
    self.info.gossip = {self.info.underlay, gossip_port};
    gossip_ = need(node::GossipShell::start(loop_, self.info.gossip, std::move(self), keys,
                                            [](std::vector<cluster::Event>) {}),
                   "gossip");
    std::vector<SocketAddress> seeds;
    for (const auto& [id, node] : known_.nodes)
      if (id != known_.self.id())
        seeds.push_back(
            {need(Address::parse(node.address()), "seed"), uint16_t(node.gossip_port())});
    gossip_->core().join(loop_.now(), seeds);
    gossip_->core().baseline_complete(loop_.now());
    gossip_->flush();
    for (size_t i = 0; i < calls_at_once; i++) next_call();
  }

  std::string service_name(size_t number) const {
    return "s" + std::to_string(options_.number("first") + number);
  }

  // First all services, then all endpoints, several calls at a time.
  void next_call() {
    if (next_service_ < services_) {
      api::ServiceCreateRequest request;
      api::ServiceSpec& spec = *request.mutable_spec();
      spec.set_name(service_name(next_service_++));
      spec.set_runtime("none");
      spec.add_networks(options_["network"]);
      return call("ServiceCreate", request.SerializeAsString(), [](const std::string&) {});
    }
    if (done_ < services_ || next_endpoint_ == services_ * backends_) return;
    api::AllocateEndpointRequest request;
    request.mutable_attach()->set_network(options_["network"]);
    request.mutable_attach()->set_service(service_name(next_endpoint_++ / backends_));
    call("AllocateEndpoint", request.SerializeAsString(), [this](const std::string& answer) {
      api::Endpoint endpoint;
      endpoint.ParseFromString(answer);
      announce(endpoint);
      gossip_->flush();
    });
  }

  void call(const std::string& method, const std::string& payload,
            std::function<void(const std::string&)> then) {
    session_->call(method, payload, [this, method, then](Result<std::string> answer) {
      then(need(std::move(answer), method));
      done_++;
      if (done_ == services_ * (1 + backends_)) return ready();
      // The last service lets all the callers go on with endpoints.
      for (size_t i = 0; i < (done_ == services_ ? calls_at_once : 1); i++) next_call();
    });
  }

  void announce(const api::Endpoint& endpoint) {
    const auto network = known_.networks.find(endpoint.network_id());
    if (network == known_.networks.end()) {
      unannounced_.push_back(endpoint);
      return;
    }
    codec::EndpointRecord record;
    record.address4 = need(Address::parse(endpoint.address4()), "address");
    record.mac = need(Mac::parse(endpoint.mac()), "MAC");
    record.state = codec::EndpointState::ready;
    record.service_id = endpoint.service_id();
    record.name = endpoint.name();
    check(gossip_->core().set(loop_.now(), network->second.vni(), endpoint.id(),
                              codec::encode(record)),
          "announce");
  }

  void ready() {
    std::printf("ready %.1f\n", std::chrono::duration<double>(loop_.now() - begun_).count());
    std::fflush(stdout);
  }

  io::Loop& loop_;
  Options options_;
  Instant begun_;
  Bytes id_;
  std::string key_;
  size_t services_ = 0, backends_ = 0, next_service_ = 0, next_endpoint_ = 0, done_ = 0;
  node::KnownState known_;
  std::vector<api::Endpoint> unannounced_;
  io::RpcConnectionHandle connection_;
  std::unique_ptr<node::GossipShell> gossip_;
  std::unique_ptr<node::Session> session_;
};

}  // namespace

int main(int argc, char** argv) {
  ::prctl(PR_SET_PDEATHSIG, SIGTERM);
  std::signal(SIGPIPE, SIG_IGN);
  Options options;
  options.given["first"] = "0";
  for (int i = 1; i + 1 < argc; i += 2) options.given[std::string(argv[i]).substr(2)] = argv[i + 1];
  io::Loop loop;
  loop.on_signal([&](int) { loop.stop(); });
  Member member(loop, std::move(options));
  member.join();
  loop.run();
}
