// SPDX-License-Identifier: Apache-2.0
#include "node/manager_host.h"

#include <algorithm>
#include <thread>

#include "core/manage/decide.h"
#include "io/loop.h"
#include "io/pki.h"
#include "io/rpc.h"
#include "manager/manager.h"
#include "node/log.h"
#include "store/sqlite_store.h"
#include "weft/api/weft.pb.h"

namespace weft::node {

namespace {

constexpr auto assign_timeout = 30s;
constexpr auto call_timeout = 10s;

class CertificateAuthority final : public manager::Authority {
 public:
  CertificateAuthority(io::Loop& loop, io::CertifiedKey ca) : loop_(loop), ca_(std::move(ca)) {}

  Result<manager::Joined> sign(const std::string& csr, const std::string& node_id,
                               const std::string& role, const std::string& cluster_id) override {
    io::NodeIdentity identity;
    identity.node_id = node_id;
    identity.role = role;
    identity.cluster_id = cluster_id;
    return manager::Joined{TRY(io::sign_node_certificate(ca_, csr, identity, loop_.wall_now())),
                           ca_.certificate_pem};
  }
  std::string new_join_secret() override { return io::create_join_secret(); }
  std::string join_token(const std::string& secret) override {
    auto digest = io::certificate_digest(ca_.certificate_pem);
    WEFT_ASSERT(digest.has_value());
    return io::JoinToken{*digest, secret}.to_string();
  }
  std::string random_bytes(size_t count) override {
    return std::string(text_of(io::random_bytes(count)));
  }

 private:
  io::Loop& loop_;
  io::CertifiedKey ca_;
};

// A node's connection, as the manager sees it.
class RpcSink final : public manager::SessionSink {
 public:
  // `after` is called when an answer has been taken.
  RpcSink(io::RpcConnectionHandle connection, std::function<void()> after)
      : connection_(std::move(connection)), after_(std::move(after)) {}
  void assign(const api::Assignment& assignment, std::function<void(Result<>)> done) override {
    connection_->call("Assign", assignment.SerializeAsString(), assign_timeout,
                      [done = std::move(done)](Result<std::string> reply) {
                        if (reply)
                          done(Ok);
                        else
                          done(std::move(reply).error());
                      });
  }
  void call(std::string_view method, const std::string& payload,
            std::function<void(Result<std::string>)> reply) override {
    connection_->call(method, payload, call_timeout,
                      [reply = std::move(reply), after = after_](Result<std::string> answer) {
                        reply(std::move(answer));
                        after();
                      });
  }
  void close() override { connection_->close(); }

 private:
  std::function<void()> after_;
  io::RpcConnectionHandle connection_;
};

}  // namespace

struct ManagerHost::State {
  io::Loop loop;
  std::unique_ptr<store::SqliteStore> store;
  std::unique_ptr<CertificateAuthority> authority;
  std::unique_ptr<manager::Manager> manager;
  std::unique_ptr<io::RpcServer> server;
  io::Timer timer;
  std::thread thread;

