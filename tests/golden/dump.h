// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdio>
#include <map>
#include <sstream>
#include <string>

#include "base/address.h"
#include "base/mac.h"
#include "core/diff/diff.h"

namespace weft::fixture {

// All maps as text for people: what is held, in the words of the map's fields.
class Dump {
 public:
  static std::string of(const diff::Held& held) {
    Dump d(held);
    d.ports("ports", held.ports);
    d.ports("local_macs", held.local_macs);
    d.endpoints();
    d.networks();
    d.vteps();
    d.services();
    d.published();
    return d.out_.str();
  }

  static std::string of(const std::vector<diff::Operation>& operations) {
    std::ostringstream out;
    for (const diff::Operation& op : operations) {
      const char* kind[] = {"set", "remove", "fill"};
      out << kind[int(op.kind)] << ' ' << diff::map_name(op.map) << " [";
      if (op.key.size() == 4) {
        uint32_t number;
        std::memcpy(&number, op.key.data(), 4);
        out << number;
      } else {
        out << hex(op.key);
      }
      out << ']';
      if (op.kind == diff::Operation::Kind::fill) out << ' ' << op.value.size() << " bytes";
      out << '\n';
    }
    return out.str();
  }

 private:
  explicit Dump(const diff::Held& held) : held_(held) {}

  static std::string hex(ByteView bytes) {
    std::string out;
    char text[3];
    for (const uint8_t b : bytes) {
      std::snprintf(text, sizeof(text), "%02x", b);
      out += text;
    }
    return out;
  }
  static std::string text(const __u8 (&address)[16]) {
    Address::Bytes bytes;
    std::copy(address, address + 16, bytes.begin());
    const Address a(bytes);
    return a.is_none() ? "-" : a.to_string();
  }
  static std::string text(const __u8 (&bytes)[6]) {
    Mac mac;
    std::copy(bytes, bytes + 6, mac.bytes.begin());
    return mac.to_string();
  }
  static std::string text(uint32_t number) { return std::to_string(number); }
  static std::string text(const weft_mac_key& key) { return text(key.mac); }
  static unsigned host(__be16 port) { return __builtin_bswap16(port); }

  template <typename K>
  void ports(const char* name, const diff::HeldMap<K, weft_port>& map) {
    out_ << name << '\n';
    for (const auto& [key, p] : map)
      out_ << "  " << text(key) << " -> ifindex " << p.ifindex << " vni " << p.vni << " address "
           << text(p.address4) << '/' << int(p.prefix4) << ' ' << text(p.address6) << '/'
           << int(p.prefix6) << " gateway " << text(p.gateway4) << ' ' << text(p.gateway6)
           << " mac " << text(p.mac) << " host_mac " << text(p.host_mac) << " mtu " << p.mtu_bytes
           << " flags " << p.flags << " id " << p.id << '\n';
  }
  void endpoints() {
    const char* kinds[] = {"none", "local", "remote", "vip", "gateway"};
    out_ << "endpoints\n";
    for (const auto& [key, e] : held_.endpoints) {
      out_ << "  " << key.vni << ' ' << text(key.address) << " -> " << kinds[int(e.kind)];
      if (e.kind == WEFT_ENDPOINT_VIP)
        out_ << " service " << e.service;
      else
        out_ << " node " << e.node << " mac " << text(e.mac) << " ifindex " << e.ifindex;
      out_ << '\n';
    }
  }
  void networks() {
    out_ << "networks\n";
    for (const auto& [vni, n] : held_.networks)
      out_ << "  " << vni << " -> " << text(n.subnet4) << '/' << int(n.prefix4) << ' '
           << text(n.subnet6) << '/' << int(n.prefix6) << " mtu " << n.mtu_bytes << " flags "
           << n.flags << '\n';
    out_ << "subnets\n";
    for (const auto& [key, s] : held_.subnets)
      out_ << "  " << text(key.address) << '/' << key.prefix_bits << " -> vni " << s.vni << '\n';
    out_ << "node_addresses\n";
    for (const auto& [key, a] : held_.node_addresses)
      out_ << "  " << text(key.bytes) << " -> ifindex " << a.ifindex << '\n';
  }
  void vteps() {
    out_ << "vteps\n";
    for (const auto& [index, v] : held_.vteps)
      out_ << "  " << index << " -> " << text(v.address) << " flags " << v.flags << " ifindex "
           << v.ifindex << " mtu " << v.mtu_bytes << " host_mac " << text(v.host_mac)
           << " checksum " << v.ip_checksum << "\n    " << hex(v.header) << '\n';
    out_ << "peers\n";
    for (const auto& [key, p] : held_.peers)
      out_ << "  " << key.vni << ' ' << text(key.address) << " -> node " << p.node << '\n';
  }
  void services() {
    out_ << "services\n";
    for (const auto& [index, s] : held_.services) {
      const diff::Range slots = diff::slots_of(s);
      out_ << "  " << index << " -> vni " << s.vni << " vip " << text(s.vip4) << ' ' << text(s.vip6)
           << " flags " << s.flags << " slots " << slots.first << '+' << slots.count << " backends "
           << s.backends << '+' << s.backend_count << " id " << s.id << '\n';
      for (uint32_t o = 0; o < s.backend_count; ++o) {
        const weft_backend& b = held_.backend(s.backends + o);
        out_ << "    backend " << o << " -> mac " << text(b.mac) << " node " << b.node
             << " ifindex " << b.ifindex << " flags " << b.flags << '\n';
      }
      // Single slots tell a reader nothing: how many go from where to where, and a digest.
      std::map<std::string, int> count;
      uint64_t digest = 0;
      for (uint32_t i = 0; i < slots.count; ++i) {
        const weft_slot_pair pair = held_.slot(slots.first + i);
        digest = digest * 31 + pair.primary * 7u + pair.secondary;
        count[slot_text(pair)]++;
      }
      for (const auto& [what, times] : count) out_ << "    " << times << " slots " << what << '\n';
      if (slots.count != 0) out_ << "    digest " << digest << '\n';
    }
  }
  static std::string slot_text(const weft_slot_pair& pair) {
    const auto name = [](unsigned offset) {
      return offset == WEFT_SLOT_NONE ? std::string("none") : std::to_string(offset);
    };
    std::string out = name(pair.primary & 0x7fff) + ", second " + name(pair.secondary);
    return pair.primary & WEFT_SLOT_MOVING ? out + ", moving" : out;
  }
  void published() {
    out_ << "published\n";
    for (const auto& [key, p] : held_.published)
      out_ << "  " << text(key.address) << " port " << host(key.port) << " protocol "
           << int(key.protocol) << " -> service " << p.service << " target " << host(p.target_port)
           << " flags " << p.flags << '\n';
  }

  const diff::Held& held_;
  std::ostringstream out_;
};

}  // namespace weft::fixture
