// SPDX-License-Identifier: Apache-2.0
#include "cli/syntax.h"

#include <charconv>
#include <nlohmann/json.hpp>

#include "base/address.h"
#include "cli/command.h"

namespace weft::cli {
namespace {

constexpr std::string_view manager_port = "2377";
constexpr uint64_t port_max = 65535;

struct Range {
  uint64_t first = 0;
  uint64_t last = 0;
  uint64_t size() const { return last - first + 1; }
};

// A published port as it was written, before ranges are laid out.
struct Publish {
  std::string address;
  std::string published;  // empty: Weft chooses
  std::string target;
  std::string protocol = "tcp";
  std::string mode = "ingress";
};

Result<Range> parse_range(const std::string& text) {
  const size_t dash = text.find('-');
  Range range;
  range.first = TRY(parse_number(text.substr(0, dash), 1, port_max));
  range.last = range.first;
  if (dash != std::string::npos) {
    range.last = TRY(parse_number(text.substr(dash + 1), 1, port_max));
  }
  if (range.last < range.first) return usage("the range '" + text + "' runs backwards");
  return range;
}

std::vector<std::string> split(const std::string& text, char separator) {
  std::vector<std::string> parts;
  for (size_t start = 0; start <= text.size();) {
    const size_t end = std::min(text.find(separator, start), text.size());
    parts.push_back(text.substr(start, end - start));
    start = end + 1;
  }
  return parts;
}

Result<> set_word(Publish& publish, const std::string& key, const std::string& value) {
  if (key == "mode") {
    publish.mode = value;
  } else if (key == "target") {
    publish.target = value;
  } else if (key == "published") {
    publish.published = value;
  } else if (key == "protocol") {
    publish.protocol = value;
  } else {
    return usage("'" + key + "' is not part of a published port");
  }
  return Ok;
}

// "[IP:]PUBLISHED:TARGET/PROTOCOL": the target is last, so cut from the right.
void take_short_form(Publish& publish, std::string text) {
  if (const size_t slash = text.rfind('/'); slash != std::string::npos) {
    publish.protocol = text.substr(slash + 1);
    text.resize(slash);
  }
  const size_t last = text.rfind(':');
  publish.target = last == std::string::npos ? text : text.substr(last + 1);
  if (last == std::string::npos) return;
  text.resize(last);
  const size_t before = text.rfind(':');
  publish.published = before == std::string::npos ? text : text.substr(before + 1);
  if (before != std::string::npos) publish.address = text.substr(0, before);
}

Result<> check_publish(Publish& publish) {
  std::string& address = publish.address;
  if (address.starts_with('[') && address.ends_with(']')) {
    address = address.substr(1, address.size() - 2);
  }
  if (!address.empty() && !Address::parse(address)) {
    return usage("'" + address + "' is not an address");
  }
  if (publish.protocol != "tcp" && publish.protocol != "udp" && publish.protocol != "sctp") {
    return usage("the protocol is tcp, udp or sctp, not '" + publish.protocol + "'");
  }
  if (publish.mode != "ingress" && publish.mode != "host") {
    return usage("the mode is ingress or host, not '" + publish.mode + "'");
  }
  return Ok;
}

Result<Json> lay_out(const Publish& publish) {
  const Range target = TRY(parse_range(publish.target));
  Range published;
  if (!publish.published.empty()) published = TRY(parse_range(publish.published));
  const bool chosen = published.first == 0;
  if (!chosen && target.size() != 1 && target.size() != published.size()) {
    return usage("the ranges " + publish.published + " and " + publish.target +
                 " differ in length");
  }
  const uint64_t count = chosen ? target.size() : published.size();
  Json ports = Json::array();
  for (uint64_t i = 0; i < count; ++i) {
    ports.push_back({{"address", publish.address},
                     {"published", chosen ? 0 : published.first + i},
                     {"target", target.size() == 1 ? target.first : target.first + i},
                     {"protocol", publish.protocol},
                     {"mode", publish.mode == "host" ? "HOST" : "INGRESS"}});
  }
  return ports;
}

}  // namespace

Result<uint64_t> parse_number(const std::string& text, uint64_t low, uint64_t high) {
  uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value < low || value > high) {
    return usage("'" + text + "' is not a number from " + std::to_string(low) + " to " +
                 std::to_string(high));
  }
  return value;
}

