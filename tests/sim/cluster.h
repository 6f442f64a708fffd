// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <queue>
#include <set>
#include <string>
#include <vector>

#include "base/rng.h"
#include "core/cluster/gossip.h"
#include "core/cluster/member_table.h"

namespace weft::sim {

using cluster::NodeId;
using cluster::ScopeId;

// The network between the simulated nodes.
struct Link {
  Duration delay = 200us;
  Duration jitter = 300us;
  double loss = 0;
  double duplicates = 0;
};

// How a process that is gone shows: its host answers with "port unreachable", or nothing does.
enum class Death { refused, silent };

// What packets and the heads of streams pass through, if anything.
class Seal {
 public:
  virtual ~Seal() = default;
  virtual Bytes seal(size_t from, const Bytes& plaintext) = 0;
  virtual std::optional<Bytes> open(size_t to, const Bytes& sealed) = 0;
};

// Many nodes of the real core in virtual time, from one seed. It keeps what every owner wrote (the
// truth) and what every node's events told (its view), and checks at each event that no record
// comes back that this node had seen erased.
class Cluster {
 public:
  Cluster(uint64_t seed, size_t nodes, Link link = {}, cluster::Config config = {});

  // --- running ---
  Instant now() const { return now_; }
  void run_for(Duration d);
  // True as soon as `done` holds (looked at every `step`); false after `limit`.
  bool run_until(const std::function<bool()>& done, Duration limit, Duration step = 5ms);
  // All nodes know each other and have the same tables; from the first call on.
  void form();
  // The same without the way there: every node starts from one list of all, and has no records,
  // its baseline neither. For clusters whose lists and tables would not fit into memory N times.
  void form_at_once();

  // --- what happens ---
  void start(size_t node);  // a new boot
  void kill(size_t node, Death death = Death::refused);
  void leave(size_t node);
  void partition(const std::vector<int>& group_of_node);  // only equal groups hear each other
  void heal();
  void cut(size_t from, size_t to);  // one way
  void complete(size_t node);        // baseline_complete
  void enter(size_t node, ScopeId scope);
  void leave_scope(size_t node, ScopeId scope);
  void set(size_t node, ScopeId scope, const std::string& key, size_t value_bytes = 0);
  void erase(size_t node, ScopeId scope, const std::string& key);
  void skew_clocks(double ppm);  // before the first start
  void set_keys(size_t node, cluster::KeyRingState keys);
  void use(Seal* seal) { seal_ = seal; }
  // Calls `what` after that time.
  void after(Duration d, std::function<void()> what) { schedule(now_ + d, std::move(what)); }
  Link& link() { return link_; }

  // --- what is seen ---
  size_t size() const { return nodes_.size(); }
  bool up(size_t node) const { return nodes_[node].gossip != nullptr; }
  cluster::Gossip& gossip(size_t node) { return *nodes_[node].gossip; }
  const NodeId& id(size_t node) const { return nodes_[node].id; }
  // Every node that is up: the right members are alive, and exactly the truth is visible, by
  // query and by events. `why` tells the first difference.
  bool converged(std::string* why = nullptr) const;
  bool knows(size_t node, size_t owner, ScopeId scope, const std::string& key) const;
  cluster::MemberState state_of(size_t node, size_t other) const {
    const auto& states = nodes_[node].states;
    const auto it = states.find(other);
    return it != states.end() ? it->second : other == node ? cluster::MemberState::alive : usual_;
  }
  // True if every other node that is up holds `other` for `state`.
  bool everywhere(size_t other, cluster::MemberState state) const;
  const std::map<ScopeId, std::map<std::string, std::string>>& truth(size_t node) const {
    return nodes_[node].truth;
  }
  size_t false_deaths() const { return false_deaths_; }
  // A node that had seen a write erased was told of it, or of an older one, again, and it is not
  // what the owner holds. If it is, then an old end of the owner's stay in the network arrived late
  // (its tombstone collected: only a snapshot told of it), and the repair has brought a valid
  // record back; that what is valid is seen at last, and nothing else, is for converged().
  const std::vector<std::string>& resurrections() const { return resurrections_; }
  // The first record of an alive owner that was told of as hidden, and never as restored or erased:
  // its user would keep it. Empty if there is none. Lasts until Config::orphan_lifetime.
  std::string hidden_for_good() const;
  // Called for each event, after it has been taken into the node's view.
  void on_event(std::function<void(size_t node, const cluster::Event&)> hook) {
    hook_ = std::move(hook);
  }
  uint64_t trace() const { return trace_; }  // of everything delivered, in order
  uint64_t packets() const { return packets_; }
  uint64_t bytes() const { return bytes_; }
  Rng& rng() { return rng_; }

