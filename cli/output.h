// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "cli/command.h"

namespace weft::cli {

using Json = nlohmann::json;

// Columns of text, each as wide as its widest cell. Without a header, name and value pairs.
class Table {
 public:
  explicit Table(std::vector<std::string> header = {});
  void row(std::vector<std::string> cells);
  std::string text() const;

 private:
  std::vector<std::vector<std::string>> rows_;
};

// A line on standard output. Control characters become '?': names and messages come from others,
// and a terminal obeys what it is sent.
void print_line(const std::string& line);
void print(const Table& table);
// Indented, keys sorted: equal answers print equal bytes.
void print_json(const Json& value);
// "weft: SENTENCE" on standard error.
void complain(const std::string& sentence);

// What most listings do: the API's answer for -o json, ids for --quiet, else the table.
void print_list(const Context& context, const Json& answer, const char* list, const Table& table,
                const char* id_field = "id");
// What most changes do: the API's answer for -o json, else the id.
void print_made(const Context& context, const Json& object);

// Fields of an answer; "" and 0 if they are missing. 64-bit numbers are strings in JSON.
std::string text(const Json& object, const char* field);
uint64_t number(const Json& object, const char* field);
bool flag(const Json& object, const char* field);
// "a, b, c" from a list of strings, "a=1, b=2" from an object.
std::string joined(const Json& object, const char* field);

std::string short_id(const std::string& id);
// "TASK_RUNNING" -> "running", "DRAIN" -> "drain".
std::string word(const std::string& enum_name);
// "3 minutes ago"; "-" for never.
std::string ago(const Json& object, const char* milliseconds_field);
std::string or_dash(std::string text);
// "10.0.0.2, fd00::2": the addresses an object has in FIELD4 and FIELD6.
std::string addresses(const Json& object, const char* field4, const char* field6);
// "*:8080->80/tcp", "127.0.0.1:53->5353/udp (host)".
std::string ports_text(const Json& ports);

}  // namespace weft::cli
