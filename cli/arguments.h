// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "cli/command.h"

namespace weft::cli {

// What a command line asks for. `command` is null for help about a noun or about weft itself.
struct Request {
  const Command* command = nullptr;
  std::string noun;  // set for help about a noun
  bool help = false;
  Arguments arguments;
};

// Takes a command line apart (without the program's name). Errors are wrong usage.
Result<Request> parse_command_line(const std::vector<std::string>& words);

}  // namespace weft::cli