 private:
  using RecordKey = std::tuple<ScopeId, NodeId, std::string>;
  struct Node {
    NodeId id;
    SocketAddress address;
    uint64_t boot_epoch = 0;
    uint64_t generation = 0;  // of the process, so that old events do not reach a new one
    std::unique_ptr<cluster::Gossip> gossip;
    std::optional<size_t> watched;  // it holds a connection to that node
    bool leaving = false;
    Death death = Death::silent;
    int group = 0;
    Duration clock_offset{};
    double clock_rate = 1;
    cluster::KeyRingState keys;
    Instant timer = Instant::never();
    std::map<ScopeId, std::map<std::string, std::string>> truth;
    std::map<size_t, cluster::MemberState> states;  // as its events told, where it is not `usual_`
    std::map<RecordKey, std::string> view;
    std::set<RecordKey> hidden;            // told of as hidden, not yet as restored or erased
    std::map<RecordKey, uint64_t> erased;  // the highest write seen erased
  };
  struct Happening {
    Instant at;
    uint64_t order;
    std::function<void()> what;
    bool operator<(const Happening& other) const {
      return std::pair(at, order) > std::pair(other.at, other.order);
    }
  };

  void schedule(Instant at, std::function<void()> what);
  Instant local(const Node& node) const;
  void collect(size_t node);
  void watch(size_t node, const cluster::Event& event);
  bool written(const cluster::Event& event) const;
  void deliver(size_t from, const SocketAddress& to, Bytes bytes);
  void arrive(size_t from, size_t to, const Bytes& bytes);
  bool head_passes(size_t from, size_t to, const Bytes& stream);
  void stream(size_t from, cluster::StreamRequest request);
  void watch_member(size_t node, const cluster::WatchRequest& request);
  void lose_watch(size_t watcher, size_t target);
  void boot(size_t node, std::shared_ptr<const cluster::MemberList> known);
  cluster::MemberInfo info_of(size_t node) const;
  bool connected(size_t from, size_t to) const;
  Duration delay();
  void note(uint64_t value);
  void note(ByteView bytes);
  size_t at(const SocketAddress& address) const;

  Rng rng_;
  Link link_;
  cluster::Config config_;
  Instant now_{1h};
  uint64_t order_ = 0, trace_ = 1469598103934665603ull;
  uint64_t packets_ = 0, bytes_ = 0, writes_ = 0;
  double skew_ppm_ = 0;
  size_t false_deaths_ = 0;
  cluster::MemberState usual_ = cluster::MemberState::left;  // of a node that nobody spoke of
  std::priority_queue<Happening> queue_;
  std::vector<Node> nodes_;
  std::map<NodeId, size_t> index_;
  std::set<std::pair<size_t, size_t>> cuts_;
  std::vector<std::string> resurrections_;
  std::function<void(size_t, const cluster::Event&)> hook_;
  Seal* seal_ = nullptr;
};

// The seeds to run: the one asked for by --seed or WEFT_SEED, or 1..count; WEFT_SEEDS=n runs n
// times as many.
std::vector<uint64_t> seeds(size_t count);
// p in [0, 1] of the samples; sorts them.
double percentile(std::vector<double>& samples, double p);

}  // namespace weft::sim