Result<std::chrono::milliseconds> parse_duration(const std::string& text) {
  const Error wrong = usage("'" + text + "' is not a time: write 500ms, 10s, 1m30s or 2h");
  constexpr uint64_t longest_ms = 0xffffffff;  // the API's uint32 milliseconds: 49 days
  uint64_t total_ms = 0;
  if (text.empty()) return wrong;
  for (const char *at = text.data(), *end = at + text.size(); at != end;) {
    uint64_t value = 0;
    const auto [next, error] = std::from_chars(at, end, value);
    if (error != std::errc() || value > longest_ms) return wrong;
    const std::string_view rest(next, static_cast<size_t>(end - next));
    uint64_t unit_ms = 0;
    size_t length = 1;
    if (rest.starts_with("ms")) {
      unit_ms = 1, length = 2;
    } else if (rest.starts_with('s')) {
      unit_ms = 1000;
    } else if (rest.starts_with('m')) {
      unit_ms = 60'000;
    } else if (rest.starts_with('h')) {
      unit_ms = 3'600'000;
    } else {
      return wrong;
    }
    total_ms += value * unit_ms;
    if (total_ms > longest_ms) return wrong;
    at = next + length;
  }
  return std::chrono::milliseconds(total_ms);
}

Result<Json> parse_pairs(const std::vector<std::string>& pairs) {
  Json object = Json::object();
  for (const std::string& pair : pairs) {
    const size_t equals = pair.find('=');
    if (equals == std::string::npos || equals == 0) {
      return usage("'" + pair + "' is not KEY=VALUE");
    }
    const std::string key = pair.substr(0, equals);
    if (object.contains(key)) return usage("'" + key + "' is given twice");
    object[key] = pair.substr(equals + 1);
  }
  return object;
}

Result<Json> parse_publish(const std::string& text) {
  Publish publish;
  bool first = true;
  const auto parse = [&]() -> Result<Json> {
    for (const std::string& part : split(text, ',')) {
      if (const size_t equals = part.find('='); equals != std::string::npos) {
        TRY(set_word(publish, part.substr(0, equals), part.substr(equals + 1)));
      } else if (first) {
        take_short_form(publish, part);
      } else {
        return usage("'" + part + "' is not KEY=VALUE");
      }
      first = false;
    }
    TRY(check_publish(publish));
    return lay_out(publish);
  };
  return TRY_IN("--publish " + text, parse());
}

Result<std::string> parse_manager(const std::string& text) {
  const auto with_port = [&](std::string host, const std::string& port) -> Result<std::string> {
    TRY_IN("manager '" + text + "'", parse_number(port, 1, port_max));
    if (host.empty()) return usage("'" + text + "' is not HOST[:PORT]");
    return host + ":" + port;
  };
  const std::string default_port(manager_port);
  if (text.starts_with('[')) {
    const size_t close = text.find(']');
    const std::string host = text.substr(0, close + 1);
    if (close == std::string::npos || !Address::parse(text.substr(1, close - 1))) {
      return usage("'" + text + "' is not HOST[:PORT]");
    }
    if (close + 1 == text.size()) return with_port(host, default_port);
    if (text[close + 1] != ':') return usage("'" + text + "' is not HOST[:PORT]");
    return with_port(host, text.substr(close + 2));
  }
  const size_t colon = text.find(':');
  if (colon == std::string::npos) return with_port(text, default_port);
  if (text.find(':', colon + 1) == std::string::npos) {
    return with_port(text.substr(0, colon), text.substr(colon + 1));
  }
  if (!Address::parse(text)) return usage("'" + text + "' is not HOST[:PORT]");
  return with_port("[" + text + "]", default_port);
}

}  // namespace weft::cli
