// SPDX-License-Identifier: Apache-2.0
#include <sstream>

#include "cli/help.h"

namespace weft::cli {
namespace {

// Text as roff takes it: no line begins with a control character, '-' is a minus to copy.
std::string roff(std::string_view text) {
  std::string out;
  bool line_start = true;
  for (const char c : text) {
    if (line_start && (c == '.' || c == '\'')) out += "\\&";
    line_start = c == '\n';
    if (c == '\\') {
      out += "\\e";
    } else if (c == '-') {
      out += "\\-";
    } else {
      out += c;
    }
  }
  return out;
}

std::string options_section(std::span<const Option> options) {
  std::string out;
  for (const Option& option : options) {
    std::string name = option_text(option);
    name.erase(0, name.find_first_not_of(' '));
    out += ".TP\n.B " + roff(name) + "\n" + roff(option.help) +
           (option.many ? " (may be repeated)" : "") + ".\n";
  }
  return out;
}

std::string command_section(const Command& command) {
  std::string out = ".SS " + roff("weft " + command.name()) + "\n";
  out += ".B " + roff(synopsis(command)) + "\n.PP\n" + roff(command.summary) + ".\n";
  if (!command.text.empty()) out += roff(command.text) + "\n";
  out += options_section(command.options);
  out += ".PP\n.nf\n.RS\n" + roff(command.examples) + "\n.RE\n.fi\n";
  return out;
}

constexpr std::string_view head = R"(.\" SPDX-License-Identifier: Apache-2.0
.\" Printed by 'weft completion man' from the table of commands.
.TH WEFT 1 "" "Weft" "User Commands"
.SH NAME
weft \- the network of a cluster of container hosts
.SH SYNOPSIS
.B weft
[OPTIONS] NOUN VERB ...
.SH DESCRIPTION
.B weft
asks the agent of this node,
.BR weftd (8),
over its socket. Tables are for people;
.B \-o json
prints the answer of the control API as it is, keys sorted, for programs;
.B \-\-quiet
prints ids.
.PP
A NAME may be a name, an id, or the start of an id that no other one shares. Times are written 500ms, 10s, 1m30s, 2h.
)";

constexpr std::string_view tail = R"(.SH EXIT STATUS
.TP
.B 0
It is done.
.TP
.B 1
It was refused or failed; one sentence on standard error says why.
.TP
.B 2
The command line is wrong.
.SH ENVIRONMENT
.TP
.B WEFT_HOST
Socket of weftd, as for
.BR \-\-host .
.SH FILES
.TP
.I /run/weft/weftd.sock
Where weftd answers: root and the group weft may use it. Without this program:
.nf
.RS
curl \-\-unix\-socket /run/weft/weftd.sock http://weft/v1/networks
.RE
.fi
.SH SEE ALSO
.BR weftd (8)
)";

}  // namespace

std::string manual_page() {
  std::string out(head);
  out += ".SH OPTIONS\nEvery command takes these, before or after NOUN VERB.\n";
  out += options_section(global_options()) + ".SH COMMANDS\n";
  for (const Command& command : commands()) out += command_section(command);
  return out + std::string(tail);
}

}  // namespace weft::cli
