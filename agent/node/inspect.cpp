// SPDX-License-Identifier: Apache-2.0
#include "node/inspect.h"

#include <algorithm>
#include <cstring>

#include "core/dns/message.h"
#include "drivers/bpf/map_store.h"
#include "node/flow_count.h"
#include "node/map_text.h"
#include "registry.h"

namespace weft::node {

namespace {

constexpr uint32_t default_dump_limit = 1000;

Error no_map(const std::string& name) {
  return Error(ErrorCode::not_found, "there is no map '" + name + "': see `weft map ls`");
}

bool all_zero(ByteView bytes) {
  return std::all_of(bytes.begin(), bytes.end(), [](uint8_t b) { return b == 0; });
}

// The values of all CPUs, each a structure of 64-bit numbers, added up.
Bytes sum_of_cpus(ByteView bytes, uint32_t value_size) {
  const size_t stride = (value_size + 7) & ~size_t(7);
  Bytes out(value_size);
  for (size_t cpu = 0; cpu + stride <= bytes.size(); cpu += stride)
    for (size_t word = 0; word + 8 <= value_size; word += 8) {
      uint64_t sum, add;
      std::memcpy(&sum, out.data() + word, 8);
      std::memcpy(&add, bytes.data() + cpu + word, 8);
      sum += add;
      std::memcpy(out.data() + word, &sum, 8);
    }
  return out;
}

bool matches(const MapText::Fields& key, const api::MapDumpRequest& request) {
  for (int i = 0; i < request.key_size(); i++)
    if (size_t(i) >= key.size() || key[size_t(i)].second != request.key(i)) return false;
  return true;
}

const char* state_name(lb::BackendState state) {
  return state == lb::BackendState::ready      ? "ready"
         : state == lb::BackendState::draining ? "draining"
                                               : "dead";
}

}  // namespace

Result<api::MapList> list_maps(Kernel& kernel, const std::string& bpffs) {
  api::MapList out;
  for (const MapEntry& entry : map_registry) {
    const bpf::RawMap* map = kernel.maps().find(entry.name);
    if (!map) continue;
    const MapText text = TRY(MapText::open(map->fd()));
    api::MapInfo& info = *out.add_maps();
    info.set_name(std::string(entry.name));
    info.set_type(text.type_name());
    info.set_version(entry.version);
    info.set_max_entries(text.max_entries());
    info.set_pin(bpf::pin_path(bpffs, entry.name, entry.version));
    info.set_lifetime(entry.lifetime == MapLifetime::state ? "state" : "rebuilt");
    if (entry.key_size > 0) info.set_entries(TRY(map->count()));
  }
  return out;
}

Result<api::MapDumpReply> dump_map(Kernel& kernel, const api::MapDumpRequest& request) {
  const bpf::RawMap* map = kernel.maps().find(request.name());
  if (!map) return no_map(request.name());
  if (map->definition().key_size == 0)
    return Error(ErrorCode::invalid,
                 "map '" + request.name() + "' is a ring buffer: it has no entries to dump");
  const MapText text = TRY(MapText::open(map->fd()));
  const size_t fields = text.key(Bytes(text.key_size())).size();
  if (size_t(request.key_size()) > fields)
    return Error(ErrorCode::invalid, "the key of map '" + request.name() + "' has " +
                                         std::to_string(fields) + " fields, not " +
                                         std::to_string(request.key_size()));
  const uint32_t limit = request.limit() ? request.limit() : default_dump_limit;
  api::MapDumpReply out;
  out.set_name(request.name());
  TRY(map->for_each([&](ByteView key_bytes, ByteView raw) {
    // An array's entry that is all zero was never written.
    if (map->is_array() && all_zero(raw)) return;
    if (uint32_t(out.entries_size()) >= limit) {
      out.set_more(true);
      return;
    }
    const MapText::Fields key = text.key(key_bytes);
    if (!matches(key, request)) return;
    const Bytes summed = map->is_per_cpu() ? sum_of_cpus(raw, text.value_size()) : Bytes();
    const MapText::Fields value = text.value(map->is_per_cpu() ? ByteView(summed) : raw);
    if (out.key_fields_size() == 0) {
      for (const auto& [name, field] : key) out.add_key_fields(name);
      for (const auto& [name, field] : value) out.add_value_fields(name);
    }
    api::MapEntry& entry = *out.add_entries();
    for (const auto& [name, field] : key) (*entry.mutable_key())[name] = field;
    for (const auto& [name, field] : value) (*entry.mutable_value())[name] = field;
  }));
  if (request.key_size() > 0 && out.entries_size() == 0)
    return Error(ErrorCode::not_found, "map '" + request.name() +
                                           "' has no entry with this key: see `weft map dump " +
                                           request.name() + "`");
  return out;
}

Result<std::map<std::string, uint64_t>> sums_by_name(Kernel& kernel, const std::string& name) {
  api::MapDumpRequest request;
  request.set_name(name);
  const api::MapDumpReply dump = TRY(dump_map(kernel, request));
  std::map<std::string, uint64_t> out;
  for (const api::MapEntry& entry : dump.entries())
    if (!entry.key().empty() && !entry.value().empty())
      out[entry.key().begin()->second] =
          std::strtoull(entry.value().begin()->second.c_str(), nullptr, 10);
  return out;
}

api::LbList list_services(const Kernel& kernel, const plan::DesiredState& desired,
                          const KnownState& known, const ClusterView& view) {
  std::map<uint64_t, const KnownEndpoint*> endpoints;
  for (const auto& [key, endpoint] : view.endpoints())
    endpoints[lb::stable_id(endpoint.id)] = &endpoint;
  std::map<uint64_t, uint32_t> index_of;
  for (const auto& [index, service] : kernel.held().services) index_of[service.id] = index;
  api::LbList out;
  for (const plan::PlannedService& planned : desired.services) {
    api::LbService& service = *out.add_services();
    service.set_id(planned.service_id);
    if (const auto found = known.services.find(planned.service_id); found != known.services.end()) {
      service.set_name(found->second.spec().name());
      for (const auto& port : found->second.spec().ports()) *service.add_ports() = port;
    }
    for (const auto& [id, network] : known.networks)
      if (network.vni() == planned.vni) service.set_network(network.name());
    if (!planned.vip4.is_none()) service.set_vip4(planned.vip4.to_string());
    if (!planned.vip6.is_none()) service.set_vip6(planned.vip6.to_string());
    std::map<std::pair<uint32_t, std::string>, uint32_t> owned;  // (node, MAC) -> slots
    if (const auto index = index_of.find(planned.id); index != index_of.end()) {
      service.set_index(index->second);
      const weft_service& held = kernel.held().services.at(index->second);
      const diff::Range slots = diff::slots_of(held);
      service.set_slots(slots.count);
      for (uint32_t i = 0; i < slots.count; i++) {
        const uint32_t offset = kernel.held().slot(slots.first + i).primary & WEFT_SLOT_NONE;
        if (offset == WEFT_SLOT_NONE) continue;
        const weft_backend& b = kernel.held().backend(held.backends + offset);
        owned[{b.node, std::string(reinterpret_cast<const char*>(b.mac), 6)}]++;
      }
    }
    for (const plan::PlannedBackend& backend : planned.backends) {
      api::LbBackend& one = *service.add_backends();
      one.set_state(state_name(backend.state));
      one.set_weight(backend.weight);
      const auto slots = owned.find(
          {backend.value.node, std::string(reinterpret_cast<const char*>(backend.value.mac), 6)});
      if (slots != owned.end() && service.slots() > 0)
        one.set_share(double(slots->second) / service.slots());
      const auto endpoint = endpoints.find(backend.id);
      if (endpoint == endpoints.end()) continue;
      one.set_endpoint_id(std::string(endpoint->second->id));
      one.set_task(endpoint->second->record.name);
      if (const auto node = known.nodes.find(std::string(endpoint->second->node_id));
          node != known.nodes.end())
        one.set_node(node->second.name());
      const codec::EndpointRecord& record = endpoint->second->record;
      if (!record.address4.is_none()) one.set_address4(record.address4.to_string());
      if (!record.address6.is_none()) one.set_address6(record.address6.to_string());
    }
  }
  return out;
}

Result<> add_flows(Kernel& kernel, const std::map<std::string, Attachment>& attachments,
                   api::LbService& service) {
  const bpf::RawMap* map = kernel.maps().find("flows");
  if (!map) return no_map("flows");
  const std::map<uint32_t, uint64_t> by_port = TRY(count_flows(*map));
  for (api::LbBackend& backend : *service.mutable_backends()) {
    const auto own = attachments.find(backend.endpoint_id());
    if (own == attachments.end()) continue;
    uint64_t flows = 0;
    for (const auto& [id, other] : attachments) {
      const bool same_task = !other.task_id.empty() && other.task_id == own->second.task_id;
      const auto counted = by_port.find(other.local_id);
      if ((id == own->first || same_task) && counted != by_port.end()) flows += counted->second;
    }
    backend.set_flows(flows);
  }
  return Ok;
}

Result<api::DnsQueryReply> query_dns(const dns::DnsView& view, const dns::Asker& asker,
                                     const api::DnsQueryRequest& request, Rng& rng) {
  const dns::Type type = TRY(dns::parse_type(request.type().empty() ? "A" : request.type()));
  const Bytes query = TRY(dns::encode_query(request.name(), type, uint16_t(rng())));
  Bytes answer;
  const dns::Decision decision = dns::resolve(view, asker, query, dns::Transport::tcp, rng, answer);
  api::DnsQueryReply out;
  if (decision.action == dns::Decision::Action::forward) {
    out.set_forwarded(true);
    out.set_status("forwarded to the node's resolvers");
    return out;
  }
  if (decision.action == dns::Decision::Action::drop)
    return Error(ErrorCode::invalid, "the query would be dropped");
  const dns::Message message = TRY(dns::decode_message(answer));
  out.set_status(std::string(dns::rcode_name(message.rcode)));
  const auto add = [](const dns::Record& record, api::DnsRecord* to) {
    to->set_name(record.name);
    to->set_type(std::string(dns::type_name(record.type)));
    to->set_ttl_s(record.ttl);
    to->set_data(record.data);
  };
  for (const dns::Record& record : message.answers) add(record, out.add_answers());
  for (const dns::Record& record : message.authority) add(record, out.add_authority());
  return out;
}

}  // namespace weft::node
