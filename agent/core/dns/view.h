// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstdint>
#include <limits>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "base/address.h"

// What the cluster's names mean: immutable, built by the agent from cluster state, read by the
// thread that answers.
namespace weft::dns {

enum class EndpointState {
  starting,  // known, but not to be called yet
  ready,
  draining,  // keeps its flows, gets no new callers
  suspect,   // its node may be dead
  dead,
};

struct PortInput {
  std::string name;      // "http"; may be empty
  std::string protocol;  // "tcp", "udp", "sctp"
  uint16_t target = 0;   // what callers inside the network connect to
  uint16_t published = 0;
};

struct ServiceInput {
  std::string name;
  std::vector<std::string> aliases;
  // Empty: endpoint mode dnsrr, the service's name answers its tasks' addresses.
  std::vector<Address> vips;
  std::vector<PortInput> ports;
};

struct EndpointInput {
  std::string name;                  // of the container or endpoint; may be empty for a task
  std::string id;                    // the first 12 characters answer, too
  std::string hostname;              // may be empty
  std::vector<std::string> aliases;  // shared by all endpoints that have the same one
  std::vector<Address> addresses;
  EndpointState state = EndpointState::ready;
  // For a task: SERVICE, SLOT (a global service's task: the node's id) and TASKID, which make
  // SERVICE.SLOT and SERVICE.SLOT.TASKID.
  std::string service;
  std::string slot;
  std::string task_id;
};

struct NetworkInput {
  std::string id;
  std::string name;  // also the domain: web.NAME
  std::vector<Prefix> subnets;
  std::vector<ServiceInput> services;
  std::vector<EndpointInput> endpoints;
  // Unknown names below NAME go upstream instead of being denied: for a network that shares its
  // name with a public domain ("dev").
  bool forward_unknown = false;
};

// The names of one network. A change rebuilds only its own network.
class NetworkNames {
 public:
  static constexpr uint32_t none = std::numeric_limits<uint32_t>::max();

  struct Entry {
    uint32_t name_at = 0;
    uint32_t first_address = 0;  // IPv4 first, then IPv6
    uint32_t v4 = 0;
    uint32_t v6 = 0;
    uint32_t service = none;  // whose ports SRV answers, if this is a service's name
    uint8_t name_size = 0;
    bool each_task = false;  // SRV names every task, not the service
  };
  struct Port {
    std::string name;      // lower case
    std::string protocol;  // lower case
    uint16_t target = 0;
    uint16_t published = 0;
  };
  struct Service {
    std::vector<Port> ports;
    std::vector<uint32_t> tasks;  // entries of the ready ones' own names
  };

  // Names that do not fit into DNS (a label over 63 bytes) are left out and listed in unusable().
  // Where two things claim one name, the nobler wins: service, service's alias, task or container,
  // container's alias, hostname and short id; equals share it.
  static std::shared_ptr<const NetworkNames> build(const NetworkInput& input);

  const std::string& id() const { return id_; }
  const std::string& domain() const { return domain_; }  // wire form
  const std::vector<Prefix>& subnets() const { return subnets_; }
  bool forward_unknown() const { return forward_unknown_; }
  const std::vector<std::string>& unusable() const { return unusable_; }
  size_t size() const { return entries_.size(); }

  // A name relative to the network; null if there is none.
  const Entry* find(std::string_view wire) const;
  const Entry& entry(uint32_t index) const { return entries_[index]; }
  const Service& service(uint32_t index) const { return services_[index]; }
  std::string_view name(const Entry& entry) const {
    return std::string_view(names_).substr(entry.name_at, entry.name_size);
  }
  std::span<const Address> v4(const Entry& entry) const {
    return {addresses_.data() + entry.first_address, entry.v4};
  }
  std::span<const Address> v6(const Entry& entry) const {
    return {addresses_.data() + entry.first_address + entry.v4, entry.v6};
  }
  // Entries whose names PTR answers for an address.
  std::vector<uint32_t> reverse(const Address& address) const;

 private:
  friend class NetworkNamesBuilder;
  // Flat arrays and a table of indices: 10,000 endpoints have 50,000 names, and the agent's
  // memory is small.
  std::string id_;
  std::string domain_;
  std::vector<Prefix> subnets_;
  std::string names_;
  std::vector<Address> addresses_;
  std::vector<Entry> entries_;
  std::vector<uint32_t> slots_;  // open addressing; index into entries_ plus 1, 0 is free
  std::vector<Service> services_;
  std::vector<std::pair<Address, uint32_t>> reverse_;  // sorted
  std::vector<std::string> unusable_;
  bool forward_unknown_ = false;
};

struct ViewOptions {
  // Answers come from the container's own node, so a cache saves nothing and a stale entry costs a
  // failed connection: shorter than the 3 s in which a dead node leaves the answers.
  std::chrono::seconds ttl{2};
  // A service that was looked up too early is found a second later.
  std::chrono::seconds negative_ttl{1};
};

struct ViewInput {
  std::vector<std::shared_ptr<const NetworkNames>> networks;
  // Known in the cluster, though this node has no records of them: never forwarded upstream.
  std::vector<std::string> known_names;
  std::vector<std::string> known_networks;
  std::vector<Prefix> known_subnets;
  uint32_t serial = 0;  // of the SOA records
  ViewOptions options;
};

struct WireHash {
  using is_transparent = void;
  size_t operator()(std::string_view text) const { return std::hash<std::string_view>()(text); }
};

class DnsView {
 public:
  explicit DnsView(ViewInput input);

  const ViewOptions& options() const { return options_; }
  uint32_t serial() const { return serial_; }

  const NetworkNames* network(std::string_view id) const;
  // Is the name one of ours in any network of the cluster?
  bool known(std::string_view wire) const;
  bool in_known_subnet(const Prefix& block) const;
  enum class Domain { unknown, ours, shared };
  // Is this exactly a network's name? `shared`: its unknown names go upstream.
  Domain domain(std::string_view wire) const;

 private:
  std::vector<std::shared_ptr<const NetworkNames>> networks_;  // sorted by id
  std::unordered_map<std::string, Domain, WireHash, std::equal_to<>> domains_;
  std::unordered_set<std::string, WireHash, std::equal_to<>> known_;
  std::vector<Prefix> subnets_;
  uint32_t serial_;
  ViewOptions options_;
};

}  // namespace weft::dns
