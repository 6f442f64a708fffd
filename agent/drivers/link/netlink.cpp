// SPDX-License-Identifier: Apache-2.0
#include "drivers/link/netlink.h"

#include <arpa/inet.h>
#include <sys/socket.h>
#include <sys/time.h>

#include <cstring>
#include <string>

#include "drivers/netns/netns.h"

namespace weft::link {
namespace {

constexpr size_t align(size_t size) { return (size + 3) & ~size_t(3); }

// The kernel's sentence about an error, from the attributes behind nlmsgerr.
std::string explanation(const nlmsghdr& header, ByteView payload) {
  if ((header.nlmsg_flags & NLM_F_ACK_TLVS) == 0) return {};
  size_t skip = sizeof(nlmsgerr);
  if ((header.nlmsg_flags & NLM_F_CAPPED) == 0) {
    nlmsgerr error;
    std::memcpy(&error, payload.data(), sizeof error);
    skip += align(error.msg.nlmsg_len) - sizeof(nlmsghdr);
  }
  if (skip > payload.size()) return {};
  return std::string(NetlinkAttributes(payload.subspan(skip)).text(NLMSGERR_ATTR_MSG));
}

Error kernel_error(int number, const std::string& explanation) {
  ErrorCode code = ErrorCode::failed;
  if (number == EPERM || number == EACCES) code = ErrorCode::denied;
  if (number == ENODEV || number == ENOENT || number == ESRCH) code = ErrorCode::not_found;
  if (number == EEXIST || number == EADDRINUSE) code = ErrorCode::conflict;
  std::string text = std::strerror(number);
  if (!explanation.empty()) text += " (" + explanation + ")";
  return Error(code, text).with_errno(number);
}

}  // namespace

NetlinkMessage::NetlinkMessage(uint16_t type, uint16_t flags) {
  nlmsghdr header{};
  header.nlmsg_type = type;
  header.nlmsg_flags = uint16_t(flags | NLM_F_REQUEST);
  fixed(header);
}

void NetlinkMessage::raw(ByteView bytes) {
  bytes_.insert(bytes_.end(), bytes.begin(), bytes.end());
  bytes_.resize(align(bytes_.size()));
}

void NetlinkMessage::put(uint16_t type, ByteView value) {
  const nlattr attribute{uint16_t(sizeof(nlattr) + value.size()), type};
  fixed(attribute);
  raw(value);
}

void NetlinkMessage::put_be16(uint16_t type, uint16_t value) { put_number(type, htons(value)); }

void NetlinkMessage::put_text(uint16_t type, std::string_view text) {
  Bytes bytes(text.begin(), text.end());
  bytes.push_back(0);
  put(type, bytes);
}

void NetlinkMessage::put_address(uint16_t type, const Address& address) {
  const ByteView bytes(address.bytes());
  put(type, address.is_v4() ? bytes.subspan(12) : bytes);
}

size_t NetlinkMessage::nest(uint16_t type) {
  const size_t at = bytes_.size();
  put(uint16_t(type | NLA_F_NESTED), {});
  return at;
}

void NetlinkMessage::end(size_t nest) {
  const auto size = uint16_t(bytes_.size() - nest);
  std::memcpy(bytes_.data() + nest, &size, sizeof size);
}

ByteView NetlinkMessage::finish(uint32_t sequence, uint16_t flags) {
  nlmsghdr header;
  std::memcpy(&header, bytes_.data(), sizeof header);
  header.nlmsg_len = uint32_t(bytes_.size());
  header.nlmsg_seq = sequence;
  header.nlmsg_flags |= flags;
  std::memcpy(bytes_.data(), &header, sizeof header);
  return bytes_;
}

std::optional<ByteView> NetlinkAttributes::find(uint16_t type) const {
  ByteView rest = bytes_;
  while (rest.size() >= sizeof(nlattr)) {
    nlattr attribute;
    std::memcpy(&attribute, rest.data(), sizeof attribute);
    if (attribute.nla_len < sizeof(nlattr) || attribute.nla_len > rest.size()) return std::nullopt;
    if ((attribute.nla_type & NLA_TYPE_MASK) == type)
      return rest.subspan(sizeof(nlattr), attribute.nla_len - sizeof(nlattr));
    rest = rest.subspan(std::min(align(attribute.nla_len), rest.size()));
  }
  return std::nullopt;
}

NetlinkAttributes NetlinkAttributes::nested(uint16_t type) const {
  return NetlinkAttributes(find(type).value_or(ByteView{}));
}

std::string_view NetlinkAttributes::text(uint16_t type) const {
  const auto value = find(type);
  if (!value) return {};
  const std::string_view text = text_of(*value);
  return text.substr(0, text.find('\0'));
}

Address NetlinkAttributes::address(uint16_t type) const {
  const auto value = find(type);
  if (!value) return {};
  Address::Bytes bytes{};
  if (value->size() == 4) {
    bytes[10] = bytes[11] = 0xff;
    std::memcpy(bytes.data() + 12, value->data(), 4);
  } else if (value->size() == 16) {
    std::memcpy(bytes.data(), value->data(), 16);
  }
  return Address(bytes);
}

std::optional<Mac> NetlinkAttributes::mac(uint16_t type) const {
  const auto value = find(type);
  if (!value || value->size() != 6) return std::nullopt;
  Mac mac;
  std::memcpy(mac.bytes.data(), value->data(), 6);
  return mac;
}

Result<NetlinkSocket> NetlinkSocket::open(int netns, int protocol) {
  Fd socket = TRY_IN("netlink", netns::socket_in_netns(netns, AF_NETLINK, SOCK_RAW, protocol));
  const int on = 1;
  setsockopt(socket.get(), SOL_NETLINK, NETLINK_EXT_ACK, &on, sizeof on);
  setsockopt(socket.get(), SOL_NETLINK, NETLINK_CAP_ACK, &on, sizeof on);
  if (protocol == NETLINK_ROUTE)
    setsockopt(socket.get(), SOL_NETLINK, NETLINK_GET_STRICT_CHK, &on, sizeof on);
  // The kernel answers at once; the limit turns a lost answer into an error instead of a hang.
  const timeval limit{.tv_sec = 30, .tv_usec = 0};
  setsockopt(socket.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  sockaddr_nl address{};
  address.nl_family = AF_NETLINK;
  if (bind(socket.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) < 0)
    return errno_error("netlink: cannot bind");
  return NetlinkSocket(std::move(socket));
}

Result<> NetlinkSocket::send(NetlinkMessage& message, uint16_t flags) {
  const ByteView bytes = message.finish(++sequence_, flags);
  if (::send(socket_.get(), bytes.data(), bytes.size(), 0) < 0)
    return errno_error("netlink: cannot send");
  return Ok;
}

Result<> NetlinkSocket::receive(bool dump, const NetlinkHandler& handler) {
  buffer_.resize(64 * 1024);
  bool interrupted = false;
  for (;;) {
    const ssize_t size = recv(socket_.get(), buffer_.data(), buffer_.size(), 0);
    if (size < 0 && errno == EINTR) continue;
    if (size < 0) return errno_error("netlink: no answer");
    ByteView rest(buffer_.data(), size_t(size));
    while (rest.size() >= sizeof(nlmsghdr)) {
      nlmsghdr header;
      std::memcpy(&header, rest.data(), sizeof header);
      if (header.nlmsg_len < sizeof header || header.nlmsg_len > rest.size()) break;
      const ByteView payload = rest.subspan(sizeof header, header.nlmsg_len - sizeof header);
      rest = rest.subspan(std::min(align(header.nlmsg_len), rest.size()));
      // An answer to a request that timed out earlier.
      if (header.nlmsg_seq != sequence_) continue;
      if (header.nlmsg_flags & NLM_F_DUMP_INTR) interrupted = true;
      if (header.nlmsg_type == NLMSG_DONE || header.nlmsg_type == NLMSG_ERROR) {
        int number = 0;
        if (payload.size() >= sizeof number) std::memcpy(&number, payload.data(), sizeof number);
        if (number < 0) return kernel_error(-number, explanation(header, payload));
        if (interrupted) return Error(ErrorCode::unavailable, "netlink: the dump was interrupted");
        return Ok;
      }
      if (handler) handler(header.nlmsg_type, payload);
      if (dump && (header.nlmsg_flags & NLM_F_MULTI) == 0) return Ok;
    }
  }
}

Result<> NetlinkSocket::request(NetlinkMessage& message, const NetlinkHandler& handler) {
  if (auto sent = send(message, NLM_F_ACK); !sent) return sent;
  return receive(false, handler);
}

Result<> NetlinkSocket::dump(NetlinkMessage& message, const NetlinkHandler& handler) {
  if (auto sent = send(message, NLM_F_DUMP); !sent) return sent;
  return receive(true, handler);
}

}  // namespace weft::link
