// SPDX-License-Identifier: Apache-2.0
// This node as a manager: what the cluster has made of it, its certificate, its place in the
// replicated store; backups.
#include "node/agent.h"
#include "node/log.h"

namespace weft::node {

namespace {

constexpr auto role_retry = 1s;
constexpr auto certificate_check = std::chrono::hours(1);

io::TlsIdentity tls(const Identity& identity) {
  return {identity.ca_pem, identity.certificate_pem, identity.key_pem};
}

}  // namespace

// Where the managers are is kept, so that a restarted node finds any of them.
void Agent::follow_managers() {
  std::vector<std::string> texts;
  std::vector<SocketAddress> addresses;
  std::set<std::string> ids;
  for (const auto& [id, node] : known_.nodes) {
    if (node.role() != api::MANAGER) continue;
    ids.insert(id);
    const auto address = Address::parse(node.address());
    if (!address || node.manager_port() == 0) continue;
    addresses.push_back({*address, uint16_t(node.manager_port())});
    texts.push_back(addresses.back().to_string());
  }
  if (texts.empty()) return;
  if (session_) session_->set_managers(addresses);
  if (manager_) manager_->set_managers(ids);
  if (texts == identity_->managers) return;
  identity_->managers = texts;
  if (auto saved = identities_.save(*identity_); !saved)
    log_error("cannot keep the managers' addresses: " + saved.error().message());
}

// A certificate is renewed after two thirds of its time, and at once when the clock says that it is
// not valid.
bool Agent::certificate_is_old() const {
  const auto certificate = io::parse_certificate(identity_->certificate_pem);
  if (!certificate) return true;
  const int64_t from = certificate->not_before.milliseconds;
  const int64_t whole = certificate->not_after.milliseconds - from;
  const int64_t now = loop_.wall_now().milliseconds;
  return now > from + whole / 3 * 2;
}

// One step at a time towards what the cluster wants this node to be; the answer starts the next.
void Agent::follow_role() {
  if (!known_.known() || !session_ || !session_->connected() || role_busy_) return;
  const bool manages = known_.self.role() == api::MANAGER;
  if (manages != (identity_->role == "manager") || certificate_is_old()) return renew_certificate();
  role_timer_ = loop_.after(certificate_check, [this] { follow_role(); });
  if (!manages) {
    if (!manager_ && !ManagerHost::has_store(config_)) return;
    manager_.reset();
    in_store_ = false;
    if (auto erased = ManagerHost::erase_store(config_); !erased)
      log_error(erased.error().message());
    else
      log_info("this node is no manager any more");
    return;
  }
  if (!manager_) {
    auto started = ManagerHost::start(config_, *identity_);
    if (!started) {
      log_error("cannot start the manager: " + started.error().message());
      role_timer_ = loop_.after(role_retry, [this] { follow_role(); });
      return;
    }
    manager_ = std::move(*started);
    follow_managers();
  }
  const auto member = manager_->member();
  const bool placed = member && member->id == known_.self.member_id() &&
                      member->generation == known_.self.store_generation();
  if (!placed || !in_store_) join_store();
}

void Agent::renew_certificate() {
  role_busy_ = true;
  auto key = io::create_key();
  auto csr = key ? io::create_signing_request(*key) : Result<std::string>(key.error());
  if (!csr) return added_to_store(&csr.error());
  api::RenewRequest request;
  request.set_csr_pem(*csr);
  session_->call("RenewCertificate", request.SerializeAsString(),
                 [this, key = *key](Result<std::string> answer) {
                   if (!identity_) return;
                   api::RenewReply renewed;
                   if (!answer) return added_to_store(&answer.error());
                   if (!renewed.ParseFromString(*answer)) {
                     const Error damaged("the manager's answer is damaged");
                     return added_to_store(&damaged);
                   }
                   Identity next = *identity_;
                   next.key_pem = key;
                   next.certificate_pem = renewed.certificate_pem();
                   next.ca_pem = renewed.ca_pem();
                   next.role = renewed.role() == api::MANAGER ? "manager" : "worker";
                   if (auto saved = identities_.save(next); !saved)
                     return added_to_store(&saved.error());
                   identity_ = std::move(next);
                   session_->set_identity(tls(*identity_));
                   if (manager_) manager_->set_identity(*identity_);
                   log_info("this node has a new certificate as " + identity_->role);
                   added_to_store(nullptr);
                 });
}

// The managers' store gets one member more: this node asks for its place, starts its part, and has
// itself added. Everything may be repeated.
void Agent::join_store() {
  role_busy_ = true;
  api::PrepareManagerRequest request;
  request.set_manager_port(config_.manager_port);
  session_->call("PrepareManager", request.SerializeAsString(), [this](Result<std::string> answer) {
    if (!identity_ || !manager_) return;
    api::PrepareManagerReply place;
    if (!answer) return added_to_store(&answer.error());
    if (!place.ParseFromString(*answer)) {
      const Error damaged("the manager's answer is damaged");
      return added_to_store(&damaged);
    }
    const auto add = [this, place](Result<> joined) {
      if (!identity_ || !manager_ || !session_) return;
      if (!joined) return added_to_store(&joined.error());
      api::AddManagerRequest add;
      add.set_member_id(place.member_id());
      session_->call("AddManager", add.SerializeAsString(), [this](Result<std::string> added) {
        if (!identity_) return;
        if (!added) return added_to_store(&added.error());
        if (!in_store_) log_info("this node is a manager");
        in_store_ = true;
        added_to_store(nullptr);
      });
    };
    const StoreMember wanted{place.member_id(), place.generation()};
    const auto member = manager_->member();
    if (member && member->id == wanted.id && member->generation == wanted.generation)
      return add(Ok);
    manager_->join(wanted, [this, add](Result<> joined) {
      loop_.post([add, joined = std::move(joined)] { add(joined); });
    });
  });
}

// The step is done, or is tried again.
void Agent::added_to_store(const Error* problem) {
  role_busy_ = false;
  if (!problem) return loop_.post([this] { follow_role(); });
  log_warning("this node's role: " + problem->message());
  role_timer_ = loop_.after(role_retry, [this] { follow_role(); });
}

void Agent::backup_cluster(const api::ClusterBackupRequest& request, Reply reply) {
  if (!manager_)
    return reply(Error(ErrorCode::conflict, "this node is no manager: ask one for the backup"));
  if (request.path().empty() || request.path()[0] != '/')
    return reply(Error(ErrorCode::invalid, "name the new file with its whole path, from / on"));
  if (io::read_file(request.path()).has_value())
    return reply(Error(ErrorCode::conflict, request.path() + " exists: name a new file"));
  manager_->backup(request.path(), [this, reply = std::move(reply)](Result<> done) {
    loop_.post([reply, done = std::move(done)] {
      if (done)
        reply(api::Empty().SerializeAsString());
      else
        reply(Error(done.error()).in("no backup was made"));
    });
  });
}

Result<api::ClusterStatus> Agent::restore_cluster(const api::ClusterRestoreRequest& request) {
  if (identity_)
    return Error(ErrorCode::conflict,
                 "this node is in a cluster already: `weft cluster leave` first");
  if (request.path().empty() || request.path()[0] != '/')
    return Error(ErrorCode::invalid, "name the backup with its whole path, from / on");
  Identity identity;
  identity.node_id = new_id();
  identity.role = "manager";
  api::JoinRequest self = TRY(introduce(request.advertise_address()));
  self.set_node_id(identity.node_id);
  identity.advertise_address = self.address();
  identity.managers = {
      SocketAddress{TRY(Address::parse(self.address())), config_.manager_port}.to_string()};
  identity.key_pem = TRY(io::create_key());
  self.set_csr_pem(TRY(io::create_signing_request(identity.key_pem)));
  auto restored = ManagerHost::restore(config_, identity, request.path(), self);
  if (!restored) {
    TRY(identities_.erase());
    return std::move(restored).error();
  }
  TRY(identities_.save(identity));
  manager_ = std::move(*restored);
  identity_ = std::move(identity);
  in_store_ = true;
  TRY(go_online());
  return cluster_status();
}

void Agent::recover_cluster(const api::ClusterRecoverRequest& request, Reply reply) {
  if (!manager_)
    return reply(Error(ErrorCode::conflict, "this node is no manager: nothing to recover here"));
  if (!request.force())
    return reply(Error(ErrorCode::conflict,
                       "this gives up what only the lost managers know; the other managers will "
                       "join anew: repeat it with --force if they are lost for good"));
  if (session_ && session_->connected())
    return reply(Error(ErrorCode::conflict, "the managers have a leader: nothing to recover"));
  manager_->recover([this, reply = std::move(reply)](Result<> done) {
    loop_.post([this, reply, done = std::move(done)] {
      if (done)
        reply(cluster_status().SerializeAsString());
      else
        reply(Error(done.error()));
    });
  });
}

}  // namespace weft::node
