// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <deque>
#include <string>
#include <vector>

#include "core/plan/node_view.h"

namespace weft::fixture {

inline Address address(std::string_view text) { return Address::parse(text).value(); }
inline Mac mac(std::string_view text) { return Mac::parse(text).value(); }

// A NodeView with somewhere to keep its texts. Node n has index n, id "node<n>", underlay
// 192.168.0.n; the view is of node 1.
class Cluster {
 public:
  plan::NodeView view;

  Cluster() = default;
  Cluster(const Cluster&) = delete;  // the view points into it
  Cluster& operator=(const Cluster&) = delete;

  std::string_view keep(std::string text) { return texts_.emplace_back(std::move(text)); }
  std::span<const std::string> keep_list(std::vector<std::string> texts) {
    return lists_.emplace_back(std::move(texts));
  }
  static Mac host_mac(unsigned node) {
    return {{0x02, 0x77, 0, 0, uint8_t(node >> 8), uint8_t(node)}};
  }

  void nodes(unsigned count) {
    auto& self = view.self;
    self = {.index = 1, .id = "node1", .name = "n1", .underlay = Address::v4(0xc0a80001)};
    self.uplink_ifindex = 2;
    self.uplink_mtu_bytes = 1500;
    self.host = {.address4 = Address::v4(0x0a00fe01),
                 .mac = host_mac(1),
                 .host_mac = mac("02:77:ff:00:00:01"),
                 .ifindex = 3,
                 .mtu_bytes = 1450,
                 .id = 1};
    for (unsigned n = 2; n <= count; ++n) {
      plan::Member m{.index = uint16_t(n),
                     .id = keep("node" + std::to_string(n)),
                     .name = keep("n" + std::to_string(n)),
                     .underlay = Address::v4(0xc0a80000 + n)};
      m.next_hop = plan::NextHop{
          mac("52:54:00:00:00:01"), {{0x52, 0x54, 0, 0, uint8_t(n >> 8), uint8_t(n)}}, 2};
      m.host_mac = host_mac(n);
      m.ingress_address4 = Address::v4(0x0a00fe00 + n);
      view.members.push_back(m);
    }
  }
  plan::Member& member(unsigned n) { return view.members.at(n - 2); }

  // Network i has VNI 4096 + i and the subnet 10.i.0.0/16; network 0 is the ingress network.
  plan::Network& network(unsigned i, const char* name) {
    plan::Network n{.id = keep("net" + std::to_string(i)), .name = name, .vni = 4096 + i};
    n.subnet4 = Prefix{Address::v4(0x0a000000 + (i << 16)), 16};
    n.gateway4 = Address::v4(0x0a000001 + (i << 16));
    n.mtu_bytes = 1450;
    n.ingress = i == 0;
    view.networks.push_back(n);
    return view.networks.back();
  }
  plan::Service& service(unsigned i, const char* name, unsigned network) {
    plan::Service s{.id = keep("svc" + std::to_string(i)), .name = name};
    s.network_ids.push_back(keep("net" + std::to_string(network)));
    s.vips.push_back({.network_id = s.network_ids[0],
                      .address4 = Address::v4(0x0a000000 + (network << 16) + 0x8000 + i)});
    view.services.push_back(s);
    return view.services.back();
  }
  // An endpoint with address 10.<network>.<host> on a node; attached here if that is node 1.
  plan::Endpoint& endpoint(unsigned network, unsigned host, unsigned node,
                           std::string_view service = {}) {
    const std::string number = std::to_string(network) + "-" + std::to_string(host);
    plan::Endpoint e{.id = keep("ep" + number),
                     .network_id = keep("net" + std::to_string(network)),
                     .node_id = keep("node" + std::to_string(node)),
                     .address4 = Address::v4(0x0a000000 + (network << 16) + host)};
    e.mac = Mac::from_v4(e.address4);
    e.service_id = service;
    if (!service.empty()) {
      e.task_id = keep("task" + number);
      e.slot = host;
    }
    e.name = keep("c" + number);
    if (node == 1)
      view.local_endpoints.push_back({.endpoint_id = e.id,
                                      .ifindex = 100 + uint32_t(view.local_endpoints.size()),
                                      .host_mac = mac("02:77:ff:00:01:00"),
                                      .mtu_bytes = 1450,
                                      .id = 10 + uint32_t(view.local_endpoints.size())});
    view.endpoints.push_back(e);
    return view.endpoints.back();
  }
  void detach(std::string_view id) {
    std::erase_if(view.endpoints, [&](const auto& e) { return e.id == id; });
    std::erase_if(view.local_endpoints, [&](const auto& e) { return e.endpoint_id == id; });
  }

 private:
  std::deque<std::string> texts_;
  std::deque<std::vector<std::string>> lists_;
};

}  // namespace weft::fixture
