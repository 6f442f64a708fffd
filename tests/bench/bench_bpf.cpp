// SPDX-License-Identifier: Apache-2.0
// ns per packet of the real programs beside a do-nothing XDP program, interleaved in one run.
//   bench_bpf [--rounds N] [--json FILE] [--only METRIC]    METRIC: a part of the name
#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/if_link.h>
#include <net/if.h>
#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <stdexcept>

#include "base/fd.h"
#include "bpf/bench_driver_tc.skel.h"
#include "bpf/bench_driver_xdp.skel.h"
#include "harness/bpf_node.h"

using namespace weft;
using namespace weft::test;

namespace {

constexpr int repeat = 1000000;
const Address a4 = Address::v4(0x0a000002), b4 = Address::v4(0x0a000003),
              vip = Address::v4(0x0a000064), client = Address::v4(0xc0a80132);
const Mac mac_a = Mac::from_v4(a4), mac_b = Mac::from_v4(b4), mac_x{{2, 0, 0, 0, 9, 9}};

[[noreturn]] void fail(const std::string& what) {
  throw std::runtime_error(what + ": " + std::strerror(errno));
}

double run(int program, const Frame& frame, int times, int expected = -1) {
  Frame out(frame.size() + 256);
  LIBBPF_OPTS(bpf_test_run_opts, options);
  options.data_in = frame.data();
  options.data_size_in = uint32_t(frame.size());
  options.data_out = out.data();
  options.data_size_out = uint32_t(out.size());
  options.repeat = times;
  if (bpf_prog_test_run_opts(program, &options)) fail("run");
  if (expected >= 0 && int(options.retval) != expected)
    throw std::runtime_error("the measured program returned " + std::to_string(options.retval));
  return options.duration;
}

struct DriverConfig {
  uint8_t header[104];
  uint32_t bytes, header_words, flow_mask, new_flows, source_at, pad;
};

template <typename Skeleton>
struct Driver {
  Skeleton* skeleton;
  int program, noop;

  void select(int subject) {
    uint32_t zero = 0;
    if (bpf_map_update_elem(bpf_map__fd(skeleton->maps.subject), &zero, &subject, BPF_ANY))
      fail("select the measured program");
  }
  void configure(const Frame& frame, uint32_t flows, bool new_flows, uint32_t source_at) {
    DriverConfig config{};
    std::copy_n(frame.begin(), std::min<size_t>(104, frame.size()), config.header);
    config.bytes = uint32_t(frame.size());
    config.header_words = source_at > 50 ? 13 : 7;
    config.flow_mask = flows - 1;
    config.new_flows = new_flows;
    config.source_at = source_at;
    uint32_t zero = 0;
    if (bpf_map_update_elem(bpf_map__fd(skeleton->maps.driver), &zero, &config, BPF_ANY))
      fail("configure the driver");
  }
};

struct Statistics {
  uint64_t ns = 0, packets = 0;

  static Statistics of(int program) {
    bpf_prog_info info{};
    uint32_t size = sizeof info;
    if (bpf_obj_get_info_by_fd(program, &info, &size)) fail("read a program's statistics");
    return {info.run_time_ns, info.run_cnt};
  }
};

// A veth whose tc ingress runs the measured program, in this process's own network namespace.
class Wire {
 public:
  Wire() {
    if (std::system("ip link add bench0 type veth peer name bench1 && ip link set bench0 up && "
                    "ip link set bench1 up"))
      fail("make a veth");
    hook_.ifindex = int(if_nametoindex("bench0"));
    hook_.attach_point = BPF_TC_INGRESS;
    if (bpf_tc_hook_create(&hook_)) fail("make a tc hook");
  }
  uint32_t ifindex() const { return uint32_t(hook_.ifindex); }

  // ns of `program` for each of many packets; `pass`: an XDP program that lets them through. With
  // it attached, the veth has the receive queue that such packets come from.
  double run(int pass, int program, const Frame& frame) {
    if (bpf_xdp_attach(hook_.ifindex, pass, 0, nullptr)) fail("attach to the veth");
    LIBBPF_OPTS(bpf_tc_opts, options, .prog_fd = program, .flags = BPF_TC_F_REPLACE, .handle = 1,
                .priority = 1);
    if (bpf_tc_attach(&hook_, &options)) fail("attach the measured program");
    send(pass, frame, repeat / 50);                       // warm caches
    Fd statistics(bpf_enable_stats(BPF_STATS_RUN_TIME));  // while it is open
    if (!statistics) fail("enable the statistics of programs");
    Statistics before = Statistics::of(program);
    send(pass, frame, repeat / 5);
    Statistics after = Statistics::of(program);
    if (after.packets - before.packets < repeat / 10) throw std::runtime_error("packets got lost");
    return double(after.ns - before.ns) / double(after.packets - before.packets);
  }

