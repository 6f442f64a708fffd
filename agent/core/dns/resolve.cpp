// SPDX-License-Identifier: Apache-2.0
#include "core/dns/resolve.h"

#include <algorithm>
#include <array>
#include <numeric>

#include "core/dns/answer.h"
#include "core/dns/lookup.h"

namespace weft::dns {

namespace {

using Action = Decision::Action;

// One query's way to its answer.
class Resolver {
 public:
  Resolver(const DnsView& view, const Asker& asker, const Query& query, Rng& rng,
           AnswerWriter& writer)
      : view_(view),
        asker_(asker),
        query_(query),
        rng_(rng),
        writer_(writer),
        ttl_(uint32_t(view.options().ttl.count())),
        negative_ttl_(uint32_t(view.options().negative_ttl.count())) {}

  Action run() {
    if (query_.edns_version > 0) return fail(Rcode::badvers);
    if (query_.query_class != class_in) return fail(Rcode::refused);
    if (query_.type == Type::axfr || query_.type == Type::ixfr) return fail(Rcode::refused);
    if (query_.type == Type::opt) return fail(Rcode::formerr);
    if (query_.labels == 0) return forward();

    if (const Match match = find_name(view_, asker_, query_, 0)) return answer_name(match);
    if (query_.label(0).starts_with('_'))
      if (const auto action = answer_service_port()) return *action;
    if (const auto reverse = parse_reverse(query_))
      if (const auto action = answer_reverse(*reverse)) return *action;
    if (query_.label(query_.labels - 1) == "localhost") return answer_localhost();

    const Ownership ownership = owner_of(view_, query_);
    switch (ownership.kind) {
      case Ownership::Kind::exists:
        return empty(Rcode::noerror, ownership.zone_label);
      case Ownership::Kind::absent:
        return empty(Rcode::nxdomain, ownership.zone_label);
      case Ownership::Kind::foreign:
        break;
    }
    const bool address = query_.type == Type::a || query_.type == Type::aaaa;
    if (query_.labels == 1 && asker_.ndots > 0 && address) return empty(Rcode::noerror, 1);
    return forward();
  }

 private:
  Action fail(Rcode rcode) {
    writer_.finish(rcode, false);
    return Action::answer;
  }

  Action forward() { return asker_.internal_only ? fail(Rcode::servfail) : Action::forward; }

  Action done() {
    writer_.finish(Rcode::noerror, true);
    return Action::answer;
  }

  // Offset in the message of the question's name from a label on; a pointer to its end is a
  // pointer to the root label.
  uint16_t offset_of(size_t label) const {
    const size_t in_name = label < query_.labels ? query_.label_at[label] : query_.key_size;
    return uint16_t(AnswerWriter::question_at + in_name);
  }

  // No record, with the SOA that tells how long that holds (RFC 2308).
  Action empty(Rcode rcode, size_t zone_label) {
    if (rcode == Rcode::noerror && query_.type == Type::soa && zone_label == 0)
      writer_.soa(Section::answer, offset_of(0), ttl_, view_.serial(), negative_ttl_);
    else
      writer_.soa(Section::authority, offset_of(zone_label), negative_ttl_, view_.serial(),
                  negative_ttl_);
    writer_.finish(rcode, true);
    return Action::answer;
  }

  // The zone of a name that a network has: the network's own name if the question ends in it.
  size_t zone_of(const NetworkNames& network) const {
    for (size_t label = 0; label < query_.labels; ++label)
      if (query_.name(label) == network.domain()) return label;
    return query_.labels;
  }

  // In random order; a list that does not fit is cut and marked.
  void add_addresses(Section section, uint16_t owner, std::span<const Address> list) {
    const auto add = [&](const Address& address) {
      if (writer_.address(section, owner, ttl_, address)) return true;
      // Missing additional records are no loss to the asker (RFC 2181 9).
      if (section == Section::answer) writer_.set_truncated();
      return false;
    };
    if (list.size() == 1) {
      add(list[0]);
      return;
    }
    std::array<uint32_t, 64> few;
    std::vector<uint32_t> many;
    if (list.size() > few.size()) many.resize(list.size());
    const std::span<uint32_t> order(many.empty() ? few.data() : many.data(), list.size());
    std::iota(order.begin(), order.end(), 0);
    for (size_t i = 0; i < order.size(); ++i) {
      std::swap(order[i], order[i + rng_.below(order.size() - i)]);
      if (!add(list[order[i]])) return;
    }
  }

  Action answer_name(const Match& match) {
    const auto v4 = match.network->v4(*match.entry);
    const auto v6 = match.network->v6(*match.entry);
    const bool any = query_.type == Type::any;
    const bool wants_v4 = (any || query_.type == Type::a) && !v4.empty();
    const bool wants_v6 = (any || query_.type == Type::aaaa) && !v6.empty();
    if (!wants_v4 && !wants_v6) return empty(Rcode::noerror, zone_of(*match.network));
    if (wants_v4) add_addresses(Section::answer, AnswerWriter::question_at, v4);
    if (wants_v6) add_addresses(Section::answer, AnswerWriter::question_at, v6);
    return done();
  }

  static bool names_port(const NetworkNames::Port& port, std::string_view label) {
    return label == port.name || label == std::to_string(port.target) ||
           (port.published && label == std::to_string(port.published));
  }

