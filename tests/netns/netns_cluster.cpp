// SPDX-License-Identifier: Apache-2.0
//
//   client 10.99.0.200      n1 .1        n2 .2        n3 .3        each with its own weftd
//        └──────────────────┴────────────┴────────────┘            one switch: the underlay
//
// One cluster for all cases of this file; each case makes what it needs and removes it.
#include <doctest/doctest.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <set>
#include <string>

#include "harness/lab.h"

using namespace weft;
using namespace weft::test;

namespace {

Lab& lab() {
  static Lab one("weft-test", "--nodes 3");
  return one;
}

std::string whoami() { return std::string(std::getenv("WEFT_BIN")) + "/whoami"; }

std::string field(const std::string& text, const std::string& name) {
  const size_t at = text.find(name + "=");
  if (at == std::string::npos) return "";
  const size_t from = at + name.size() + 1;
  return text.substr(from, text.find_first_of(" \n", from) - from);
}

// An overlay network, removed at the end.
struct Network {
  std::string name;
  explicit Network(std::string n, const std::string& options = "--attachable")
      : name(std::move(n)) {
    lab().must(lab().weft("n1", "network create " + options + " " + name));
  }
  ~Network() {
    const bool removed =
        eventually(10s, [&] { return lab().weft("n1", "network rm " + name).code == 0; });
    CHECK(removed);
  }
};

struct Service {
  std::string name;
  Service(std::string n, const std::string& options, const std::string& command = whoami() + " 80")
      : name(std::move(n)) {
    lab().must(
        lab().weft("n1", "service create --name " + name + " " + options + " -- " + command));
  }
  ~Service() {
    CHECK(lab().weft("n1", "service rm " + name).code == 0);
    const bool gone =
        eventually(20s, [&] { return lab().weft("n1", "service inspect " + name).code != 0; });
    CHECK(gone);
  }
};

// A namespace of a node, attached to a network by hand.
struct Box {
  std::string node, name;
  Box(std::string on, std::string n, const std::string& network, const std::string& options = "")
      : node(std::move(on)), name(std::move(n)) {
    sh("ip netns del weft-test-" + name);  // of a run that was ended
    lab().must(sh("ip netns add weft-test-" + name));
    lab().must(lab().weft(node, "endpoint attach --netns /run/netns/weft-test-" + name +
                                    " --network " + network + " --name " + name + " " + options));
  }
  ~Box() {
    const Output detached = lab().weft(node, "endpoint detach " + name);
    CHECK_MESSAGE(detached.code == 0, detached.text);
    sh("ip netns del weft-test-" + name);
  }
  Output run(const std::string& command, Duration deadline = 30s) const {
    return sh("nsenter --net=/run/netns/weft-test-" + name + " -- bash -c " + quote(command),
              deadline);
  }
  std::string address(const char* family = "-4") const {
    return run(std::string("ip ") + family +
               " -o addr show dev eth0 scope global | awk '{print $4}' | cut -d/ -f1")
        .text;
  }
  std::string dig(const std::string& question) const {
    return run("dig +short +timeout=2 +tries=2 @127.0.0.11 " + question).text;
  }
};

}  // namespace

TEST_CASE("two namespaces on different nodes reach each other by IPv4 and IPv6, and by name") {
  Network net("plain", "--attachable --ipv6");
  Box a("n1", "a", "plain"), b("n2", "b", "plain");
  CHECK(eventually(5s, [&] { return a.run("ping -c1 -W1 " + b.address()).code == 0; }));
  CHECK(eventually(5s, [&] { return a.run("ping -c1 -W1 " + b.address("-6")).code == 0; }));
  CHECK(eventually(5s, [&] { return a.dig("b") == b.address(); }));
  CHECK(b.dig("-x " + a.address()).starts_with("a."));
  const Output ping = a.run("ping -c3 -i0.2 -W1 " + b.address());
  CHECK_MESSAGE(ping.text.find("ttl=64") != std::string::npos, ping.text);
}

