// SPDX-License-Identifier: Apache-2.0
// The wiring of weftd.
#include <google/protobuf/stubs/logging.h>

#include <csignal>
#include <cstdio>

#include "frontends/control/control_server.h"
#include "io/loop.h"
#include "node/agent.h"
#include "node/config.h"
#include "node/log.h"
#include "weft/api/version.h"

namespace {

using namespace weft;

int give_up(const Error& error) {
  std::fprintf(stderr, "weftd: %s\n", error.message().c_str());
  return 1;
}

Result<> run(const node::Config& config) {
  io::Loop loop;
  const auto agent = TRY(node::Agent::start(loop, config));
  control::ControlOptions options;
  options.path = config.socket();
  const auto server = TRY(control::ControlServer::start(
      options, [&loop, raw = agent.get()](const std::string& method, bool leader,
                                          std::string payload, control::Reply reply) {
        loop.post([raw, method, leader, payload = std::move(payload), reply = std::move(reply)] {
          raw->handle(method, leader, payload, reply);
        });
      }));
  // What is in the kernel stays: traffic goes on until the next weftd takes over.
  loop.on_signal([&loop](int signal) {
    if (signal != SIGHUP) loop.stop();
  });
  node::log_info(std::string("weftd ") + version + " answers at " + config.socket());
  loop.run();
  return Ok;
}

}  // namespace

int main(int argc, char** argv) {
  // It would print each message of a hostile peer that does not decode.
  google::protobuf::SetLogHandler(nullptr);
  std::signal(SIGPIPE, SIG_IGN);
  auto command_line = node::parse_command_line(argc, argv);
  if (!command_line) {
    give_up(command_line.error());
    return 2;
  }
  if (command_line->show_help) return std::fputs(command_line->help.c_str(), stdout) < 0;
  if (command_line->show_version) return std::printf("weftd %s\n", version) < 0;
  node::start_logging(command_line->config);
  if (auto done = run(command_line->config); !done) return give_up(done.error());
  return 0;
}
