// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/address.h"
#include "base/mac.h"

namespace weft::test {

using Frame = std::vector<uint8_t>;

// Builds whole Ethernet frames with right checksums, innermost layer last:
//   Packet().ethernet(a, b).ip(x, y).tcp(1000, 80, TcpSyn).payload(10).build()
// A second ethernet() after vxlan() begins the inner frame.
enum TcpFlags : uint8_t { TcpFin = 1, TcpSyn = 2, TcpRst = 4, TcpPush = 8, TcpAck = 16 };

struct IpOptions {
  uint8_t ttl = 64;
  uint16_t id = 0;
  bool dont_fragment = true;
  bool more_fragments = false;
  uint16_t fragment_offset = 0;  // in bytes
  bool fragment_header = false;  // IPv6: write one
};

class Packet {
 public:
  Packet& ethernet(const Mac& destination, const Mac& source);
  Packet& arp(uint16_t operation, const Mac& sender_mac, const Address& sender,
              const Mac& target_mac, const Address& target);
  Packet& ip(const Address& source, const Address& destination, IpOptions options = {});
  Packet& tcp(uint16_t source, uint16_t destination, uint8_t flags, uint16_t mss = 0);
  // zero_checksum: as VXLAN over IPv4 sends it.
  Packet& udp(uint16_t source, uint16_t destination, bool zero_checksum = false);
  // Common header and the head of one chunk; its checksum is some number, which nobody may change.
  Packet& sctp(uint16_t source, uint16_t destination, uint8_t chunk);
  Packet& vxlan(uint32_t vni, uint8_t mark = 0);
  // Echo request or reply of the family of the last ip().
  Packet& echo(bool request, uint16_t id, uint16_t sequence = 1);
  // Any ICMP message; `rest` is the second 32-bit word in host order. What it quotes is the
  // payload.
  Packet& icmp(uint8_t type, uint8_t code, uint32_t rest);
  Packet& neighbour_solicit(const Address& target, const Mac& sender);
  Packet& neighbour_advert(const Address& target, const Mac& mac);
  Packet& protocol(uint8_t number);  // IP payload of another protocol
  Packet& payload(size_t bytes, uint8_t fill = 0x5a);
  Packet& payload(std::span<const uint8_t> bytes);
  Frame build() const;

 private:
  struct Layer;
  enum class Kind { ethernet, arp, ip4, ip6, tcp, udp, sctp, vxlan, icmp, payload };
  struct Layer {
    Kind kind;
    std::vector<uint8_t> bytes;
    bool zero_checksum = false;
    bool later_fragment = false;
  };
  std::vector<Layer> layers_;
};

// "02:42:… > … IPv4 …" is for people; a hex dump with offsets, to compare frames in test output.
std::string hex(std::span<const uint8_t> frame);

// Is every IPv4, TCP, UDP and ICMP checksum right, of the inner frame too? Says what is wrong, or
// "".
std::string check_checksums(std::span<const uint8_t> frame);

}  // namespace weft::test