TEST_CASE("two namespaces on one node reach each other") {
  Network net("samehost");
  Box a("n1", "a", "samehost"), b("n1", "b", "samehost");
  CHECK(eventually(5s, [&] { return a.run("ping -c1 -W1 " + b.address()).code == 0; }));
}

TEST_CASE("a published port answers on every node, and the task sees the client's address") {
  Network net("mesh");
  Service web("web", "--network mesh --replicas 2 --publish 8080:80");
  std::set<std::string> tasks;
  for (const char* node : {"10.99.0.1", "10.99.0.2", "10.99.0.3"}) {
    for (int i = 0; i < 8; i++) {
      const Output out =
          lab().on("client", std::string("curl -s --max-time 5 http://") + node + ":8080");
      REQUIRE_MESSAGE(out.code == 0, node << ": " << out.text);
      CHECK(field(out.text, "client").starts_with("10.99.0.200:"));
      CHECK(field(out.text, "local").ends_with(":80"));
      tasks.insert(field(out.text, "task"));
    }
  }
  CHECK(tasks.size() == 2);
  SUBCASE(
      "also for processes of the nodes, at localhost and at their own and other nodes' addresses") {
    for (const char* node : {"n1", "n2", "n3"})
      for (const char* to : {"127.0.0.1", "10.99.0.1", "10.99.0.2", "10.99.0.3"}) {
        const Output out =
            lab().on(node, std::string("curl -s --max-time 5 http://") + to + ":8080");
        CHECK_MESSAGE(out.code == 0, node << " -> " << to << ": " << out.text);
      }
  }
  SUBCASE("and nobody else can take the port on any node") {
    for (const char* node : {"n1", "n2", "n3"}) {
      const Output out = lab().on(node, "timeout 2 socat TCP-LISTEN:8080 -");
      CHECK_MESSAGE(out.text.find("Address already in use") != std::string::npos, out.text);
    }
  }
}

TEST_CASE("a VIP spreads TCP, UDP and ping over the tasks, also for a task that calls itself") {
  Network net("vips");
  Service web("api", "--network vips --replicas 3");
  Box a("n2", "a", "vips");
  REQUIRE(eventually(5s, [&] { return !a.dig("api").empty(); }));
  const std::string vip = a.dig("api");
  std::set<std::string> tcp, udp;
  for (int i = 0; i < 40; i++) {
    const Output out = a.run("curl -s --max-time 5 http://" + vip);
    REQUIRE_MESSAGE(out.code == 0, out.text);
    tcp.insert(field(out.text, "task"));
    udp.insert(field(a.run("echo x | socat -t 0.3 - UDP:" + vip + ":80").text, "task"));
  }
  CHECK(tcp.size() == 3);
  CHECK(udp.size() == 3);
  CHECK(a.run("ping -c2 -i0.2 -W1 " + vip).code == 0);
}

TEST_CASE("DNS answers services, tasks and containers, and keeps what is internal inside") {
  Network net("names");
  Service web("shop", "--network names --replicas 2 --alias store");
  Box a("n3", "a", "names");
  REQUIRE(eventually(5s, [&] { return a.dig("tasks.shop").find('\n') != std::string::npos; }));
  CHECK(a.dig("SHOP") == a.dig("shop"));
  CHECK(a.dig("store") == a.dig("shop"));
  CHECK(a.dig("shop.names") == a.dig("shop"));
  CHECK(a.dig("+tcp shop") == a.dig("shop"));
  CHECK(a.run("dig +timeout=2 @127.0.0.11 nobody.names").text.find("NXDOMAIN") !=
        std::string::npos);
  CHECK(a.dig("-x " + a.dig("shop")).starts_with("shop.names"));
}

TEST_CASE("scaling down loses no request, and scaling up brings new tasks in") {
  Network net("scaling");
  Service web("grow", "--network scaling --replicas 1 --publish 8081:80");
  const auto answering = [&] {
    std::set<std::string> tasks;
    for (int i = 0; i < 30; i++)
      tasks.insert(
          field(lab().on("client", "curl -s --max-time 5 http://10.99.0.3:8081").text, "task"));
    return tasks;
  };
  CHECK(answering().size() == 1);
  lab().must(lab().weft("n1", "service scale grow=4"));
  CHECK(eventually(10s, [&] { return answering().size() == 4; }));
  lab().must(lab().weft("n1", "service scale grow=1"));
  CHECK(eventually(20s, [&] {
    const auto tasks = answering();
    return tasks.size() == 1 && !tasks.begin()->empty();
  }));
}

