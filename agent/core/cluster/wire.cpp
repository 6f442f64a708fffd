// SPDX-License-Identifier: Apache-2.0
#include "core/cluster/wire.h"

#include <algorithm>

namespace weft::cluster {

std::string NodeId::to_string() const {
  static constexpr char digits[] = "0123456789abcdef";
  std::string text;
  text.reserve(32);
  for (uint8_t byte : bytes) {
    text += digits[byte >> 4];
    text += digits[byte & 15];
  }
  return text;
}

const char* to_string(MemberState state) {
  switch (state) {
    case MemberState::alive:
      return "alive";
    case MemberState::suspect:
      return "suspect";
    case MemberState::dead:
      return "dead";
    case MemberState::left:
      return "left";
  }
  return "unknown";
}

}  // namespace weft::cluster

namespace weft::cluster::wire {

namespace {

// --- fields ---

void put(ByteWriter& w, const NodeId& id) { w.raw(id.bytes); }
void put(ByteWriter& w, const Address& address) { w.raw(address.bytes()); }
void put(ByteWriter& w, const SocketAddress& address) {
  put(w, address.address);
  w.u16(address.port);
}
void put(ByteWriter& w, const Version& v) {
  put(w, v.origin);
  w.varint(v.boot_epoch);
  w.varint(v.mark);
}
void put(ByteWriter& w, const Record& r, uint64_t base) {
  w.varint(r.sequence - base);
  w.u8(uint8_t(r.kind));
  w.field(view_of(r.key));
  w.field(view_of(r.value));
}

NodeId get_id(ByteReader& r) {
  NodeId id;
  const ByteView raw = r.raw(id.bytes.size());
  std::copy(raw.begin(), raw.end(), id.bytes.begin());
  return id;
}
Address get_address(ByteReader& r) {
  Address::Bytes bytes{};
  const ByteView raw = r.raw(bytes.size());
  std::copy(raw.begin(), raw.end(), bytes.begin());
  return Address(bytes);
}
SocketAddress get_socket_address(ByteReader& r) {
  const Address address = get_address(r);
  return {address, r.u16()};
}
Version get_version(ByteReader& r) {
  Version v;
  v.origin = get_id(r);
  v.boot_epoch = r.varint();
  v.mark = r.varint();
  return v;
}

// A sequence near 2^64 would let sums wrap; no honest node counts that far.
constexpr uint64_t sequence_limit = uint64_t(1) << 62;

bool get_record(ByteReader& r, uint64_t base, Record& out) {
  const uint64_t step = r.varint();
  if (step > sequence_limit) return false;
  out.sequence = base + step;
  const uint8_t kind = r.u8();
  if (kind > uint8_t(RecordKind::baseline)) return false;
  out.kind = RecordKind(kind);
  out.key = text_of(r.field());
  out.value = text_of(r.field());
  if (!r.ok() || out.sequence == 0 || out.sequence > sequence_limit) return false;
  if (out.key.size() > Limits::key_bytes) return false;
  if (out.key.size() + out.value.size() > Limits::record_bytes) return false;
  return (out.kind == RecordKind::baseline) == out.key.empty();
}

// --- bodies ---

void write(ByteWriter& w, const Ping& m) {
  w.u32(m.probe);
  w.u32(m.target);
  w.u8(m.loss);
  w.u64(m.shared);
}
bool read(ByteReader& r, Ping& m) {
  m.probe = r.u32();
  m.target = r.u32();
  m.loss = r.u8();
  m.shared = r.u64();
  return true;
}

void write(ByteWriter& w, const Ack& m) {
  w.u32(m.probe);
  w.u8(m.loss);
}
bool read(ByteReader& r, Ack& m) {
  m.probe = r.u32();
  m.loss = r.u8();
  return true;
}

void write(ByteWriter& w, const Relay& m) {
  w.u32(m.probe);
  put(w, m.target);
  put(w, m.address);
  w.u16(m.timeout_ms);
}
bool read(ByteReader& r, Relay& m) {
  m.probe = r.u32();
  m.target = get_id(r);
  m.address = get_socket_address(r);
  m.timeout_ms = r.u16();
  return true;
}

void write(ByteWriter& w, const Relayed& m) { w.u32(m.probe); }
bool read(ByteReader& r, Relayed& m) {
  m.probe = r.u32();
  return true;
}
void write(ByteWriter& w, const Nack& m) { w.u32(m.probe); }
bool read(ByteReader& r, Nack& m) {
  m.probe = r.u32();
  return true;
}

void write(ByteWriter& w, const Member& m) {
  w.u8(uint8_t(m.state));
  put(w, m.id);
  w.varint(m.incarnation.boot_epoch);
  w.varint(m.incarnation.counter);
  if (m.state == MemberState::alive) {
    put(w, m.info.gossip);
    put(w, m.info.underlay);
    w.varint(m.info.node_index);
    w.field(view_of(m.info.name));
    w.field(view_of(m.info.opaque));
    w.varint(m.info.keys.sealing);
    w.varint(m.info.keys.newest);
  } else {
    put(w, m.accuser);
  }
}
bool read(ByteReader& r, Member& m) {
  const uint8_t state = r.u8();
  if (state > uint8_t(MemberState::left)) return false;
  m.state = MemberState(state);
  m.id = get_id(r);
  m.incarnation.boot_epoch = r.varint();
  m.incarnation.counter = r.varint();
  if (m.id.is_none() || m.incarnation.counter > sequence_limit) return false;
  if (m.state != MemberState::alive) {
    m.accuser = get_id(r);
    return true;
  }
  m.info.gossip = get_socket_address(r);
  m.info.underlay = get_address(r);
  const uint64_t index = r.varint();
  m.info.node_index = uint32_t(index);
  m.info.name = text_of(r.field());
  m.info.opaque = text_of(r.field());
  const uint64_t sealing = r.varint(), newest = r.varint();
  m.info.keys = {uint32_t(sealing), uint32_t(newest)};
  return index <= UINT32_MAX && sealing <= UINT32_MAX && newest <= UINT32_MAX &&
         m.info.name.size() <= Limits::name_bytes && m.info.opaque.size() <= Limits::opaque_bytes &&
         m.info.gossip.port != 0;
}

void write_hashes(ByteWriter& w, const std::vector<ScopeHash>& scopes) {
  for (const ScopeHash& s : scopes) {
    w.u32(s.scope);
    w.u64(s.hash);
  }
}
bool read_hashes(ByteReader& r, std::vector<ScopeHash>& scopes) {
  if (r.remaining() / 12 > Limits::message_entries) return false;
  scopes.reserve(r.remaining() / 12);
  while (r.ok() && r.remaining() > 0) {
    const ScopeId scope = r.u32();
    scopes.push_back({scope, r.u64()});
  }
  return true;
}

void write(ByteWriter& w, const Hashes& m) { write_hashes(w, m.scopes); }
bool read(ByteReader& r, Hashes& m) { return read_hashes(r, m.scopes); }
void write(ByteWriter& w, const Compare& m) { write_hashes(w, m.scopes); }
bool read(ByteReader& r, Compare& m) { return read_hashes(r, m.scopes); }

void write(ByteWriter& w, const RecordNews& m) {
  w.u32(m.scope);
  put(w, m.origin);
  w.varint(m.boot_epoch);
  put(w, m.record, 0);
}
bool read(ByteReader& r, RecordNews& m) {
  m.scope = r.u32();
  m.origin = get_id(r);
  m.boot_epoch = r.varint();
  return get_record(r, 0, m.record) && !m.origin.is_none();
}

constexpr uint8_t log2_buckets_limit = 9;

void write(ByteWriter& w, const Digest& m) {
  w.u32(m.scope);
  w.u32(m.salt);
  w.u8(m.log2_buckets);
  for (uint16_t hash : m.hashes) w.u16(hash);
}
bool read(ByteReader& r, Digest& m) {
  m.scope = r.u32();
  m.salt = r.u32();
  m.log2_buckets = r.u8();
  if (m.log2_buckets > log2_buckets_limit) return false;
  const size_t count = size_t(1) << m.log2_buckets;
  if (r.remaining() != count * 2) return false;
  m.hashes.reserve(count);
  for (size_t i = 0; i < count; ++i) m.hashes.push_back(r.u16());
  return true;
}

void write_versions(ByteWriter& w, const std::vector<Version>& versions) {
  for (const Version& v : versions) put(w, v);
}
bool read_versions(ByteReader& r, std::vector<Version>& versions) {
  while (r.ok() && r.remaining() > 0) {
    versions.push_back(get_version(r));
    if (versions.back().mark > sequence_limit) return false;
    if (versions.size() > Limits::members) return false;
  }
  return true;
}

void write(ByteWriter& w, const Vector& m) {
  w.u32(m.scope);
  w.u8(m.log2_buckets);
  w.varint(m.buckets.size());
  for (uint16_t bucket : m.buckets) w.u16(bucket);
  write_versions(w, m.versions);
}
bool read(ByteReader& r, Vector& m) {
  m.scope = r.u32();
  m.log2_buckets = r.u8();
  const uint64_t count = r.varint();
  if (m.log2_buckets > log2_buckets_limit || count > (uint64_t(1) << m.log2_buckets)) return false;
  m.buckets.reserve(count);
  for (uint64_t i = 0; i < count; ++i) m.buckets.push_back(r.u16());
  std::sort(m.buckets.begin(), m.buckets.end());
  return read_versions(r, m.versions);
}

void write(ByteWriter& w, const Pull& m) {
  w.u32(m.scope);
  write_versions(w, m.versions);
}
bool read(ByteReader& r, Pull& m) {
  m.scope = r.u32();
  return read_versions(r, m.versions);
}

void write(ByteWriter& w, const Delta& m) {
  w.u32(m.scope);
  put(w, m.origin);
  w.varint(m.boot_epoch);
  w.varint(m.from);
  w.varint(m.through);
  w.varint(m.floor);
  uint64_t base = m.from;
  for (const Record& record : m.records) {
    put(w, record, base);
    base = record.sequence;
  }
}
bool read(ByteReader& r, Delta& m) {
  m.scope = r.u32();
  m.origin = get_id(r);
  m.boot_epoch = r.varint();
  m.from = r.varint();
  m.through = r.varint();
  m.floor = r.varint();
  if (m.origin.is_none() || m.through > sequence_limit || m.from > m.through) return false;
  if (m.floor > m.through || (m.floor != 0 && m.from != 0)) return false;
  uint64_t base = m.from;
  while (r.ok() && r.remaining() > 0) {
    Record record;
    if (!get_record(r, base, record)) return false;
    // Ascending and inside the range, or the claim "this is all of it" means nothing.
    if (record.sequence <= base || record.sequence > m.through) return false;
    if (m.records.size() >= Limits::records_per_owner) return false;
    base = record.sequence;
    m.records.push_back(record);
  }
  return true;
}

template <typename T>
struct TypeOf;
#define WEFT_MESSAGE(Struct, name)            \
  template <>                                 \
  struct TypeOf<Struct> {                     \
    static constexpr Type value = Type::name; \
  };
WEFT_MESSAGE(Ping, ping)
WEFT_MESSAGE(Ack, ack)
WEFT_MESSAGE(Relay, relay)
WEFT_MESSAGE(Relayed, relayed)
WEFT_MESSAGE(Nack, nack)
WEFT_MESSAGE(Member, member)
WEFT_MESSAGE(Hashes, hashes)
WEFT_MESSAGE(RecordNews, record)
WEFT_MESSAGE(Digest, digest)
WEFT_MESSAGE(Vector, vector)
WEFT_MESSAGE(Pull, pull)
WEFT_MESSAGE(Delta, delta)
WEFT_MESSAGE(Compare, compare)
#undef WEFT_MESSAGE

template <typename T>
bool try_read(Type type, ByteView body, std::optional<Message>& out) {
  if (type != TypeOf<T>::value) return false;
  ByteReader r(body);
  T message;
  // Bytes after the known fields are a newer version's business.
  if (read(r, message) && r.ok()) out = std::move(message);
  return true;
}

template <typename... T>
bool read_any(Type type, ByteView body, std::optional<Message>& out, std::variant<T...>*) {
  return (try_read<T>(type, body, out) || ...);
}

}  // namespace

Bytes encode(const Message& message) {
  Bytes body;
  ByteWriter w(body);
  Type type{};
  std::visit(
      [&](const auto& m) {
        type = TypeOf<std::decay_t<decltype(m)>>::value;
        write(w, m);
      },
      message);
  Bytes out;
  out.reserve(body.size() + 6);
  ByteWriter framed(out);
  framed.u8(uint8_t(type));
  framed.field(body);
  return out;
}

void append_header(Bytes& out) { out.push_back(version); }

uint32_t tag_of(const NodeId& id) {
  const ByteView bytes(id.bytes);
  // Ids are random, but nobody forces a node to choose so: all bytes count (FNV-1a).
  uint32_t tag = 2166136261u;
  for (uint8_t byte : bytes) tag = (tag ^ byte) * 16777619u;
  return tag == 0 ? 1 : tag;
}

std::optional<Reader> Reader::open(ByteView packet) {
  Reader reader(packet);
  if (reader.in_.u8() != version) return std::nullopt;
  return reader;
}

std::optional<Message> Reader::next() {
  while (in_.ok() && in_.remaining() > 0) {
    const Type type = Type(in_.u8());
    const ByteView body = in_.field();
    if (!in_.ok()) {
      ++malformed_;
      break;
    }
    std::optional<Message> out;
    if (read_any(type, body, out, static_cast<Message*>(nullptr))) {
      if (out) return out;
      ++malformed_;
    }
  }
  return std::nullopt;
}

size_t record_size_bound(const Record& record) {
  return 10 + 1 + 2 + 2 + record.key.size() + record.value.size();
}

}  // namespace weft::cluster::wire
