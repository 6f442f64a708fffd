// SPDX-License-Identifier: Apache-2.0
//
// Any bytes to the name server's and the client's decoders. Beyond not crashing: an answer can be
// decoded, keeps the id and stays within its size; a forwarded packet is a whole query that names
// nothing of ours; a name survives both forms.
#include <algorithm>

#include "base/assert.h"
#include "core/dns/message.h"
#include "core/dns/query.h"
#include "core/dns/resolv_conf.h"
#include "core/dns/resolve.h"

using namespace weft;
using namespace weft::dns;

namespace {

DnsView make_view() {
  NetworkInput network{.id = "1",
                       .name = "n1",
                       .subnets = {*Prefix::parse("10.1.0.0/16"), *Prefix::parse("fd01::/64")}};
  network.services = {{.name = "web",
                       .aliases = {"w"},
                       .vips = {*Address::parse("10.1.0.100"), *Address::parse("fd01::100")},
                       .ports = {{"http", "tcp", 80, 8080}}},
                      {.name = "rr", .ports = {{"", "tcp", 1, 0}}}};
  for (uint32_t i = 0; i < 150; ++i)
    network.endpoints.push_back({.name = "b" + std::to_string(i),
                                 .addresses = {Address::v4(0x0a010200 + i)},
                                 .service = i < 5 ? "web" : "rr",
                                 .slot = std::to_string(i),
                                 .task_id = "t" + std::to_string(i)});
  NetworkInput other{.id = "2", .name = "n.two"};
  other.endpoints = {{.name = "only", .addresses = {*Address::parse("10.2.0.2")}}};
  return DnsView({.networks = {NetworkNames::build(network), NetworkNames::build(other)}});
}

void ask(const DnsView& view, ByteView packet, Transport transport) {
  static const Asker asker{.networks = {"1"}};
  Rng rng(packet.size());
  Bytes answer;
  const Decision decision = resolve(view, asker, packet, transport, rng, answer);
  Query query;
  const Parsed parsed = parse_query(packet, query);
  switch (decision.action) {
    case Decision::Action::drop:
      WEFT_ASSERT(answer.empty() && parsed == Parsed::drop);
      return;
    case Decision::Action::forward:
      WEFT_ASSERT(answer.empty() && parsed == Parsed::query);
      WEFT_ASSERT(!view.known(query.name()));
      WEFT_ASSERT(!query.name().ends_with("\2n1") || query.labels == 0 ||
                  query.label(query.labels - 1) != "n1");
      return;
    case Decision::Action::answer:
      break;
  }
  const auto message = decode_message(answer);
  WEFT_ASSERT(bool(message));
  WEFT_ASSERT(message->response() && message->id == uint16_t(packet[0] << 8 | packet[1]));
  WEFT_ASSERT(message->truncated() == decision.truncated);
  const size_t limit = transport == Transport::tcp ? message_limit
                       : message->edns             ? std::min(query.udp_size, edns_udp_size)
                                                   : plain_udp_size;
  WEFT_ASSERT(answer.size() <= limit);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const DnsView view = make_view();
  const ByteView packet(data, size);
  ask(view, packet, Transport::udp);
  ask(view, packet, Transport::tcp);
  if (const auto message = decode_message(packet)) {
    WEFT_ASSERT(!to_text(*message).empty());
    for (const Question& question : message->questions)
      WEFT_ASSERT(dotted_name(*wire_name(question.name)).size() == question.name.size());
  }
  const std::string text(text_of(packet));
  if (const auto wire = wire_name(text)) WEFT_ASSERT(*wire_name(dotted_name(*wire)) == *wire);
  const ResolvConf conf = parse_resolv_conf(text);
  const ResolvConf again = parse_resolv_conf(container_resolv_conf(conf));
  WEFT_ASSERT(again.ndots == conf.ndots.value_or(0) && again.options == conf.options);
  return 0;
}
