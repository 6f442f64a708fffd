// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <vector>

#include "sim/cluster.h"

namespace weft::sim {

// Measurements of one simulated cluster. Times are in milliseconds.
struct Setting {
  size_t nodes = 10;
  double loss = 0;
  uint64_t seed = 1;
  // Start from one shared list of all, with empty tables: see Cluster::form_at_once.
  bool at_once = true;
};

struct Spread {
  std::vector<double> each;  // change to node, over all changes and nodes
  std::vector<double> all;   // change to the last node
  double bytes = 0;          // per change and node, over what an idle node sends
  size_t missing = 0;        // not there after 20 s
};
Spread spread(const Setting& setting, int updates);

// Until the last node knows, one sample per round.
enum class End {
  silent,   // power cut, until all hold it for dead
  process,  // SIGKILL, until all know that it does not serve (suspect)
  refused,  // SIGKILL, until all hold it for dead
  leave,
};
std::vector<double> ends(const Setting& setting, End how, int rounds);

struct Quiet {
  size_t false_deaths = 0;
  uint64_t refutations = 0;
  double bytes_per_second = 0;  // of one node
  double packets_per_second = 0;
};
Quiet quiet(const Setting& setting, Duration time);

// `records` at each of the nodes at once, until all have all.
double burst(const Setting& setting, int records);

struct Memory {
  double base = 0;  // bytes of a node that knows nobody
  double member = 0;
  double endpoint = 0;  // a record of 24 + 60 bytes
};
Memory memory(size_t members, size_t endpoints);

struct Rotation {
  double milliseconds = 0;
  double staged = 0, sealing = 0;  // of it
  uint64_t undecryptable = 0;
  uint64_t opened = 0;
  bool done = false;
};
// Everybody gets the new key, all have it; everybody seals with it, all do; everybody drops the
// old.
Rotation rotation(const Setting& setting);

}  // namespace weft::sim
