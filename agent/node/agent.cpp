// SPDX-License-Identifier: Apache-2.0
#include "node/agent.h"

#include <malloc.h>

#include <algorithm>

#include "core/dns/resolv_conf.h"
#include "drivers/bpf/features.h"
#include "drivers/netns/netns.h"
#include "node/log.h"
#include "weft/api/version.h"

namespace weft::node {

namespace {

constexpr auto save_delay = 100ms;
constexpr int save_rests = 10;  // times as long as a save takes
constexpr auto retry_delay = 2s;

uint64_t seed() {
  uint64_t out = 0;
  for (uint8_t byte : io::random_bytes(8)) out = out << 8 | byte;
  return out;
}

Result<> check_features() {
  for (const bpf::Feature& feature : bpf::feature_check()) {
    if (feature.result == bpf::FeatureResult::failed) return Error(feature.detail);
    if (feature.result == bpf::FeatureResult::warning) log_warning(feature.detail);
  }
  return Ok;
}

cluster::NodeId node_id_from(const std::string& hex) {
  cluster::NodeId out;
  for (size_t i = 0; i < out.bytes.size() && i * 2 + 1 < hex.size(); i++)
    out.bytes[i] = uint8_t(std::stoul(hex.substr(i * 2, 2), nullptr, 16));
  return out;
}

std::vector<SocketAddress> upstreams(const Config& config) {
  std::vector<SocketAddress> out;
  std::vector<std::string> texts = config.resolvers;
  if (texts.empty())
    if (auto file = io::read_file("/etc/resolv.conf"))
      for (const Address& address : dns::parse_resolv_conf(*file).nameservers)
        out.push_back({address, 53});
  for (const std::string& text : texts)
    if (auto address = Address::parse(text)) out.push_back({*address, 53});
  return out;
}

}  // namespace

Agent::Agent(io::Loop& loop, Config config, io::FileLock lock)
    : loop_(loop),
      config_(std::move(config)),
      lock_(std::move(lock)),
      identities_(config_.state),
      rng_(seed()),
      started_at_(loop.wall_now()),
      plan_pace_(loop, [this] { plan_now(); }) {}

Agent::~Agent() = default;

Result<std::unique_ptr<Agent>> Agent::start(io::Loop& loop, Config config) {
  // The threads of the API allocate little: a heap for each of them is waste.
  ::mallopt(M_ARENA_MAX, 2);
  TRY(check_features());
  TRY(io::make_directories(config.state, 0700));
  TRY(io::make_directories(config.run, 0755));
  io::FileLock lock = TRY(io::FileLock::take(config.state));
  Fd claim = TRY(netns::claim_own_netns());
  // Here, where the operator reads the answer, and not when the first assignment comes.
  TRY_IN("--bpffs", bpf::ensure_bpffs(config.bpffs));
  std::unique_ptr<Agent> agent(new Agent(loop, std::move(config), std::move(lock)));
  agent->claim_ = std::move(claim);
  agent->boot_epoch_ = TRY(agent->identities_.next_boot_epoch());
  auto identity = agent->identities_.load();
  if (identity) {
    agent->identity_ = std::move(*identity);
    TRY(agent->go_online());
  } else if (identity.error().code() != ErrorCode::not_found) {
    return std::move(identity).error();
  } else {
    log_info("in no cluster yet: `weft cluster init` or `weft cluster join`");
  }
  return agent;
}

Result<> Agent::go_online() {
  online_since_ = last_gossip_event_ = loop_.now();
  settled_ = false;
  if (identity_->role == "manager" && !manager_)
    manager_ = TRY_IN("start the manager", ManagerHost::start(config_, *identity_));
  auto known = KnownState::load(config_.state + "/assignment.pb");
  if (known) {
    known_ = std::move(*known);
    TRY(start_network());
  } else if (known.error().code() != ErrorCode::not_found) {
    log_warning(known.error().message() + ": waiting for a manager");
  }
  start_session();
  return Ok;
}

void Agent::start_session() {
  std::vector<SocketAddress> managers;
  for (const std::string& text : identity_->managers)
    if (auto address = SocketAddress::parse(text, config_.manager_port))
      managers.push_back(*address);
  Session::Callbacks callbacks;
  callbacks.hello = [this] { return hello(); };
  callbacks.on_assignment = [this](const api::Assignment& assignment) {
    on_assignment(assignment);
  };
  callbacks.local_logs = [this](const api::LocalLogsRequest& request) {
    return tasks_ ? tasks_->logs(request) : api::LogReply();
  };
  callbacks.port_check = [this](const api::PortCheckRequest& request) {
    api::PortCheckReply out;
    for (const api::PublishedPort& port : request.ports())
      if (kernel_ && kernel_->taken_by_others(port)) *out.add_taken() = port;
    return out;
  };
  callbacks.on_change = [this](bool connected, const std::string& why) {
    session_problem_ = connected ? "" : why;
    if (connected)
      log_info("connected to a manager");
    else
      log_warning("no manager: " + why + "; what runs keeps running");
    if (connected && tasks_) tasks_->report_all();
    if (connected) follow_role();
  };
  session_ = std::make_unique<Session>(
      loop_, io::TlsIdentity{identity_->ca_pem, identity_->certificate_pem, identity_->key_pem},
      std::move(managers), std::move(callbacks));
}

void Agent::on_assignment(const api::Assignment& assignment) {
  names_changed_by(assignment);
  known_.apply(assignment);
  if (assignment.full() || assignment.nodes_size() > 0 || assignment.removed_nodes_size() > 0)
    surroundings_changed_ = true;
  save_soon();
  if (!kernel_) {
    if (auto started = start_network(); !started) {
      log_error(started.error().message());
      last_failure_ = started.error().message();
      stop_network();
      retry_timer_ = loop_.after(retry_delay, [this] { on_assignment(api::Assignment()); });
      return;
    }
  }
  follow_managers();
  follow_role();
  sync_gossip();
  for (Waiting& late : std::exchange(waiting_, {})) settle_attachment(std::move(late));
  sync_tasks();
  announce_changed_by(assignment);
  plan_soon();
}

// A large state takes long to write, and then is written less often.
void Agent::save_soon() {
  if (save_timer_.armed()) return;
  save_timer_ = loop_.after(std::max<Duration>(save_delay, save_rest_), [this] { save_known(); });
}

void Agent::save_known() {
  const Instant begun = loop_.now();
  auto saved = known_.save(config_.state + "/assignment.pb");
  save_rest_ = (loop_.now() - begun) * save_rests;
  const std::string problem =
      saved ? "" : "cannot keep the last known state: " + saved.error().message();
  if (!saved) {
    if (problem != save_problem_) log_error(problem);
    save_timer_ = loop_.after(retry_delay, [this] { save_known(); });
  }
  save_problem_ = problem;
}

// Once the node knows its number and the ingress network. Everything here finds what a former agent
// left.
Result<> Agent::start_network() {
  const api::Network* ingress = known_.ingress();
  if (!known_.known() || !ingress) return Ok;
  links_ = std::make_unique<link::Links>(TRY(link::Links::open(-1)));
  around_.uplink = TRY(link::find_uplink(*links_, TRY(Address::parse(known_.self.address()))));
  kernel_ = TRY(Kernel::start(config_, known_.self, *ingress, around_));
  tell_problems();
  attachments_ = std::make_unique<Attachments>(
      TRY(Attachments::open(kernel_->netns(), config_.state + "/endpoints.json")));
  dns_ = TRY(dns::DnsServer::start(names_));
  dns_->set_upstreams(upstreams(config_));
  tasks_ = TRY(Tasks::start(
      loop_, config_, [this](const std::string& id) { on_task_change(id); },
      [this](const api::TaskStatusReport& report) {
        if (session_) session_->report(report);
      }));
  forget_gone_containers();
  std::set<std::string> namespaces;
  for (const auto& [id, attachment] : attachments_->all()) {
    TRY(kernel_->guard(attachment.ifindex));
    namespaces.insert(attachment.netns);
  }
  for (const std::string& netns : namespaces) sync_resolver(netns);
  monitor_ = std::make_unique<link::Monitor>(TRY(link::Monitor::open(kernel_->netns())));
  monitor_watch_ = loop_.watch_read(monitor_->fd(), [this] { on_network_change(); });
  TRY(start_gossip());
  log_info("node " + known_.self.name() + " (" + known_.self.address() + " on " +
           around_.uplink.link.name + ") is online");
  settled_ = kernel_->fresh() || known_.nodes.size() <= 1;
  sync_tasks();
  all_names_changed();
  plan_soon();
  return Ok;
}

Result<> Agent::start_gossip() {
  GossipKeys keys;
  for (const api::GossipKey& key : known_.gossip_keys)
    keys.keys.push_back({key.epoch(), key.key()});
  keys.seal_with = known_.gossip_epoch;
  cluster::Gossip::Self self;
  self.id = node_id_from(known_.self.id());
  self.boot_epoch = boot_epoch_;
  self.info.name = known_.self.name();
  self.info.node_index = known_.self.index();
  self.info.underlay = TRY(Address::parse(known_.self.address()));
  self.info.gossip = {self.info.underlay, config_.gossip_port};
  gossip_ = TRY(GossipShell::start(
      loop_, self.info.gossip, std::move(self), keys,
      [this](std::vector<cluster::Event> events) { on_gossip(std::move(events)); }));
  sync_gossip();
  announce_all();
  gossip_->core().baseline_complete(gossip_->now());
  gossip_->flush();
  return Ok;
}

// Keys, scopes and seeds follow the assignment.
void Agent::sync_gossip() {
  if (!gossip_) return;
  GossipKeys keys;
  for (const api::GossipKey& key : known_.gossip_keys)
    keys.keys.push_back({key.epoch(), key.key()});
  keys.seal_with = known_.gossip_epoch;
  if (auto done = gossip_->set_keys(keys); !done)
    log_error("gossip keys: " + done.error().message());
  std::set<uint32_t> wanted;
  for (const auto& [id, network] : known_.networks) wanted.insert(network.vni());
  for (uint32_t vni : wanted)
    if (!gossip_->core().in_scope(vni))
      if (auto done = gossip_->core().enter_scope(gossip_->now(), vni); !done)
        log_error(done.error().message());
  for (uint32_t vni : scopes_)
    if (!wanted.contains(vni)) {
      gossip_->core().leave_scope(gossip_->now(), vni);
      std::erase_if(announced_, [&](const auto& entry) { return entry.second.vni == vni; });
    }
  scopes_ = std::move(wanted);
  std::vector<SocketAddress> seeds;
  for (const auto& [id, node] : known_.nodes)
    if (id != known_.self.id())
      if (auto address = Address::parse(node.address()))
        seeds.push_back({*address, uint16_t(node.gossip_port())});
  gossip_->core().join(gossip_->now(), seeds);
  gossip_->flush();
}

void Agent::on_gossip(std::vector<cluster::Event> events) {
  last_gossip_event_ = loop_.now();
  for (const cluster::Event& event : events) {
    view_.on_event(event);
    names_changed_by(event);
    using Kind = cluster::Event::Kind;
    if (event.kind == Kind::member_alive || event.kind == Kind::member_suspect ||
        event.kind == Kind::member_dead || event.kind == Kind::member_left) {
      const std::string id = event.member.to_string();
      const auto node = known_.nodes.find(id);
      const std::string name = node == known_.nodes.end() ? id : node->second.name();
      const char* state = event.kind == Kind::member_alive     ? "alive"
                          : event.kind == Kind::member_suspect ? "suspect"
                          : event.kind == Kind::member_dead    ? "dead"
                                                               : "gone";
      log_info("node " + name + " is " + state);
      if (manager_) manager_->member_state(id, event.kind == Kind::member_alive);
      if (session_ && node != known_.nodes.end() &&
          (event.kind == Kind::member_dead || event.kind == Kind::member_left))
        session_->manager_is_gone(node->second.address());
    }
  }
  plan_soon();
}

void Agent::on_network_change() {
  auto changes = monitor_->read();
  if (!changes) {
    log_error("following the node's network: " + changes.error().message());
    return;
  }
  bool link_gone = false, relevant = false;
  for (const link::Change& change : *changes) {
    // Links, addresses and routes of the containers are of our own making.
    const bool own = attachments_->has_link(change.ifindex);
    link_gone |= own && change.kind == link::ChangeKind::link && change.removed;
    // So are neighbours of nobody we know: they would make every plan start another.
    relevant |= !own && (change.kind != link::ChangeKind::neighbour ||
                         around_.next_hops.contains(change.address) || change.removed);
  }
  if (link_gone) forget_gone_containers();
  surroundings_changed_ |= relevant;
  if (link_gone || relevant) plan_soon();
}

// What the kernel has stays: start_network() finds it.
void Agent::stop_network() {
  plan_timer_.cancel();
  plan_pace_.cancel();
  names_timer_.cancel();
  monitor_watch_.cancel();
  tasks_.reset();
  gossip_.reset();
  dns_.reset();
  resolvers_.clear();
  scopes_.clear();
  announced_.clear();
  network_names_.clear();
  attachments_.reset();
  monitor_.reset();
  kernel_.reset();
  links_.reset();
}

Result<> Agent::leave_cluster() {
  if (gossip_) {
    gossip_->core().leave(gossip_->now());
    gossip_->flush();
  }
  if (tasks_) tasks_->remove_all();
  if (attachments_) TRY(attachments_->clear());
  session_.reset();
  const auto kernel = std::move(kernel_);
  stop_network();
  if (kernel) TRY(kernel->remove());
  save_timer_.cancel();
  retry_timer_.cancel();
  role_timer_.cancel();
  manager_.reset();
  in_store_ = role_busy_ = false;
  TRY(identities_.erase());
  identity_.reset();
  known_ = KnownState();
  view_ = ClusterView();
  around_ = Surroundings();
  desired_ = plan::DesiredState();
  last_failure_.clear();
  save_problem_.clear();
  told_problems_.clear();
  log_info("left the cluster");
  return Ok;
}

}  // namespace weft::node