  manager::Now now() const { return {loop.now(), loop.wall_now()}; }
  void arm();
  void tick();
  void serve(const io::RpcConnectionHandle& connection, const std::string& method,
             const std::string& payload, io::RpcReply reply);
  Result<> open(const Config& config, const Identity& identity);
  Result<> listen(const Config& config, const Identity& identity);
};

ManagerHost::ManagerHost(std::unique_ptr<State> state) : state_(std::move(state)) {}

ManagerHost::~ManagerHost() {
  if (!state_) return;
  state_->loop.stop();
  if (state_->thread.joinable()) state_->thread.join();
}

void ManagerHost::State::arm() {
  timer = loop.at(manager->next_deadline(), [this] { tick(); });
}

void ManagerHost::State::tick() {
  manager->tick(now());
  arm();
}

void ManagerHost::State::serve(const io::RpcConnectionHandle& connection, const std::string& method,
                               const std::string& payload, io::RpcReply reply) {
  manage::Caller caller;
  caller.authenticated = connection->identity().authenticated;
  caller.node_id = connection->identity().node_id;
  caller.role = connection->identity().role == "manager" ? api::MANAGER : api::WORKER;
  if (method == "Session") {
    // The session ends with its connection.
    auto opened = [this, connection, reply = std::move(reply)](Result<std::string> answer) {
      api::SessionReply session;
      if (answer && session.ParseFromString(*answer))
        connection->on_close(
            [this, id = session.session_id()](const Error&) { manager->session_lost(now(), id); });
      reply(std::move(answer));
    };
    manager->open_session(now(), caller, payload,
                          std::make_unique<RpcSink>(connection, [this] { tick(); }),
                          std::move(opened));
  } else {
    manager->handle(now(), caller, method, payload, std::move(reply));
  }
  arm();
}

Result<> ManagerHost::State::open(const Config& config, const Identity& identity) {
  store = TRY(store::SqliteStore::open(config.state + "/store.db"));
  authority = std::make_unique<CertificateAuthority>(
      loop, io::CertifiedKey{identity.ca_pem, identity.ca_key_pem});
  uint64_t seed = 0;
  for (uint8_t byte : io::random_bytes(8)) seed = seed << 8 | byte;
  manager = std::make_unique<manager::Manager>(*store, *authority, Rng(seed));
  return manager->load(now());
}

Result<> ManagerHost::State::listen(const Config& config, const Identity& identity) {
  io::RpcServer::Callbacks callbacks;
  callbacks.handler = [this](const io::RpcConnectionHandle& connection, std::string method,
                             std::string payload, io::RpcReply reply) {
    serve(connection, method, payload, std::move(reply));
  };
  callbacks.is_revoked = [this](const std::string& node_id) {
    return manager->state().removed_nodes.contains(node_id);
  };
  callbacks.on_refused = [](const Error& reason) {
    log_warning("manager port: " + reason.message());
  };
  const SocketAddress local{TRY(Address::parse(identity.advertise_address)), config.manager_port};
  server = TRY(io::RpcServer::listen(
      loop, local, io::TlsIdentity{identity.ca_pem, identity.certificate_pem, identity.key_pem},
      std::move(callbacks)));
  arm();
  thread = std::thread([this] { loop.run(); });
  return Ok;
}

Result<std::unique_ptr<ManagerHost>> ManagerHost::start(const Config& config,
                                                        const Identity& identity) {
  auto state = std::make_unique<State>();
  TRY(state->open(config, identity));
  if (!state->manager->has_cluster())
    return Error(config.state +
                 "/store.db holds no cluster although this node is a manager: restore it");
  TRY(state->listen(config, identity));
  return std::unique_ptr<ManagerHost>(new ManagerHost(std::move(state)));
}

Result<std::unique_ptr<ManagerHost>> ManagerHost::init(const Config& config, Identity& identity,
                                                       const api::ClusterInitRequest& request,
                                                       const api::JoinRequest& self,
                                                       api::ClusterInitReply& reply) {
  auto state = std::make_unique<State>();
  TRY(state->open(config, identity));
  if (state->manager->has_cluster())
    return Error(ErrorCode::conflict,
                 config.state +
                     "/store.db holds a cluster already: `weft cluster leave --force` removes it");
  Result<std::string> answer = Error("the store did not answer");
  state->manager->init(state->now(), identity.cluster_id, request, self,
                       [&](Result<std::string> made) { answer = std::move(made); });
  if (!reply.ParseFromString(TRY(std::move(answer))))
    return Error("the new cluster's description is damaged");
  identity.certificate_pem =
      TRY(state->authority->sign(self.csr_pem(), self.node_id(), "manager", identity.cluster_id))
          .certificate_pem;
  TRY(state->listen(config, identity));
  return std::unique_ptr<ManagerHost>(new ManagerHost(std::move(state)));
}

void ManagerHost::member_state(const std::string& node_id, bool alive) {
  State* state = state_.get();
  state->loop.post([state, node_id, alive] {
    state->manager->member_state(state->now(), node_id, alive);
    state->arm();
  });
}

}  // namespace weft::node
