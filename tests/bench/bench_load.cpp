// SPDX-License-Identifier: Apache-2.0
//
//   bench_load serve PORT
//   bench_load compare --rounds N --ms T [--json FILE] --path PATH... --row ROW...
//
// PATH  NAME,CLIENT,ADDRESS,PORT[,SERVER]    CLIENT and SERVER are files of network namespaces;
// without
//                                            SERVER somebody else serves there
// ROW   BENCH,SUBJECT=PATH,REFERENCE=PATH,METRIC[,TARGET]
//
// Every round runs each load on every path that a row needs, forwards in one round and backwards in
// the next, so that what disturbs the machine disturbs all; a row is the median of its rounds'
// ratios.
#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <sstream>
#include <vector>

#include "base/fd.h"
#include "bench/load.h"

using namespace weft;
using namespace weft::bench;

namespace {

struct Path {
  std::string name, client, server;
  Target target;
};

struct Sample {
  double rate = 0;          // units per second
  double cpu_per_unit = 0;  // CPU seconds of the whole machine
};

struct Row {
  std::string bench, subject, subject_path, reference, reference_path, metric;
  double target = 0;  // 0: none
};

struct Options {
  int rounds = 15;
  std::chrono::milliseconds time{200};
  std::string json;
  std::vector<Path> paths;
  std::vector<Row> rows;
};

[[noreturn]] void refuse(const std::string& what) {
  std::fprintf(stderr, "bench_load: %s\n", what.c_str());
  std::_Exit(2);
}

std::vector<std::string> split(const std::string& text, char at) {
  std::vector<std::string> out;
  std::istringstream in(text);
  for (std::string part; std::getline(in, part, at);) out.push_back(part);
  return out;
}

Path parse_path(const std::string& text) {
  const auto part = split(text, ',');
  if (part.size() < 4 || part.size() > 5) refuse("no path: " + text);
  Path out{part[0], part[1], part.size() == 5 ? part[4] : "", {part[2], 0}};
  out.target.base = std::atoi(part[3].c_str());
  if (out.target.base == 0) refuse("no port: " + text);
  return out;
}

Row parse_row(const std::string& text) {
  const auto part = split(text, ',');
  if (part.size() < 4 || part.size() > 5) refuse("no row: " + text);
  const auto subject = split(part[1], '='), reference = split(part[2], '=');
  if (subject.size() != 2 || reference.size() != 2) refuse("no row: " + text);
  return {part[0],
          subject[0],
          subject[1],
          reference[0],
          reference[1],
          part[3],
          part.size() == 5 ? std::atof(part[4].c_str()) : 0};
}

// CPU seconds that were not idle, all CPUs, since boot (/proc/stat, proc(5)).
double busy_cpu_seconds() {
  std::FILE* file = std::fopen("/proc/stat", "r");
  unsigned long long user, nice, system, idle, wait, irq, softirq;
  if (!file || std::fscanf(file, "cpu %llu %llu %llu %llu %llu %llu %llu", &user, &nice, &system,
                           &idle, &wait, &irq, &softirq) != 7)
    fail("read /proc/stat");
  std::fclose(file);
  return double(user + nice + system + irq + softirq) / ::sysconf(_SC_CLK_TCK);
}

void start_server(const Path& path) {
  int ready[2];
  if (::pipe2(ready, O_CLOEXEC) != 0) fail("pipe");
  const pid_t child = ::fork();
  if (child < 0) fail("fork");
  if (child == 0) {
    die_with_parent();
    ::close(ready[0]);
    enter_netns(path.server);
    serve(path.target.base, ready[1]);
  }
  ::close(ready[1]);
  // Ends when the child closes its side: it listens, or it has said why not and is gone.
  char none;
  while (::read(ready[0], &none, 1) < 0 && errno == EINTR) {
  }
  ::close(ready[0]);
  errno = 0;
  if (::waitpid(child, nullptr, WNOHANG) != 0) fail("no server on path " + path.name);
}

Sample measure(const Path& path, Metric metric, std::chrono::milliseconds time) {
  int result[2];
  if (::pipe2(result, O_CLOEXEC) != 0) fail("pipe");
  const double cpu_before = busy_cpu_seconds();
  const pid_t child = ::fork();
  if (child < 0) fail("fork");
  if (child == 0) {
    die_with_parent();
    // A load that hangs is ended here, not by options of its sockets: those would cost system
    // calls.
    ::alarm(10 + time.count() / 1000);
    enter_netns(path.client);
    const Amount amount = run_load(metric, path.target, time);
    std::_Exit(::write(result[1], &amount, sizeof amount) == sizeof amount ? 0 : 1);
  }
  ::close(result[1]);
  Amount amount;
  const bool whole = ::read(result[0], &amount, sizeof amount) == sizeof amount;
  ::close(result[0]);
  ::waitpid(child, nullptr, 0);
  errno = 0;
  if (!whole || amount.units <= 0)
    fail(std::string(name_of(metric)) + " on path " + path.name + " gave nothing");
  return {amount.units / amount.seconds, (busy_cpu_seconds() - cpu_before) / amount.units};
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const size_t half = values.size() / 2;
  return values.size() % 2 ? values[half] : (values[half - 1] + values[half]) / 2;
}

// By "metric path".
using Samples = std::map<std::string, std::vector<Sample>>;

std::string base_metric(const std::string& metric) {
  return metric.starts_with("cpu_") ? metric.substr(4) : metric;
}

Samples run(const Options& options) {
  Samples out;
  for (int round = 0; round < options.rounds; round++)
    for (Metric metric : metrics) {
      std::vector<const Path*> order;
      for (const Path& path : options.paths)
        if (std::any_of(options.rows.begin(), options.rows.end(), [&](const Row& row) {
              return base_metric(row.metric) == name_of(metric) &&
                     (row.subject_path == path.name || row.reference_path == path.name);
            }))
          order.push_back(&path);
      if (round % 2) std::reverse(order.begin(), order.end());
      for (const Path* path : order)
        out[name_of(metric) + (" " + path->name)].push_back(measure(*path, metric, options.time));
    }
  return out;
}

// One comparison, worked out.
struct Verdict {
  double ratio, low, high, subject, reference;
};

std::vector<double> values_of(const Samples& samples, const std::string& metric,
                              const std::string& path) {
  const auto found = samples.find(base_metric(metric) + " " + path);
  if (found == samples.end()) refuse("no measurement of " + metric + " on path " + path);
  std::vector<double> out;
  for (const Sample& sample : found->second)
    out.push_back(metric.starts_with("cpu_") ? sample.cpu_per_unit : sample.rate);
  return out;
}

Verdict judge(const Samples& samples, const Row& row) {
  const auto subject = values_of(samples, row.metric, row.subject_path);
  const auto reference = values_of(samples, row.metric, row.reference_path);
  std::vector<double> ratios;
  for (size_t i = 0; i < subject.size(); i++)
    if (reference[i] > 0) ratios.push_back(subject[i] / reference[i]);
  // Short loads may use less CPU than one tick of the clock.
  if (ratios.empty()) ratios.push_back(0);
  std::sort(ratios.begin(), ratios.end());
  return {median(ratios), ratios[ratios.size() / 4], ratios[ratios.size() * 3 / 4], median(subject),
          median(reference)};
}

std::string with_unit(double value, const std::string& metric) {
  char text[64];
  const bool bytes = base_metric(metric).starts_with("tcp_");
  if (metric.starts_with("cpu_"))
    std::snprintf(text, sizeof text, bytes ? "%.1f us/MB" : "%.2f us",
                  value * 1e6 * (bytes ? 1e6 : 1));
  else if (bytes)
    std::snprintf(text, sizeof text, "%.2f Gbit/s", value * 8 / 1e9);
  else
    std::snprintf(text, sizeof text, "%.1f k/s", value / 1e3);
  return text;
}

void print(const Options& options, const Samples& samples) {
  std::printf("%-14s %-16s %-14s %-14s %6s %13s %7s %-6s %14s %14s\n", "bench", "metric", "subject",
              "reference", "ratio", "(quartiles)", "target", "", "subject", "reference");
  for (const Row& row : options.rows) {
    const Verdict v = judge(samples, row);
    char spread[32], target[16] = "-";
    std::snprintf(spread, sizeof spread, "(%.2f-%.2f)", v.low, v.high);
    if (row.target > 0) std::snprintf(target, sizeof target, "%.2f", row.target);
    const char* mark = row.target <= 0 ? "" : v.ratio >= row.target ? "ok" : "below";
    std::printf("%-14s %-16s %-14s %-14s %6.2f %13s %7s %-6s %14s %14s\n", row.bench.c_str(),
                row.metric.c_str(), row.subject.c_str(), row.reference.c_str(), v.ratio, spread,
                target, mark, with_unit(v.subject, row.metric).c_str(),
                with_unit(v.reference, row.metric).c_str());
  }
}

// Medians in SI units: bytes/s, packets/s, answers/s, connections/s; CPU seconds per such unit.
void write_json(const Options& options, const Samples& samples) {
  std::FILE* file = std::fopen(options.json.c_str(), "w");
  if (!file) fail(options.json);
  const char* before = "[";
  for (const Row& row : options.rows) {
    const Verdict v = judge(samples, row);
    std::fprintf(file,
                 "%s\n{\"bench\":\"%s\",\"metric\":\"%s\",\"subject\":\"%s\",\"reference\":\"%s\","
                 "\"ratio\":%.4f,\"subject_median\":%.6g,\"reference_median\":%.6g,\"rounds\":%d}",
                 before, row.bench.c_str(), row.metric.c_str(), row.subject.c_str(),
                 row.reference.c_str(), v.ratio, v.subject, v.reference, options.rounds);
    before = ",";
  }
  std::fprintf(file, "\n]\n");
  if (std::fclose(file) != 0) fail(options.json);
}

Options parse(int argc, char** argv) {
  Options out;
  for (int i = 2; i < argc; i += 2) {
    const std::string key = argv[i];
    if (i + 1 == argc) refuse(key + " needs a value");
    const std::string value = argv[i + 1];
    if (key == "--rounds")
      out.rounds = std::atoi(value.c_str());
    else if (key == "--ms")
      out.time = std::chrono::milliseconds(std::atoi(value.c_str()));
    else if (key == "--json")
      out.json = value;
    else if (key == "--path")
      out.paths.push_back(parse_path(value));
    else if (key == "--row")
      out.rows.push_back(parse_row(value));
    else
      refuse("unknown option " + key);
  }
  if (out.rounds < 1 || out.rounds > 1000) refuse("--rounds must be 1 to 1000");
  if (out.time.count() < 1 || out.time.count() > 10000) refuse("--ms must be 1 to 10000");
  if (out.rows.empty()) refuse("nothing to compare");
  return out;
}

}  // namespace

int main(int argc, char** argv) {
  const std::string verb = argc > 1 ? argv[1] : "";
  if (verb == "serve" && argc == 3 && std::atoi(argv[2]) > 0) serve(std::atoi(argv[2]), -1);
  if (verb != "compare") refuse("use: bench_load serve PORT | compare OPTION...");
  const Options options = parse(argc, argv);
  for (const Path& path : options.paths)
    if (!path.server.empty()) start_server(path);
  const Samples samples = run(options);
  print(options, samples);
  if (!options.json.empty()) write_json(options, samples);
}
