// SPDX-License-Identifier: Apache-2.0
// Real packets between real namespaces:
//
//   c1 10.0.0.2 ── e1 [host 1] ul ── 192.168.1.0/24 ── ul [host 2] e2 ── c2 10.0.0.3
//   (VIP 10.0.0.100)
#include <bpf/libbpf.h>
#include <doctest/doctest.h>
#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <unistd.h>

#include <cstdlib>
#include <stdexcept>
#include <thread>

#include "base/fd.h"
#include "harness/bpf_check.h"

using namespace weft;
using namespace weft::test;

namespace {

int shell(const std::string& command) {
  return std::system((command + " > /dev/null 2>&1").c_str());
}

void must(const std::string& command) {
  if (shell(command)) throw std::runtime_error("failed: " + command);
}

// A named namespace, so that `ip netns exec` finds it; its name has our process id.
struct Namespace {
  std::string name;
  explicit Namespace(const std::string& suffix)
      : name("weft-bpf-" + std::to_string(getpid()) + "-" + suffix) {
    must("ip netns add " + name);
    must(in("ip link set lo up"));
  }
  ~Namespace() { shell("ip netns del " + name); }
  std::string in(const std::string& command) const {
    return "ip netns exec " + name + " " + command;
  }
  // Runs the function on a thread inside.
  template <typename F>
  auto inside(F function) const {
    decltype(function()) result{};
    std::thread([&] {
      Fd fd(::open(("/run/netns/" + name).c_str(), O_RDONLY | O_CLOEXEC));
      if (::setns(fd.get(), CLONE_NEWNET) == 0) result = function();
    }).join();
    return result;
  }
  uint32_t ifindex(const char* link) const {
    return inside([&] { return uint32_t(if_nametoindex(link)); });
  }
  void attach(const char* link, int program) const {
    int failed = inside([&] {
      LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = int(if_nametoindex(link)),
                  .attach_point = BPF_TC_INGRESS);
      LIBBPF_OPTS(bpf_tc_opts, options, .prog_fd = program);
      bpf_tc_hook_create(&hook);
      return bpf_tc_attach(&hook, &options) ? 1 : 2;
    });
    if (failed != 2) throw std::runtime_error("cannot attach to " + std::string(link));
  }
};

const Address c1_4 = ip("10.0.0.2"), c2_4 = ip("10.0.0.3"), c1_6 = ip("fd00::2"),
              c2_6 = ip("fd00::3"), vip4 = ip("10.0.0.100"), vip6 = ip("fd00::100");

struct Hosts {
  Namespace h1{"h1"}, h2{"h2"}, c1{"c1"}, c2{"c2"};
  Node one{1}, two{2};

  Hosts() {
    must("ip link add ul netns " + h1.name + " address " + Node::uplink_mac(1).to_string() +
         " type veth peer name ul netns " + h2.name + " address " +
         Node::uplink_mac(2).to_string());
    build(h1, c1, one, 1, c1_4, c1_6, 0);
    build(h2, c2, two, 2, c2_4, c2_6, WEFT_PORT_BACKEND);
    join(h1, one, 2, c2_4, c2_6);
    join(h2, two, 1, c1_4, c1_6);
    for (Node* node : {&one, &two})
      for (auto* vip : {&vip4, &vip6}) node->set_service(1, *vip, {{Mac::from_v4(c2_4), 2}}, {{0}});
  }

