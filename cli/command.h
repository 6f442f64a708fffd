// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace weft::cli {

class Client;

struct Option {
  std::string_view name;    // "publish"
  char letter = 0;          // 'p', 0: none
  std::string_view value;   // "PORTS"; empty: a flag
  std::string_view help;    // one sentence without a full stop
  bool many = false;        // may be given several times
  std::string_view choice;  // words that fit, separated by spaces; empty: any
};

// What was given on the command line, by the names of the command's options.
struct Arguments {
  std::map<std::string, std::vector<std::string>, std::less<>> options;
  std::vector<std::string> operands;
  std::vector<std::string> command;  // everything after --

  bool has(std::string_view option) const { return options.contains(option); }
  // The last value given, or `otherwise`.
  std::string text(std::string_view option, std::string_view otherwise = "") const;
  std::vector<std::string> all(std::string_view option) const;
};

struct Context {
  Client& client;
  const Arguments& arguments;
  bool json = false;
  bool quiet = false;
};

// One command: `weft NOUN VERB`, or `weft NOUN` if it has no verbs. Help, manual page and
// completions are made from this.
struct Command {
  std::string_view noun;
  std::string_view verb;
  std::string_view summary;   // "Create a network"
  std::string_view operands;  // "TOKEN HOST[:PORT]", "NETWORK...", "[NAME]"
  size_t operands_min = 0;
  size_t operands_max = 0;
  std::vector<Option> options;
  bool takes_command = false;  // everything after -- is a command
  std::string_view text;       // what else a reader must know
  std::string_view examples;   // one a line
  // Exit status, or the error to show. ErrorCode::invalid means wrong usage; what weftd refuses
  // has another code.
  Result<int> (*run)(const Context&) = nullptr;

  std::string name() const;  // "network create"
};

struct Noun {
  std::string_view name;
  std::string_view summary;
};

std::span<const Noun> nouns();
std::span<const Command> commands();
std::span<const Option> global_options();

// The commands of each noun; one file per noun.
std::vector<Command> cluster_commands();
std::vector<Command> node_commands();
std::vector<Command> network_commands();
std::vector<Command> service_commands();
std::vector<Command> task_commands();
std::vector<Command> endpoint_commands();
std::vector<Command> dns_commands();
std::vector<Command> map_commands();
std::vector<Command> lb_commands();
std::vector<Command> agent_commands();  // status, doctor, version, completion

// Wrong usage: the caller is pointed to the command's help, exit status 2.
Error usage(std::string message);

}  // namespace weft::cli
