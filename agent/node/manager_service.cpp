// SPDX-License-Identifier: Apache-2.0
#include "node/manager_service.h"

#include <filesystem>

#include "core/manage/decide.h"
#include "io/clock.h"
#include "node/log.h"

namespace weft::node {

namespace {

constexpr std::string_view raft_protocol = "weft-raft";
constexpr auto assign_timeout = 30s;
constexpr auto call_timeout = 10s;
constexpr auto lead_retry = 200ms;
constexpr auto member_retry = 1s;

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
  io::RpcConnectionHandle connection_;
  std::function<void()> after_;
};

Error nobody_leads() {
  return Error(ErrorCode::unavailable,
               "no manager leads the cluster: it needs a majority of its managers");
}

Rng fresh_rng() {
  uint64_t seed = 0;
  for (uint8_t byte : io::random_bytes(8)) seed = seed << 8 | byte;
  return Rng(seed);
}

io::TlsIdentity tls(const Identity& identity) {
  return {identity.ca_pem, identity.certificate_pem, identity.key_pem};
}

}  // namespace

class CertificateAuthority final : public manager::Authority {
 public:
  explicit CertificateAuthority(io::Loop& loop) : loop_(loop) {}

  void set(io::CertifiedKey ca) { ca_ = std::move(ca); }
  Result<manager::Joined> sign(const std::string& csr, const std::string& node_id,
                               const std::string& role, const std::string& cluster_id) override {
    io::NodeIdentity identity;
    identity.node_id = node_id;
    identity.role = role;
    identity.cluster_id = cluster_id;
    return manager::Joined{TRY(io::sign_node_certificate(ca_, csr, identity, loop_.wall_now())),
                           ca_.certificate_pem};
  }
  Ca ca() override { return {ca_.certificate_pem, ca_.key_pem}; }
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

ManagerService::ManagerService(io::Loop& loop, SocketAddress local, std::string folder,
                               Identity identity)
    : loop_(loop),
      local_(local),
      folder_(std::move(folder)),
      identity_(std::move(identity)),
      authority_(std::make_unique<CertificateAuthority>(loop)) {}

ManagerService::~ManagerService() { close_store(); }

Result<std::string> ManagerService::sign_first(const io::CertifiedKey& ca,
                                               const std::string& csr_pem,
                                               const Identity& identity) {
  io::NodeIdentity self;
  self.node_id = identity.node_id;
  self.role = "manager";
  self.cluster_id = identity.cluster_id;
  return io::sign_node_certificate(ca, csr_pem, self, io::clock_wall_now());
}

Result<std::unique_ptr<ManagerService>> ManagerService::listen(io::Loop& loop,
                                                               const SocketAddress& local,
                                                               const std::string& folder,
                                                               const Identity& identity) {
  std::unique_ptr<ManagerService> out(new ManagerService(loop, local, folder, identity));
  ManagerService* self = out.get();
  io::RpcServer::Callbacks callbacks;
  callbacks.handler = [self](const io::RpcConnectionHandle& connection, std::string method,
                             std::string payload, io::RpcReply reply) {
    self->serve(connection, method, payload, std::move(reply));
  };
  callbacks.is_revoked = [self](const std::string& node_id) {
    return self->manager_ && self->manager_->state().removed_nodes.contains(node_id);
  };
  callbacks.on_refused = [](const Error& reason) {
    log_warning("manager port: " + reason.message());
  };
  out->server_ = TRY(io::RpcServer::listen(loop, local, tls(identity), std::move(callbacks)));
  TRY(out->server_->add_protocol(
      std::string(raft_protocol),
      [self](std::unique_ptr<io::TlsStream> stream) {
        const std::string& peer = stream->peer().node_id;
        if (self->tunnel_ && (self->managers_.empty() || self->managers_.contains(peer)))
          self->tunnel_->accept(std::move(stream));
      },
      "manager"));
  out->publish("");
  return out;
}

void ManagerService::set_ca(const io::CertifiedKey& ca) { authority_->set(ca); }

// ---- the store
// -----------------------------------------------------------------------------------

store::DqliteStore::Settings ManagerService::store_settings() {
  store::DqliteStore::Settings settings;
  settings.directory = folder_;
  settings.post = [this](std::function<void()> fn) { loop_.post(std::move(fn)); };
  settings.connect = [tunnel = tunnel_.get()](const std::string& address) -> Result<Fd> {
    return tunnel->connect(TRY(SocketAddress::parse(address)));
  };
  settings.on_leadership = [this](const store::Leadership& leadership) {
    on_leadership(leadership);
  };
  settings.on_problem = [](const Error& problem) {
    log_warning("copy of the managers' store: " + problem.message());
  };
  return settings;
}

Result<> ManagerService::start_tunnel() {
  io::TlsTunnel::Settings settings;
  settings.protocol = raft_protocol;
  settings.on_lost = [this] {
    loop_.post([this] {
      if (store_) store_->peer_lost();
    });
  };
  tunnel_ = TRY(io::TlsTunnel::start(std::move(settings), tls(identity_)));
  return Ok;
}

Result<> ManagerService::run_store(Result<std::unique_ptr<store::DqliteStore>> store) {
  if (!store) {
    tunnel_.reset();
    return std::move(store).error();
  }
  store_ = std::move(*store);
  tunnel_->open(store_->greeting(), [this] { return store_->connect_local(); });
  publish("");
  return Ok;
}

Result<> ManagerService::create_store() {
  TRY(start_tunnel());
  return run_store(store::DqliteStore::create(store_settings(), local_.to_string()));
}

Result<> ManagerService::open_store() {
  TRY(start_tunnel());
  return run_store(store::DqliteStore::open(store_settings()));
}

Result<> ManagerService::join_store(const StoreMember& member) {
  close_store();
  std::error_code failure;
  std::filesystem::remove_all(folder_, failure);
  if (failure) return Error("cannot remove " + folder_ + ": " + failure.message());
  TRY(start_tunnel());
  const store::Member self{member.id, local_.to_string(), store::MemberRole::voter};
  return run_store(store::DqliteStore::join(store_settings(), self, member.generation));
}

Result<> ManagerService::recover_store() {
  if (!store_) return Error(ErrorCode::not_found, "this manager has no store yet");
  close_store();
  auto recovered = store::DqliteStore::recover(folder_);
  // Also when it failed: with the store as it was this manager can still be asked again.
  TRY(open_store());
  return recovered;
}

void ManagerService::close_store() {
  step_down();
  leading_ = false;
  store_.reset();
  tunnel_.reset();
}

void ManagerService::backup(const std::string& path, Done done) {
  if (!store_) return done(Error(ErrorCode::unavailable, "this manager has no store yet"));
  store_->backup(path, std::move(done));
}

void ManagerService::publish(const std::string& leader) {
  Status status;
  if (store_) status.member = StoreMember{store_->identity().id, store_->identity().generation};
  status.leader = leader;
  status_.put(std::make_shared<const Status>(std::move(status)));
}

ManagerService::Status ManagerService::status() const { return *status_.get(); }

// ---- leading
// -------------------------------------------------------------------------------------

void ManagerService::on_leadership(const store::Leadership& leadership) {
  publish(leadership.address);
  leading_ = leadership.self;
  if (leading_)
    lead();
  else
    step_down();
}

void ManagerService::lead() {
  if (manager_ || !leading_) return;
  auto manager = std::make_unique<manager::Manager>(*store_, *authority_, fresh_rng());
  if (auto loaded = manager->load(now()); !loaded) {
    if (loaded.error().code() != ErrorCode::unavailable)
      log_error("managers' store: " + loaded.error().message());
    lead_timer_ = loop_.after(lead_retry, [this] { lead(); });
    return;
  }
  manager_ = std::move(manager);
  if (manager_->has_cluster()) {
    const api::Cluster& cluster = manager_->state().cluster.begin()->second;
    authority_->set({cluster.ca_pem(), cluster.ca_key_pem()});
    manager_->adopt_store(now(), identity_.node_id, store_->identity().id,
                          store_->identity().generation);
    log_info("this manager leads the cluster");
  }
  for (const auto& [id, alive] : alive_members_) manager_->member_state(now(), id, alive);
  arm();
}

void ManagerService::step_down() {
  timer_.cancel();
  lead_timer_.cancel();
  member_timer_.cancel();
  member_key_.clear();
  if (!manager_) return;
  log_info("this manager does not lead the cluster any more");
  manager_.reset();
}

void ManagerService::arm() {
  if (!manager_) return;
  reconcile_members();
  timer_ = loop_.at(manager_->next_deadline(), [this] { tick(); });
}

void ManagerService::tick() {
  if (!manager_) return;
  manager_->tick(now());
  arm();
}

void ManagerService::reconcile_members() {
  std::string key;
  for (const auto& [id, node] : manager_->state().nodes)
    if (node.role() == api::MANAGER) key += std::to_string(node.member_id()) + " ";
  if (key == member_key_ || reconciling_ || !manager_->has_cluster()) return;
  member_key_ = key;
  reconciling_ = true;
  store_->members([this](Result<std::vector<store::Member>> members) {
    reconciling_ = false;
    if (manager_ && members) settle_members(*members);
  });
}

void ManagerService::settle_members(const std::vector<store::Member>& members) {
  std::set<uint64_t> wanted;
  for (const auto& [id, node] : manager_->state().nodes)
    if (node.role() == api::MANAGER) wanted.insert(node.member_id());
  const auto again = [this](const Result<>& done) {
    if (!done) log_warning("members of the managers' store: " + done.error().message());
    member_timer_ = loop_.after(done ? Duration(0) : Duration(member_retry), [this] {
      member_key_.clear();
      arm();
    });
  };
  for (const store::Member& member : members) {
    if (wanted.contains(member.id)) continue;
    // Itself: the next leader takes it out.
    if (member.id == store_->identity().id)
      store_->transfer_leadership(0, again);
    else
      store_->remove_member(member.id, again);
    return;
  }
}

void ManagerService::init(const api::ClusterInitRequest& request, const api::JoinRequest& self,
                          Reply reply) {
  leading_ = true;
  lead();
  if (!manager_) return reply(nobody_leads());
  manager_->init(now(), identity_.cluster_id, request, self,
                 [this, reply = std::move(reply)](Result<std::string> made) {
                   if (made)
                     manager_->adopt_store(now(), identity_.node_id, store_->identity().id,
                                           store_->identity().generation);
                   reply(std::move(made));
                   arm();
                 });
}

void ManagerService::take_over(const api::JoinRequest& self, Reply reply) {
  leading_ = true;
  lead();
  if (!manager_) return reply(nobody_leads());
  if (!manager_->has_cluster())
    return reply(Error(ErrorCode::invalid, "the backup holds no cluster"));
  manager_->take_over(now(), self, [this, reply = std::move(reply)](Result<std::string> made) {
    if (made)
      manager_->adopt_store(now(), identity_.node_id, store_->identity().id,
                            store_->identity().generation);
    reply(std::move(made));
    arm();
  });
}

void ManagerService::member_state(const std::string& node_id, bool alive) {
  alive_members_[node_id] = alive;
  if (!manager_) return;
  manager_->member_state(now(), node_id, alive);
  arm();
}

void ManagerService::set_managers(std::set<std::string> node_ids) {
  for (const std::string& gone : managers_)
    if (!node_ids.contains(gone) && tunnel_) tunnel_->drop(gone);
  managers_ = std::move(node_ids);
}

void ManagerService::set_identity(const Identity& identity) {
  identity_ = identity;
  if (auto done = server_->set_identity(tls(identity)); !done)
    log_error("manager port: " + done.error().message());
  if (!tunnel_) return;
  if (auto done = tunnel_->set_identity(tls(identity)); !done)
    log_error("manager port: " + done.error().message());
}

// ---- requests
// ------------------------------------------------------------------------------------

void ManagerService::serve(const io::RpcConnectionHandle& connection, const std::string& method,
                           const std::string& payload, io::RpcReply reply) {
  if (method == "FindLeader") {
    api::LeaderReply answer;
    answer.set_self(manager_ != nullptr && manager_->has_cluster());
    if (!answer.self()) answer.set_address(status().leader);
    // A leader that has not loaded yet sends nobody to itself.
    if (answer.address() == local_.to_string()) answer.clear_address();
    return reply(answer.SerializeAsString());
  }
  if (!manager_) return reply(nobody_leads());
  manage::Caller caller;
  caller.authenticated = connection->identity().authenticated;
  caller.node_id = connection->identity().node_id;
  caller.role = connection->identity().role == "manager" ? api::MANAGER : api::WORKER;
  if (method == "Once") {
    api::OnceRequest once;
    if (!once.ParseFromString(payload))
      return reply(Error(ErrorCode::invalid, "the request cannot be read"));
    caller.operation_id = once.operation_id();
    dispatch(connection, caller, once.method(), once.payload(), std::move(reply));
  } else {
    dispatch(connection, caller, method, payload, std::move(reply));
  }
  arm();
}

void ManagerService::dispatch(const io::RpcConnectionHandle& connection,
                              const manage::Caller& caller, const std::string& method,
                              const std::string& payload, io::RpcReply reply) {
  if (method == "Session") return open_session(connection, caller, payload, std::move(reply));
  if (method == "AddManager") return add_manager(caller, payload, std::move(reply));
  manager_->handle(now(), caller, method, payload, std::move(reply));
}

void ManagerService::open_session(const io::RpcConnectionHandle& connection,
                                  const manage::Caller& caller, const std::string& payload,
                                  io::RpcReply reply) {
  // The session ends with its connection.
  auto opened = [this, connection, reply = std::move(reply)](Result<std::string> answer) {
    api::SessionReply session;
    if (answer && session.ParseFromString(*answer))
      connection->on_close([this, id = session.session_id()](const Error&) {
        if (!manager_) return;
        manager_->session_lost(now(), id);
        arm();
      });
    reply(std::move(answer));
  };
  manager_->open_session(now(), caller, payload,
                         std::make_unique<RpcSink>(connection, [this] { tick(); }),
                         std::move(opened));
}

void ManagerService::add_manager(const manage::Caller& caller, const std::string& payload,
                                 io::RpcReply reply) {
  api::AddManagerRequest request;
  const auto node = manager_->state().nodes.find(caller.node_id);
  if (!request.ParseFromString(payload) || !caller.authenticated ||
      node == manager_->state().nodes.end() || node->second.role() != api::MANAGER ||
      request.member_id() == 0 || node->second.member_id() != request.member_id())
    return reply(Error(ErrorCode::denied, "this node has no place in the managers' store"));
  auto address = Address::parse(node->second.address());
  if (!address) return reply(std::move(address).error());
  const SocketAddress at{*address, uint16_t(node->second.manager_port())};
  store_->add_member({request.member_id(), at.to_string(), store::MemberRole::voter},
                     [this, id = caller.node_id, member = request.member_id(),
                      reply = std::move(reply)](Result<> done) {
                       if (!done) return reply(std::move(done).error());
                       if (!manager_) return reply(nobody_leads());
                       manager_->confirm_manager(now(), id, member, reply);
                       arm();
                     });
}

}  // namespace weft::node
