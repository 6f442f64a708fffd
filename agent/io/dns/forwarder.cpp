// SPDX-License-Identifier: Apache-2.0
#include "io/dns/forwarder.h"

#include <arpa/inet.h>
#include <sys/random.h>
#include <sys/socket.h>

#include <algorithm>

#include "base/assert.h"
#include "core/dns/answer.h"
#include "core/dns/query.h"

namespace weft::dns {

namespace {

constexpr auto silent_server_rest = 30s;

socklen_t to_sockaddr(const SocketAddress& from, sockaddr_storage& to) {
  to = {};
  if (from.address.is_v4()) {
    auto& v4 = reinterpret_cast<sockaddr_in&>(to);
    v4.sin_family = AF_INET;
    v4.sin_port = htons(from.port);
    v4.sin_addr.s_addr = htonl(from.address.to_v4());
    return sizeof v4;
  }
  auto& v6 = reinterpret_cast<sockaddr_in6&>(to);
  v6.sin6_family = AF_INET6;
  v6.sin6_port = htons(from.port);
  std::copy(from.address.bytes().begin(), from.address.bytes().end(), v6.sin6_addr.s6_addr);
  return sizeof v6;
}

uint16_t u16_at(ByteView bytes, size_t at) { return uint16_t(bytes[at] << 8 | bytes[at + 1]); }

void put_u16(Bytes& bytes, size_t at, uint16_t value) {
  bytes[at] = uint8_t(value >> 8);
  bytes[at + 1] = uint8_t(value);
}

// Servers may change the case of a name; its type and class are bytes of their own meaning.
bool same_question(ByteView a, ByteView b) {
  if (a.size() != b.size() || a.size() < 4) return false;
  const size_t name = a.size() - 4;
  for (size_t i = 0; i < name; ++i)
    if (lower(char(a[i])) != lower(char(b[i]))) return false;
  return std::equal(a.begin() + std::ptrdiff_t(name), a.end(), b.begin() + std::ptrdiff_t(name));
}

}  // namespace

struct Forwarder::Pending {
  uint64_t id = 0;
  Client client;
  uint16_t client_id = 0;
  Bytes query;  // with the id of the present try
  size_t question_end = 0;
  size_t udp_size = 0;
  std::shared_ptr<const Upstreams> upstreams;
  std::vector<bool> failed;  // per upstream: it answered that it cannot, or cannot be reached
  size_t next = 0;
  size_t asked = 0;  // the upstream of the present try
  Instant end;
  Instant armed;
  Fd socket;
  Bytes last_failure;
  // The stream of the present try: what is still to be sent, what has come.
  Bytes out;
  Bytes in;

