// SPDX-License-Identifier: Apache-2.0
#include "node/attachments.h"

#include <optional>
#include <set>

#include "drivers/netns/netns.h"

namespace weft::node {

namespace {

// Locally administered, and never that of a container (02:42...): 02:57 + the endpoint's number.
Mac host_mac_of(uint32_t local_id) {
  return Mac{{0x02, 0x57, uint8_t(local_id >> 24), uint8_t(local_id >> 16), uint8_t(local_id >> 8),
              uint8_t(local_id)}};
}

}  // namespace

Result<Attachments> Attachments::open(int node_netns, std::string file) {
  AttachmentLog::Contents contents;
  AttachmentLog log = TRY(AttachmentLog::open(std::move(file), contents));
  Attachments out(node_netns, std::move(log), TRY(link::Links::open(node_netns)));
  out.all_ = std::move(contents.all);
  out.next_local_id_ = contents.next_local_id;
  for (const auto& [id, attachment] : out.all_) out.by_netns_[attachment.netns].insert(id);
  return out;
}

const Attachment* Attachments::find(const std::string& endpoint_id) const {
  const auto found = all_.find(endpoint_id);
  return found == all_.end() ? nullptr : &found->second;
}

const std::set<std::string>& Attachments::in_netns(const std::string& netns) const {
  static const std::set<std::string> none;
  const auto found = by_netns_.find(netns);
  return found == by_netns_.end() ? none : found->second;
}

void Attachments::forget(const std::string& endpoint_id) {
  const auto found = all_.find(endpoint_id);
  if (found == all_.end()) return;
  const auto ids = by_netns_.find(found->second.netns);
  ids->second.erase(endpoint_id);
  if (ids->second.empty()) by_netns_.erase(ids);
  links_of_.erase(found->second.ifindex);
  all_.erase(found);
}

Result<Attachment> Attachments::attach(Attachment wanted, const AttachmentNetwork& network) {
  const Attachment* known = find(wanted.endpoint_id);
  const std::optional<Attachment> before = known ? std::optional(*known) : std::nullopt;
  wanted.local_id = before ? before->local_id : next_local_id_++;
  wanted.host_mac = host_mac_of(wanted.local_id);
  wanted.ifindex = 0;
  const Fd netns = TRY(netns::open_netns(wanted.netns));
  TRY(log_.note_attached(wanted, all_));
  forget(wanted.endpoint_id);
  all_[wanted.endpoint_id] = wanted;
  by_netns_[wanted.netns].insert(wanted.endpoint_id);
  link::EndpointSpec spec;
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
    forget(wanted.endpoint_id);
    if (before) {
      all_[wanted.endpoint_id] = *before;
      by_netns_[before->netns].insert(wanted.endpoint_id);
      links_of_.insert(before->ifindex);
      TRY(log_.note_attached(*before, all_));
    } else {
      TRY(log_.note_detached(wanted.endpoint_id, all_));
    }
    return std::move(links).error();
  }
  all_[wanted.endpoint_id].ifindex = links->host.index;
  links_of_.insert(links->host.index);
  return all_[wanted.endpoint_id];
}

Result<> Attachments::detach(const std::string& endpoint_id) {
  const Attachment* known = find(endpoint_id);
  if (!known) return Ok;
  // The container may have gone, and its end of the link with it.
  auto netns = netns::open_netns(known->netns);
  TRY(link::remove_endpoint(links_, endpoint_id, netns ? netns->get() : -1));
  const std::string id = endpoint_id;  // the caller's may be part of what is forgotten
  forget(id);
  return log_.note_detached(id, all_);
}

Result<std::vector<std::string>> Attachments::adopt() {
  std::vector<std::string> gone;
  std::set<std::string> wanted = {std::string(link::node_link_name),
                                  std::string(link::node_link_host_name),
                                  std::string(link::vxlan_link_name)};
  for (auto& [id, attachment] : all_) {
    const std::string name = link::host_link_name(id);
    const auto found = TRY(links_.find(name));
    if (found && netns::open_netns(attachment.netns)) {
      links_of_.erase(attachment.ifindex);
      attachment.ifindex = found->index;
      links_of_.insert(found->index);
      wanted.insert(name);
    } else {
      gone.push_back(id);
    }
  }
  for (const std::string& id : gone) forget(id);
  for (const std::string& name : TRY(link::leftover_links(links_, wanted)))
    TRY(links_.remove(name));
  for (const std::string& id : gone) TRY(log_.note_detached(id, all_));
  return gone;
}

Result<> Attachments::clear() {
  while (!all_.empty()) TRY(detach(std::string(all_.begin()->first)));
  return Ok;
}

}  // namespace weft::node
