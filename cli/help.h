// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "cli/command.h"

namespace weft::cli {

// Help texts, at most 100 columns wide.
std::string help_text();
std::string help_text(std::string_view noun);
std::string help_text(const Command& command);

// "weft network create [OPTIONS] NAME".
std::string synopsis(const Command& command);
// "-p, --publish PORTS".
std::string option_text(const Option& option);

// cli/man/weft.1, from the same table.
std::string manual_page();
// A completion script; empty for a shell that is not known.
std::string completion_script(std::string_view shell);

}  // namespace weft::cli
