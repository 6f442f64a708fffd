// SPDX-License-Identifier: Apache-2.0
//
//   client 10.99.0.200      n1 .1 (cluster A)      n2 .2 (in no cluster)      n3 .3 (cluster B)
//        └────────────────────┴───────────────────────┴─────────────────────────┘
//
// What goes wrong on real hosts: disks, ports, privileges, files, strangers. Each gets one sentence
// that says what to do, and nothing has changed afterwards.
#include <doctest/doctest.h>
#include <sys/mount.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

#include "harness/lab.h"

using namespace weft;
using namespace weft::test;

namespace {

namespace fs = std::filesystem;

Lab& lab() {
  static Lab* one = [] {
    static Lab made("weft-bad", "--nodes 3 --no-cluster");
    made.must(made.weft("n1", "cluster init --advertise 10.99.0.1"));
    made.must(made.weft("n3", "cluster init --advertise 10.99.0.3"));
    return &made;
  }();
  return *one;
}

std::string program(const char* name) { return std::string(std::getenv("WEFT_BIN")) + "/" + name; }

// A refusal: one line that begins with the program's name and says `word`.
void check_sentence(const Output& out, const std::string& name, const std::string& word) {
  CHECK_MESSAGE(out.code == 1, out.text);
  CHECK_MESSAGE(out.text.starts_with(name + ": "), out.text);
  CHECK_MESSAGE(out.text.find('\n') == std::string::npos, out.text);
  CHECK_MESSAGE(out.text.find(word) != std::string::npos, out.text);
}

// A weftd in the client's namespace with folders of its own, ended with the object.
class Stranger {
 public:
  explicit Stranger(const std::string& flags = "", const std::string& prefix = "") {
    lab();
    sh("mkdir -p " + folder);
    start(flags, prefix);
  }
  ~Stranger() {
    stop("TERM");
    sh("for m in $(awk '$2 ~ \"^" + folder +
       "/\" {print $2}' /proc/self/mounts); do umount -l $m; " + "done; rm -rf " + folder);
  }
  void start(const std::string& flags = "", const std::string& prefix = "") {
    // The last of a flag's values counts.
    const std::string command = prefix + " " + program("weftd") + " --name stranger --state " +
                                state() + " --run " + folder + "/run --bpffs " + folder + "/bpf " +
                                flags;
    lab().on("client",
             "setsid " + command + " >" + folder + "/log 2>&1 & echo $! >" + folder + "/pid");
    eventually(10s, [&] { return !runs() || weft("version").code == 0; });
  }
  void stop(const std::string& signal) {
    sh("kill -" + signal + " $(cat " + folder + "/pid)");
    CHECK(eventually(10s, [&] { return !runs(); }));
  }
  bool runs() const { return sh("kill -0 $(cat " + folder + "/pid)").code == 0; }
  // What weftd said when it gave up.
  Output last_words() const { return {runs() ? 0 : 1, sh("grep ^weftd: " + log()).text}; }
  Output weft(const std::string& arguments) const {
    return sh(program("weft") + " --host unix://" + folder + "/run/weftd.sock " + arguments);
  }
  bool ready() const {
    return eventually(
        10s, [&] { return weft("cluster status").text.find("ready") != std::string::npos; });
  }
  std::string state() const { return folder + "/state"; }
  std::string log() const { return folder + "/log"; }
  const std::string folder = "/run/weft-bad-stranger";
};

std::string other_clusters_token() {
  return lab().must(lab().weft("n3", "cluster token show worker --quiet"));
}

}  // namespace

TEST_CASE("a second agent in a node's namespace is refused before it touches anything") {
  const std::string flags =
      " --state /run/weft-bad/2 --run /run/weft-bad/2 --bpffs /run/weft-bad/2/b";
  check_sentence(lab().on("n1", "timeout 10 " + program("weftd") + flags), "weftd",
                 "another weftd runs in this network namespace");
  check_sentence(lab().on("client", "timeout 10 " + program("weftd") + flags +
                                        " --state /run/weft-bad/n1/state"),
                 "weftd", "another weftd uses /run/weft-bad/n1/state");
  for (const char* check : {"maps equal the plan     ok", "programs are attached   ok"})
    CHECK(lab().weft("n1", "doctor").text.find(check) != std::string::npos);
}