 private:
  void send(int pass, const Frame& frame, int times) const {
    xdp_md context{};
    context.data_end = uint32_t(frame.size());
    context.ingress_ifindex = ifindex();
    LIBBPF_OPTS(bpf_test_run_opts, options);
    options.data_in = frame.data();
    options.data_size_in = uint32_t(frame.size());
    options.ctx_in = &context;
    options.ctx_size_in = sizeof context;
    options.flags = BPF_F_TEST_XDP_LIVE_FRAMES;
    options.repeat = times;
    if (bpf_prog_test_run_opts(pass, &options)) fail("send packets");
  }

  bpf_tc_hook hook_{.sz = sizeof(bpf_tc_hook)};
};

struct Measurement {
  std::string metric, subject;
  std::function<double()> net;  // ns beyond the driver's own cost
  double target;
  std::vector<double> values;
};

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

struct Bench {
  Node entry{1}, backend{2};
  weft_port a, b;
  Driver<bench_driver_xdp> xdp;
  Driver<bench_driver_tc> tc;
  int tc_shrink;
  Wire wire;
  std::vector<Measurement> measurements;

  Bench() {
    a = entry.add_port(1, a4, {}, 0);
    b = backend.add_port(2, b4, {}, WEFT_PORT_BACKEND);
    for (Node* node : {&entry, &backend}) {
      uint16_t other = node == &entry ? 2 : 1;
      node->add_vtep(other);
      for (uint32_t network : {Node::vni, Node::ingress_vni}) node->add_peer(other, network);
      node->add_network(Node::vni, *Prefix::parse("10.0.0.0/24"));
      node->add_published(8080, WEFT_PROTOCOL_TCP, 1, 80);
      node->set_service(1, vip, {{mac_b, 2}}, {{0}});
    }
    entry.add_endpoint(Node::vni, b4, WEFT_ENDPOINT_REMOTE, mac_b, 2);
    entry.put("ports", wire.ifindex(), a);
    xdp.skeleton = bench_driver_xdp__open_and_load();
    tc.skeleton = bench_driver_tc__open_and_load();
    if (!xdp.skeleton || !tc.skeleton) fail("load the drivers");
    xdp.program = bpf_program__fd(xdp.skeleton->progs.bench_xdp_driver);
    xdp.noop = bpf_program__fd(xdp.skeleton->progs.bench_xdp_noop);
    tc.program = bpf_program__fd(tc.skeleton->progs.bench_tc_driver);
    tc.noop = bpf_program__fd(tc.skeleton->progs.bench_tc_noop);
    tc_shrink = bpf_program__fd(tc.skeleton->progs.bench_tc_shrink);
  }

  Frame from_client(uint8_t flags) {
    return Packet()
        .ethernet(Node::uplink_mac(1), mac_x)
        .ip(client, Node::underlay(1))
        .tcp(5000, 8080, flags)
        .payload(64)
        .build();
  }
  Frame to_container(const Address& destination) {
    return Packet()
        .ethernet(Node::uplink_mac(2), Node::uplink_mac(1))
        .ip(Node::underlay(1), Node::underlay(2))
        .udp(40000, 4789, true)
        .vxlan(Node::vni)
        .ethernet(mac_b, mac_a)
        .ip(a4, destination)
        .tcp(5000, 80, TcpAck)
        .payload(64)
        .build();
  }

