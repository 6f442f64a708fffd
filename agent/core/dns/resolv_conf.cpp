// SPDX-License-Identifier: Apache-2.0
#include "core/dns/resolv_conf.h"

#include <algorithm>
#include <charconv>

namespace weft::dns {

namespace {

constexpr std::string_view blanks = " \t\r";
constexpr std::string_view ndots_prefix = "ndots:";

std::vector<std::string_view> words_of(std::string_view line) {
  std::vector<std::string_view> words;
  for (;;) {
    const size_t start = line.find_first_not_of(blanks);
    if (start == line.npos) return words;
    line.remove_prefix(start);
    const size_t end = std::min(line.find_first_of(blanks), line.size());
    words.push_back(line.substr(0, end));
    line.remove_prefix(end);
  }
}

void read_option(std::string_view word, ResolvConf& conf) {
  if (!word.starts_with(ndots_prefix)) {
    conf.options.emplace_back(word);
    return;
  }
  const std::string_view number = word.substr(ndots_prefix.size());
  int value = 0;
  const char* const end = number.data() + number.size();
  if (std::from_chars(number.data(), end, value) == std::from_chars_result{end, std::errc()} &&
      value >= 0)
    conf.ndots = value;
}

}  // namespace

ResolvConf parse_resolv_conf(std::string_view text) {
  ResolvConf conf;
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    const std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (line.starts_with('#') || line.starts_with(';')) continue;
    const auto words = words_of(line);
    if (words.size() < 2) continue;
    if (words[0] == "nameserver") {
      if (auto address = Address::parse(words[1])) conf.nameservers.push_back(*address);
    } else if (words[0] == "search" || words[0] == "domain") {
      // A domain is a search list of one.
      const size_t last = words[0] == "domain" ? 2 : words.size();
      conf.search.assign(words.begin() + 1, words.begin() + std::ptrdiff_t(last));
    } else if (words[0] == "options") {
      for (size_t i = 1; i < words.size(); ++i) read_option(words[i], conf);
    }
  }
  return conf;
}

std::string container_resolv_conf(const ResolvConf& conf) {
  std::string out = "nameserver " + std::string(resolver_address) + "\n";
  if (!conf.search.empty()) {
    out += "search";
    for (const std::string& domain : conf.search) out += " " + domain;
    out += "\n";
  }
  out += "options";
  for (const std::string& option : conf.options) out += " " + option;
  return out + " ndots:" + std::to_string(conf.ndots.value_or(0)) + "\n";
}

}  // namespace weft::dns
