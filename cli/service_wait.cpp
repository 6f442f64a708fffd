// SPDX-License-Identifier: Apache-2.0
#include "cli/service_wait.h"

#include <unistd.h>

#include <cstdio>
#include <nlohmann/json.hpp>
#include <thread>

#include "cli/actions.h"

namespace weft::cli {
namespace {

using Clock = std::chrono::steady_clock;
// The API has no events for tasks yet: ask again this often.
constexpr auto poll_interval = std::chrono::milliseconds(200);

struct Progress {
  uint64_t running = 0;
  uint64_t wanted = 0;
  std::string reason;  // of a task that does not run
  bool complete() const { return wanted > 0 && running >= wanted; }
};

Progress progress_of(const Json& spec, const Json& answer) {
  Progress progress;
  uint64_t planned = 0;
  for (const Json& task : answer.value("tasks", Json::array())) {
    const std::string state = word(text(task, "state"));
    const std::string message = text(task, "message");
    const std::string why = text(task, "name") + ": " + (message.empty() ? state : message);
    const bool ended = word(text(task, "desired")) != "running";
    if (!ended) ++planned;
    if (!ended && state == "running") {
      ++progress.running;
    } else if (!message.empty() || progress.reason.empty()) {
      progress.reason = why;
    }
  }
  progress.wanted = flag(spec, "global") ? planned : number(spec, "replicas");
  return progress;
}

void show(const std::string& name, const Progress& progress, bool last) {
  if (!::isatty(STDERR_FILENO)) return;
  std::fprintf(stderr, "\r%s: %llu of %llu tasks run\033[K%s", name.c_str(),
               static_cast<unsigned long long>(progress.running),
               static_cast<unsigned long long>(progress.wanted), last ? "\n" : "");
}

Error out_of_patience(const std::string& name, const Progress& progress,
                      std::chrono::milliseconds patience) {
  std::string sentence = "service " + name + ": " + std::to_string(progress.running) + " of " +
                         std::to_string(progress.wanted) + " tasks run after " +
                         std::to_string(patience.count() / 1000) + "s";
  if (!progress.reason.empty()) sentence += ": " + progress.reason;
  return Error(ErrorCode::unavailable,
               sentence + " (the service stays: 'weft service ps " + name + "' shows more)");
}

}  // namespace

Result<> wait_for_tasks(const Context& context, const Json& service,
                        std::chrono::milliseconds patience) {
  const Json spec = service.value("spec", Json::object());
  const std::string name = text(spec, "name");
  if (text(spec, "runtime") == "none") return Ok;
  if (!flag(spec, "global") && number(spec, "replicas") == 0) return Ok;
  const auto deadline = Clock::now() + patience;
  while (true) {
    const Json answer = TRY(context.client.get("/v1/tasks", {{"service", text(service, "id")}}));
    const Progress progress = progress_of(spec, answer);
    const bool late = Clock::now() >= deadline;
    show(name, progress, progress.complete() || late);
    if (progress.complete()) return Ok;
    if (late) return out_of_patience(name, progress, patience);
    std::this_thread::sleep_for(poll_interval);
  }
}

}  // namespace weft::cli