  void add_xdp(const std::string& metric, uint32_t flows, bool new_flows, uint8_t flags) {
    Frame frame = from_client(flags);
    measurements.push_back({metric,
                            "xdp_underlay",
                            [=, this] {
                              xdp.configure(frame, flows, new_flows, 26);
                              xdp.select(xdp.noop);
                              double driver = run(xdp.program, frame, repeat, xdp_pass);
                              xdp.select(entry.program_fd("weft_xdp_underlay"));
                              return run(xdp.program, frame, repeat, xdp_tx) - driver;
                            },
                            7,
                            {}});
  }
  // The driver puts the outer bytes back. That costs what it costs when only they are taken off,
  // less the taking off, which is half of it.
  void add_tc(const std::string& metric, const Address& destination, uint32_t flows,
              double target) {
    Frame frame = to_container(destination);
    measurements.push_back({metric,
                            "from_underlay",
                            [=, this] {
                              tc.configure(frame, flows, false, 76);
                              tc.select(tc.noop);
                              double driver = run(tc.program, frame, repeat, 0);
                              tc.select(tc_shrink);
                              double room = (run(tc.program, frame, repeat, 0) - driver) / 2;
                              tc.select(backend.program_fd("weft_from_underlay"));
                              return run(tc.program, frame, repeat, tc_redirect) - driver - room;
                            },
                            target,
                            {}});
  }
  // The kernel refuses to encapsulate one skb twice, so BPF_PROG_TEST_RUN makes real packets that
  // arrive at a veth, and the kernel's own statistics tell what the program there took.
  void add_container(const std::string& metric, const Address& destination, double target) {
    Frame frame = Packet()
                      .ethernet(mac_b, mac_a)
                      .ip(a4, destination)
                      .tcp(5000, 80, TcpAck)
                      .payload(64)
                      .build();
    measurements.push_back({metric,
                            "from_container",
                            [=, this] {
                              int program = entry.program_fd("weft_from_container");
                              double without = wire.run(xdp.noop, tc.noop, frame);
                              return wire.run(xdp.noop, program, frame) - without;
                            },
                            target,
                            {}});
  }

  void measure(int rounds, const char* json) {
    std::vector<double> noop;
    Frame frame = from_client(TcpAck);
    for (int round = 0; round < rounds; round++) {
      noop.push_back(run(xdp.noop, frame, repeat));
      for (auto& m : measurements) m.values.push_back(m.net());
    }
    double reference = median(noop);
    std::FILE* file = json ? std::fopen(json, "w") : nullptr;
    if (json && !file) fail(json);
    std::printf("%-42s %-15s %9s %9s %7s %7s\n", "metric", "subject", "ns", "noop ns", "ratio",
                "target");
    if (file) std::fprintf(file, "[");
    for (auto& m : measurements) {
      // What the subject would show if it were run alone as the noop is.
      double subject = median(m.values) + reference, ratio = subject / reference;
      std::printf("%-42s %-15s %9.1f %9.1f %7.2f %7.1f\n", m.metric.c_str(), m.subject.c_str(),
                  subject, reference, ratio, m.target);
      if (file)
        std::fprintf(
            file,
            "%s\n{\"bench\":\"bpf\",\"metric\":\"%s\",\"subject\":\"%s\",\"reference\":\"noop\","
            "\"ratio\":%.3f,\"subject_median\":%.2f,\"reference_median\":%.2f,\"rounds\":%d}",
            &m == &measurements[0] ? "" : ",", m.metric.c_str(), m.subject.c_str(), ratio, subject,
            reference, rounds);
    }
    if (file) {
      std::fprintf(file, "\n]\n");
      std::fclose(file);
    }
  }
};

}  // namespace

int main(int argc, char** argv) {
  int rounds = 5;
  const char *json = nullptr, *only = "";
  for (int i = 1; i < argc; i++) {
    std::string argument = argv[i];
    if (argument == "--rounds" && i + 1 < argc)
      rounds = std::atoi(argv[++i]);
    else if (argument == "--json" && i + 1 < argc)
      json = argv[++i];
    else if (argument == "--only" && i + 1 < argc)
      only = argv[++i];
    else {
      std::fprintf(stderr, "usage: bench_bpf [--rounds N] [--json FILE] [--only METRIC]\n");
      return 2;
    }
  }
  try {
    if (unshare(CLONE_NEWNET) || std::system("ip link set lo up")) fail("make a network namespace");
    Bench bench;
    bench.add_xdp("pick+encapsulate 1 flow", 1, false, TcpAck);
    bench.add_xdp("pick+encapsulate 64k flows", 65536, false, TcpAck);
    bench.add_xdp("pick+encapsulate SYN flood", 65536, true, TcpSyn);
    bench.add_container("container to remote container", b4, 8);
    bench.add_container("container to remote VIP", vip, 8);
    bench.add_tc("overlay to container", b4, 1, 6);
    bench.add_tc("translate at the backend's node 1 flow", vip, 1, 20);
    bench.add_tc("translate at the backend's node 64k flows", vip, 65536, 20);
    std::erase_if(bench.measurements,
                  [&](const Measurement& m) { return m.metric.find(only) == std::string::npos; });
    if (bench.measurements.empty())
      throw std::runtime_error("no such metric: " + std::string(only));
    bench.measure(rounds > 0 ? rounds : 1, json);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "bench_bpf: %s\n", error.what());
    return 1;
  }
  return 0;
}
