// SPDX-License-Identifier: Apache-2.0
#include "node/cluster_view.h"

namespace weft::node {

namespace {

Address address_or_none(const std::string& text) {
  auto parsed = Address::parse(text);
  return parsed ? *parsed : Address();
}

std::optional<Prefix> prefix_or_none(const std::string& text) {
  if (text.empty()) return std::nullopt;
  auto parsed = Prefix::parse(text, true);
  return parsed ? std::optional<Prefix>(*parsed) : std::nullopt;
}

Mac mac_or_none(const std::string& text) {
  auto parsed = Mac::parse(text);
  return parsed ? *parsed : Mac();
}

bool is_set(const google::protobuf::Map<std::string, std::string>& options, const char* key,
            std::string_view value) {
  const auto found = options.find(key);
  return found != options.end() && found->second == value;
}

plan::Network network_of(const api::Network& in) {
  plan::Network out;
  out.id = in.id();
  out.name = in.name();
  out.vni = in.vni();
  out.subnet4 = prefix_or_none(in.subnet4());
  out.subnet6 = prefix_or_none(in.subnet6());
  out.gateway4 = address_or_none(in.gateway4());
  out.gateway6 = address_or_none(in.gateway6());
  out.mtu_bytes = uint16_t(in.mtu_bytes());
  out.internal = in.internal();
  out.ingress = in.ingress();
  out.encrypted = in.encrypted();
  out.multicast = is_set(in.options(), "multicast", "true");
  out.forward_unknown = is_set(in.options(), "forward_unknown", "true");
  return out;
}

plan::Protocol protocol_of(const std::string& name) {
  return name == "udp"    ? plan::Protocol::udp
         : name == "sctp" ? plan::Protocol::sctp
                          : plan::Protocol::tcp;
}

plan::Service service_of(const api::Service& in) {
  plan::Service out;
  out.id = in.id();
  out.name = in.spec().name();
  for (const std::string& id : in.spec().networks()) out.network_ids.push_back(id);
  out.dnsrr = in.spec().endpoint_mode() == api::DNSRR;
  for (const api::ServiceVip& vip : in.vips())
    out.vips.push_back(
        {vip.network_id(), address_or_none(vip.address4()), address_or_none(vip.address6())});
  for (const api::PublishedPort& port : in.spec().ports())
    out.ports.push_back(
        {address_or_none(port.address()), uint16_t(port.published()), uint16_t(port.target()),
         protocol_of(port.protocol()),
         port.mode() == api::HOST ? plan::PublishMode::host : plan::PublishMode::ingress});
  // Repeated string fields hold pointers; aliases are few and live in the message for as long as it
  // does.
  out.aliases = {};
  out.affinity = is_set(in.spec().options(), "affinity", "client");
  out.direct_return = is_set(in.spec().options(), "direct-return", "true");
  return out;
}

plan::Member member_of(const api::Node& in, plan::MemberState state, const Surroundings& around) {
  plan::Member out;
  out.index = uint16_t(in.index());
  out.id = in.id();
  out.name = in.name();
  out.underlay = address_or_none(in.address());
  out.state = state;
  out.host_mac = mac_or_none(in.ingress_mac());
  out.ingress_address4 = address_or_none(in.ingress_address4());
  out.ingress_address6 = address_or_none(in.ingress_address6());
  if (const auto hop = around.next_hops.find(out.underlay); hop != around.next_hops.end()) {
    out.path_mtu_bytes = uint16_t(hop->second.mtu_bytes);
    if (hop->second.resolved)
      out.next_hop =
          plan::NextHop{hop->second.source, hop->second.destination, hop->second.ifindex};
  }
  return out;
}

plan::Endpoint endpoint_of(const KnownEndpoint& in, std::string_view network_id) {
  plan::Endpoint out;
  out.id = in.id;
  out.network_id = network_id;
  out.node_id = in.node_id;
  out.address4 = in.record.address4;
  out.address6 = in.record.address6;
  out.mac = in.record.mac;
  out.state = plan::EndpointState(in.record.state);
  out.service_id = in.record.service_id;
  out.task_id = in.record.task_id;
  out.slot = in.record.slot;
  out.name = in.record.name;
  out.hostname = in.record.hostname;
  out.aliases = in.record.aliases;
  out.weight = in.record.weight;
  return out;
}

}  // namespace

void ClusterView::on_event(const cluster::Event& event) {
  using Kind = cluster::Event::Kind;
  const std::string owner = event.member.to_string();
  switch (event.kind) {
    case Kind::member_alive:
      members_[owner] = cluster::MemberState::alive;
      break;
    case Kind::member_suspect:
      members_[owner] = cluster::MemberState::suspect;
      break;
    case Kind::member_dead:
      members_[owner] = cluster::MemberState::dead;
      break;
    case Kind::member_left:
      members_[owner] = cluster::MemberState::left;
      break;
    case Kind::member_forgotten:
      members_.erase(owner);
      break;
    case Kind::record_set:
    case Kind::record_restored: {
      auto record = codec::decode_endpoint_record(event.value);
      if (!record) {
        undecodable_++;
        break;
      }
      const std::string_view kept = *owners_.insert(owner).first;
      const auto [at, is_new] = endpoints_.try_emplace({event.scope, kept, event.key});
      at->second = {std::get<2>(at->first), kept, std::move(*record)};
      break;
    }
    case Kind::record_hidden:  // its owner is dead: the plan knows what that means
      break;
    case Kind::record_erased:
      endpoints_.erase(Endpoints::key_type(event.scope, owner, event.key));
      break;
    case Kind::member_metadata:
    case Kind::scope_entered:
    case Kind::scope_left:
    case Kind::scope_synced:
    case Kind::keys_staged:
    case Kind::keys_sealing:
      break;
  }
}

plan::MemberState ClusterView::member_state(const std::string& node_id) const {
  const auto found = members_.find(node_id);
  // Told of by a manager, but not met yet.
  if (found == members_.end()) return plan::MemberState::alive;
  switch (found->second) {
    case cluster::MemberState::alive:
      return plan::MemberState::alive;
    case cluster::MemberState::suspect:
      return plan::MemberState::suspect;
    case cluster::MemberState::dead:
      return plan::MemberState::dead;
    default:
      return plan::MemberState::gone;
  }
}

plan::NodeView ClusterView::build(const KnownState& known, const Surroundings& around,
                                  const std::map<std::string, Attachment>& attachments) const {
  plan::NodeView view;
  view.self.index = uint16_t(known.self.index());
  view.self.id = known.self.id();
  view.self.name = known.self.name();
  view.self.underlay = address_or_none(known.self.address());
  view.self.uplink_ifindex = around.uplink.link.index;
  view.self.uplink_mtu_bytes = uint16_t(std::min<uint32_t>(around.uplink.link.mtu_bytes, 0xffff));
  view.self.vxlan_port = around.vxlan_port;
  view.self.host = around.host;
  for (const auto& [id, node] : known.nodes) {
    const bool self = id == known.self.id();
    view.members.push_back(
        member_of(node, self ? plan::MemberState::alive : member_state(id), around));
  }
  std::map<uint32_t, std::string_view> network_of_vni;
  for (const auto& [id, network] : known.networks) {
    view.networks.push_back(network_of(network));
    network_of_vni[network.vni()] = id;
  }
  for (const auto& [id, service] : known.services) {
    view.services.push_back(service_of(service));
    if (const auto aliases = known.service_aliases.find(id); aliases != known.service_aliases.end())
      view.services.back().aliases = aliases->second;
  }
  view.endpoints.reserve(endpoints_.size());
  for (const auto& [key, endpoint] : endpoints_)
    if (const auto network = network_of_vni.find(std::get<0>(key)); network != network_of_vni.end())
      view.endpoints.push_back(endpoint_of(endpoint, network->second));
  for (const auto& [id, attachment] : attachments)
    if (attachment.ifindex != 0)
      view.local_endpoints.push_back({id, attachment.ifindex, attachment.host_mac,
                                      uint16_t(attachment.mtu_bytes), attachment.local_id});
  view.addresses = around.addresses;
  return view;
}

}  // namespace weft::node
