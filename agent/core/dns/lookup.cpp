// SPDX-License-Identifier: Apache-2.0
#include "core/dns/lookup.h"

#include <algorithm>

namespace weft::dns {

namespace {

bool has(const Match& match, Type type) {
  if (!match) return false;
  if (type == Type::a) return match.entry->v4 > 0;
  if (type == Type::aaaa) return match.entry->v6 > 0;
  return match.entry->v4 + match.entry->v6 > 0;
}

bool is_number(std::string_view label) {
  return std::all_of(label.begin(), label.end(), [](char c) { return c >= '0' && c <= '9'; });
}

// Top-level domains are letters, or xn-- (RFC 3696 2).
bool may_be_public(std::string_view last_label) {
  return last_label.starts_with("xn--") ||
         std::none_of(last_label.begin(), last_label.end(),
                      [](char c) { return c >= '0' && c <= '9'; });
}

// SERVICE.SLOT or SERVICE.SLOT.TASKID of a task that is gone.
bool former_task(const DnsView& view, const Query& query, size_t first) {
  const size_t last = query.labels;
  if (may_be_public(query.label(last - 1))) return false;
  for (size_t tail = 1; tail <= 2 && first + tail < last; ++tail)
    if (view.known(query.name(first, last - tail))) return true;
  return false;
}

std::optional<unsigned> parse_octet(std::string_view label) {
  if (label.empty() || label.size() > 3 || !is_number(label)) return {};
  if (label.size() > 1 && label[0] == '0') return {};
  unsigned value = 0;
  for (char c : label) value = value * 10 + unsigned(c - '0');
  if (value > 255) return {};
  return value;
}

std::optional<unsigned> parse_nibble(std::string_view label) {
  if (label.size() != 1) return {};
  const char c = label[0];
  if (c >= '0' && c <= '9') return unsigned(c - '0');
  if (c >= 'a' && c <= 'f') return unsigned(c - 'a' + 10);
  return {};
}

}  // namespace

Match find_name(const DnsView& view, const Asker& asker, const Query& query, size_t first) {
  Match known;
  const auto better = [&](Match match) {
    if (match && !known) known = match;
    if (!has(match, query.type)) return false;
    known = match;
    return true;
  };
  for (const std::string& id : asker.networks) {
    const NetworkNames* network = view.network(id);
    if (network && better({network, network->find(query.name(first))})) return known;
  }
  for (size_t split = query.labels; split-- > first + 1;) {
    const std::string_view suffix = query.name(split);
    if (view.domain(suffix) == DnsView::Domain::unknown) continue;
    for (const std::string& id : asker.networks) {
      const NetworkNames* network = view.network(id);
      if (network && network->domain() == suffix &&
          better({network, network->find(query.name(first, split))}))
        return known;
    }
  }
  return known;
}

Ownership owner_of(const DnsView& view, const Query& query) {
  using Kind = Ownership::Kind;
  size_t first = 0;
  while (first < query.labels && query.label(first).starts_with('_')) ++first;
  if (first == query.labels) return {};
  const size_t root = query.labels;

  for (size_t split = first; split < query.labels; ++split) {
    const DnsView::Domain domain = view.domain(query.name(split));
    if (domain == DnsView::Domain::unknown) continue;
    if (split == first) return {first == 0 ? Kind::exists : Kind::absent, split};
    if (domain == DnsView::Domain::ours || view.known(query.name(first, split)) ||
        query.label(first) == "tasks")
      return {Kind::absent, split};
  }
  if (query.label(first) == "tasks") {
    const size_t rest = query.labels - first - 1;
    if (rest == 0) return {Kind::exists, root};
    // tasks.example.com may well be somebody's host; tasks.web is ours even after web is gone.
    if (rest == 1 || view.known(query.name(first + 1))) return {Kind::absent, root};
  }
  if (view.known(query.name(first)) || former_task(view, query, first)) return {Kind::absent, root};
  return {};
}

std::optional<Reverse> parse_reverse(const Query& query) {
  if (query.labels < 2 || query.label(query.labels - 1) != "arpa") return {};
  Reverse out;
  out.zone_label = size_t(query.labels) - 2;
  const std::string_view zone = query.label(out.zone_label);
  const bool v4 = zone == "in-addr";
  if (!v4 && zone != "ip6") return {};
  const size_t whole = v4 ? 4 : 32;
  const size_t given = out.zone_label;
  if (given > whole) return {};

  Address::Bytes bytes{};
  if (v4) bytes[10] = bytes[11] = 0xff;
  for (size_t i = 0; i < given; ++i) {
    const std::string_view label = query.label(given - 1 - i);
    const auto value = v4 ? parse_octet(label) : parse_nibble(label);
    if (!value) return {};
    if (v4)
      bytes[12 + i] = uint8_t(*value);
    else
      bytes[i / 2] |= uint8_t(*value << (i % 2 ? 0 : 4));
  }
  out.block = {Address(bytes), uint8_t(given * (v4 ? 8 : 4))};
  out.whole = given == whole;
  return out;
}

}  // namespace weft::dns