TEST_CASE("containers reach the outside by their node's address, unless the network is internal") {
  Network open("open"), closed("closed", "--attachable --internal");
  Box a("n2", "a", "open"), b("n2", "b", "closed");
  lab().must(lab().on("client", "setsid " + whoami() +
                                    " 9000 >/dev/null 2>&1 & echo $! >/run/weft-test/outside.pid"));
  CHECK(eventually(
      5s, [&] { return a.run("curl -s --max-time 2 http://10.99.0.200:9000").code == 0; }));
  const Output seen = a.run("curl -s --max-time 5 http://10.99.0.200:9000");
  CHECK_MESSAGE(field(seen.text, "client").starts_with("10.99.0.2:"), seen.text);
  CHECK(b.run("curl -s --max-time 2 http://10.99.0.200:9000").code != 0);
  sh("kill $(cat /run/weft-test/outside.pid)");
}

TEST_CASE("networks are apart from each other, and nobody can use another's address") {
  Network one("one"), two("two");
  Box a("n1", "a", "one"), b("n1", "b", "two"), c("n2", "c", "one");
  REQUIRE(eventually(5s, [&] { return a.run("ping -c1 -W1 " + c.address()).code == 0; }));
  CHECK(a.run("ping -c1 -W1 " + b.address()).code != 0);
  // A second address of the same subnet, made up.
  const std::string stolen = a.address().substr(0, a.address().rfind('.')) + ".77";
  a.run("ip addr add " + stolen + "/24 dev eth0");
  CHECK(a.run("ping -c1 -W1 -I " + stolen + " " + c.address()).code != 0);
  const Output drops = lab().weft("n1", "map dump drops");
  CHECK_MESSAGE(drops.text.find("spoofed_address") != std::string::npos, drops.text);
}

TEST_CASE("a connection outlives the SIGKILL and restart of every agent on its way") {
  Network net("lasting");
  Service web("last", "--network lasting --replicas 2 --publish 8082:80");
  Box a("n3", "a", "lasting");
  REQUIRE(eventually(5s, [&] { return !a.dig("last").empty(); }));
  // One line every 100 ms for 12 s through the published port and through the VIP.
  const std::string talk = "(for i in $(seq 120); do echo x; sleep 0.1; done) | socat -T 10 - TCP:";
  const std::string outside = "/run/weft-test/outside.txt", inside = "/run/weft-test/inside.txt";
  lab().must(lab().on("client", "(" + talk + "10.99.0.1:8082 >" + outside + " 2>&1; echo done >>" +
                                    outside + ") >/dev/null 2>&1 &"));
  lab().must(a.run("(" + talk + a.dig("last") + ":80 >" + inside + " 2>&1; echo done >>" + inside +
                   ") >/dev/null 2>&1 &"));
  for (const char* node : {"n1", "n2", "n3"}) {
    lab().must(lab().lab(std::string("kill ") + node));
    CHECK(lab().on("client", "curl -s --max-time 5 http://10.99.0.2:8082").code == 0);
    lab().must(lab().lab(std::string("start ") + node));
    CHECK(lab().on("client", "curl -s --max-time 5 http://10.99.0.3:8082").code == 0);
  }
  for (const std::string& file : {outside, inside}) {
    CHECK(eventually(30s, [&] { return sh("tail -1 " + file).text == "done"; }));
    CHECK(sh("grep -c task= " + file).text == "120");
  }
}

