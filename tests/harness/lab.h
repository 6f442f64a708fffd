// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <string>

#include "base/instant.h"

namespace weft::test {

struct Output {
  int code = -1;     // exit status
  std::string text;  // standard output and error, trailing newline removed
};

// Runs a shell command; ends it (and its group) after `deadline`.
Output sh(const std::string& command, Duration deadline = 60s);

// Polls until `condition` holds or the deadline is over; returns whether it held.
bool eventually(Duration deadline, const std::function<bool()>& condition);

// Exits with ctest's code for a skipped test if this process may not make namespaces.
void skip_unless_root();

// A lab of scripts/lab (nodes n1..nN and an outside client on one underlay), taken down at the end.
class Lab {
 public:
  // `arguments` are those of `scripts/lab up`: "--nodes 3".
  explicit Lab(const std::string& name, const std::string& arguments);
  ~Lab();
  Lab(const Lab&) = delete;
  Lab& operator=(const Lab&) = delete;

  // A shell command in the network of n1..nN, client or underlay.
  Output on(const std::string& node, const std::string& command, Duration deadline = 60s) const;
  // `weft ARGUMENTS` against a node's agent.
  Output weft(const std::string& node, const std::string& arguments, Duration deadline = 60s) const;
  // `scripts/lab VERB ARGUMENTS`.
  Output lab(const std::string& arguments, Duration deadline = 120s) const;
  // The same as on() and weft(), but a failure ends the test with the output.
  std::string must(const Output& output) const;
  const std::string& name() const { return name_; }
  std::string folder(const std::string& node) const { return "/run/" + name_ + "/" + node; }

 private:
  std::string name_;
};

// Text in single quotes for the shell.
std::string quote(const std::string& text);

}  // namespace weft::test
