// SPDX-License-Identifier: Apache-2.0
#include "core/dns/wire.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <utility>

namespace weft::dns {

namespace {

constexpr std::array<std::pair<Type, std::string_view>, 12> type_names = {{
    {Type::a, "A"},
    {Type::ns, "NS"},
    {Type::cname, "CNAME"},
    {Type::soa, "SOA"},
    {Type::ptr, "PTR"},
    {Type::mx, "MX"},
    {Type::txt, "TXT"},
    {Type::aaaa, "AAAA"},
    {Type::srv, "SRV"},
    {Type::opt, "OPT"},
    {Type::axfr, "AXFR"},
    {Type::any, "ANY"},
}};

std::string upper(std::string_view text) {
  std::string out(text);
  for (char& c : out)
    if (c >= 'a' && c <= 'z') c = char(c - 32);
  return out;
}

bool is_digit(char c) { return c >= '0' && c <= '9'; }

Error bad_name(std::string_view name, const char* why) {
  return Error(ErrorCode::invalid, "\"" + std::string(name) + "\" is not a domain name: " + why);
}

}  // namespace

std::string type_name(Type type) {
  for (const auto& [value, name] : type_names)
    if (value == type) return std::string(name);
  return "TYPE" + std::to_string(unsigned(type));
}

Result<Type> parse_type(std::string_view text) {
  const std::string wanted = upper(text);
  for (const auto& [value, name] : type_names)
    if (name == wanted) return value;
  const std::string_view number = std::string_view(wanted).substr(std::min<size_t>(4, text.size()));
  uint16_t value = 0;
  const auto end = number.data() + number.size();
  if (wanted.starts_with("TYPE") && !number.empty() &&
      std::from_chars(number.data(), end, value) == std::from_chars_result{end, std::errc()})
    return Type(value);
  return Error(ErrorCode::invalid,
               "unknown record type \"" + std::string(text) +
                   "\": use A, AAAA, PTR, SRV, TXT, SOA, CNAME, NS, MX, ANY or TYPE<number>");
}

std::string rcode_name(Rcode rcode) {
  static constexpr std::array<std::string_view, 11> names = {
      "NOERROR",  "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED",
      "YXDOMAIN", "YXRRSET", "NXRRSET",  "NOTAUTH",  "NOTZONE"};
  if (size_t(rcode) < names.size()) return std::string(names[size_t(rcode)]);
  if (rcode == Rcode::badvers) return "BADVERS";
  return "RCODE" + std::to_string(unsigned(rcode));
}

Result<std::string> wire_name(std::string_view dotted) {
  std::string out;
  if (dotted == ".") return out;
  if (dotted.empty()) return bad_name(dotted, "it is empty");
  std::string label;
  const auto finish_label = [&] {
    if (label.empty() || label.size() > 63) return false;
    out.push_back(char(label.size()));
    out += label;
    label.clear();
    return true;
  };
  for (size_t i = 0; i < dotted.size(); ++i) {
    char c = dotted[i];
    if (c == '.') {
      if (!finish_label()) return bad_name(dotted, "labels have 1 to 63 bytes");
      continue;
    }
    if (c == '\\') {
      if (i + 1 >= dotted.size()) return bad_name(dotted, "it ends in a backslash");
      c = dotted[++i];
      if (is_digit(c)) {
        if (i + 2 >= dotted.size() || !is_digit(dotted[i + 1]) || !is_digit(dotted[i + 2]))
          return bad_name(dotted, "an escape has three digits");
        const int value = (c - '0') * 100 + (dotted[i + 1] - '0') * 10 + (dotted[i + 2] - '0');
        if (value > 255) return bad_name(dotted, "an escape is over 255");
        c = char(value);
        i += 2;
      }
    }
    label.push_back(lower(c));
  }
  // Without a trailing dot the last label is still open.
  const bool trailing_dot = label.empty();
  if (!trailing_dot && !finish_label()) return bad_name(dotted, "labels have 1 to 63 bytes");
  if (out.size() > name_limit) return bad_name(dotted, "it has more than 253 bytes");
  return out;
}

std::string dotted_name(std::string_view wire) {
  if (wire.empty()) return ".";
  std::string out;
  for (size_t at = 0; at < wire.size();) {
    const size_t length = uint8_t(wire[at]);
    for (char c : wire.substr(at + 1, length)) {
      if (c == '.' || c == '\\') {
        out += '\\';
        out += c;
      } else if (c > ' ' && c < 127) {
        out += c;
      } else {
        const unsigned value = uint8_t(c);
        out += '\\';
        out += char('0' + value / 100);
        out += char('0' + value / 10 % 10);
        out += char('0' + value % 10);
      }
    }
    out += '.';
    at += 1 + length;
  }
  return out;
}

}  // namespace weft::dns
