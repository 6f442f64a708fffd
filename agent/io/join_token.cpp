// SPDX-License-Identifier: Apache-2.0
#include <cctype>
#include <optional>

#include "io/pki.h"

namespace weft::io {
namespace {

constexpr std::string_view prefix = "WEFT-";
constexpr std::string_view version = "1";
constexpr std::string_view alphabet = "abcdefghijklmnopqrstuvwxyz234567";  // RFC 4648 base32
constexpr size_t digest_characters = 52;                                   // 256 bits
constexpr size_t least_secret_characters = 25;
constexpr size_t most_secret_characters = 100;

std::string base32(ByteView bytes) {
  std::string out;
  uint32_t bits = 0;
  int count = 0;
  for (const uint8_t byte : bytes) {
    bits = bits << 8 | byte;
    for (count += 8; count >= 5; count -= 5) out += alphabet[bits >> (count - 5) & 31];
  }
  if (count > 0) out += alphabet[bits << (5 - count) & 31];
  return out;
}

Digest unbase32(std::string_view text) {
  Digest out{};
  uint32_t bits = 0;
  int count = 0;
  size_t at = 0;
  for (const char c : text) {
    bits = bits << 5 | uint32_t(alphabet.find(c));
    count += 5;
    if (count < 8) continue;
    count -= 8;
    if (at < out.size()) out[at++] = uint8_t(bits >> count);
  }
  return out;
}

// The text as a polynomial over GF(2^5), evaluated at the generator a (a^5 = a^2 + 1), times a.
// With this character appended the value is 0; one changed character, or two neighbours swapped,
// cannot keep it 0.
char check_character(std::string_view text) {
  const auto times_a = [](uint32_t v) { return v & 16 ? ((v << 1) & 31) ^ 5 : v << 1; };
  uint32_t value = 0;
  for (const char c : text) value = times_a(value) ^ uint32_t(alphabet.find(c));
  return alphabet[times_a(value)];
}

Error bad(std::string_view why) {
  return Error(ErrorCode::invalid, "the join token " + std::string(why) +
                                       "; copy it again from 'weft cluster token show'");
}

}  // namespace

std::string JoinToken::to_string() const {
  const std::string digest = base32(ca_digest);
  return std::string(prefix) + std::string(version) + "-" + digest + "-" + secret +
         check_character(digest + secret);
}

Result<JoinToken> JoinToken::parse(std::string_view text) {
  std::string token;
  for (const char c : text) token += char(std::tolower(static_cast<unsigned char>(c)));
  const auto first = token.find_first_not_of(" \t\r\n");
  const auto last = token.find_last_not_of(" \t\r\n");
  token = first == std::string::npos ? "" : token.substr(first, last - first + 1);

  if (!token.starts_with("weft-")) return bad("does not start with WEFT-1-");
  const std::string_view rest = std::string_view(token).substr(prefix.size());
  const size_t dash = rest.find('-');
  if (dash == std::string_view::npos) return bad("is cut off");
  if (rest.substr(0, dash) != version)
    return Error(ErrorCode::invalid, "the join token has version " +
                                         std::string(rest.substr(0, std::min<size_t>(dash, 8))) +
                                         ", this weftd knows version 1 only");
  const std::string_view body = rest.substr(dash + 1);
  const size_t split = body.find('-');
  if (split == std::string_view::npos) return bad("is cut off");
  const std::string_view digest = body.substr(0, split), tail = body.substr(split + 1);
  for (const std::string_view part : {digest, tail}) {
    const size_t wrong = part.find_first_not_of(alphabet);
    if (wrong != std::string_view::npos)
      return bad("contains '" + std::string(1, part[wrong]) + "', which no token does");
  }
  if (digest.size() != digest_characters) return bad("has a character too many or too few");
  if (tail.size() < least_secret_characters + 1) return bad("is cut off");
  if (tail.size() > most_secret_characters + 1) return bad("is too long");
  const std::string_view secret = tail.substr(0, tail.size() - 1);
  if (check_character(std::string(digest) + std::string(secret)) != tail.back())
    return bad("has a typing error");
  return JoinToken{unbase32(digest), std::string(secret)};
}

std::string create_join_secret() {
  std::string secret;
  for (const uint8_t byte : random_bytes(26)) secret += alphabet[byte & 31];
  return secret;
}

}  // namespace weft::io