TEST_CASE("an agent without privileges says which it lacks, and so does the command") {
  lab();
  const std::string nobody = "setpriv --reuid=65534 --regid=65534 --clear-groups ";
  // Programs of a build folder that others may not enter are copied to where they may.
  sh("mkdir -p /run/weft-bad/bin && cp " + program("weft") + " " + program("weftd") +
     " /run/weft-bad/bin && chmod -R a+rx /run/weft-bad/bin");
  const std::string bin = "/run/weft-bad/bin/";
  check_sentence(sh(nobody + bin + "weftd --state /run/weft-bad/none"), "weftd", "needs root");
  check_sentence(sh(nobody + bin + "weft --host unix:///run/weft-bad/n1/run/weftd.sock node ls"),
                 "weft", "run as root, or join the group weft");
  check_sentence(sh("setpriv --bounding-set=-net_admin --inh-caps=-net_admin " + program("weftd") +
                    " --state /run/weft-bad/none"),
                 "weftd", "lacks CAP_NET_ADMIN");
  CHECK(!fs::exists("/run/weft-bad/none"));
}

TEST_CASE("folders that cannot be used are named at the start") {
  lab();
  sh("mkdir -p /run/weft-bad/ro && mount -t tmpfs -o ro none /run/weft-bad/ro");
  const std::string run = " --run /run/weft-bad/run ";
  const auto weftd = [&](const std::string& flags) {
    return lab().on("client", "timeout 10 " + program("weftd") + run + flags +
                                  " 2>&1 | grep -v ' warning '; exit ${PIPESTATUS[0]}");
  };
  check_sentence(weftd("--state /run/weft-bad/ro/state"), "weftd", "Read-only file system");
  check_sentence(weftd("--state /run/weft-bad/ro"), "weftd", "Read-only file system");
  check_sentence(weftd("--state /etc/passwd"), "weftd", "Not a directory");
  const std::string state = "--state /run/weft-bad/state ";
  check_sentence(weftd(state + "--bpffs /run/weft-bad/ro/bpf"), "weftd", "--bpffs: cannot create");
  check_sentence(weftd(state + "--bpffs /etc/passwd"), "weftd", "--bpffs: cannot mount");
  ::umount("/run/weft-bad/ro");
}

TEST_CASE("joining: every wrong token and address has its sentence, and the node stays free") {
  const std::string token = lab().must(lab().weft("n1", "cluster token show worker --quiet"));
  const std::string cases[][2] = {
      {"nonsense 10.99.0.1", "does not start with WEFT-1-"},
      {token + "x 10.99.0.1", "typing error"},
      {token.substr(0, 60) + " 10.99.0.1", "copy it again"},
      {other_clusters_token() + " 10.99.0.1", "another cluster"},
      {token + " no-such-host.invalid", "cannot find the address"},
      {token + " 10.99.0.77", "give the address of a manager that runs"},
      {token + " 10.99.0.3", "another cluster"},
      {token + " 10.99.0.1:1", "connection refused"},
      {token + " 10.99.0.1 --advertise 192.0.2.1", "192.0.2.1"},
  };
  for (const auto& [arguments, word] : cases) {
    INFO(arguments);
    check_sentence(lab().weft("n2", "cluster join " + arguments), "weft", word);
  }
  lab().must(lab().weft("n1", "cluster token rotate worker"));
  check_sentence(lab().weft("n2", "cluster join " + token + " 10.99.0.1"), "weft", "token");
  CHECK(lab().weft("n2", "cluster status").text.find("none") != std::string::npos);
  CHECK(lab().weft("n1", "node ls --quiet").text.find('\n') == std::string::npos);
}

TEST_CASE("a node whose gossip port is taken makes and joins no cluster until the port is free") {
  Stranger stranger("--uplink eth0");
  for (const char* kind : {"UDP", "TCP"}) {
    const std::string listen = std::string("socat ") + kind + "-LISTEN:7946 - ";
    lab().on("client", "setsid " + listen + "</dev/zero >/dev/null 2>&1 & echo $! >" +
                           stranger.folder + "/socat");
    CHECK(eventually(5s, [&] {
      return lab().on("client", "ss -lntuH 'sport = :7946'").text.find("7946") != std::string::npos;
    }));
    check_sentence(stranger.weft("cluster init"), "weft", "7946");
    check_sentence(stranger.weft("cluster join " + other_clusters_token() + " 10.99.0.3"), "weft",
                   "7946");
    sh("kill $(cat " + stranger.folder + "/socat)");
    CHECK(eventually(5s,
                     [&] { return lab().on("client", "ss -lntuH 'sport = :7946'").text.empty(); }));
  }
  CHECK(stranger.weft("cluster status").text.find("none") != std::string::npos);
  CHECK(stranger.weft("cluster init").code == 0);
  CHECK(stranger.ready());
  CHECK(stranger.weft("cluster leave").code == 0);
}

TEST_CASE("two nodes with one name or one address: the second is refused") {
  const std::string token = other_clusters_token();
  Stranger stranger("--uplink eth0 --name n3");
  check_sentence(stranger.weft("cluster join " + token + " 10.99.0.3"), "weft",
                 "give this one another --name");
  CHECK(stranger.weft("cluster status").text.find("none") != std::string::npos);
}

