// SPDX-License-Identifier: Apache-2.0
#include "core/cluster/gossip.h"

#include "core/cluster/engine.h"

namespace weft::cluster {

Gossip::Gossip(const Config& config, Self self, Rng rng, Instant now)
    : engine_(std::make_unique<Engine>(config, std::move(self), rng, now)) {}
Gossip::~Gossip() = default;
Gossip::Gossip(Gossip&&) noexcept = default;
Gossip& Gossip::operator=(Gossip&&) noexcept = default;

void Gossip::on_packet(Instant now, const SocketAddress& from, const NodeId& sender,
                       ByteView plaintext) {
  engine_->on_packet(now, from, sender, plaintext);
}
void Gossip::on_port_refused(Instant now, const SocketAddress& address) {
  engine_->on_port_refused(now, address);
}
Bytes Gossip::on_stream_request(Instant now, const SocketAddress& from, const NodeId& sender,
                                ByteView request) {
  return engine_->on_stream_request(now, from, sender, request);
}
void Gossip::on_stream_reply(Instant now, uint64_t id, const NodeId& sender, ByteView reply) {
  engine_->on_stream_reply(now, id, sender, reply);
}
void Gossip::on_watch_lost(Instant now, const NodeId& member) {
  engine_->on_watch_lost(now, member);
}
void Gossip::on_stream_failed(Instant, uint64_t id) { engine_->on_stream_failed(id); }
void Gossip::on_timer(Instant now) { engine_->on_timer(now); }
Instant Gossip::next_timer() const { return engine_->next_timer(); }
void Gossip::join(Instant now, std::span<const SocketAddress> seeds) { engine_->join(now, seeds); }
void Gossip::leave(Instant now) { engine_->leave(now); }
bool Gossip::has_left(Instant now) const { return engine_->has_left(now); }
void Gossip::update_self(Instant now, MemberInfo info) {
  engine_->update_self(now, std::move(info));
}
void Gossip::revoke(Instant now, std::set<NodeId> removed) {
  engine_->revoke(now, std::move(removed));
}
Result<> Gossip::enter_scope(Instant now, ScopeId scope) {
  return engine_->enter_scope(now, scope);
}
void Gossip::leave_scope(Instant now, ScopeId scope) { engine_->leave_scope(now, scope); }
Result<> Gossip::set(Instant now, ScopeId scope, std::string_view key, std::string_view value) {
  return engine_->set(now, scope, key, value);
}
Result<> Gossip::erase(Instant now, ScopeId scope, std::string_view key) {
  return engine_->erase(now, scope, key);
}
void Gossip::baseline_complete(Instant now) { engine_->baseline_complete(now); }
void Gossip::set_keys(Instant now, KeyRingState keys) { engine_->set_keys(now, keys); }
Effects Gossip::take(Instant now) { return engine_->take(now); }
std::vector<MemberView> Gossip::members() const { return engine_->members(); }
std::vector<RecordView> Gossip::records(ScopeId scope) const { return engine_->records(scope); }
std::vector<NodeId> Gossip::scope_members(ScopeId scope) const {
  return engine_->scope_members(scope);
}
bool Gossip::in_scope(ScopeId scope) const { return engine_->in_scope(scope); }
size_t Gossip::alive_members() const { return engine_->alive_members(); }
uint64_t Gossip::members_hash() const { return engine_->hash_of(members_scope); }
uint64_t Gossip::scope_hash(ScopeId scope) const { return engine_->hash_of(scope); }
bool Gossip::synced(ScopeId scope) const { return engine_->synced(scope); }
KeyProgress Gossip::key_progress(uint32_t epoch) const { return engine_->key_progress(epoch); }
const Counters& Gossip::counters() const { return engine_->counters(); }
uint32_t Gossip::local_health() const { return engine_->local_health(); }
double Gossip::loss() const { return engine_->loss(); }
size_t Gossip::stored_bytes() const { return engine_->stored_bytes(); }

}  // namespace weft::cluster
