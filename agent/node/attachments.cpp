// SPDX-License-Identifier: Apache-2.0
#include "node/attachments.h"

#include <nlohmann/json.hpp>
#include <set>

#include "drivers/netns/netns.h"
#include "io/files.h"

namespace weft::node {

namespace {

using Json = nlohmann::json;

std::string text(const Address& address) { return address.is_none() ? "" : address.to_string(); }

Result<Address> address_from(const Json& json) {
  const std::string value = json;
  if (value.empty()) return Address();
  return Address::parse(value);
}

Json to_json(const Attachment& a) {
  return {{"endpoint_id", a.endpoint_id},
          {"network_id", a.network_id},
          {"task_id", a.task_id},
          {"netns", a.netns},
          {"interface", a.interface},
          {"mac", a.mac.to_string()},
          {"host_mac", a.host_mac.to_string()},
          {"address4", text(a.address4)},
          {"address6", text(a.address6)},
          {"mtu_bytes", a.mtu_bytes},
          {"local_id", a.local_id}};
}

Result<Attachment> from_json(const Json& json) {
  Attachment a;
  a.endpoint_id = json.at("endpoint_id");
  a.network_id = json.at("network_id");
  a.task_id = json.at("task_id");
  a.netns = json.at("netns");
  a.interface = json.at("interface");
  a.mac = TRY(Mac::parse(json.at("mac").get<std::string>()));
  a.host_mac = TRY(Mac::parse(json.at("host_mac").get<std::string>()));
  a.address4 = TRY(address_from(json.at("address4")));
  a.address6 = TRY(address_from(json.at("address6")));
  a.mtu_bytes = json.at("mtu_bytes");
  a.local_id = json.at("local_id");
  return a;
}

// Locally administered, and never that of a container (02:42...): 02:57 + the endpoint's number.
Mac host_mac_of(uint32_t local_id) {
  return Mac{{0x02, 0x57, uint8_t(local_id >> 24), uint8_t(local_id >> 16), uint8_t(local_id >> 8),
              uint8_t(local_id)}};
}

}  // namespace

Result<Attachments> Attachments::open(int node_netns, std::string file) {
  Attachments out(node_netns, std::move(file), TRY(link::Links::open(node_netns)));
  TRY(out.load());
  return out;
}

const Attachment* Attachments::find(const std::string& endpoint_id) const {
  const auto found = all_.find(endpoint_id);
  return found == all_.end() ? nullptr : &found->second;
}

Result<> Attachments::load() {
  auto content = io::read_file(file_);
  if (!content) {
    if (content.error().code() == ErrorCode::not_found) return Ok;
    return std::move(content).error();
  }
  try {
    const Json json = Json::parse(*content);
    next_local_id_ = json.at("next_local_id");
    for (const Json& one : json.at("attachments")) {
      Attachment a = TRY_IN(file_, from_json(one));
      all_[a.endpoint_id] = std::move(a);
    }
  } catch (const Json::exception&) {
    return Error(file_ + " is damaged: remove it, and attach its containers again");
  }
  return Ok;
}

Result<> Attachments::save() const {
  Json json = {{"next_local_id", next_local_id_}, {"attachments", Json::array()}};
  for (const auto& [id, attachment] : all_) json["attachments"].push_back(to_json(attachment));
  return io::write_file_atomically(file_, json.dump(1) + "\n", 0600);
}

Result<Attachment> Attachments::attach(Attachment wanted, const AttachmentNetwork& network) {
  if (const Attachment* known = find(wanted.endpoint_id)) {
    wanted.local_id = known->local_id;
  } else {
    wanted.local_id = next_local_id_++;
  }
  wanted.host_mac = host_mac_of(wanted.local_id);
  wanted.ifindex = 0;
  const auto before = all_;
  all_[wanted.endpoint_id] = wanted;
  if (auto saved = save(); !saved) {
    all_ = before;
    return std::move(saved).error();
  }
  link::EndpointSpec spec;
  const Fd netns = TRY(netns::open_netns(wanted.netns));
  spec.endpoint_id = wanted.endpoint_id;
  spec.netns = netns.get();
  spec.interface = wanted.interface;
  spec.mac = wanted.mac;
  spec.host_mac = wanted.host_mac;
  spec.mtu_bytes = wanted.mtu_bytes;
  if (!wanted.address4.is_none())
    spec.addresses.push_back({wanted.address4, network.subnet4.length});
  if (!wanted.address6.is_none())
    spec.addresses.push_back({wanted.address6, network.subnet6.length});
  for (const Address& gateway : {network.gateway4, network.gateway6})
    if (!gateway.is_none()) spec.gateways.push_back(gateway);
  spec.default_route = network.default_route;
  auto links = link::ensure_endpoint(links_, node_netns_, spec);
  if (!links) {
    all_ = before;
    if (auto saved = save(); !saved) return std::move(saved).error();
    return std::move(links).error();
  }
  all_[wanted.endpoint_id].ifindex = links->host.index;
  return all_[wanted.endpoint_id];
}

Result<> Attachments::detach(const std::string& endpoint_id) {
  const Attachment* known = find(endpoint_id);
  if (!known) return Ok;
  // The container may have gone, and its end of the link with it.
  auto netns = netns::open_netns(known->netns);
  TRY(link::remove_endpoint(links_, endpoint_id, netns ? netns->get() : -1));
  all_.erase(endpoint_id);
  return save();
}

Result<std::vector<std::string>> Attachments::adopt() {
  std::vector<std::string> gone;
  std::set<std::string> wanted = {std::string(link::node_link_name),
                                  std::string(link::node_link_host_name),
                                  std::string(link::vxlan_link_name)};
  for (auto it = all_.begin(); it != all_.end();) {
    const std::string name = link::host_link_name(it->first);
    const auto found = TRY(links_.find(name));
    if (found && netns::open_netns(it->second.netns)) {
      it->second.ifindex = found->index;
      wanted.insert(name);
      ++it;
    } else {
      gone.push_back(it->first);
      it = all_.erase(it);
    }
  }
  for (const std::string& name : TRY(link::leftover_links(links_, wanted)))
    TRY(links_.remove(name));
  TRY(save());
  return gone;
}

Result<> Attachments::clear() {
  while (!all_.empty()) TRY(detach(std::string(all_.begin()->first)));
  return Ok;
}

}  // namespace weft::node