TEST_CASE("a full disk stops changes and nothing else, and free space lets them through") {
  lab();
  sh("mkdir -p /run/weft-bad-stranger/full && "
     "mount -t tmpfs -o size=80m none /run/weft-bad-stranger/full");
  const std::string full = "/run/weft-bad-stranger/full";
  Stranger stranger("--uplink eth0 --state " + full);
  REQUIRE(stranger.weft("cluster init").code == 0);
  REQUIRE(stranger.ready());
  REQUIRE(stranger.weft("network create before").code == 0);
  sh("head -c 80M /dev/zero >" + full + "/ballast");
  Output refused;
  for (int i = 0; i < 100 && refused.code != 1; i++)
    refused = stranger.weft("network create filler" + std::to_string(i));
  check_sentence(refused, "weft", "nothing was changed");
  check_sentence(stranger.weft("network create after"), "weft", "the disk is full");
  const std::string networks = stranger.weft("network ls").text;
  CHECK(networks.find("before") != std::string::npos);
  CHECK(networks.find("after") == std::string::npos);
  fs::remove(full + "/ballast");
  CHECK(eventually(5s, [&] { return stranger.weft("network create after").code == 0; }));
  CHECK(eventually(
      5s, [&] { return stranger.weft("status").text.find("cannot keep") == std::string::npos; }));
  // What was acknowledged is there after a kill.
  const std::string known = stranger.weft("network ls").text;
  stranger.stop("KILL");
  stranger.start("--uplink eth0 --state " + full);
  REQUIRE(stranger.ready());
  CHECK(stranger.weft("network ls").text == known);
  CHECK(stranger.weft("cluster leave").code == 0);
}

TEST_CASE("a damaged file of the state folder stops the start with its name, or is done without") {
  Stranger stranger("--uplink eth0");
  REQUIRE(stranger.weft("cluster init").code == 0);
  REQUIRE(stranger.ready());
  REQUIRE(eventually(5s, [&] { return fs::exists(stranger.state() + "/assignment.pb"); }));
  stranger.stop("TERM");
  const std::string good = stranger.folder + "/good";
  sh("cp -a " + stranger.state() + " " + good);
  for (const char* file : {"store/member", "identity.json", "boot-epoch", "endpoints.json"}) {
    const std::string path = stranger.state() + "/" + file;
    for (const char* damage : {"head -c 5000 /dev/urandom >", ": >"}) {
      // An empty list of endpoints is a list of none.
      if (std::string(file) == "endpoints.json" && damage[0] == ':') continue;
      sh(damage + path);
      stranger.start("--uplink eth0");
      INFO(damage << path);
      CHECK(eventually(5s, [&] { return !stranger.runs(); }));
      check_sentence(stranger.last_words(), "weftd", path);
    }
    sh("rm -rf " + stranger.state() + " && cp -a " + good + " " + stranger.state());
  }
  sh("head -c 5000 /dev/urandom >" + stranger.state() + "/assignment.pb");
  stranger.start("--uplink eth0");
  CHECK(stranger.ready());
  CHECK(stranger.weft("cluster leave").code == 0);
}

TEST_CASE("garbage at the gossip, manager and name server ports changes nothing") {
  lab().must(lab().weft("n1", "network create web --attachable"));
  lab().must(sh("ip netns add weft-bad-box"));
  lab().must(lab().weft("n1",
                        "endpoint attach --netns /run/netns/weft-bad-box --network web "
                        "--name box"));
  const auto spray = [&](const std::string& run_in, const std::string& target, int udp, int tcp) {
    std::ofstream(lab().folder("spray.py")) << R"(
import os, random, socket, sys
target, udp, tcp = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
random.seed(1)
if udp:
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    for i in range(5000):
        s.sendto(os.urandom(random.choice([0, 1, 12, 40, 100, 512, 1400])), (target, udp))
silent = [socket.create_connection((target, tcp), 5) for i in range(30)]
for i in range(30):
    with socket.create_connection((target, tcp), 5) as s:
        s.sendall(os.urandom(random.choice([1, 2, 5, 100, 3000])))
)";
    lab().must(sh("nsenter --net=/run/netns/" + run_in + " -- python3 " + lab().folder("spray.py") +
                  " " + target + " " + std::to_string(udp) + " " + std::to_string(tcp)));
  };
  const std::string pid = sh("cat " + lab().folder("n1") + "/pid").text;
  spray("weft-bad-client", "10.99.0.1", 7946, 7946);
  spray("weft-bad-client", "10.99.0.1", 0, 2377);
  spray("weft-bad-box", "127.0.0.11", 53, 53);
  CHECK(sh("nsenter --net=/run/netns/weft-bad-box -- dig +short @127.0.0.11 box")
            .text.starts_with("10."));
  CHECK(sh("nsenter --net=/run/netns/weft-bad-box -- dig +tcp +short @127.0.0.11 box")
            .text.starts_with("10."));
  CHECK(lab().weft("n1", "node ls --quiet").code == 0);
  CHECK(sh("kill -0 " + pid).code == 0);
  CHECK(sh("cat " + lab().folder("n1") + "/pid").text == pid);
  lab().must(lab().weft("n1", "endpoint detach box"));
  sh("ip netns del weft-bad-box");
  lab().must(lab().weft("n1", "network rm web"));
}

