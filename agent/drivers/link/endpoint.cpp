// SPDX-License-Identifier: Apache-2.0
#include "drivers/link/endpoint.h"

#include <algorithm>

#include "drivers/link/sysctl.h"

namespace weft::link {
namespace {

Prefix default_of(const Address& address) {
  return {address.is_v4() ? Address::v4(0) : Address(), 0};
}

uint8_t full_length(const Address& address) { return address.is_v4() ? 32 : 128; }

// A setting of IPv6 that may be missing because the kernel runs without IPv6.
Result<> write_optional(int netns, const std::string& name, std::string_view value) {
  auto done = write_sysctl(netns, name, value);
  if (!done && done.error().code() == ErrorCode::not_found) return Ok;
  return done;
}

Result<> ipv6_settings(int netns, const std::string& interface, bool wanted) {
  const std::string folder = "net/ipv6/conf/" + interface + "/";
  if (!wanted) return write_optional(netns, folder + "disable_ipv6", "1");
  auto enabled = write_sysctl(netns, folder + "disable_ipv6", "0");
  if (!enabled && enabled.error().code() == ErrorCode::not_found)
    return Error("IPv6 is switched off in the kernel; create the network without --ipv6");
  if (!enabled) return enabled;
  // Addresses come from the manager; a router advertisement could only confuse.
  TRY(write_sysctl(netns, folder + "accept_dad", "0"));
  TRY(write_sysctl(netns, folder + "accept_ra", "0"));
  return write_sysctl(netns, folder + "autoconf", "0");
}

// The host side: no addresses, packets come from any source the BPF program let through.
Result<> host_side_settings(Links& node, int node_netns, const Link& link) {
  TRY(node.set_no_link_local(link.index));
  // Loose even where `all` says strict: the kernel takes the larger of both.
  TRY(write_sysctl(node_netns, "net/ipv4/conf/" + link.name + "/rp_filter", "2"));
  TRY(write_optional(node_netns, "net/ipv6/conf/" + link.name + "/accept_ra", "0"));
  return node.set_up(link.index);
}

Result<> sync_addresses(Links& links, uint32_t index, const std::vector<Prefix>& wanted,
                        bool prefix_route) {
  for (const InterfaceAddress& present : TRY(links.addresses(index)))
    if (!present.prefix.address.is_link_local() &&
        std::find(wanted.begin(), wanted.end(), present.prefix) == wanted.end())
      TRY(links.remove_address(index, present.prefix));
  for (const Prefix& address : wanted) TRY(links.ensure_address(index, address, prefix_route));
  return Ok;
}

Result<> inside_routes(Links& inside, const Link& link, const EndpointSpec& spec) {
  const uint32_t table = first_source_table + link.index;
  for (const Address& gateway : spec.gateways) {
    Route route{.destination = default_of(gateway), .gateway = gateway, .ifindex = link.index};
    // The gateway may lie outside of the subnet of a /32 endpoint.
    route.on_link = true;
    if (spec.default_route) TRY(inside.ensure_route(route));
    route.table = table;
    TRY(inside.ensure_route(route));
    for (const Prefix& address : spec.addresses) {
      if (address.address.is_v4() != gateway.is_v4()) continue;
      Prefix from = address;
      from.length = full_length(address.address);
      TRY(inside.ensure_rule({.from = from, .table = table, .priority = source_rule_priority}));
      Prefix subnet = TRY(Prefix::parse(address.to_string(), true));
      if (subnet.length < full_length(subnet.address))
        TRY(inside.ensure_route({.destination = subnet, .ifindex = link.index, .table = table}));
    }
  }
  return Ok;
}

}  // namespace

Result<EndpointLinks> ensure_endpoint(Links& node, int node_netns, const EndpointSpec& spec) {
  const VethSpec veth{.name = host_link_name(spec.endpoint_id),
                      .alias = spec.endpoint_id,
                      .mac = spec.host_mac,
                      .peer_name = spec.interface,
                      .peer_netns = spec.netns,
                      .peer_mac = spec.mac,
                      .mtu_bytes = spec.mtu_bytes};
  const Link host = TRY(node.ensure_veth(veth));
  TRY_IN(host.name, host_side_settings(node, node_netns, host));

  Links inside = TRY(Links::open(spec.netns));
  const Link link = TRY(inside.get(spec.interface));
  const bool ipv6 = std::any_of(spec.addresses.begin(), spec.addresses.end(),
                                [](const Prefix& p) { return !p.address.is_v4(); });
  TRY_IN(spec.interface, ipv6_settings(spec.netns, spec.interface, ipv6));
  // Replies of published ports come in from addresses that the main table routes elsewhere.
  TRY(write_sysctl(spec.netns, "net/ipv4/conf/" + spec.interface + "/rp_filter", "2"));
  TRY_IN(spec.interface, sync_addresses(inside, link.index, spec.addresses, true));
  TRY_IN(spec.interface, inside.set_up(link.index));
  TRY_IN(spec.interface, inside_routes(inside, link, spec));
  return EndpointLinks{TRY(node.get(host.name)), TRY(inside.get(link.name))};
}

Result<> remove_endpoint(Links& node, const std::string& endpoint_id, int netns) {
  const std::string name = host_link_name(endpoint_id);
  const auto link = TRY(node.find(name));
  if (!link) return Ok;
  if (netns >= 0) {
    // Routes leave with the link, rules stay: they name a table, not a link.
    Links inside = TRY(Links::open(netns));
    for (const Rule& rule : TRY(inside.rules(route_protocol)))
      if (rule.table == first_source_table + link->peer_index) TRY(inside.remove_rule(rule));
  }
  return node.remove(name);
}

Result<EndpointLinks> ensure_node_endpoint(Links& node, int node_netns,
                                           const NodeEndpointSpec& spec) {
  const VethSpec veth{.name = std::string(node_link_host_name),
                      .mac = spec.host_mac,
                      .peer_name = std::string(node_link_name),
                      .peer_mac = spec.mac,
                      .mtu_bytes = spec.mtu_bytes};
  // Only we use this name, so an unpaired weft0 is a leftover of an interrupted removal.
  if (!TRY(node.find(veth.name))) TRY(node.remove(node_link_name));
  const Link host = TRY(node.ensure_veth(veth));
  TRY_IN(host.name, host_side_settings(node, node_netns, host));
  TRY(node.set_no_arp(host.index));

  const Link link = TRY(node.get(node_link_name));
  TRY(node.set_no_link_local(link.index));
  TRY(node.set_no_arp(link.index));
  const std::string name(node_link_name);
  TRY(write_sysctl(node_netns, "net/ipv4/conf/" + name + "/rp_filter", "2"));
  // A process of the node that calls a published port on the node's address sees it as its peer.
  TRY(write_sysctl(node_netns, "net/ipv4/conf/" + name + "/accept_local", "1"));
  TRY(write_optional(node_netns, "net/ipv6/conf/" + name + "/accept_ra", "0"));
  TRY(write_optional(node_netns, "net/ipv6/conf/" + name + "/accept_dad", "0"));
  std::vector<Prefix> addresses;
  for (const Address& address : spec.addresses)
    addresses.push_back({address, full_length(address)});
  TRY_IN(name, sync_addresses(node, link.index, addresses, false));
  TRY(node.set_up(link.index));
  return EndpointLinks{TRY(node.get(host.name)), TRY(node.get(link.name))};
}

Result<> sync_node_routes(Links& node, uint32_t index, const std::set<Prefix>& subnets,
                          const std::vector<Address>& sources) {
  for (const Route& route : TRY(node.routes(route_protocol)))
    if (route.ifindex == index && !subnets.contains(route.destination))
      TRY(node.remove_route(route));
  for (const Prefix& subnet : subnets) {
    Route route{.destination = subnet, .ifindex = index};
    for (const Address& source : sources)
      if (source.is_v4() == subnet.address.is_v4()) route.source = source;
    TRY(node.ensure_route(route));
  }
  return Ok;
}

Result<> prepare_node(int node_netns, const std::string& uplink) {
  TRY(write_sysctl(node_netns, "net/ipv4/ip_forward", "1"));
  // Forwarding switches router advertisements off unless the uplink asks for them with 2.
  const std::string accept = "net/ipv6/conf/" + uplink + "/accept_ra";
  auto present = read_sysctl(node_netns, accept);
  if (!present) {
    if (present.error().code() == ErrorCode::not_found) return Ok;
    return std::move(present).error();
  }
  if (*present == "1") TRY(write_sysctl(node_netns, accept, "2"));
  return write_sysctl(node_netns, "net/ipv6/conf/all/forwarding", "1");
}

Result<std::vector<std::string>> leftover_links(Links& node, const std::set<std::string>& wanted) {
  std::vector<std::string> out;
  for (const Link& link : TRY(node.list()))
    if (is_ours(link.name) && !wanted.contains(link.name)) out.push_back(link.name);
  std::sort(out.begin(), out.end());
  return out;
}

Result<std::vector<std::string>> sweep_links(Links& node, const std::set<std::string>& wanted) {
  std::vector<std::string> removed;
  std::set<uint32_t> kept;
  for (const std::string& name : wanted)
    if (const auto link = TRY(node.find(name))) kept.insert(link->index);
  for (const std::string& name : TRY(leftover_links(node, wanted))) {
    TRY(node.remove(name));
    removed.push_back("link " + name);
  }
  for (const Route& route : TRY(node.routes(route_protocol))) {
    if (kept.contains(route.ifindex)) continue;
    TRY(node.remove_route(route));
    removed.push_back("route " + route.destination.to_string());
  }
  for (const Rule& rule : TRY(node.rules(route_protocol))) {
    TRY(node.remove_rule(rule));
    removed.push_back("rule from " + rule.from.to_string());
  }
  return removed;
}

}  // namespace weft::link
