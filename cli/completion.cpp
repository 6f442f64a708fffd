// SPDX-License-Identifier: Apache-2.0
#include <set>

#include "cli/help.h"

namespace weft::cli {
namespace {

// Nouns, or the verbs of one noun, separated by spaces.
std::string words_of(std::string_view noun) {
  std::string out;
  if (noun.empty()) {
    for (const Noun& entry : nouns()) out += (out.empty() ? "" : " ") + std::string(entry.name);
    return out;
  }
  for (const Command& command : commands()) {
    if (command.noun == noun && !command.verb.empty()) {
      out += (out.empty() ? "" : " ") + std::string(command.verb);
    }
  }
  return out;
}

std::string options_of(const Command& command) {
  std::string out;
  for (const auto& options : {std::span<const Option>(command.options), global_options()}) {
    for (const Option& option : options) {
      out += (out.empty() ? "" : " ") + ("--" + std::string(option.name));
    }
  }
  return out;
}

// A `case` over "noun verb" that sets `words`; bash and zsh read the same.
std::string case_text() {
  std::string out = "  case \"$noun $verb\" in\n    ' ') words='" + words_of("") + "' ;;\n";
  for (const Noun& noun : nouns()) {
    const std::string verbs = words_of(noun.name);
    if (!verbs.empty()) out += "    '" + std::string(noun.name) + " ') words='" + verbs + "' ;;\n";
  }
  for (const Command& command : commands()) {
    const std::string key = command.verb.empty() ? std::string(command.noun) + " " : command.name();
    std::string words = options_of(command);
    if (command.name() == "completion") words = "bash zsh fish man " + words;
    out += "    '" + key + "') words='" + words + "' ;;\n";
  }
  return out + "  esac\n";
}

// The values an option takes, after the option itself.
std::string choice_text() {
  std::string out = "  case \"$previous\" in\n";
  std::set<std::string_view> seen;
  const auto add = [&](const Option& option) {
    if (option.choice.empty() || !seen.insert(option.name).second) return;
    out +=
        "    --" + std::string(option.name) + ") words='" + std::string(option.choice) + "' ;;\n";
  };
  for (const Option& option : global_options()) add(option);
  for (const Command& command : commands()) {
    for (const Option& option : command.options) add(option);
  }
  return out + "  esac\n";
}

// Sets noun and verb from the words typed so far, in an array named `typed`.
constexpr std::string_view find_words = R"(  for word in "${typed[@]}"; do
    case "$word" in
      -*) ;;
      *) if [ -z "$noun" ]; then noun=$word; elif [ -z "$verb" ]; then verb=$word; fi ;;
    esac
  done
)";

std::string bash_script() {
  return R"(# Completions of weft for bash: source <(weft completion bash)
_weft() {
  local word noun='' verb='' words='' current=${COMP_WORDS[COMP_CWORD]}
  local previous=${COMP_WORDS[COMP_CWORD-1]} typed=("${COMP_WORDS[@]:1:COMP_CWORD-1}")
)" + std::string(find_words) +
         case_text() + choice_text() +
         R"(  mapfile -t COMPREPLY < <(compgen -W "$words" -- "$current")
}
complete -o default -F _weft weft
)";
}

std::string zsh_script() {
  return R"(#compdef weft
# Completions of weft for zsh: source <(weft completion zsh)
_weft() {
  local word noun='' verb='' names='' previous=$words[CURRENT-1]
  local typed=("${(@)words[2,CURRENT-1]}")
)" + [&] {
    // zsh keeps the command line in `words`.
    std::string body = std::string(find_words) + case_text() + choice_text();
    for (size_t at = 0; (at = body.find(" words='", at)) != std::string::npos; at += 8) {
      body.replace(at, 8, " names='");
    }
    return body;
  }() + R"(  compadd -- ${=names}
  _files
}
compdef _weft weft
)";
}

std::string quoted(std::string_view text) {
  std::string out = "'";
  for (const char c : text) out += c == '\'' ? std::string("\\'") : std::string(1, c);
  return out + "'";
}

std::string fish_option(const std::string& condition, const Option& option) {
  std::string out = "complete -c weft" + condition + " -l " + std::string(option.name);
  if (option.letter) out += std::string(" -s ") + option.letter;
  if (!option.value.empty()) out += " -r";
  if (!option.choice.empty()) out += " -f -a " + quoted(option.choice);
  return out + " -d " + quoted(option.help) + "\n";
}

std::string fish_script() {
  std::string out = "# Completions of weft for fish: weft completion fish | source\n";
  for (const Noun& noun : nouns()) {
    out += "complete -c weft -f -n __fish_use_subcommand -a " + std::string(noun.name) + " -d " +
           quoted(noun.summary) + "\n";
  }
  for (const Option& option : global_options()) out += fish_option("", option);
  for (const Command& command : commands()) {
    const std::string noun(command.noun), verb(command.verb);
    std::string condition = " -n '__fish_seen_subcommand_from " + noun;
    if (!verb.empty()) {
      out += "complete -c weft -f -n '__fish_seen_subcommand_from " + noun +
             "; and not __fish_seen_subcommand_from " + words_of(noun) + "' -a " + verb + " -d " +
             quoted(command.summary) + "\n";
      condition += "; and __fish_seen_subcommand_from " + verb;
    }
    condition += "'";
    for (const Option& option : command.options) out += fish_option(condition, option);
  }
  return out;
}

}  // namespace

std::string completion_script(std::string_view shell) {
  if (shell == "bash") return bash_script();
  if (shell == "zsh") return zsh_script();
  if (shell == "fish") return fish_script();
  return "";
}

}  // namespace weft::cli
