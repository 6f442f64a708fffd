// SPDX-License-Identifier: Apache-2.0
#include "node/gossip_shell.h"

#include <algorithm>

#include "io/pki.h"
#include "io/sealed/sealer.h"
#include "node/log.h"

namespace weft::node {

namespace {

using io::Sealer;

// A stream is many sealed packets in a row. Each begins with the stream's id, its own number and
// how many there are, so that none can be left out, added or exchanged.
constexpr size_t part_header_bytes = 16;
constexpr size_t part_bytes = Sealer::plaintext_bytes - part_header_bytes;

Sealer::SenderId stream_id_of(const cluster::NodeId& id) {
  Sealer::SenderId out = id.bytes;
  out[15] ^= 0xff;
  return out;
}

Result<Sealer::KeyRing> ring_of(const GossipKeys& keys) {
  Sealer::KeyRing ring;
  bool have_current = false;
  for (const GossipKeys::Key& in : keys.keys) {
    if (in.secret.size() != 32)
      return Error("gossip key of " + std::to_string(in.secret.size()) + " bytes");
    Sealer::Key key;
    key.epoch = in.epoch;
    std::copy(in.secret.begin(), in.secret.end(), key.bytes.begin());
    if (in.epoch == keys.seal_with) {
      ring.current = key;
      have_current = true;
    } else if (in.epoch < keys.seal_with) {
      ring.previous = key;
    } else {
      ring.next = key;
    }
  }
  if (!have_current) return Error("no gossip key of epoch " + std::to_string(keys.seal_with));
  return ring;
}

cluster::KeyRingState state_of(const Sealer::KeyRing& ring) {
  return {ring.current.epoch, ring.next ? ring.next->epoch : ring.current.epoch};
}

}  // namespace

GossipShell::GossipShell(io::Loop& loop, cluster::Gossip gossip, OnEvents on_events)
    : loop_(loop),
      gossip_(std::move(gossip)),
      on_events_(std::move(on_events)),
      alive_(std::make_shared<GossipShell*>(this)) {}

GossipShell::~GossipShell() { *alive_ = nullptr; }

Result<std::unique_ptr<GossipShell>> GossipShell::start(io::Loop& loop, const SocketAddress& local,
                                                        cluster::Gossip::Self self,
                                                        const GossipKeys& keys,
                                                        OnEvents on_events) {
  const Sealer::KeyRing ring = TRY(ring_of(keys));
  const cluster::NodeId id = self.id;
  const uint64_t boot_epoch = self.boot_epoch;
  uint64_t seed = 0;
  for (uint8_t byte : io::random_bytes(8)) seed = seed << 8 | byte;
  cluster::Gossip core(cluster::Config{}, std::move(self), Rng(seed), loop.now());
  std::unique_ptr<GossipShell> shell(new GossipShell(loop, std::move(core), std::move(on_events)));
  shell->keys_ = keys;
  shell->gossip_.set_keys(loop.now(), state_of(ring));
  shell->datagram_sealer_ = std::make_unique<Sealer>(id.bytes, boot_epoch, ring);
  shell->stream_sealer_ = std::make_unique<Sealer>(stream_id_of(id), boot_epoch, ring);
  GossipShell* raw = shell.get();
  io::UdpSocket::Callbacks callbacks;
  callbacks.on_datagram = [raw](const SocketAddress& from, ByteView bytes) {
    raw->on_datagram(from, bytes);
  };
  callbacks.on_refused = [raw](const SocketAddress& peer) {
    raw->gossip_.on_port_refused(raw->now(), peer);
    raw->flush();
  };
  shell->socket_ = TRY(io::UdpSocket::open(loop, local, std::move(callbacks)));
  shell->streams_ = TRY(io::StreamServer::listen(
      loop, local, [raw](const SocketAddress& from, Bytes request, io::StreamServer::Reply reply) {
        raw->on_stream(from, std::move(request), std::move(reply));
      }));
  shell->arm();
  return shell;
}

Result<> GossipShell::set_keys(const GossipKeys& keys) {
  if (keys == keys_) return Ok;
  const Sealer::KeyRing ring = TRY(ring_of(keys));
  datagram_sealer_->set_keys(ring);
  stream_sealer_->set_keys(ring);
  keys_ = keys;
  gossip_.set_keys(now(), state_of(ring));
  flush();
  return Ok;
}

uint64_t GossipShell::unknown_key() const {
  return datagram_sealer_->counters().dropped_for(Sealer::Drop::unknown_key) +
         stream_sealer_->counters().dropped_for(Sealer::Drop::unknown_key);
}

void GossipShell::revoke(const std::set<cluster::NodeId>& removed) {
  std::set<Sealer::SenderId> datagrams, streams;
  for (const cluster::NodeId& id : removed) {
    datagrams.insert(id.bytes);
    streams.insert(stream_id_of(id));
  }
  datagram_sealer_->set_removed(std::move(datagrams));
  stream_sealer_->set_removed(std::move(streams));
  gossip_.revoke(now(), removed);
}

void GossipShell::on_datagram(const SocketAddress& from, ByteView bytes) {
  const auto opened = datagram_sealer_->open(bytes);
  const auto* good = std::get_if<Sealer::Opened>(&opened);
  if (!good) return;  // counted by the sealer
  gossip_.on_packet(now(), from, {good->sender}, good->plaintext);
  flush();
}

std::optional<Bytes> GossipShell::seal_stream(ByteView plaintext) {
  const size_t parts = std::max<size_t>(1, (plaintext.size() + part_bytes - 1) / part_bytes);
  const Bytes id = io::random_bytes(8);
  Bytes out;
  ByteWriter all(out);
  for (size_t i = 0; i < parts; i++) {
    Bytes part;
    ByteWriter w(part);
    w.raw(id);
    w.u32(uint32_t(i));
    w.u32(uint32_t(parts));
    const size_t from = i * part_bytes;
    w.raw(plaintext.subspan(from, std::min(part_bytes, plaintext.size() - from)));
    auto sealed = stream_sealer_->seal(part);
    if (!sealed) return std::nullopt;
    all.field(*sealed);
  }
  return out;
}

std::optional<GossipShell::Stream> GossipShell::open_stream(ByteView sealed) {
  ByteReader reader(sealed);
  Stream out;
  Bytes id;
  uint32_t number = 0, parts = 1;
  for (; number < parts; number++) {
    const auto opened = stream_sealer_->open(reader.field());
    const auto* good = std::get_if<Sealer::Opened>(&opened);
    if (!reader.ok() || !good) return std::nullopt;
    ByteReader part(good->plaintext);
    const ByteView part_id = part.raw(8);
    const uint32_t part_number = part.u32(), part_count = part.u32();
    if (!part.ok() || part_number != number) return std::nullopt;
    if (number == 0) {
      id.assign(part_id.begin(), part_id.end());
      parts = part_count;
      out.sender = {stream_id_of({good->sender})};
    }
    if (stream_id_of({good->sender}) != out.sender.bytes) return std::nullopt;
    if (part_count != parts || !std::equal(id.begin(), id.end(), part_id.begin(), part_id.end()))
      return std::nullopt;
    const ByteView data = part.raw(part.remaining());
    out.bytes.insert(out.bytes.end(), data.begin(), data.end());
  }
  if (!reader.done()) return std::nullopt;
  return out;
}

void GossipShell::on_stream(const SocketAddress& from, Bytes request,
                            io::StreamServer::Reply reply) {
  const auto opened = open_stream(request);
  if (!opened) return reply({});
  if (opened->bytes.empty()) return streams_->hold();  // it wants to know when we are gone
  const Bytes answer = gossip_.on_stream_request(now(), from, opened->sender, opened->bytes);
  auto sealed = seal_stream(answer);
  reply(sealed ? std::move(*sealed) : Bytes());
  flush();
}

void GossipShell::start_stream(cluster::StreamRequest request) {
  const auto sealed = seal_stream(request.request);
  if (!sealed) return gossip_.on_stream_failed(now(), request.id);
  io::stream_request(
      loop_, request.to, *sealed, [alive = alive_, id = request.id](Result<Bytes> reply) {
        if (!*alive) return;
        GossipShell& self = **alive;
        const auto opened = reply ? self.open_stream(*reply) : std::nullopt;
        if (opened)
          self.gossip_.on_stream_reply(self.now(), id, opened->sender, opened->bytes);
        else
          self.gossip_.on_stream_failed(self.now(), id);
        self.flush();
      });
}

void GossipShell::watch(const cluster::WatchRequest& request) {
  watch_.reset();
  if (request.member.is_none()) return;
  auto lost = [this, id = request.member] {
    gossip_.on_watch_lost(now(), id);
    flush();
  };
  const auto sealed = seal_stream({});
  watch_ = std::make_unique<io::HeldStream>(loop_, request.to, sealed ? *sealed : Bytes(), lost);
}

void GossipShell::flush() {
  cluster::Effects effects = gossip_.take(now());
  for (const cluster::Packet& packet : effects.packets) {
    auto sealed = datagram_sealer_->seal(packet.bytes);
    if (!sealed) {
      log_error("seal a gossip packet: " + sealed.error().message());
      continue;
    }
    // A datagram that is not sent is one that was lost: the protocol expects it.
    if (auto sent = socket_->send(packet.to, *sealed); !sent)
      log_debug("gossip to " + packet.to.to_string() + ": " + sent.error().message());
  }
  for (cluster::StreamRequest& request : effects.streams) start_stream(std::move(request));
  if (effects.watch) watch(*effects.watch);
  if (!effects.events.empty())
    loop_.post([alive = alive_, events = std::move(effects.events)]() mutable {
      if (*alive) (*alive)->on_events_(std::move(events));
    });
  arm();
}

void GossipShell::arm() {
  const Instant next = gossip_.next_timer();
  if (timer_.armed() && next == armed_for_) return;
  armed_for_ = next;
  timer_ = loop_.at(next, [this] {
    gossip_.on_timer(now());
    flush();
  });
}

}  // namespace weft::node
