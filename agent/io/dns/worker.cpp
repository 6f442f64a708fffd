// SPDX-License-Identifier: Apache-2.0
#include "io/dns/worker.h"

#include <fcntl.h>

#include <algorithm>

#include "core/dns/answer.h"

namespace weft::dns {

Worker::Worker(Poller& poller, const Mailbox<DnsView>& views, const DnsServerOptions& options,
               LiveCounters& counters, uint64_t seed)
    : poller_(poller),
      views_(views),
      options_(options),
      counters_(counters),
      rng_(seed),
      forwarder_(poller, options, counters,
                 [this](const Client& client, ByteView answer) { deliver(client, answer); }),
      spare_(::open("/dev/null", O_RDONLY | O_CLOEXEC)),
      batch_(std::make_unique<Batch>()) {
  for (size_t i = 0; i < batch_size; ++i) {
    batch_->in[i] = {batch_->queries[i].data(), query_size};
    msghdr& header = batch_->received[i].msg_hdr;
    header = {};
    header.msg_iov = &batch_->in[i];
    header.msg_iovlen = 1;
    header.msg_name = &batch_->peers[i];
    header.msg_namelen = sizeof(sockaddr_in);
  }
}

void Worker::add(std::string key, DnsSockets sockets, Asker asker) {
  remove(key);
  auto container = std::make_unique<Container>();
  container->id = next_id_++;
  container->sockets = std::move(sockets);
  container->asker = std::move(asker);
  poller_.add(container->sockets.udp.get(), EPOLLIN, {Source::udp, container->id});
  poller_.add(container->sockets.tcp.get(), EPOLLIN, {Source::listener, container->id});
  ids_[std::move(key)] = container->id;
  containers_.emplace(container->id, std::move(container));
  counters_.containers.add();
}

void Worker::update(const std::string& key, Asker asker) {
  if (const auto at = ids_.find(key); at != ids_.end())
    containers_.at(at->second)->asker = std::move(asker);
}

void Worker::remove(const std::string& key) {
  const auto at = ids_.find(key);
  if (at == ids_.end()) return;
  const uint64_t id = at->second;
  forwarder_.cancel(id);
  std::vector<uint64_t> open;
  for (const auto& [connection_id, connection] : connections_)
    if (connection->container == id) open.push_back(connection_id);
  for (uint64_t connection : open) close(connection);
  containers_.erase(id);
  ids_.erase(at);
  counters_.containers.add(-1);
}

void Worker::set_upstreams(std::vector<SocketAddress> upstreams) {
  forwarder_.set_upstreams(std::move(upstreams));
}

Instant Worker::next_deadline() const {
  return std::min(forwarder_.next_deadline(),
                  connections_.empty() ? Instant::never() : next_sweep_);
}

void Worker::on_timer(Instant now) {
  forwarder_.on_timer(now);
  if (connections_.empty() || now < next_sweep_) return;
  next_sweep_ = now + options_.tcp_idle_timeout / 8;
  std::vector<uint64_t> idle;
  for (const auto& [id, connection] : connections_)
    if (connection->pending == 0 && now - connection->active >= options_.tcp_idle_timeout)
      idle.push_back(id);
  for (uint64_t id : idle) close(id);
}

void Worker::begin(Instant now) {
  now_ = now;
  view_ = views_.get();
}

void Worker::on_event(Token token, uint32_t events) {
  if (token.source == Source::forward) {
    forwarder_.on_ready(now_, token.id);
  } else if (token.source == Source::connection) {
    const auto at = connections_.find(token.id);
    if (at == connections_.end()) return;
    // Reported whatever we ask for: the client is gone, and so is the reason to answer.
    if (events & (EPOLLERR | EPOLLHUP))
      close(token.id);
    else
      read_connection(*at->second);
  } else if (const auto at = containers_.find(token.id); at != containers_.end()) {
    if (token.source == Source::udp)
      serve_udp(*at->second);
    else
      accept_connections(*at->second);
  }
}

void Worker::end() {
  while (!touched_.empty()) {
    for (uint64_t id : std::exchange(touched_, {}))
      if (const auto at = connections_.find(id); at != connections_.end()) advance(*at->second);
  }
}

Decision::Action Worker::handle(const Container& container, ByteView packet, Transport transport,
                                const Client& client, Bytes& answer) {
  using Action = Decision::Action;
  counters_.queries.add();
  if (!view_) {
    answer = error_answer(packet, Rcode::servfail);
    (answer.empty() ? counters_.dropped : counters_.failed).add();
    return answer.empty() ? Action::drop : Action::answer;
  }
  const Decision decision = resolve(*view_, container.asker, packet, transport, rng_, answer);
  switch (decision.action) {
    case Action::answer:
      counters_.answered.add();
      break;
    case Action::forward:
      forwarder_.forward(now_, client, packet);
      break;
    case Action::drop:
      counters_.dropped.add();
      break;
  }
  if (decision.truncated) counters_.truncated.add();
  return decision.action;
}

void Worker::serve_udp(Container& container) {
  Batch& batch = *batch_;
  const int fd = container.sockets.udp.get();
  const int received = ::recvmmsg(fd, batch.received.data(), batch_size, MSG_DONTWAIT, nullptr);
  if (received <= 0) return;
  unsigned answers = 0;
  for (size_t i = 0; i < size_t(received); ++i) {
    msghdr& header = batch.received[i].msg_hdr;
    const bool cut = header.msg_flags & MSG_TRUNC;
    header.msg_namelen = sizeof(sockaddr_in);
    if (cut) {
      counters_.queries.add();
      counters_.dropped.add();
      continue;
    }
    Bytes& answer = batch.answers[answers];
    answer.clear();
    handle(container, ByteView(batch.queries[i]).first(batch.received[i].msg_len), Transport::udp,
           {.container = container.id, .peer = batch.peers[i]}, answer);
    if (answer.empty()) continue;
    batch.out[answers] = {answer.data(), answer.size()};
    msghdr& out = batch.sent[answers].msg_hdr;
    out = {};
    out.msg_name = &batch.peers[i];
    out.msg_namelen = sizeof(sockaddr_in);
    out.msg_iov = &batch.out[answers];
    out.msg_iovlen = 1;
    ++answers;
  }
  for (unsigned done = 0; done < answers;) {
    const int sent = ::sendmmsg(fd, batch.sent.data() + done, answers - done, MSG_DONTWAIT);
    if (sent > 0) {
      done += unsigned(sent);
    } else if (errno != EINTR) {
      counters_.dropped.add();  // the first of the rest cannot be sent; go on behind it
      ++done;
    }
  }
}

void Worker::deliver(const Client& client, ByteView answer) {
  if (client.connection == 0) {
    const auto at = containers_.find(client.container);
    if (at == containers_.end()) return;
    if (::sendto(at->second->sockets.udp.get(), answer.data(), answer.size(), MSG_DONTWAIT,
                 reinterpret_cast<const sockaddr*>(&client.peer), sizeof client.peer) < 0)
      counters_.dropped.add();
    return;
  }
  const auto at = connections_.find(client.connection);
  if (at == connections_.end()) return;
  Connection& connection = *at->second;
  --connection.pending;
  ByteWriter writer(connection.out);
  writer.u16(uint16_t(answer.size()));
  writer.raw(answer);
  touched_.push_back(connection.id);
}

}  // namespace weft::dns