TEST_CASE("what cannot be attached or looked up is refused in a sentence") {
  lab().must(lab().weft("n1", "network create app --attachable"));
  const std::string attach = "endpoint attach --network app --netns ";
  check_sentence(lab().weft("n1", attach + "/run/netns/weft-bad-n1"), "weft",
                 "is the node's own network namespace");
  check_sentence(lab().weft("n1", attach + "/etc/passwd"), "weft", "is not a network namespace");
  check_sentence(lab().weft("n1", "map get endpoints 4097 1.2.3.4"), "weft", "has no entry");
  check_sentence(lab().weft("n1", "map get endpoints 1 2 3"), "weft", "has 2 fields, not 3");
  check_sentence(lab().weft("n1", "network create --encrypted secret"), "weft", "not available");
  check_sentence(lab().weft("n1", "service create x --network app --image img"), "weft",
                 "not available");
  CHECK(lab().weft("n1", "endpoint ls --quiet").text.empty());
  lab().must(lab().weft("n1", "network rm app"));
}

TEST_CASE("a service that is removed before its task ran goes away all the same") {
  lab().must(lab().weft("n1", "network create quick"));
  for (int i = 0; i < 5; i++) {
    lab().must(lab().weft(
        "n1", "service create s" + std::to_string(i) + " --network quick --detach -- sleep 1000"));
    lab().must(lab().weft("n1", "service rm s" + std::to_string(i)));
  }
  CHECK(eventually(20s, [&] { return lab().weft("n1", "service ls --quiet").text.empty(); }));
  CHECK(eventually(10s, [&] { return lab().weft("n1", "network rm quick").code == 0; }));
}

TEST_CASE("a port that another program has is not published, nor taken from it") {
  lab().must(lab().weft("n1", "network create ports"));
  // Clients close first: the kernel keeps a port for connections that its own side closed.
  const auto run_program = [] {
    lab().on("n1",
             "setsid socat TCP-LISTEN:8088,fork,reuseaddr SYSTEM:'echo program; cat' >/dev/null "
             "2>&1 & echo $! >/run/weft-bad/program");
    CHECK(eventually(5s, [] {
      return lab().on("n1", "ss -lntH 'sport = :8088'").text.find("8088") != std::string::npos;
    }));
  };
  const auto answer = [] {
    return lab()
        .on("client",
            "exec 3<>/dev/tcp/10.99.0.1/8088 && echo x >&3 && read -t 2 line <&3; "
            "echo \"$line\"")
        .text;
  };
  const auto says = [](const std::string& command, const std::string& sentence) {
    return lab().weft("n1", command).text.find(sentence) != std::string::npos;
  };
  const std::string create =
      "service create web --network ports --publish 8088:80 -- " + program("whoami") + " 80";
  run_program();
  CHECK(answer() == "program");
  check_sentence(lab().weft("n1", create), "weft", "in use by another program on node 'n1'");
  CHECK(lab().weft("n1", "service ls --quiet").text.empty());
  sh("kill $(cat /run/weft-bad/program)");
  REQUIRE(eventually(10s, [&] { return lab().weft("n1", create).code == 0; }));
  REQUIRE(eventually(10s, [&] { return answer().starts_with("task=web"); }));
  SUBCASE("also when it took the port while the agent was down: the service has it again later") {
    lab().must(lab().lab("kill n1"));
    run_program();
    lab().must(lab().lab("start n1"));
    const std::string sentence = "8088 is in use by another program";
    CHECK(eventually(15s, [&] { return says("status", sentence); }));
    CHECK(says("doctor", sentence));
    CHECK(says("doctor", "maps equal the plan     ok"));
    CHECK(says("service inspect web", sentence));
    CHECK(sh("grep -c '" + sentence + "' " + lab().folder("n1") + "/log").text == "1");
    CHECK(eventually(5s, [&] { return answer() == "program"; }));
    sh("kill $(cat /run/weft-bad/program)");
    CHECK(eventually(15s, [&] { return answer().starts_with("task=web"); }));
    CHECK(!says("status", sentence));
    CHECK(!says("service inspect web", sentence));
  }
  lab().must(lab().weft("n1", "service rm web"));
  CHECK(eventually(20s, [] { return lab().weft("n1", "network rm ports").code == 0; }));
}
