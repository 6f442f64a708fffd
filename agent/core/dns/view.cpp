// SPDX-License-Identifier: Apache-2.0
#include "core/dns/view.h"

#include <algorithm>
#include <map>
#include <set>

#include "core/dns/wire.h"

namespace weft::dns {

namespace {

// Smaller is nobler.
enum class Rank : uint8_t { service, service_alias, name, alias, nickname };

const std::string tasks_label = *wire_name("tasks");

std::string lower_case(std::string_view text) {
  std::string out(text);
  for (char& c : out) c = lower(c);
  return out;
}

}  // namespace

// Collects names in sorted maps, then writes the flat form.
class NetworkNamesBuilder {
 public:
  explicit NetworkNamesBuilder(const NetworkInput& input) : input_(input) {}

  std::shared_ptr<const NetworkNames> build() {
    out_->id_ = input_.id;
    out_->subnets_ = input_.subnets;
    out_->forward_unknown_ = input_.forward_unknown;
    if (auto domain = wire_name(input_.name))
      out_->domain_ = *std::move(domain);
    else
      out_->unusable_.push_back(input_.name);
    for (const ServiceInput& service : input_.services) add_service(service);
    for (const EndpointInput& endpoint : input_.endpoints) add_endpoint(endpoint);
    for (const ServiceDraft& service : services_) name_service(service);
    write_entries();
    write_slots();
    write_services();
    write_reverse();
    return std::move(out_);
  }

 private:
  using Addresses = std::set<Address>;
  struct Draft {
    Rank rank = Rank::nickname;
    Addresses addresses;
    uint32_t service = NetworkNames::none;
    bool each_task = false;
  };
  struct ServiceDraft {
    std::vector<std::string> names;  // wire; the first is the service's, the rest are aliases
    const ServiceInput* input = nullptr;
    Addresses ready;
    bool reachable = false;  // has a backend that the VIP may still lead to
    std::set<std::string> tasks;
  };

  // A name plus the domain must fit, or the answer could not be asked for in full.
  bool usable(std::string_view wire) const {
    return !wire.empty() && wire.size() + out_->domain_.size() <= name_limit;
  }

  std::string to_wire(const std::string& text) {
    auto wire = wire_name(text);
    if (wire && usable(*wire)) return *std::move(wire);
    out_->unusable_.push_back(text);
    return {};
  }

  Draft& declare(const std::string& wire, Rank rank, const Addresses& addresses) {
    Draft& draft = drafts_.try_emplace(wire, Draft{.rank = rank}).first->second;
    if (rank < draft.rank) draft = Draft{.rank = rank};
    if (rank == draft.rank) draft.addresses.insert(addresses.begin(), addresses.end());
    return draft;
  }

  ServiceDraft* service_named(const std::string& wire) {
    const auto [at, fresh] = service_index_.try_emplace(wire, services_.size());
    if (fresh) services_.emplace_back().names.push_back(wire);
    return &services_[at->second];
  }

  void add_service(const ServiceInput& input) {
    const std::string wire = to_wire(input.name);
    if (wire.empty()) return;
    ServiceDraft* service = service_named(wire);
    service->input = &input;
    for (const std::string& alias : input.aliases)
      if (std::string name = to_wire(alias); !name.empty()) service->names.push_back(name);
  }

  void add_endpoint(const EndpointInput& input) {
    Addresses ready;
    if (input.state == EndpointState::ready)
      ready.insert(input.addresses.begin(), input.addresses.end());

    std::string own;
    const auto name = [&](const std::string& text, Rank rank) {
      if (text.empty()) return;
      const std::string wire = to_wire(text);
      if (wire.empty()) return;
      declare(wire, rank, ready);
      if (own.empty()) own = wire;
    };
    if (!input.service.empty() && !input.slot.empty()) {
      const std::string task = input.service + "." + input.slot;
      if (!input.task_id.empty()) name(task + "." + input.task_id, Rank::name);
      name(task, Rank::name);
    }
    name(input.name, Rank::name);
    for (const std::string& alias : input.aliases) name(alias, Rank::alias);
    name(input.hostname, Rank::nickname);
    name(input.id.substr(0, 12), Rank::nickname);

    if (!own.empty())
      for (const Address& address : ready) reverse_.insert({address, own});
    if (input.service.empty()) return;
    const std::string wire = to_wire(input.service);
    if (wire.empty()) return;
    // A task may be heard of before its service: its address is as good as the VIP meanwhile.
    ServiceDraft* service = service_named(wire);
    service->ready.insert(ready.begin(), ready.end());
    service->reachable |=
        input.state == EndpointState::ready || input.state == EndpointState::suspect;
    if (!ready.empty() && !own.empty()) service->tasks.insert(own);
  }

  void name_service(const ServiceDraft& service) {
    const uint32_t index = uint32_t(&service - services_.data());
    const bool vip = service.input && !service.input->vips.empty();
    Addresses addresses = service.ready;
    if (vip) {
      addresses.clear();
      // A VIP without backends refuses connections; no address says so sooner.
      if (service.reachable)
        addresses.insert(service.input->vips.begin(), service.input->vips.end());
      for (const Address& address : service.input->vips)
        reverse_.insert({address, service.names.front()});
    }
    for (const std::string& name : service.names) {
      const Rank rank = &name == &service.names.front() ? Rank::service : Rank::service_alias;
      Draft& own = declare(name, rank, addresses);
      if (own.rank == rank && own.service == NetworkNames::none) {
        own.service = index;
        own.each_task = !vip;
      }
      const std::string tasks = tasks_label + name;
      if (!usable(tasks)) continue;
      Draft& each = declare(tasks, rank, service.ready);
      if (each.rank == rank && each.service == NetworkNames::none) {
        each.service = index;
        each.each_task = true;
      }
    }
  }

