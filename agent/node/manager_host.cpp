// SPDX-License-Identifier: Apache-2.0
#include "node/manager_host.h"

#include <filesystem>
#include <future>

#include "io/clock.h"
#include "node/manager_service.h"

namespace weft::node {

namespace {

constexpr auto patience = 20s;

std::string store_folder(const Config& config) { return config.state + "/store"; }

}  // namespace

struct ManagerHost::State {
  io::Loop loop;
  std::unique_ptr<ManagerService> service;
  std::thread thread;

  void post(std::function<void(ManagerService&)> fn) {
    loop.post([this, fn = std::move(fn)] { fn(*service); });
  }
  // Runs it on the host's thread and waits for the answer. For the beginning of a cluster only.
  template <typename T>
  Result<T> wait(std::function<void(ManagerService&, std::function<void(Result<T>)>)> fn) {
    auto promise = std::make_shared<std::promise<Result<T>>>();
    auto future = promise->get_future();
    post([fn = std::move(fn), promise](ManagerService& service) {
      fn(service, [promise](Result<T> result) { promise->set_value(std::move(result)); });
    });
    if (future.wait_for(patience) != std::future_status::ready)
      return Error(ErrorCode::unavailable, "the managers' store does not answer");
    return future.get();
  }
};

ManagerHost::ManagerHost(std::unique_ptr<State> state) : state_(std::move(state)) {}

ManagerHost::~ManagerHost() {
  if (!state_) return;
  state_->loop.stop();
  if (state_->thread.joinable()) state_->thread.join();
}

bool ManagerHost::has_store(const Config& config) {
  return store::DqliteStore::exists(store_folder(config));
}

Result<> ManagerHost::erase_store(const Config& config) {
  std::error_code failure;
  std::filesystem::remove_all(store_folder(config), failure);
  if (failure) return Error("cannot remove " + store_folder(config) + ": " + failure.message());
  return Ok;
}

Result<std::unique_ptr<ManagerHost::State>> ManagerHost::listen(const Config& config,
                                                                const Identity& identity) {
  auto state = std::make_unique<State>();
  const SocketAddress local{TRY(Address::parse(identity.advertise_address)), config.manager_port};
  state->service = TRY(ManagerService::listen(state->loop, local, store_folder(config), identity));
  return state;
}

Result<std::unique_ptr<ManagerHost>> ManagerHost::start(const Config& config,
                                                        const Identity& identity) {
  auto state = TRY(listen(config, identity));
  if (has_store(config)) TRY(state->service->open_store());
  state->thread = std::thread([s = state.get()] { s->loop.run(); });
  return std::unique_ptr<ManagerHost>(new ManagerHost(std::move(state)));
}

Result<std::unique_ptr<ManagerHost>> ManagerHost::init(const Config& config, Identity& identity,
                                                       const std::string& ca_key_pem,
                                                       const api::ClusterInitRequest& request,
                                                       const api::JoinRequest& self,
                                                       api::ClusterInitReply& reply) {
  if (has_store(config))
    return Error(
        ErrorCode::conflict,
        store_folder(config) + " holds a cluster already: `weft cluster leave --force` removes it");
  identity.certificate_pem =
      TRY(ManagerService::sign_first({identity.ca_pem, ca_key_pem}, self.csr_pem(), identity));
  auto state = TRY(listen(config, identity));
  state->service->set_ca({identity.ca_pem, ca_key_pem});
  TRY(state->service->create_store());
  state->thread = std::thread([s = state.get()] { s->loop.run(); });
  auto host = std::unique_ptr<ManagerHost>(new ManagerHost(std::move(state)));
  const std::string answer = TRY(host->state_->wait<std::string>(
      [&](ManagerService& service, auto done) { service.init(request, self, std::move(done)); }));
  if (!reply.ParseFromString(answer)) return Error("the new cluster's description is damaged");
  return host;
}

Result<std::unique_ptr<ManagerHost>> ManagerHost::restore(const Config& config, Identity& identity,
                                                          const std::string& backup,
                                                          const api::JoinRequest& self) {
  const SocketAddress local{TRY(Address::parse(identity.advertise_address)), config.manager_port};
  TRY(store::DqliteStore::restore(store_folder(config), backup, local.to_string()));
  // The CA is in the store, and the port needs a certificate: a CA of the moment signs the first.
  const auto moment = TRY(io::create_cluster_ca(self.node_id(), io::clock_wall_now()));
  Identity first = identity;
  first.cluster_id = self.node_id();
  first.ca_pem = moment.certificate_pem;
  first.certificate_pem = TRY(ManagerService::sign_first(moment, self.csr_pem(), first));
  auto state = TRY(listen(config, first));
  TRY(state->service->open_store());
  state->thread = std::thread([s = state.get()] { s->loop.run(); });
  auto host = std::unique_ptr<ManagerHost>(new ManagerHost(std::move(state)));
  const std::string answer = TRY(host->state_->wait<std::string>(
      [&](ManagerService& service, auto done) { service.take_over(self, std::move(done)); }));
  api::JoinReply reply;
  if (!reply.ParseFromString(answer)) return Error("the restored cluster's answer is damaged");
  identity.cluster_id = reply.cluster_id();
  identity.ca_pem = reply.ca_pem();
  identity.certificate_pem = reply.certificate_pem();
  host->set_identity(identity);
  return host;
}

void ManagerHost::member_state(const std::string& node_id, bool alive) {
  state_->post([=](ManagerService& service) { service.member_state(node_id, alive); });
}

void ManagerHost::set_managers(std::set<std::string> node_ids) {
  state_->post([=](ManagerService& service) { service.set_managers(node_ids); });
}

void ManagerHost::set_identity(const Identity& identity) {
  state_->post([=](ManagerService& service) { service.set_identity(identity); });
}

std::optional<StoreMember> ManagerHost::member() const { return state_->service->status().member; }

std::string ManagerHost::leader() const { return state_->service->status().leader; }

void ManagerHost::join(const StoreMember& member, Done done) {
  state_->post([=](ManagerService& service) { done(service.join_store(member)); });
}

void ManagerHost::backup(const std::string& path, Done done) {
  state_->post([=](ManagerService& service) { service.backup(path, done); });
}

void ManagerHost::recover(Done done) {
  state_->post([=](ManagerService& service) { done(service.recover_store()); });
}

}  // namespace weft::node
