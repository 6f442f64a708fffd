// SPDX-License-Identifier: Apache-2.0
#include "frontends/control/query.h"

#include <cstdint>

namespace weft::control {
namespace {

int hex_value(char digit) {
  if (digit >= '0' && digit <= '9') return digit - '0';
  if (digit >= 'a' && digit <= 'f') return digit - 'a' + 10;
  if (digit >= 'A' && digit <= 'F') return digit - 'A' + 10;
  return -1;
}

// Bytes that follow a UTF-8 lead byte; -1 for a byte that cannot lead.
int utf8_tail_length(uint8_t lead) {
  if (lead < 0x80) return 0;
  if (lead >= 0xc2 && lead <= 0xdf) return 1;
  if (lead >= 0xe0 && lead <= 0xef) return 2;
  if (lead >= 0xf0 && lead <= 0xf4) return 3;
  return -1;
}

// Structural check (RFC 3629), surrogates and over-long forms included: protobuf strings must
// hold nothing else.
bool is_utf8(std::string_view text) {
  for (size_t i = 0; i < text.size();) {
    const auto lead = static_cast<uint8_t>(text[i]);
    const int tail = utf8_tail_length(lead);
    if (tail < 0 || i + static_cast<size_t>(tail) >= text.size()) return false;
    for (int k = 1; k <= tail; ++k) {
      const auto next = static_cast<uint8_t>(text[i + static_cast<size_t>(k)]);
      uint8_t low = 0x80, high = 0xbf;
      if (k == 1 && lead == 0xe0) low = 0xa0;
      if (k == 1 && lead == 0xed) high = 0x9f;
      if (k == 1 && lead == 0xf0) low = 0x90;
      if (k == 1 && lead == 0xf4) high = 0x8f;
      if (next < low || next > high) return false;
    }
    i += static_cast<size_t>(tail) + 1;
  }
  return true;
}

Result<std::string> decode(std::string_view text, bool plus_is_space) {
  std::string out;
  out.reserve(text.size());
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '+' && plus_is_space) {
      out += ' ';
    } else if (text[i] == '%') {
      const int high = i + 2 < text.size() ? hex_value(text[i + 1]) : -1;
      const int low = i + 2 < text.size() ? hex_value(text[i + 2]) : -1;
      if (high < 0 || low < 0) {
        return Error(ErrorCode::invalid, "the request's address has a broken %-escape");
      }
      out += static_cast<char>(high * 16 + low);
      i += 2;
    } else {
      out += text[i];
    }
  }
  if (!is_utf8(out) || out.find('\0') != std::string::npos) {
    return Error(ErrorCode::invalid, "the request's address is not UTF-8 text");
  }
  return out;
}

// Calls `take` with each piece of `text` between separators.
template <typename Take>
Result<> split(std::string_view text, char separator, Take take) {
  for (size_t start = 0; start <= text.size();) {
    const size_t end = std::min(text.find(separator, start), text.size());
    TRY(take(text.substr(start, end - start)));
    start = end + 1;
  }
  return Ok;
}

}  // namespace

Result<Target> parse_target(std::string_view target) {
  Target result;
  target = target.substr(0, target.find('#'));
  const size_t question = target.find('?');
  std::string_view path = target.substr(0, question);
  if (!path.starts_with('/')) {
    return Error(ErrorCode::invalid, "the request's address does not start with /");
  }
  TRY(split(path.substr(1), '/', [&](std::string_view segment) -> Result<> {
    result.segments.push_back(TRY(decode(segment, false)));
    return Ok;
  }));
  if (question == std::string_view::npos) return result;
  TRY(split(target.substr(question + 1), '&', [&](std::string_view pair) -> Result<> {
    if (pair.empty()) return Ok;
    const size_t equals = pair.find('=');
    std::string name = TRY(decode(pair.substr(0, equals), true));
    std::string value;
    if (equals != std::string_view::npos) value = TRY(decode(pair.substr(equals + 1), true));
    result.parameters.emplace_back(std::move(name), std::move(value));
    return Ok;
  }));
  return result;
}

}  // namespace weft::control