  bool tcp() const { return client.connection != 0; }
};

Forwarder::Forwarder(Poller& poller, const DnsServerOptions& options, LiveCounters& counters,
                     Reply reply)
    : poller_(poller),
      options_(options),
      counters_(counters),
      reply_(std::move(reply)),
      buffer_(message_limit) {}

Forwarder::~Forwarder() = default;

void Forwarder::set_upstreams(std::vector<SocketAddress> upstreams) {
  const SocketAddress ourselves{Address::v4(0x7f00000b), 53};
  std::erase_if(upstreams, [&](const SocketAddress& upstream) {
    return upstream == ourselves || upstream.port == 0 || upstream.address.is_none() ||
           upstream.address == Address::v4(0) || upstream.address.is_multicast();
  });
  upstreams_ = std::make_shared<const Upstreams>(std::move(upstreams));
  first_ = 0;
}

void Forwarder::forward(Instant now, const Client& client, ByteView packet) {
  Query query;
  const auto own = per_container_.find(client.container);
  const bool refused =
      upstreams_->empty() || pending_.size() >= options_.max_forwards ||
      (own != per_container_.end() && own->second >= options_.max_forwards_per_container);
  if (refused || parse_query(packet, query) != Parsed::query) {
    counters_.failed.add();
    reply_(client, error_answer(packet, Rcode::servfail));
    return;
  }
  auto fresh = std::make_unique<Pending>();
  Pending& pending = *fresh;
  pending.id = next_id_++;
  pending.client = client;
  pending.client_id = query.id;
  pending.query.assign(packet.begin(), packet.end());
  pending.question_end = query.question_end;
  pending.udp_size = query.udp_size;
  pending.upstreams = upstreams_;
  pending.failed.assign(upstreams_->size(), false);
  if (now >= first_until_) first_ = 0;
  pending.next = first_;
  pending.end = now + options_.total_timeout;
  pending_.emplace(pending.id, std::move(fresh));
  ++per_container_[client.container];
  counters_.forwarded.add();
  counters_.forwards_pending.add();
  try_next(now, pending);
}

// The next server that has not failed; the ones that were only silent get further turns.
void Forwarder::try_next(Instant now, Pending& pending) {
  const size_t servers = pending.upstreams->size();
  for (size_t turn = 0; turn < servers && now < pending.end; ++turn) {
    const size_t index = pending.next;
    pending.next = (pending.next + 1) % servers;
    if (pending.failed[index]) continue;
    pending.asked = index;
    if (open_try(pending, (*pending.upstreams)[index])) {
      arm(pending, std::min(now + options_.try_timeout, pending.end));
      return;
    }
    pending.failed[index] = true;
  }
  give_up(pending);
}

bool Forwarder::open_try(Pending& pending, const SocketAddress& upstream) {
  sockaddr_storage address;
  const socklen_t size = to_sockaddr(upstream, address);
  const int type = pending.tcp() ? SOCK_STREAM : SOCK_DGRAM;
  pending.socket.reset(::socket(address.ss_family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!pending.socket) return false;
  const int fd = pending.socket.get();
  if (::connect(fd, reinterpret_cast<sockaddr*>(&address), size) < 0 && errno != EINPROGRESS)
    return false;
  put_u16(pending.query, 0, random_id());
  const Token token{Source::forward, pending.id};
  if (!pending.tcp())
    return ::send(fd, pending.query.data(), pending.query.size(), MSG_NOSIGNAL) >= 0 &&
           poller_.add(fd, EPOLLIN, token);
  pending.in.clear();
  pending.out.clear();
  ByteWriter(pending.out).u16(uint16_t(pending.query.size()));
  ByteWriter(pending.out).raw(pending.query);
  return poller_.add(fd, EPOLLIN | EPOLLOUT, token);
}

void Forwarder::arm(Pending& pending, Instant deadline) {
  deadlines_.erase({pending.armed, pending.id});
  pending.armed = deadline;
  deadlines_.insert({deadline, pending.id});
}

void Forwarder::on_ready(Instant now, uint64_t id) {
  const auto at = pending_.find(id);
  if (at == pending_.end()) return;
  if (at->second->tcp())
    advance_stream(now, *at->second);
  else
    read_datagrams(now, *at->second);
}

void Forwarder::read_datagrams(Instant now, Pending& pending) {
  for (;;) {
    const ssize_t size = ::recv(pending.socket.get(), buffer_.data(), buffer_.size(), 0);
    if (size < 0) {
      if (errno == EINTR) continue;
      // An ICMP error: nobody is there.
      if (errno != EAGAIN) try_failed(now, pending);
      return;
    }
    if (take_answer(now, pending, Bytes(buffer_.begin(), buffer_.begin() + size))) return;
  }
}

void Forwarder::advance_stream(Instant now, Pending& pending) {
  switch (step_stream(pending)) {
    case Stream::waiting:
      return;
    case Stream::answered:
      if (take_answer(now, pending, Bytes(pending.in.begin() + 2, pending.in.end()))) return;
      [[fallthrough]];  // a stream has one answer, and this was not it
    case Stream::broken:
      try_failed(now, pending);
      return;
  }
}

Forwarder::Stream Forwarder::step_stream(Pending& pending) {
  const int fd = pending.socket.get();
  while (!pending.out.empty()) {
    const ssize_t sent = ::send(fd, pending.out.data(), pending.out.size(), MSG_NOSIGNAL);
    if (sent < 0) return errno == EAGAIN || errno == EINTR ? Stream::waiting : Stream::broken;
    pending.out.erase(pending.out.begin(), pending.out.begin() + sent);
    if (pending.out.empty()) poller_.change(fd, EPOLLIN, {Source::forward, pending.id});
  }
  for (;;) {
    const size_t wanted = pending.in.size() < 2 ? 2 : size_t(2) + u16_at(pending.in, 0);
    if (pending.in.size() == wanted && wanted > 2) return Stream::answered;
    if (pending.in.size() == wanted) return Stream::broken;
    const ssize_t got = ::recv(fd, buffer_.data(), wanted - pending.in.size(), 0);
    if (got < 0) return errno == EAGAIN || errno == EINTR ? Stream::waiting : Stream::broken;
    if (got == 0) return Stream::broken;
    pending.in.insert(pending.in.end(), buffer_.begin(), buffer_.begin() + got);
  }
}

bool Forwarder::take_answer(Instant now, Pending& pending, Bytes answer) {
  if (answer.size() < header_size || u16_at(answer, 0) != u16_at(pending.query, 0)) return false;
  const uint16_t flags = u16_at(answer, 2);
  if (!(flags & flag_response)) return false;
  const auto rcode = Rcode(flags & mask_rcode);
  const bool refused = rcode == Rcode::servfail || rcode == Rcode::refused;
  if (u16_at(answer, 4) == 0) {
    // Servers that cannot read a question do not repeat it.
    if (!refused && rcode != Rcode::formerr && rcode != Rcode::notimp) return false;
  } else {
    const size_t end = pending.question_end;
    if (answer.size() < end || !same_question(ByteView(answer).subspan(12, end - 12),
                                              ByteView(pending.query).subspan(12, end - 12)))
      return false;
  }
  if (refused) {
    pending.last_failure = std::move(answer);
    try_failed(now, pending);
  } else {
    finish(pending, std::move(answer));
  }
  return true;
}

void Forwarder::try_failed(Instant now, Pending& pending) {
  pending.failed[pending.asked] = true;
  try_next(now, pending);
}

void Forwarder::give_up(Pending& pending) {
  counters_.failed.add();
  Bytes answer = std::move(pending.last_failure);
  if (answer.empty()) answer = error_answer(pending.query, Rcode::servfail);
  finish(pending, std::move(answer));
}

void Forwarder::finish(Pending& pending, Bytes answer) {
  put_u16(answer, 0, pending.client_id);
  // A server that ignores the asker's size: cut, so that the asker comes again over TCP.
  if (!pending.tcp() && answer.size() > pending.udp_size) {
    answer.resize(pending.question_end);
    put_u16(answer, 2, u16_at(answer, 2) | flag_truncated);
    put_u16(answer, 4, 1);
    for (size_t count : {6, 8, 10}) put_u16(answer, count, 0);
    std::copy(pending.query.begin() + header_size,
              pending.query.begin() + std::ptrdiff_t(pending.question_end),
              answer.begin() + header_size);
    counters_.truncated.add();
  }
  const Client client = pending.client;
  erase(pending.id);
  reply_(client, answer);
}

void Forwarder::on_timer(Instant now) {
  while (!deadlines_.empty() && deadlines_.begin()->first <= now) {
    Pending& pending = *pending_.at(deadlines_.begin()->second);
    if (pending.upstreams == upstreams_ && pending.asked == first_) {
      first_ = (first_ + 1) % upstreams_->size();
      first_until_ = now + silent_server_rest;
    }
    try_next(now, pending);
  }
}

Instant Forwarder::next_deadline() const {
  return deadlines_.empty() ? Instant::never() : deadlines_.begin()->first;
}

void Forwarder::cancel(uint64_t container) {
  std::vector<uint64_t> ids;
  for (const auto& [id, pending] : pending_)
    if (pending->client.container == container) ids.push_back(id);
  for (uint64_t id : ids) erase(id);
}

void Forwarder::erase(uint64_t id) {
  const auto at = pending_.find(id);
  deadlines_.erase({at->second->armed, id});
  const auto count = per_container_.find(at->second->client.container);
  if (--count->second == 0) per_container_.erase(count);
  pending_.erase(at);
  counters_.forwards_pending.add(-1);
}

uint16_t Forwarder::random_id() {
  if (random_left_ == 0) {
    // Up to 256 bytes are never cut short, once the kernel's generator is ready.
    const ssize_t got = ::getrandom(random_.data(), sizeof random_, 0);
    WEFT_ASSERT(got == ssize_t(sizeof random_));
    random_left_ = random_.size();
  }
  return random_[--random_left_];
}

}  // namespace weft::dns