  // _PORT._PROTOCOL.SERVICE and the _PROTOCOL.SERVICE above it. Nothing if it is not that.
  std::optional<Action> answer_service_port() {
    const size_t underscored = query_.labels > 1 && query_.label(1).starts_with('_') ? 2 : 1;
    if (size_t(query_.labels) <= underscored) return {};
    const Match match = find_name(view_, asker_, query_, underscored);
    if (!match || match.entry->service == NetworkNames::none) return {};
    const NetworkNames::Service& service = match.network->service(match.entry->service);
    const std::string_view protocol = query_.label(underscored - 1).substr(1);
    const size_t zone = zone_of(*match.network);

    uint16_t target_port = 0;
    bool protocol_known = false;
    for (const NetworkNames::Port& port : service.ports) {
      if (port.protocol != protocol) continue;
      protocol_known = true;
      if (underscored == 2 && !target_port && names_port(port, query_.label(0).substr(1)))
        target_port = port.target;
    }
    if (underscored == 1) return empty(protocol_known ? Rcode::noerror : Rcode::nxdomain, zone);
    if (!target_port) return empty(Rcode::nxdomain, zone);
    if (query_.type != Type::srv && query_.type != Type::any) return empty(Rcode::noerror, zone);
    return answer_srv(match, service, target_port, zone);
  }

  Action answer_srv(const Match& match, const NetworkNames::Service& service, uint16_t port,
                    size_t zone) {
    const NetworkNames& network = *match.network;
    std::vector<const NetworkNames::Entry*> targets;
    if (match.entry->each_task) {
      for (uint32_t task : service.tasks) targets.push_back(&network.entry(task));
    } else if (match.entry->v4 + match.entry->v6 > 0) {
      targets.push_back(match.entry);
    }
    if (targets.empty()) return empty(Rcode::noerror, zone);

    for (size_t i = 0; i < targets.size(); ++i)
      std::swap(targets[i], targets[i + rng_.below(targets.size() - i)]);
    std::vector<uint16_t> names_at;
    for (const NetworkNames::Entry* target : targets) {
      const std::string name = std::string(network.name(*target)) + network.domain();
      uint16_t at = 0;
      if (!writer_.srv(AnswerWriter::question_at, ttl_, port, name, at)) {
        writer_.set_truncated();
        return done();
      }
      names_at.push_back(at);
    }
    for (size_t i = 0; i < targets.size(); ++i) {
      if (names_at[i] >= 0x3fff) break;  // out of a pointer's reach
      add_addresses(Section::additional, names_at[i], network.v4(*targets[i]));
      add_addresses(Section::additional, names_at[i], network.v6(*targets[i]));
    }
    return done();
  }

  std::optional<Action> answer_reverse(const Reverse& reverse) {
    static const std::string localhost = *wire_name("localhost");
    static const Prefix loopback = *Prefix::parse("127.0.0.0/8");
    static const Prefix loopback_v6 = *Prefix::parse("::1/128");

    std::vector<std::string> names;
    if (reverse.whole) {
      for (const std::string& id : asker_.networks) {
        const NetworkNames* network = view_.network(id);
        if (!network) continue;
        for (uint32_t index : network->reverse(reverse.block.address))
          names.push_back(std::string(network->name(network->entry(index))) + network->domain());
      }
      if (reverse.block.address == Address::v4(0x7f000001) || reverse.block == loopback_v6)
        names.push_back(localhost);
    }
    if (!names.empty()) {
      if (query_.type != Type::ptr && query_.type != Type::any)
        return empty(Rcode::noerror, reverse.zone_label);
      for (const std::string& name : names)
        if (!writer_.ptr(AnswerWriter::question_at, ttl_, name)) writer_.set_truncated();
      return done();
    }
    if (!view_.in_known_subnet(reverse.block) && !loopback.contains(reverse.block)) return {};
    // A part of an address has addresses below it.
    return empty(reverse.whole ? Rcode::nxdomain : Rcode::noerror, reverse.zone_label);
  }

  // RFC 6761 6.3: never asked of anybody.
  Action answer_localhost() {
    static const std::array<Address, 1> v4 = {Address::v4(0x7f000001)};
    static const std::array<Address, 1> v6 = {*Address::parse("::1")};
    if (query_.type == Type::a)
      add_addresses(Section::answer, AnswerWriter::question_at, v4);
    else if (query_.type == Type::aaaa)
      add_addresses(Section::answer, AnswerWriter::question_at, v6);
    else
      return empty(Rcode::noerror, size_t(query_.labels) - 1);
    return done();
  }

  const DnsView& view_;
  const Asker& asker_;
  const Query& query_;
  Rng& rng_;
  AnswerWriter& writer_;
  uint32_t ttl_;
  uint32_t negative_ttl_;
};

size_t size_limit(const Query& query, Transport transport) {
  if (transport == Transport::tcp) return message_limit;
  return query.edns ? std::min(query.udp_size, edns_udp_size) : plain_udp_size;
}

}  // namespace

Decision resolve(const DnsView& view, const Asker& asker, ByteView packet, Transport transport,
                 Rng& rng, Bytes& answer) {
  Query query;
  answer.clear();
  switch (parse_query(packet, query)) {
    case Parsed::drop:
      return {};
    case Parsed::formerr:
      answer = error_answer(packet, Rcode::formerr);
      return {Action::answer};
    case Parsed::notimp:
      answer = error_answer(packet, Rcode::notimp);
      return {Action::answer};
    case Parsed::query:
      break;
  }
  AnswerWriter writer(answer, packet, query, size_limit(query, transport), true);
  Decision decision;
  decision.action = Resolver(view, asker, query, rng, writer).run();
  decision.truncated = writer.truncated();
  if (decision.action != Action::answer) answer.clear();
  return decision;
}

}  // namespace weft::dns
