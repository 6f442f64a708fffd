// SPDX-License-Identifier: Apache-2.0
// How much the verifier has to check: the numbers of golden.txt are for the kernel they were made
// on, so other kernels may differ; what must not happen unseen is a program that grows by half.
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <doctest/doctest.h>

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <map>
#include <sstream>

#include "harness/bpf_node.h"

using namespace weft::test;

TEST_CASE("no program has grown much beyond its golden number of verified instructions") {
  const char* path = "tests/bpf/golden.txt";
  std::map<std::string, uint32_t> golden, now;
  Node node{1};
  for (const char* program :
       {"weft_from_container", "weft_from_underlay", "weft_from_overlay", "weft_xdp_underlay"}) {
    bpf_prog_info info{};
    uint32_t size = sizeof info;
    REQUIRE(bpf_obj_get_info_by_fd(node.program_fd(program), &info, &size) == 0);
    now[program] = info.verified_insns;
    CHECK(info.verified_insns < 500000);  // half of what the kernel allows
  }
  if (std::getenv("WEFT_UPDATE_GOLDEN")) {
    std::ofstream out(path);
    for (auto& [name, count] : now) out << name << " " << count << "\n";
    return;
  }
  std::ifstream in(path);
  REQUIRE(in.good());
  std::string name;
  uint32_t count = 0;
  while (in >> name >> count) golden[name] = count;
  for (auto& [program, verified] : now) {
    INFO(program << ": " << verified << ", golden " << golden[program]
                 << "; if it is meant, run with WEFT_UPDATE_GOLDEN=1");
    CHECK(golden[program] > 0);
    CHECK(verified < golden[program] * 3 / 2);
  }
}
