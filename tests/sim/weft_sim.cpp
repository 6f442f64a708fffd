// SPDX-License-Identifier: Apache-2.0
// weft-sim: the gossip of whole clusters in virtual time, and how well it does. One subject per
// run; a seed gives the same run again.
#include <chrono>
#include <cstdio>
#include <cxxopts.hpp>
#include <map>
#include <string>

#include "sim/chaos.h"
#include "sim/measure.h"

using namespace weft;
using namespace weft::sim;

namespace {

struct Options {
  Setting setting;
  int updates = 0;  // 0: as many as the subject thinks right
  int seconds = 0;
  uint64_t seeds = 0;
};

void head(const Options& o, const char* what) {
  std::printf("%s: N=%zu, %.0f %% loss, seed %llu%s\n", what, o.setting.nodes, o.setting.loss * 100,
              (unsigned long long)o.setting.seed, o.setting.at_once ? "" : ", formed by joining");
}

void percentiles(const char* what, std::vector<double>& samples) {
  std::printf("  %-28s p50 %9.2f  p99 %9.2f  worst %9.2f ms  (%zu samples)\n", what,
              percentile(samples, 0.5), percentile(samples, 0.99), percentile(samples, 1),
              samples.size());
}

int run_spread(const Options& o) {
  head(o, "one change to all nodes");
  Spread s = spread(o.setting, o.updates ? o.updates : 20);
  percentiles("to each node", s.each);
  percentiles("to the last node", s.all);
  std::printf("  %.0f bytes per change and node; %zu deliveries missing after 20 s\n", s.bytes,
              s.missing);
  return s.missing == 0 ? 0 : 1;
}

int run_ends(const Options& o) {
  head(o, "a node that goes, until all know");
  const int rounds = o.updates ? o.updates : 10;
  auto silent = ends(o.setting, End::silent, rounds);
  percentiles("host gone, dead", silent);
  auto process = ends(o.setting, End::process, rounds);
  percentiles("process gone, suspect", process);
  auto refused = ends(o.setting, End::refused, rounds);
  percentiles("process gone, dead", refused);
  auto leave = ends(o.setting, End::leave, rounds);
  percentiles("leaves", leave);
  return 0;
}

int run_quiet(const Options& o) {
  head(o, "nothing happens");
  const int seconds = o.seconds ? o.seconds : 60;
  const Quiet q = quiet(o.setting, Duration(1s) * seconds);
  std::printf(
      "  %d s: %zu false deaths, %llu refuted suspicions; %.0f B/s and %.1f packets/s per node\n",
      seconds, q.false_deaths, (unsigned long long)q.refutations, q.bytes_per_second,
      q.packets_per_second);
  return q.false_deaths == 0 ? 0 : 1;
}

int run_burst(const Options& o) {
  head(o, "a burst of records");
  const int records = o.updates ? o.updates : 1000;
  std::printf("  %zu nodes x %d records, all have all: %.0f ms\n", o.setting.nodes, records,
              burst(o.setting, records));
  return 0;
}

int run_memory(const Options& o) {
  const Memory m = memory(o.setting.nodes, 20 * o.setting.nodes);
  std::printf(
      "memory of one core: %.1f kB alone, %.0f B per member, %.0f B per endpoint (%zu members, "
      "%zu endpoints)\n",
      m.base / 1e3, m.member, m.endpoint, o.setting.nodes, 20 * o.setting.nodes);
  return 0;
}

int run_rotation(const Options& o) {
  head(o, "a key rotation");
  const Rotation r = rotation(o.setting);
  std::printf(
      "  all staged %.0f ms, all sealing %.0f ms, cycle %.0f ms; %llu of %llu packets could "
      "not be opened\n",
      r.staged, r.sealing, r.milliseconds, (unsigned long long)r.undecryptable,
      (unsigned long long)(r.undecryptable + r.opened));
  return r.done && r.undecryptable == 0 ? 0 : 1;
}

// Real time limits it, if asked for: the seeds that were run are told.
int run_chaos(const Options& o) {
  const uint64_t count = o.seeds ? o.seeds : 100;
  const auto start = std::chrono::steady_clock::now();
  uint64_t run = 0, wrong = 0;
  std::vector<double> times;
  for (; run < count; ++run) {
    const auto spent = std::chrono::steady_clock::now() - start;
    if (o.seconds && spent > std::chrono::seconds(o.seconds)) break;
    const uint64_t seed = o.setting.seed + run;
    const ChaosOutcome outcome = chaos(seed);
    times.push_back(outcome.heal_seconds * 1000);
    if (outcome.wrong.empty()) continue;
    ++wrong;
    std::printf("weft-sim chaos --seed %llu --seeds 1: %s\n", (unsigned long long)seed,
                outcome.wrong.c_str());
    std::fflush(stdout);
  }
  std::printf("chaos: seeds %llu to %llu, %llu with something missed for good or come back\n",
              (unsigned long long)o.setting.seed, (unsigned long long)(o.setting.seed + run - 1),
              (unsigned long long)wrong);
  percentiles("repaired to agreement", times);
  return wrong == 0 ? 0 : 1;
}

const std::map<std::string, int (*)(const Options&)> subjects = {
    {"spread", run_spread}, {"ends", run_ends},         {"quiet", run_quiet}, {"burst", run_burst},
    {"memory", run_memory}, {"rotation", run_rotation}, {"chaos", run_chaos},
};

constexpr const char* about =
    "The gossip of a simulated cluster, in virtual time.\n\n"
    "  spread    one change to all nodes; bytes it takes\n"
    "  ends      a node's host or process is gone, or it leaves, until all know\n"
    "  quiet     false deaths and traffic while nothing happens\n"
    "  burst     many records written by all nodes at once\n"
    "  memory    of one core, per member and per endpoint\n"
    "  rotation  a verified key rotation\n"
    "  chaos     seeds of restarts, partitions and loss; nothing may be missed for good\n";

}  // namespace

