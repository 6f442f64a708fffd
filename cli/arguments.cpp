// SPDX-License-Identifier: Apache-2.0
#include "cli/arguments.h"

// Values hold commas (--publish 80:80,mode=host): never split them.
#define CXXOPTS_VECTOR_DELIMITER '\0'
#include <algorithm>
#include <cxxopts.hpp>

namespace weft::cli {
namespace {

// Options that cxxopts knows: the command's own and the global ones.
std::vector<Option> options_of(const Command& command) {
  std::vector<Option> all(command.options);
  all.insert(all.end(), global_options().begin(), global_options().end());
  return all;
}

std::string hint(const Command& command) { return ": see 'weft " + command.name() + " --help'"; }

// cxxopts writes "Option ‘x’ does not exist"; ours are plain sentences.
std::string plain(std::string text) {
  for (const std::string_view quote : {"\u2018", "\u2019"}) {
    for (size_t at; (at = text.find(quote)) != std::string::npos;) {
      text.replace(at, quote.size(), "'");
    }
  }
  if (!text.empty()) text[0] = static_cast<char>(std::tolower(text[0]));
  return text;
}

// Splits off what stands before the noun (global options only) and finds noun and verb.
struct Head {
  std::vector<std::string> options;
  std::vector<std::string> words;  // noun, and verb if it has verbs
  size_t rest = 0;                 // index of the first word after them
};

bool takes_value(const std::string& word) {
  return std::any_of(global_options().begin(), global_options().end(), [&](const Option& option) {
    return !option.value.empty() &&
           (word == "--" + std::string(option.name) || word == std::string("-") + option.letter);
  });
}

bool is_help(const std::string& word) { return word == "--help" || word == "-h"; }

Head split_head(const std::vector<std::string>& words) {
  Head head;
  size_t i = 0;
  for (; i < words.size() && head.words.size() < 2; ++i) {
    const std::string& word = words[i];
    if (word == "--") break;
    if (!word.starts_with('-')) {
      head.words.push_back(word);
      const bool has_verbs =
          std::any_of(commands().begin(), commands().end(), [&](const Command& command) {
            return command.noun == head.words[0] && !command.verb.empty();
          });
      if (!has_verbs) {
        ++i;
        break;
      }
      continue;
    }
    head.options.push_back(word);
    if (takes_value(word) && i + 1 < words.size()) head.options.push_back(words[++i]);
  }
  head.rest = i;
  return head;
}

bool is_noun(const std::string& word) {
  return std::any_of(nouns().begin(), nouns().end(),
                     [&](const Noun& noun) { return noun.name == word; });
}

Result<const Command*> find_command(const std::vector<std::string>& words) {
  const std::string verb = words.size() > 1 ? words[1] : "";
  for (const Command& command : commands()) {
    if (command.noun == words[0] && command.verb == verb) return &command;
  }
  if (!is_noun(words[0])) {
    return usage("there is no command '" + words[0] + "': 'weft --help' lists them");
  }
  if (verb.empty()) {
    return usage("'" + words[0] + "' needs a verb: see 'weft " + words[0] + " --help'");
  }
  return usage("there is no command '" + words[0] + " " + verb + "': 'weft " + words[0] +
               " --help' lists them");
}

Result<> check_choices(const Command& command, const Arguments& arguments) {
  for (const Option& option : options_of(command)) {
    if (option.choice.empty()) continue;
    const std::string padded = " " + std::string(option.choice) + " ";
    for (const std::string& value : arguments.all(option.name)) {
      if (value.find(' ') == std::string::npos && !value.empty() &&
          padded.find(" " + value + " ") != std::string::npos) {
        continue;
      }
      std::string words;
      for (const char c : option.choice)
        words += c == ' ' ? std::string(" or ") : std::string(1, c);
      return usage("--" + std::string(option.name) + " takes " + words + ", not '" + value + "'");
    }
  }
  return Ok;
}

Result<> check_operands(const Command& command, const Arguments& arguments) {
  const size_t count = arguments.operands.size();
  const std::string wanted(command.operands);
  if (count < command.operands_min) {
    return usage("'" + command.name() + "' needs " + wanted + hint(command));
  }
  if (count > command.operands_max) {
    return usage("'" + arguments.operands[command.operands_max] + "' is one word too many" +
                 hint(command));
  }
  for (const std::string& operand : arguments.operands) {
    if (operand.empty()) return usage("an empty name was given" + hint(command));
  }
  if (!arguments.command.empty() && !command.takes_command) {
    return usage("'" + command.name() + "' takes nothing after --" + hint(command));
  }
  return Ok;
}

Result<Arguments> parse_options(const Command& command, const std::vector<std::string>& words) {
  cxxopts::Options parser("weft", "");
  for (const Option& option : options_of(command)) {
    std::string names = option.letter ? std::string(1, option.letter) + "," : std::string();
    names += option.name;
    if (option.value.empty()) {
      parser.add_options()(names, "", cxxopts::value<bool>());
    } else {
      parser.add_options()(names, "", cxxopts::value<std::vector<std::string>>());
    }
  }
  std::vector<const char*> argv = {"weft"};
  for (const std::string& word : words) argv.push_back(word.c_str());
  try {
    const auto parsed = parser.parse(static_cast<int>(argv.size()), argv.data());
    Arguments arguments;
    for (const Option& option : options_of(command)) {
      const std::string name(option.name);
      if (parsed.count(name) == 0) continue;
      if (option.value.empty()) {
        if (parsed[name].as<bool>()) arguments.options[name] = {"true"};
        continue;
      }
      auto values = parsed[name].as<std::vector<std::string>>();
      if (values.size() > 1 && !option.many) {
        return usage("--" + name + " is given twice" + hint(command));
      }
      arguments.options[name] = std::move(values);
    }
    arguments.operands = parsed.unmatched();
    return arguments;
  } catch (const std::exception& error) {  // cxxopts' only way to say what is wrong
    return usage(plain(error.what()) + hint(command));
  }
}

}  // namespace

Result<Request> parse_command_line(const std::vector<std::string>& words) {
  const auto dashes = std::find(words.begin(), words.end(), "--");
  const std::vector<std::string> own(words.begin(), dashes);
  const bool help = std::any_of(own.begin(), own.end(), is_help);
  const Head head = split_head(own);

  Request request;
  request.help = help;
  if (head.words.empty()) {
    if (!help && !own.empty()) return usage("a command is missing: 'weft --help' lists them");
    request.help = true;
    return request;
  }
  if (help && head.words.size() == 1 && is_noun(head.words[0])) {
    request.noun = head.words[0];
    const auto found = find_command(head.words);
    if (found) request.command = *found;  // a noun without verbs
    return request;
  }
  request.command = TRY(find_command(head.words));
  if (help) return request;

  std::vector<std::string> rest(head.options);
  rest.insert(rest.end(), own.begin() + static_cast<ptrdiff_t>(head.rest), own.end());
  request.arguments = TRY(parse_options(*request.command, rest));
  if (dashes != words.end()) request.arguments.command.assign(dashes + 1, words.end());
  TRY(check_operands(*request.command, request.arguments));
  TRY(check_choices(*request.command, request.arguments));
  return request;
}

}  // namespace weft::cli