TEST_CASE("a node that is cut off has its tasks out of VIP and DNS within seconds") {
  Network net("cutoff");
  Service web("cut", "--network cutoff --replicas 3 --publish 8083:80");
  Box a("n1", "a", "cutoff");
  REQUIRE(eventually(5s, [&] { return sh("wc -l <<< " + quote(a.dig("tasks.cut"))).text == "3"; }));
  std::chrono::duration<double> slowest_question{0};
  for (int i = 0; i < 5; i++) {
    const auto asked_at = std::chrono::steady_clock::now();
    CHECK(sh("wc -l <<< " + quote(a.dig("tasks.cut"))).text == "3");
    slowest_question = std::max<std::chrono::duration<double>>(
        slowest_question, std::chrono::steady_clock::now() - asked_at);
  }
  const auto cut_at = std::chrono::steady_clock::now();
  lab().must(lab().lab("cut n3"));
  const bool gone =
      eventually(20s, [&] { return sh("wc -l <<< " + quote(a.dig("tasks.cut"))).text == "2"; });
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - cut_at;
  CHECK(gone);
  // The 3 s of the promise, and what the question itself takes on a busy machine: three times the
  // longest of some that nothing had to change for.
  CHECK_MESSAGE(took.count() < 3 + 3 * slowest_question.count(),
                "out of DNS after " << took.count() << " s");
  int failed = 0;
  for (int i = 0; i < 30; i++)
    failed += lab().on("client", "curl -s --max-time 2 http://10.99.0.1:8083").code != 0;
  CHECK(failed == 0);
  lab().must(lab().lab("heal n3"));
  CHECK(eventually(20s, [&] { return lab().weft("n3", "node ls").code == 0; }));
}

TEST_CASE("bad requests get one sentence and change nothing") {
  Network net("bad", "--attachable --subnet 10.50.0.0/24");
  const std::pair<const char*, const char*> cases[] = {
      {"network create bad", "exists"},
      {"network create --subnet 10.50.0.0/16 other", "overlap"},
      {"network create --subnet 10.60.0.0/24 --gateway 10.61.0.1 other", "10.61.0.1"},
      {"network create --subnet 10.60.0.7/24 other", "10.60.0.0/24"},
      {"network rm nowhere", "nowhere"},
      {"service create --name x --network nowhere -- true", "nowhere"},
      {"service create --name x --network bad --publish 99999:80 -- true", "99999"},
      {"endpoint attach --netns /run/netns/nothing --network bad", "/run/netns/nothing"},
      {"service rm nobody", "nobody"},
      {"service scale nobody=3", "nobody"},
      {"node inspect n9", "n9"},
  };
  const std::string before = lab().weft("n1", "network ls -o json").text;
  for (const auto& [command, word] : cases) {
    const Output out = lab().weft("n1", command);
    CHECK_MESSAGE(out.code != 0, command);
    CHECK_MESSAGE(out.text.starts_with("weft: "), command << ": " << out.text);
    CHECK_MESSAGE(out.text.find(word) != std::string::npos, command << ": " << out.text);
    CHECK_MESSAGE(out.text.find('\n') == std::string::npos, command << ": " << out.text);
  }
  CHECK(lab().weft("n1", "network ls -o json").text == before);
}

TEST_CASE("bpftool prints every pinned map with names") {
  Network net("printed");
  Service web("shown", "--network printed --replicas 3 --publish 8084:80");
  const std::string folder = lab().folder("n1") + "/bpf";
  // With types bpftool prints JSON, without them raw bytes: "key: 00 00". The ring buffer has no
  // entries.
  const Output out =
      sh("for m in " + folder +
         "/*_v*; do case $m in */events_v*) continue;; esac; "
         "bpftool map dump pinned $m 2>/dev/null | head -c 500 | grep -q '^\\[' || echo $m; done");
  CHECK_MESSAGE(out.text.empty(), out.text);
  const Output endpoints = sh("bpftool map dump pinned " + folder + "/endpoints_v1");
  CHECK(endpoints.text.find("WEFT_ENDPOINT_VIP") != std::string::npos);
  const Output vteps = lab().weft("n1", "map dump vteps");
  CHECK_MESSAGE(vteps.text.find("10.99.0.3") != std::string::npos, vteps.text);
}
