// SPDX-License-Identifier: Apache-2.0
#include "cli/command.h"

namespace weft::cli {

std::string Arguments::text(std::string_view option, std::string_view otherwise) const {
  const auto found = options.find(option);
  return found == options.end() ? std::string(otherwise) : found->second.back();
}

std::vector<std::string> Arguments::all(std::string_view option) const {
  const auto found = options.find(option);
  return found == options.end() ? std::vector<std::string>() : found->second;
}

std::string Command::name() const {
  return verb.empty() ? std::string(noun) : std::string(noun) + " " + std::string(verb);
}

Error usage(std::string message) { return Error(ErrorCode::invalid, std::move(message)); }

std::span<const Noun> nouns() {
  static const std::vector<Noun> all = {
      {"cluster", "Make, join and leave a cluster"},
      {"node", "Look at and manage the cluster's nodes"},
      {"network", "Create, look at and remove networks"},
      {"service", "Run and publish services"},
      {"task", "Look at the tasks of services"},
      {"endpoint", "Attach containers to networks by hand"},
      {"dns", "Ask what a name means inside Weft"},
      {"map", "Read the maps of the data path"},
      {"lb", "Look at the load balancing of services"},
      {"status", "Show how this node is"},
      {"doctor", "Check that this node can do its work"},
      {"version", "Show the versions of weft and weftd"},
      {"completion", "Print completions for a shell"},
  };
  return all;
}

std::span<const Command> commands() {
  static const std::vector<Command> all = [] {
    std::vector<Command> result;
    for (auto part :
         {cluster_commands, node_commands, network_commands, service_commands, task_commands,
          endpoint_commands, dns_commands, map_commands, lb_commands, agent_commands}) {
      for (Command& command : part()) result.push_back(std::move(command));
    }
    return result;
  }();
  return all;
}

std::span<const Option> global_options() {
  static const std::vector<Option> all = {
      {.name = "host",
       .letter = 'H',
       .value = "ADDRESS",
       .help = "Socket of weftd (default: $WEFT_HOST, or unix:///run/weft/weftd.sock)"},
      {.name = "output",
       .letter = 'o',
       .value = "FORMAT",
       .help = "Print a table, or json: the answer of the control API",
       .choice = "table json"},
      {.name = "quiet", .letter = 'q', .help = "Print ids only"},
      {.name = "help", .letter = 'h', .help = "Show this help"},
  };
  return all;
}

}  // namespace weft::cli
