// SPDX-License-Identifier: Apache-2.0
#include "cli/help.h"

#include <algorithm>
#include <sstream>

namespace weft::cli {
namespace {

constexpr size_t columns = 100;

// Words of `text` in lines of at most `columns`, continued under `indent`. The first line begins
// at column `used`.
std::string wrapped(std::string_view text, size_t indent, size_t used) {
  std::string out;
  size_t column = used;
  std::istringstream words{std::string(text)};
  bool first = true;
  for (std::string word; words >> word; first = false) {
    if (!first && column + 1 + word.size() > columns) {
      out += "\n" + std::string(indent, ' ');
      column = indent;
    } else if (!first) {
      out += ' ';
      ++column;
    }
    out += word;
    column += word.size();
  }
  return out + "\n";
}

// Two columns: what, and what it means.
struct Row {
  std::string left;
  std::string right;
};

std::string rows_text(const std::vector<Row>& rows) {
  size_t left = 0;
  for (const Row& row : rows) left = std::max(left, row.left.size());
  const size_t indent = left + 4;
  std::string out;
  for (const Row& row : rows) {
    out += "  " + row.left + std::string(left - row.left.size() + 2, ' ');
    out += wrapped(row.right, indent, indent);
  }
  return out;
}

std::string options_text(std::span<const Option> options) {
  std::vector<Row> rows;
  for (const Option& option : options) {
    std::string help(option.help);
    if (option.many) help += " (may be repeated)";
    rows.push_back({option_text(option), help});
  }
  return rows_text(rows);
}

std::string indented_lines(std::string_view text) {
  std::string out;
  std::istringstream lines{std::string(text)};
  for (std::string line; std::getline(lines, line);) out += "  " + line + "\n";
  return out;
}

}  // namespace

std::string option_text(const Option& option) {
  std::string out = option.letter ? std::string("-") + option.letter + ", " : "    ";
  out += "--" + std::string(option.name);
  if (!option.value.empty()) out += " " + std::string(option.value);
  return out;
}

std::string synopsis(const Command& command) {
  std::string out = "weft " + command.name();
  if (!command.options.empty()) out += " [OPTIONS]";
  if (!command.operands.empty()) out += " " + std::string(command.operands);
  if (command.takes_command) out += " [-- COMMAND...]";
  return out;
}

std::string help_text() {
  std::vector<Row> rows;
  for (const Noun& noun : nouns()) {
    rows.push_back({std::string(noun.name), std::string(noun.summary)});
  }
  return "Usage: weft [OPTIONS] NOUN VERB ...\n\n"
         "The network of a cluster of container hosts.\n\nCommands:\n" +
         rows_text(rows) + "\nOptions, before or after the command:\n" +
         options_text(global_options()) +
         "\nExamples:\n"
         "  weft cluster init\n"
         "  weft network create app\n"
         "  weft service create --name web --network app --publish 8080:80 -- /usr/bin/my-server\n"
         "  weft service ps web\n\n"
         "'weft NOUN --help' lists the verbs of a noun, 'weft NOUN VERB --help' explains one.\n";
}

std::string help_text(std::string_view noun) {
  std::vector<Row> rows;
  for (const Command& command : commands()) {
    if (command.noun == noun) rows.push_back({synopsis(command), std::string(command.summary)});
  }
  const auto found = std::find_if(nouns().begin(), nouns().end(),
                                  [&](const Noun& entry) { return entry.name == noun; });
  const std::string name(noun);
  return "Usage: weft " + name + " VERB ...\n\n" +
         (found == nouns().end() ? "" : std::string(found->summary) + ".\n") + "\nCommands:\n" +
         rows_text(rows) + "\nExample:\n  weft " + name + " " +
         std::string(commands().empty() ? "" : [&] {
           for (const Command& command : commands()) {
             if (command.noun == noun) return command.verb;
           }
           return std::string_view();
         }()) +
         " --help\n";
}

std::string help_text(const Command& command) {
  std::string out = "Usage: " + synopsis(command) + "\n\n" + std::string(command.summary) + ".\n";
  if (!command.text.empty()) out += "\n" + wrapped(command.text, 0, 0);
  if (!command.options.empty()) out += "\nOptions:\n" + options_text(command.options);
  out += "\nOptions of every command:\n" + options_text(global_options());
  return out + "\nExamples:\n" + indented_lines(command.examples);
}

}  // namespace weft::cli
