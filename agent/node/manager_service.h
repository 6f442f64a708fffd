// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <optional>
#include <set>
#include <string>
#include <thread>

#include "base/mailbox.h"
#include "io/loop.h"
#include "io/pki.h"
#include "io/rpc.h"
#include "io/tls_tunnel.h"
#include "manager/manager.h"
#include "node/identity.h"
#include "node/manager_host.h"
#include "store/dqlite_store.h"
#include "weft/api/weft.pb.h"

namespace weft::node {

// The cluster's CA as the leader uses it: its key is in the cluster's state.
class CertificateAuthority;

// What runs on the managers' thread. Everything but status() on that thread, or before it runs.
class ManagerService {
 public:
  struct Status {
    std::optional<StoreMember> member;
    std::string leader;
  };
  using Reply = std::function<void(Result<std::string>)>;
  using Done = std::function<void(Result<>)>;

  static Result<std::unique_ptr<ManagerService>> listen(io::Loop& loop, const SocketAddress& local,
                                                        const std::string& folder,
                                                        const Identity& identity);
  ~ManagerService();

  static Result<std::string> sign_first(const io::CertifiedKey& ca, const std::string& csr_pem,
                                        const Identity& identity);
  void set_ca(const io::CertifiedKey& ca);
  Result<> create_store();
  Result<> open_store();
  Result<> join_store(const StoreMember& member);
  Result<> recover_store();
  void init(const api::ClusterInitRequest& request, const api::JoinRequest& self, Reply reply);
  void take_over(const api::JoinRequest& self, Reply reply);
  void backup(const std::string& path, Done done);
  void member_state(const std::string& node_id, bool alive);
  void set_managers(std::set<std::string> node_ids);
  void set_identity(const Identity& identity);

  // From any thread.
  Status status() const;

 private:
  ManagerService(io::Loop& loop, SocketAddress local, std::string folder, Identity identity);
  store::DqliteStore::Settings store_settings();
  Result<> start_tunnel();
  Result<> run_store(Result<std::unique_ptr<store::DqliteStore>> store);
  void close_store();
  void publish(const std::string& leader);

  void on_leadership(const store::Leadership& leadership);
  void lead();
  void step_down();
  // Members of the store whose node is no manager any more leave it.
  void reconcile_members();
  void settle_members(const std::vector<store::Member>& members);

  void arm();
  void tick();
  manager::Now now() const { return {loop_.now(), loop_.wall_now()}; }
  void serve(const io::RpcConnectionHandle& connection, const std::string& method,
             const std::string& payload, io::RpcReply reply);
  void dispatch(const io::RpcConnectionHandle& connection, const manage::Caller& caller,
                const std::string& method, const std::string& payload, io::RpcReply reply);
  void open_session(const io::RpcConnectionHandle& connection, const manage::Caller& caller,
                    const std::string& payload, io::RpcReply reply);
  void add_manager(const manage::Caller& caller, const std::string& payload, io::RpcReply reply);

  io::Loop& loop_;
  SocketAddress local_;
  std::string folder_;
  Identity identity_;
  std::unique_ptr<CertificateAuthority> authority_;
  std::unique_ptr<io::TlsTunnel> tunnel_;
  std::unique_ptr<store::DqliteStore> store_;
  std::unique_ptr<manager::Manager> manager_;  // while this manager leads
  std::unique_ptr<io::RpcServer> server_;
  std::set<std::string> managers_;  // node ids; empty: not known yet
  std::string member_key_;          // of the managers when the members were last compared
  std::map<std::string, bool> alive_members_;
  bool leading_ = false;
  bool reconciling_ = false;
  Mailbox<Status> status_;
  io::Timer timer_, lead_timer_, member_timer_;
};

}  // namespace weft::node
