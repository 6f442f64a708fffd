// SPDX-License-Identifier: Apache-2.0
#include "cli/output.h"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <nlohmann/json.hpp>

namespace weft::cli {
namespace {

constexpr size_t short_id_length = 12;
constexpr size_t column_gap = 3;

// Characters, not bytes: UTF-8 continuation bytes take no room.
size_t width(const std::string& text) {
  return static_cast<size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xc0) != 0x80; }));
}

std::string safe(std::string text) {
  for (char& c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if ((byte < 0x20 && c != '\n' && c != '\t') || byte == 0x7f) c = '?';
  }
  return text;
}

}  // namespace

Table::Table(std::vector<std::string> header) {
  if (!header.empty()) rows_.push_back(std::move(header));
}

void Table::row(std::vector<std::string> cells) { rows_.push_back(std::move(cells)); }

std::string Table::text() const {
  std::vector<size_t> widths;
  for (const auto& row : rows_) {
    widths.resize(std::max(widths.size(), row.size()));
    for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], width(row[i]));
  }
  std::string out;
  for (const auto& row : rows_) {
    std::string line;
    for (size_t i = 0; i < row.size(); ++i) {
      // A cell is one line, whatever it holds.
      std::string cell = row[i];
      std::replace(cell.begin(), cell.end(), '\n', ' ');
      line += cell + std::string(widths[i] - width(cell) + column_gap, ' ');
    }
    line.erase(line.find_last_not_of(' ') + 1);
    out += line + "\n";
  }
  return out;
}

void print_line(const std::string& line) { std::fputs((safe(line) + "\n").c_str(), stdout); }
void print(const Table& table) { std::fputs(safe(table.text()).c_str(), stdout); }
void print_json(const Json& value) {
  const auto text = value.dump(2, ' ', false, Json::error_handler_t::replace);
  std::fputs((text + "\n").c_str(), stdout);
}
void complain(const std::string& sentence) {
  std::fflush(stdout);
  std::fputs(("weft: " + safe(sentence) + "\n").c_str(), stderr);
}

void print_list(const Context& context, const Json& answer, const char* list, const Table& table,
                const char* id_field) {
  if (context.json) return print_json(answer);
  if (!context.quiet) return print(table);
  for (const Json& item : answer.value(list, Json::array())) print_line(text(item, id_field));
}

void print_made(const Context& context, const Json& object) {
  if (context.json) return print_json(object);
  print_line(text(object, "id"));
}

std::string text(const Json& object, const char* field) {
  const auto found = object.find(field);
  if (found == object.end() || found->is_null()) return "";
  return found->is_string() ? found->get<std::string>() : found->dump();
}

uint64_t number(const Json& object, const char* field) {
  const auto found = object.find(field);
  if (found == object.end() || found->is_null()) return 0;
  return found->is_string() ? std::stoull(found->get<std::string>()) : found->get<uint64_t>();
}

bool flag(const Json& object, const char* field) { return object.value(field, false); }

std::string joined(const Json& object, const char* field) {
  std::string out;
  const Json value = object.value(field, Json::array());
  for (const auto& [key, item] : value.items()) {
    const std::string piece = item.is_string() ? item.get<std::string>() : item.dump();
    out += (out.empty() ? "" : ", ") + (value.is_object() ? key + "=" + piece : piece);
  }
  return out;
}

std::string short_id(const std::string& id) { return id.substr(0, short_id_length); }

std::string word(const std::string& enum_name) {
  std::string out = enum_name;
  for (const std::string_view prefix : {"TASK_", "NODE_"}) {
    if (out.starts_with(prefix)) out.erase(0, prefix.size());
  }
  std::transform(out.begin(), out.end(), out.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return out;
}

std::string ago(const Json& object, const char* milliseconds_field) {
  const auto then = static_cast<int64_t>(number(object, milliseconds_field));
  if (then == 0) return "-";
  const auto now = std::chrono::duration_cast<std::chrono::milliseconds>(
                       std::chrono::system_clock::now().time_since_epoch())
                       .count();
  // Clocks of nodes differ: the future is now.
  const int64_t seconds = std::max<int64_t>(0, (now - then) / 1000);
  const struct {
    int64_t length;
    const char* name;
  } units[] = {{86400, "day"}, {3600, "hour"}, {60, "minute"}, {1, "second"}};
  for (const auto& unit : units) {
    const int64_t count = seconds / unit.length;
    if (count > 0) return std::to_string(count) + " " + unit.name + (count > 1 ? "s" : "") + " ago";
  }
  return "now";
}

std::string or_dash(std::string text) { return text.empty() ? "-" : text; }

std::string addresses(const Json& object, const char* field4, const char* field6) {
  const std::string four = text(object, field4), six = text(object, field6);
  return four + (four.empty() || six.empty() ? "" : ", ") + six;
}

std::string ports_text(const Json& ports) {
  std::string out;
  for (const Json& port : ports) {
    std::string address = text(port, "address");
    if (address.find(':') != std::string::npos) address = "[" + address + "]";
    out += (out.empty() ? "" : ", ") + (address.empty() ? "*" : address) + ":" +
           text(port, "published") + "->" + text(port, "target") + "/" + text(port, "protocol");
    if (text(port, "mode") == "HOST") out += " (host)";
  }
  return out;
}

}  // namespace weft::cli
