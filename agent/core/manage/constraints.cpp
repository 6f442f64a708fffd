// SPDX-License-Identifier: Apache-2.0
#include "core/manage/constraints.h"

namespace weft::manage {

namespace {

constexpr std::string_view label_prefix = "node.labels.";

std::string trimmed(std::string_view text) {
  while (!text.empty() && text.front() == ' ') text.remove_prefix(1);
  while (!text.empty() && text.back() == ' ') text.remove_suffix(1);
  return std::string(text);
}

std::string lower(std::string text) {
  for (char& c : text)
    if (c >= 'A' && c <= 'Z') c = char(c - 'A' + 'a');
  return text;
}

}  // namespace

Result<Constraint> parse_constraint(const std::string& text) {
  size_t at = text.find("==");
  const size_t differs = text.find("!=");
  const bool equal = at != std::string::npos && (differs == std::string::npos || at < differs);
  if (!equal) at = differs;
  if (at == std::string::npos)
    return Error(ErrorCode::invalid, "constraint '" + text +
                                         "' has neither == nor !=: write it like "
                                         "node.labels.disk==ssd");
  const Constraint parsed{trimmed(std::string_view(text).substr(0, at)), equal,
                          trimmed(std::string_view(text).substr(at + 2))};
  const bool label =
      parsed.key.starts_with(label_prefix) && parsed.key.size() > label_prefix.size();
  const bool known = label || parsed.key == "node.id" || parsed.key == "node.hostname" ||
                     parsed.key == "node.name" || parsed.key == "node.role";
  if (!known)
    return Error(ErrorCode::invalid, "constraint '" + text + "' is on '" + parsed.key +
                                         "': only node.id, node.name, node.hostname, node.role and "
                                         "node.labels.KEY can be compared");
  if (parsed.key == "node.role" && lower(parsed.value) != "worker" &&
      lower(parsed.value) != "manager")
    return Error(ErrorCode::invalid, "constraint '" + text + "': a role is worker or manager");
  if (parsed.value.empty())
    return Error(ErrorCode::invalid, "constraint '" + text + "' has no value");
  return parsed;
}

bool holds(const Constraint& constraint, const api::Node& node) {
  const std::string& key = constraint.key;
  bool equal = false;
  if (key == "node.id") {
    equal = node.id() == constraint.value;
  } else if (key == "node.role") {
    equal = lower(constraint.value) == (node.role() == api::MANAGER ? "manager" : "worker");
  } else if (key == "node.name" || key == "node.hostname") {
    equal = lower(node.name()) == lower(constraint.value);
  } else {
    const auto label = node.labels().find(key.substr(label_prefix.size()));
    equal = label != node.labels().end() && label->second == constraint.value;
  }
  return equal == constraint.equal;
}

}  // namespace weft::manage