int main(int argc, char** argv) {
  cxxopts::Options parser("weft-sim", about);
  parser.add_options()("subject", "", cxxopts::value<std::string>()->default_value(""));
  parser.add_options()("nodes", "nodes", cxxopts::value<size_t>()->default_value("100"));
  parser.add_options()("loss", "percent of all packets",
                       cxxopts::value<double>()->default_value("0"));
  parser.add_options()("seed", "first seed", cxxopts::value<uint64_t>()->default_value("1"));
  parser.add_options()("seeds", "chaos: how many", cxxopts::value<uint64_t>()->default_value("0"));
  parser.add_options()("rounds", "changes, deaths or records",
                       cxxopts::value<int>()->default_value("0"));
  parser.add_options()("seconds", "quiet: virtual; chaos: real time at most",
                       cxxopts::value<int>()->default_value("0"));
  parser.add_options()("join", "form the cluster by joining (up to some 300 nodes)");
  parser.add_options()("help", "this text");
  parser.parse_positional({"subject"});
  parser.positional_help("SUBJECT");
  try {
    const auto args = parser.parse(argc, argv);
    const auto subject = subjects.find(args["subject"].as<std::string>());
    if (args.count("help") || subject == subjects.end()) {
      std::printf("%s\n", parser.help().c_str());
      return args.count("help") ? 0 : 2;
    }
    Options o;
    o.setting = {args["nodes"].as<size_t>(), args["loss"].as<double>() / 100,
                 args["seed"].as<uint64_t>(), args.count("join") == 0};
    o.updates = args["rounds"].as<int>();
    o.seconds = args["seconds"].as<int>();
    o.seeds = args["seeds"].as<uint64_t>();
    if (o.setting.nodes < 2 || o.setting.nodes > cluster::Limits::members || o.setting.loss < 0 ||
        o.setting.loss > 0.9) {
      std::fprintf(stderr, "weft-sim: 2 to %zu nodes and 0 to 90 percent loss are possible\n",
                   cluster::Limits::members);
      return 2;
    }
    return subject->second(o);
  } catch (const std::exception& wrong) {  // of cxxopts
    std::fprintf(stderr, "weft-sim: %s\n", wrong.what());
    return 2;
  }
}