  void write_entries() {
    // Most names of an endpoint mean the same addresses: one copy serves them.
    std::map<std::vector<Address>, uint32_t> lists;
    for (const auto& [wire, draft] : drafts_) {
      NetworkNames::Entry entry;
      entry.name_at = uint32_t(out_->names_.size());
      entry.name_size = uint8_t(wire.size());
      entry.service = draft.service;
      entry.each_task = draft.each_task;
      std::vector<Address> list(draft.addresses.begin(), draft.addresses.end());
      const auto middle = std::stable_partition(list.begin(), list.end(),
                                                [](const Address& a) { return a.is_v4(); });
      entry.v4 = uint32_t(middle - list.begin());
      entry.v6 = uint32_t(list.size()) - entry.v4;
      const auto [at, fresh] = lists.try_emplace(list, out_->addresses_.size());
      if (fresh) out_->addresses_.insert(out_->addresses_.end(), list.begin(), list.end());
      entry.first_address = at->second;
      out_->names_ += wire;
      out_->entries_.push_back(entry);
    }
    out_->names_.shrink_to_fit();
    out_->addresses_.shrink_to_fit();
    out_->entries_.shrink_to_fit();
  }

  uint32_t index_of(const std::string& wire) const {
    const NetworkNames::Entry* entry = out_->find(wire);
    return entry ? uint32_t(entry - out_->entries_.data()) : NetworkNames::none;
  }

  void write_slots() {
    size_t size = 8;
    while (size < out_->entries_.size() * 2) size *= 2;
    out_->slots_.assign(size, 0);
    for (uint32_t i = 0; i < out_->entries_.size(); ++i) {
      size_t slot = WireHash()(out_->name(out_->entries_[i])) & (size - 1);
      while (out_->slots_[slot]) slot = (slot + 1) & (size - 1);
      out_->slots_[slot] = i + 1;
    }
  }

  void write_services() {
    for (const ServiceDraft& draft : services_) {
      NetworkNames::Service& service = out_->services_.emplace_back();
      for (const std::string& task : draft.tasks) service.tasks.push_back(index_of(task));
      if (!draft.input) continue;
      for (const PortInput& port : draft.input->ports)
        service.ports.push_back(
            {lower_case(port.name), lower_case(port.protocol), port.target, port.published});
    }
  }

  void write_reverse() {
    for (const auto& [address, wire] : reverse_)
      out_->reverse_.push_back({address, index_of(wire)});
    out_->reverse_.shrink_to_fit();
  }

  const NetworkInput& input_;
  std::shared_ptr<NetworkNames> out_ = std::make_shared<NetworkNames>();
  std::map<std::string, Draft> drafts_;
  std::vector<ServiceDraft> services_;
  std::map<std::string, size_t> service_index_;
  std::set<std::pair<Address, std::string>> reverse_;
};

std::shared_ptr<const NetworkNames> NetworkNames::build(const NetworkInput& input) {
  return NetworkNamesBuilder(input).build();
}

const NetworkNames::Entry* NetworkNames::find(std::string_view wire) const {
  if (slots_.empty()) return nullptr;
  const size_t mask = slots_.size() - 1;
  for (size_t slot = WireHash()(wire) & mask; slots_[slot]; slot = (slot + 1) & mask) {
    const Entry& entry = entries_[slots_[slot] - 1];
    if (name(entry) == wire) return &entry;
  }
  return nullptr;
}

std::vector<uint32_t> NetworkNames::reverse(const Address& address) const {
  std::vector<uint32_t> out;
  auto at = std::lower_bound(reverse_.begin(), reverse_.end(), std::pair{address, uint32_t(0)});
  for (; at != reverse_.end() && at->first == address; ++at) out.push_back(at->second);
  return out;
}

DnsView::DnsView(ViewInput input)
    : networks_(std::move(input.networks)),
      subnets_(std::move(input.known_subnets)),
      serial_(input.serial),
      options_(input.options) {
  std::sort(networks_.begin(), networks_.end(),
            [](const auto& a, const auto& b) { return a->id() < b->id(); });
  for (const std::string& name : input.known_networks)
    if (auto wire = wire_name(name)) domains_[*wire] = Domain::ours;
  for (const auto& network : networks_) {
    if (!network->domain().empty())
      domains_[network->domain()] = network->forward_unknown() ? Domain::shared : Domain::ours;
    subnets_.insert(subnets_.end(), network->subnets().begin(), network->subnets().end());
  }
  for (const std::string& name : input.known_names)
    if (auto wire = wire_name(name)) known_.insert(*std::move(wire));
}

const NetworkNames* DnsView::network(std::string_view id) const {
  const auto at =
      std::lower_bound(networks_.begin(), networks_.end(), id,
                       [](const auto& network, std::string_view id) { return network->id() < id; });
  return at != networks_.end() && (*at)->id() == id ? at->get() : nullptr;
}

bool DnsView::known(std::string_view wire) const {
  if (known_.find(wire) != known_.end()) return true;
  return std::any_of(networks_.begin(), networks_.end(),
                     [&](const auto& network) { return network->find(wire) != nullptr; });
}

bool DnsView::in_known_subnet(const Prefix& block) const {
  return std::any_of(subnets_.begin(), subnets_.end(),
                     [&](const Prefix& subnet) { return subnet.contains(block); });
}

DnsView::Domain DnsView::domain(std::string_view wire) const {
  const auto at = domains_.find(wire);
  return at == domains_.end() ? Domain::unknown : at->second;
}

}  // namespace weft::dns