  void build(Namespace& host, Namespace& container, Node& node, uint32_t id, const Address& four,
             const Address& six, uint16_t flags) {
    std::string number = std::to_string(id), mac = Mac::from_v4(four).to_string();
    must(host.in("ip addr add " + Node::underlay(uint16_t(id)).to_string() + "/24 dev ul"));
    must(host.in("ip link set ul up"));
    must("ip link add eth0 netns " + container.name + " mtu 1450 address " + mac +
         " type veth peer name e netns " + host.name);
    must(host.in("ip link set e up"));
    must(container.in("ip addr add " + four.to_string() + "/24 dev eth0"));
    must(container.in("ip addr add " + six.to_string() + "/64 dev eth0 nodad"));
    must(container.in("ip link set eth0 up"));
    weft_port port = node.add_port(id, four, six, flags);
    port.ifindex = host.ifindex("e");
    node.put("ports", port.ifindex, port);
    weft_mac_key key{};
    copy(key.mac, Mac::from_v4(four));
    node.put("local_macs", key, port);
    host.attach("e", node.program_fd("weft_from_container"));
    host.attach("ul", node.program_fd("weft_from_underlay"));
  }

  void join(Namespace& host, Node& node, uint16_t other, const Address& four, const Address& six) {
    node.add_vtep(other);
    auto vtep = node.get<weft_vtep>("vteps", uint32_t(other));
    vtep.ifindex = host.ifindex("ul");
    node.put("vteps", uint32_t(other), vtep);
    node.add_peer(other, Node::vni);
    node.add_network(Node::vni, *Prefix::parse("10.0.0.0/24"));
    for (auto* address : {&four, &six})
      node.add_endpoint(Node::vni, *address, WEFT_ENDPOINT_REMOTE, Mac::from_v4(four), other);
  }

  // A TCP stream of 50 MB from c1, received whole by a server in c2.
  bool stream(const Address& to) {
    std::string family = to.is_v4() ? "-4" : "-6";
    must(c2.in("iperf3 -s -1 -D " + family + " -p 5201"));
    // The server needs a moment to listen; the client is refused until then.
    for (int attempt = 0; attempt < 50; attempt++)
      if (!shell("timeout 20 " + c1.in("iperf3 " + family + " -c " + to.to_string() + " -n 50M")))
        return true;
      else
        ::usleep(20000);
    return false;
  }
  bool ping(const Address& to, int bytes) {
    return !shell(
        c1.in("ping -c 3 -i 0.05 -W 2 -M do -s " + std::to_string(bytes) + " " + to.to_string()));
  }
};

}  // namespace

TEST_CASE("containers of two hosts talk, in both families, by address and by VIP") {
  Hosts hosts;
  CHECK(hosts.ping(c2_4, 1422));  // fills the overlay's MTU
  CHECK_FALSE(hosts.ping(c2_4, 1423));
  CHECK(hosts.ping(c2_6, 1402));
  CHECK(hosts.ping(vip4, 56));
  CHECK(hosts.ping(vip6, 56));
  for (auto* address : {&c2_4, &c2_6, &vip4, &vip6}) {
    INFO(address->to_string());
    CHECK(hosts.stream(*address));
  }
  // Bulk went the fast way, and nothing was lost on it.
  for (Node* node : {&hosts.one, &hosts.two}) {
    CHECK(node->counted(WEFT_COUNT_ENCAPSULATED) > 100);
    CHECK(node->counted(WEFT_COUNT_KERNEL_WAY) == 0);
    for (auto reason : {WEFT_DROP_REWRITE, WEFT_DROP_MALFORMED, WEFT_DROP_NO_ENDPOINT,
                        WEFT_DROP_UNKNOWN_VTEP, WEFT_DROP_SPOOFED_ADDRESS})
      CHECK(node->dropped(reason) == 0);
  }
}

TEST_CASE("a container with too large an MTU learns the overlay's") {
  Hosts hosts;
  must(hosts.c1.in("ip link set eth0 mtu 1500"));
  CHECK_FALSE(hosts.ping(c2_4, 1472));
  CHECK(hosts.one.counted(WEFT_COUNT_TOO_BIG_SENT) > 0);
  // The kernel has learnt the path's MTU from our answer.
  CHECK(shell(hosts.c1.in("ip route get 10.0.0.3") + " | grep -q 'mtu 1450'") == 0);
}
