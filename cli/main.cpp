// SPDX-License-Identifier: Apache-2.0
// weft: the command. Takes the command line apart, runs one command, tells how it went.
#include <cstdio>
#include <cstdlib>
#include <exception>

#include "cli/arguments.h"
#include "cli/client.h"
#include "cli/help.h"
#include "cli/output.h"

namespace weft::cli {
namespace {

constexpr const char* default_host = "unix:///run/weft/weftd.sock";
constexpr int refused = 1;
constexpr int wrong_usage = 2;

int report(const Error& error) {
  complain(error.message());
  return error.code() == ErrorCode::invalid ? wrong_usage : refused;
}

std::string host_of(const Arguments& arguments) {
  if (arguments.has("host")) return arguments.text("host");
  const char* variable = std::getenv("WEFT_HOST");
  return variable && *variable ? variable : default_host;
}

int run(const std::vector<std::string>& words) {
  auto request = parse_command_line(words);
  if (!request) return report(request.error());
  if (request->help) {
    const std::string text = request->command        ? help_text(*request->command)
                             : request->noun.empty() ? help_text()
                                                     : help_text(request->noun);
    std::fputs(text.c_str(), stdout);
    return 0;
  }
  auto client = Client::of(host_of(request->arguments));
  if (!client) return report(client.error());
  const Context context{.client = *client,
                        .arguments = request->arguments,
                        .json = request->arguments.text("output") == "json",
                        .quiet = request->arguments.has("quiet")};
  auto status = request->command->run(context);
  return status ? *status : report(status.error());
}

}  // namespace
}  // namespace weft::cli

int main(int argc, char** argv) {
  int status = weft::cli::refused;
  try {
    status = weft::cli::run({argv + 1, argv + argc});
  } catch (const std::exception& error) {  // the JSON library's: a field has an unexpected type
    weft::cli::complain(std::string("the answer of weftd is not understood: ") + error.what());
  }
  if (std::fflush(stdout) != 0 || std::ferror(stdout)) {
    std::perror("weft: cannot write the output");
    return weft::cli::refused;
  }
  return status;
}
