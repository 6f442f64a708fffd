// SPDX-License-Identifier: Apache-2.0
#include "harness/packet.h"

#include <cstdio>

namespace weft::test {
namespace {

void put16(std::vector<uint8_t>& b, size_t at, uint16_t v) {
  b[at] = uint8_t(v >> 8);
  b[at + 1] = uint8_t(v);
}

uint16_t get16(std::span<const uint8_t> b, size_t at) { return uint16_t(b[at] << 8 | b[at + 1]); }

uint64_t sum(std::span<const uint8_t> b) {
  uint64_t total = 0;
  for (size_t i = 0; i < b.size(); i++) total += i % 2 ? b[i] : b[i] << 8;
  return total;
}

uint16_t fold(uint64_t total) {
  while (total >> 16) total = (total & 0xffff) + (total >> 16);
  return uint16_t(total);
}

// Pseudo header of the IP header at the front of `ip` for a payload of `length`.
uint64_t pseudo(std::span<const uint8_t> ip, uint8_t protocol, size_t length) {
  uint64_t total = protocol + length;
  return total + ((ip[0] >> 4) == 4 ? sum(ip.subspan(12, 8)) : sum(ip.subspan(8, 32)));
}

size_t ip_header_bytes(std::span<const uint8_t> ip, uint8_t* protocol, bool* later) {
  if ((ip[0] >> 4) == 4) {
    *protocol = ip[9];
    *later = (get16(ip, 6) & 0x1fff) != 0;
    return (ip[0] & 15) * 4u;
  }
  *protocol = ip[6];
  *later = false;
  if (*protocol != 44) return 40;
  *protocol = ip[40];
  *later = (get16(ip, 42) & 0xfff8) != 0;
  return 48;
}

}  // namespace

Packet& Packet::ethernet(const Mac& destination, const Mac& source) {
  Layer layer{Kind::ethernet, std::vector<uint8_t>(14)};
  std::copy(destination.bytes.begin(), destination.bytes.end(), layer.bytes.begin());
  std::copy(source.bytes.begin(), source.bytes.end(), layer.bytes.begin() + 6);
  layers_.push_back(layer);
  return *this;
}

Packet& Packet::arp(uint16_t operation, const Mac& sender_mac, const Address& sender,
                    const Mac& target_mac, const Address& target) {
  Layer layer{Kind::arp, {0, 1, 8, 0, 6, 4, 0, uint8_t(operation)}};
  auto add = [&](const auto& range, size_t from) {
    layer.bytes.insert(layer.bytes.end(), range.begin() + from, range.end());
  };
  add(sender_mac.bytes, 0);
  add(sender.bytes(), 12);
  add(target_mac.bytes, 0);
  add(target.bytes(), 12);
  layers_.push_back(layer);
  return *this;
}

Packet& Packet::ip(const Address& source, const Address& destination, IpOptions o) {
  bool four = source.is_v4() && destination.is_v4();
  Layer layer{four ? Kind::ip4 : Kind::ip6, {}};
  auto& b = layer.bytes;
  layer.later_fragment = o.fragment_offset != 0;
  if (four) {
    b.resize(20);
    b[0] = 0x45;
    put16(b, 4, o.id);
    put16(b, 6,
          uint16_t((o.dont_fragment && !o.more_fragments && !o.fragment_offset) << 14 |
                   o.more_fragments << 13 | o.fragment_offset / 8));
    b[8] = o.ttl;
    std::copy(source.bytes().begin() + 12, source.bytes().end(), b.begin() + 12);
    std::copy(destination.bytes().begin() + 12, destination.bytes().end(), b.begin() + 16);
  } else {
    b.resize(o.fragment_header ? 48 : 40);
    b[0] = 0x60;
    b[7] = o.ttl;
    std::copy(source.bytes().begin(), source.bytes().end(), b.begin() + 8);
    std::copy(destination.bytes().begin(), destination.bytes().end(), b.begin() + 24);
    if (o.fragment_header) {
      put16(b, 42, uint16_t(o.fragment_offset | o.more_fragments));
      put16(b, 46, o.id);
    }
  }
  layers_.push_back(layer);
  return *this;
}

Packet& Packet::tcp(uint16_t source, uint16_t destination, uint8_t flags, uint16_t mss) {
  Layer layer{Kind::tcp, std::vector<uint8_t>(mss ? 24 : 20)};
  auto& b = layer.bytes;
  put16(b, 0, source);
  put16(b, 2, destination);
  put16(b, 6, 0x1234);
  b[12] = uint8_t(b.size() / 4 << 4);
  b[13] = flags;
  put16(b, 14, 0xfaf0);
  if (mss) {
    b[20] = 2;
    b[21] = 4;
    put16(b, 22, mss);
  }
  layers_.push_back(layer);
  return *this;
}

Packet& Packet::udp(uint16_t source, uint16_t destination, bool zero_checksum) {
  Layer layer{Kind::udp, std::vector<uint8_t>(8), zero_checksum};
  put16(layer.bytes, 0, source);
  put16(layer.bytes, 2, destination);
  layers_.push_back(layer);
  return *this;
}

Packet& Packet::sctp(uint16_t source, uint16_t destination, uint8_t chunk) {
  Layer layer{Kind::sctp, {0, 0, 0, 0, 1, 2, 3, 4, 0xc0, 0xff, 0xee, 0x11, chunk, 0, 0, 4}};
  put16(layer.bytes, 0, source);
  put16(layer.bytes, 2, destination);
  layers_.push_back(layer);
  return *this;
}

Packet& Packet::vxlan(uint32_t vni, uint8_t mark) {
  layers_.push_back(
      {Kind::vxlan, {8, 0, 0, 0, uint8_t(vni >> 16), uint8_t(vni >> 8), uint8_t(vni), mark}});
  return *this;
}

Packet& Packet::icmp(uint8_t type, uint8_t code, uint32_t rest) {
  layers_.push_back({Kind::icmp,
                     {type, code, 0, 0, uint8_t(rest >> 24), uint8_t(rest >> 16),
                      uint8_t(rest >> 8), uint8_t(rest)}});
  return *this;
}

Packet& Packet::echo(bool request, uint16_t id, uint16_t sequence) {
  bool four = layers_.back().kind == Kind::ip4;
  uint8_t type = four ? (request ? 8 : 0) : (request ? 128 : 129);
  return icmp(type, 0, uint32_t(id) << 16 | sequence);
}

Packet& Packet::neighbour_solicit(const Address& target, const Mac& sender) {
  icmp(135, 0, 0);
  auto& b = layers_.back().bytes;
  b.insert(b.end(), target.bytes().begin(), target.bytes().end());
  b.insert(b.end(), {1, 1});
  b.insert(b.end(), sender.bytes.begin(), sender.bytes.end());
  return *this;
}

Packet& Packet::neighbour_advert(const Address& target, const Mac& mac) {
  icmp(136, 0, 0x60000000);
  auto& b = layers_.back().bytes;
  b.insert(b.end(), target.bytes().begin(), target.bytes().end());
  b.insert(b.end(), {2, 1});
  b.insert(b.end(), mac.bytes.begin(), mac.bytes.end());
  return *this;
}

Packet& Packet::protocol(uint8_t number) {
  layers_.push_back({Kind::payload, std::vector<uint8_t>(8, number)});
  auto& ip = layers_[layers_.size() - 2];
  ip.bytes[ip.kind == Kind::ip4 ? 9 : 6] = number;
  return *this;
}

Packet& Packet::payload(size_t bytes, uint8_t fill) {
  layers_.push_back({Kind::payload, std::vector<uint8_t>(bytes, fill)});
  return *this;
}

Packet& Packet::payload(std::span<const uint8_t> bytes) {
  layers_.push_back({Kind::payload, {bytes.begin(), bytes.end()}});
  return *this;
}

Frame Packet::build() const {
  Frame rest;
  for (size_t i = layers_.size(); i-- > 0;) {
    Layer layer = layers_[i];
    auto& b = layer.bytes;
    Kind above = i + 1 < layers_.size() ? layers_[i + 1].kind : Kind::payload;
    if (layer.kind == Kind::ethernet)
      put16(b, 12, above == Kind::arp ? 0x0806 : above == Kind::ip6 ? 0x86dd : 0x0800);
    if (layer.kind == Kind::udp) put16(b, 4, uint16_t(8 + rest.size()));
    if (layer.kind == Kind::ip4 || layer.kind == Kind::ip6) {
      uint8_t number = above == Kind::tcp    ? 6
                       : above == Kind::udp  ? 17
                       : above == Kind::sctp ? 132
                       : above == Kind::icmp ? (layer.kind == Kind::ip4 ? 1 : 58)
                                             : 0;
      // What follows the first fragment's header decides; a later fragment says it by its payload's
      // first byte.
      if (layer.kind == Kind::ip4) {
        if (number)
          b[9] = number;
        else if (layer.later_fragment)
          b[9] = rest.empty() ? 17 : rest[0];
        put16(b, 2, uint16_t(20 + rest.size()));
        put16(b, 10, uint16_t(~fold(sum(b))));
      } else {
        if (!number && layer.later_fragment) number = rest[0];
        if (number) b[b.size() == 48 ? 40 : 6] = number;
        if (b.size() == 48) b[6] = 44;
        put16(b, 4, uint16_t(b.size() - 40 + rest.size()));
      }
    }
    rest.insert(rest.begin(), b.begin(), b.end());
    bool transport = layer.kind == Kind::tcp || layer.kind == Kind::udp || layer.kind == Kind::icmp;
    if (transport && i > 0 && !layer.zero_checksum) {
      const Layer& ip = layers_[i - 1];
      uint8_t number = layer.kind == Kind::tcp ? 6 : layer.kind == Kind::udp ? 17 : 58;
      size_t at = layer.kind == Kind::tcp ? 16 : layer.kind == Kind::udp ? 6 : 2;
      uint64_t total = sum(rest);
      if (layer.kind != Kind::icmp || ip.kind == Kind::ip6) {
        std::vector<uint8_t> header = ip.bytes;
        header[0] = ip.kind == Kind::ip4 ? 0x45 : 0x60;
        total += pseudo(header, number, rest.size());
      }
      uint16_t check = uint16_t(~fold(total));
      put16(rest, at, layer.kind == Kind::udp && !check ? 0xffff : check);
    }
  }
  return rest;
}

std::string hex(std::span<const uint8_t> frame) {
  std::string out;
  char text[32];
  for (size_t i = 0; i < frame.size(); i++) {
    if (i % 16 == 0) {
      std::snprintf(text, sizeof text, "\n%03zx:", i);
      out += text;
    }
    std::snprintf(text, sizeof text, " %02x", frame[i]);
    out += text;
  }
  return out;
}

std::string check_checksums(std::span<const uint8_t> frame) {
  if (frame.size() < 34) return "";
  uint16_t type = get16(frame, 12);
  if (type != 0x0800 && type != 0x86dd) return "";
  auto ip = frame.subspan(14);
  uint8_t protocol = 0;
  bool later = false;
  size_t header = ip_header_bytes(ip, &protocol, &later);
  size_t length = type == 0x0800 ? get16(ip, 2) : 40u + get16(ip, 4);
  if (length > ip.size()) return "length of the IP packet";
  if (type == 0x0800 && fold(sum(ip.subspan(0, header))) != 0xffff) return "IPv4 header checksum";
  if (later) return "";
  bool more = type == 0x0800 ? get16(ip, 6) & 0x2000 : header == 48 && (ip[43] & 1);
  auto transport = ip.subspan(header, length - header);
  if (protocol == 17 && get16(transport, 6) == 0) {
    if (get16(transport, 2) != 4789) return "";
    return check_checksums(transport.subspan(16));
  }
  if (more) return "";  // covers bytes of other fragments
  uint64_t total = sum(transport);
  if (protocol == 6 || protocol == 17 || protocol == 58)
    total += pseudo(ip, protocol, transport.size());
  else if (protocol != 1)
    return "";
  return fold(total) == 0xffff ? "" : "transport checksum";
}

}  // namespace weft::test
