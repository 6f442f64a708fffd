// SPDX-License-Identifier: Apache-2.0
// The built command against the control server with an agent that answers from a table.
#include <doctest/doctest.h>

#include <cstdlib>
#include <fstream>
#include <sstream>

#include "unit/unit_cli_agent.h"

using namespace weft;
using namespace weft::unit_cli;

namespace {

constexpr const char* two_nodes = R"(
  nodes { id: "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa" name: "n1" role: MANAGER manager_ready: true state: NODE_ALIVE
          address: "192.0.2.1" version: "0.1.0" }
  nodes { id: "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb" name: "node-two" availability: DRAIN
          state: NODE_DEAD address: "192.0.2.2" })";

std::string read_file(const std::string& path) {
  std::ifstream file(path);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

}  // namespace

TEST_CASE("nodes are listed in aligned columns with short ids") {
  FakeAgent agent;
  agent.answer<api::NodeList>("NodeList", two_nodes);
  const Output output = agent.weft({"node", "ls"});
  CHECK(output.status == 0);
  CHECK(output.err == "");
  CHECK(output.out ==
        "ID             NAME       ROLE      STATE   AVAILABILITY   ADDRESS     VERSION\n"
        "aaaaaaaaaaaa   n1         manager   alive   active         192.0.2.1   0.1.0\n"
        "bbbbbbbbbbbb   node-two   worker    dead    drain          192.0.2.2   -\n");
  CHECK(agent.weft({"node", "ls", "--quiet"}).out ==
        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\nbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb\n");
}

TEST_CASE("-o json prints the answer of the API, before or after the command") {
  FakeAgent agent;
  agent.answer<api::VersionReply>("Version", R"(version: "1" abi: "2" kernel: "6.1")");
  agent.answer<api::LbList>("LbList", R"(services { id: "s1" slots: 64 })");
  const std::string expected = R"({
  "services": [
    {
      "backends": [],
      "id": "s1",
      "index": 0,
      "name": "",
      "network": "",
      "ports": [],
      "slots": 64,
      "vip4": "",
      "vip6": ""
    }
  ]
}
)";
  CHECK(agent.weft({"lb", "ls", "-o", "json"}).out == expected);
  CHECK(agent.weft({"-o", "json", "lb", "ls"}).out == expected);
  CHECK(agent.weft({"--output=json", "lb", "ls"}).out == expected);
}

TEST_CASE("network create sends what was given and prints the id") {
  FakeAgent agent;
  agent.answer<api::Network>("NetworkCreate", R"(id: "net1" name: "app")");
  const Output output = agent.weft({"network", "create", "--subnet", "10.1.0.0/24", "--ipv6",
                                    "--aux-address", "router=10.1.0.9", "--opt", "mtu=1400",
                                    "--opt", "vxlan_id=", "--label", "a=b=c", "app"});
  CHECK(output.err == "");
  CHECK(output.out == "net1\n");
  const std::string sent = agent.last<api::NetworkCreateRequest>("NetworkCreate");
  CHECK(sent.starts_with(R"(name: "app" driver: "overlay" subnets: "10.1.0.0/24")"));
  CHECK(sent.find(R"(aux_addresses { key: "router" value: "10.1.0.9" } ipv6: true)") !=
        std::string::npos);
  CHECK(sent.find(R"(key: "vxlan_id" value: "")") != std::string::npos);
  CHECK(sent.find(R"(labels { key: "a" value: "b=c" })") != std::string::npos);
}

TEST_CASE("what weftd refuses is one sentence and exit status 1") {
  FakeAgent agent;
  for (const ErrorCode code : {ErrorCode::invalid, ErrorCode::conflict, ErrorCode::unavailable,
                               ErrorCode::denied, ErrorCode::failed, ErrorCode::not_found}) {
    agent.refuse("NetworkCreate", code, "subnet 10.1.0.0/24 overlaps network lab");
    agent.weft({"network", "create", "app"});
    const Output output = agent.weft({"network", "create", "app"});
    CHECK(output.status == 1);
    CHECK(output.out == "");
    CHECK(output.err == "weft: subnet 10.1.0.0/24 overlaps network lab\n");
  }
}

TEST_CASE("without weftd the error says where and what to do") {
  Output output = run({"--host", "unix:///nonexistent/weftd.sock", "status"});
  CHECK(output.status == 1);
  CHECK(output.err ==
        "weft: weftd does not answer at /nonexistent/weftd.sock: is it running? (systemctl status "
        "weftd)\n");
  ::setenv("WEFT_HOST", "unix:///nonexistent/other.sock", 1);
  output = run({"status"});
  ::unsetenv("WEFT_HOST");
  CHECK(output.err.find("/nonexistent/other.sock") != std::string::npos);
}

TEST_CASE("wrong usage is one sentence and exit status 2, and nothing is sent") {
  const struct {
    std::vector<std::string> words;
    const char* sentence;
  } rows[] = {
      {{"bogus"}, "there is no command 'bogus': 'weft --help' lists them"},
      {{"network"}, "'network' needs a verb: see 'weft network --help'"},
      {{"network", "make"}, "there is no command 'network make': 'weft network --help' lists them"},
      {{"network", "create"}, "'network create' needs NETWORK: see 'weft network create --help'"},
      {{"network", "create", ""}, "an empty name was given: see 'weft network create --help'"},
      {{"network", "create", "a", "b"},
       "'b' is one word too many: see 'weft network create --help'"},
      {{"network", "ls", "--", "x"},
       "'network ls' takes nothing after --: see 'weft network ls --help'"},
      {{"network", "ls", "--bogus"}, "option 'bogus' does not exist: see 'weft network ls --help'"},
      {{"network", "create", "a", "--driver"},
       "option 'driver' is missing an argument: see 'weft network create --help'"},
      {{"network", "create", "a", "--opt", "mtu"}, "'mtu' is not KEY=VALUE"},
      {{"network", "create", "a", "--label", "k=1", "--label", "k=2"}, "'k' is given twice"},
      {{"network", "ls", "-o", "yaml"}, "--output takes table or json, not 'yaml'"},
      {{"network", "ls", "--host", "tcp://x"},
       "'tcp://x' is not a weftd socket: give unix:///PATH"},
      {{"service", "create", "a", "--name", "b"},
       "the service has two names, 'b' and 'a': a command comes after --"},
      {{"service", "create", "a", "--replicas", "-1"}, "'-1' is not a number from 0 to 100000"},
      {{"service", "create", "a", "--network", "n"},
       "the service has nothing to run: add -- COMMAND, or --runtime none if endpoints will be "
       "attached to it"},
      {{"service", "create", "a", "--runtime", "none", "--replicas", "2"},
       "a service of runtime none has no tasks of its own: leave --replicas, --mode global and the "
       "command out, and attach endpoints to it"},
      {{"service", "create", "a", "--runtime", "none", "--", "serve"},
       "a service of runtime none has no tasks of its own: leave --replicas, --mode global and the "
       "command out, and attach endpoints to it"},
      {{"service", "create", "a", "--replicas", "2", "--mode", "global", "--", "serve"},
       "a global service has one task on every node: leave --replicas out"},
      {{"service", "create", "a", "--mode", "replicated global"},
       "--mode takes replicated or global, not 'replicated global'"},
      {{"service", "create", "a", "--stop-grace-period", "10"},
       "'10' is not a time: write 500ms, 10s, 1m30s or 2h"},
      {{"service", "create", "a", "--wait", "1000h1000h"},
       "'1000h1000h' is not a time: write 500ms, 10s, 1m30s or 2h"},
      {{"service", "update", "web"},
       "nothing to change was given: see 'weft service update --help'"},
      {{"service", "scale", "web"}, "'web' is not SERVICE=N"},
      {{"endpoint", "attach", "--netns", "/x"},
       "--network is missing: see 'weft endpoint attach --help'"},
      {{"endpoint", "attach", "--netns", "x", "--network", "n", "--ip", "10.0.0.300"},
       "--ip takes an address, not '10.0.0.300'"},
      {{"cluster", "join", "T", "[::1"}, "'[::1' is not HOST[:PORT]"},
      {{"cluster", "join", "T", "h:0"}, "manager 'h:0': '0' is not a number from 1 to 65535"},
      {{"cluster", "token", "show", "king"},
       "a token is for a worker or a manager, not for 'king'"},
      {{"completion", "tcsh"}, "there are completions for bash, zsh and fish, not 'tcsh'"},
  };
  for (const auto& row : rows) {
    const Output output = run(row.words);
    CHECK(output.err == "weft: " + std::string(row.sentence) + "\n");
    CHECK(output.status == 2);
    CHECK(output.out == "");
  }
}

TEST_CASE("published ports take docker's forms") {
  FakeAgent agent;
  agent.answer<api::Service>("ServiceCreate", R"(id: "s1" spec { name: "web" runtime: "none" })");
  const auto ports = [&](const std::string& text) {
    const Output output = agent.weft({"service", "create", "web", "-p", text, "--", "serve"});
    CHECK(output.err == "");
    const std::string sent = agent.last<api::ServiceCreateRequest>("ServiceCreate");
    const size_t from = sent.find("ports {"), to = sent.find(" runtime:");
    return sent.substr(from, to - from);
  };
  const std::string tcp = R"( protocol: "tcp" })";
  CHECK(ports("80") == "ports { target: 80" + tcp);
  CHECK(ports("8080:80") == "ports { published: 8080 target: 80" + tcp);
  CHECK(ports("127.0.0.1:53:5353/udp,mode=host") ==
        R"(ports { address: "127.0.0.1" published: 53 target: 5353 protocol: "udp" mode: HOST })");
  CHECK(ports("[fd00::1]:8080:80/sctp") ==
        R"(ports { address: "fd00::1" published: 8080 target: 80 protocol: "sctp" })");
  CHECK(ports("30100-30101:80-81") ==
        "ports { published: 30100 target: 80" + tcp + " ports { published: 30101 target: 81" + tcp);
  CHECK(ports("30110-30111:80") ==
        "ports { published: 30110 target: 80" + tcp + " ports { published: 30111 target: 80" + tcp);
  CHECK(ports("published=8080,target=80,protocol=udp") ==
        R"(ports { published: 8080 target: 80 protocol: "udp" })");

  const struct {
    const char* text;
    const char* sentence;
  } wrong[] = {{"", "'' is not a number from 1 to 65535"},
               {"0:80", "'0' is not a number from 1 to 65535"},
               {"8080:65536", "'65536' is not a number from 1 to 65535"},
               {"8080:80/icmp", "the protocol is tcp, udp or sctp, not 'icmp'"},
               {"8080:80,mode=both", "the mode is ingress or host, not 'both'"},
               {"8080:80,color=red", "'color' is not part of a published port"},
               {"x:8080:80", "'x' is not an address"},
               {"90-80:80-90", "the range '90-80' runs backwards"},
               {"1-3:80-81", "the ranges 1-3 and 80-81 differ in length"}};
  for (const auto& row : wrong) {
    const Output output = run({"service", "create", "web", "-p", row.text});
    CHECK(output.err == "weft: --publish " + std::string(row.text) + ": " + row.sentence + "\n");
    CHECK(output.status == 2);
  }
}

TEST_CASE("service create sends the spec, keeps the command's words and waits for its tasks") {
  FakeAgent agent;
  agent.answer<api::Service>("ServiceCreate",
                             R"(id: "s1" spec { name: "web" replicas: 2 runtime: "netns" })");
  agent.answer<api::TaskList>("TaskList",
                              R"(tasks { state: TASK_STARTING desired: TASK_RUNNING })");
  agent.answer<api::TaskList>("TaskList", R"(
    tasks { state: TASK_RUNNING desired: TASK_RUNNING }
    tasks { state: TASK_RUNNING desired: TASK_SHUTDOWN }
    tasks { state: TASK_STARTING desired: TASK_RUNNING })");
  agent.answer<api::TaskList>("TaskList", R"(
    tasks { state: TASK_RUNNING desired: TASK_RUNNING }
    tasks { state: TASK_RUNNING desired: TASK_RUNNING })");
  const Output output =
      agent.weft({"service", "create", "--name", "web", "--network", "app", "--replicas", "2",
                  "--health-cmd", "true", "--health-interval", "1m30s", "--update-delay", "500ms",
                  "--", "/bin/serve", "--help", "-p", "a b"});
  CHECK(output.err == "");
  CHECK(output.out == "s1\n");
  CHECK(output.status == 0);
  CHECK(agent.calls("TaskList") == 3);
  CHECK(agent.last<api::TaskListRequest>("TaskList") == R"(service: "s1")");
  CHECK(agent.last<api::ServiceCreateRequest>("ServiceCreate") ==
        R"(spec { name: "web" networks: "app" replicas: 2 runtime: "netns" command: "/bin/serve" )"
        R"(command: "--help" command: "-p" command: "a b" health { command: "/bin/sh" )"
        R"(command: "-c" command: "true" interval_ms: 90000 } update_delay_ms: 500 })");
}

TEST_CASE("service create gives up with the reason of a task, and does not wait when detached") {
  FakeAgent agent;
  agent.answer<api::Service>("ServiceCreate",
                             R"(id: "s1" spec { name: "web" replicas: 2 runtime: "netns" })");
  agent.answer<api::TaskList>("TaskList", R"(
    tasks { name: "web.1.x" state: TASK_RUNNING desired: TASK_RUNNING }
    tasks { name: "web.2.y" state: TASK_PENDING desired: TASK_RUNNING message: "no node fits" })");
  Output output = agent.weft({"service", "create", "web", "--wait", "100ms", "--", "serve"});
  CHECK(output.status == 1);
  CHECK(output.out == "s1\n");
  CHECK(output.err ==
        "weft: service web: 1 of 2 tasks run after 0s: web.2.y: no node fits (the service stays: "
        "'weft service ps web' shows more)\n");
  const size_t asked = agent.calls("TaskList");
  output = agent.weft({"service", "create", "web", "--detach", "--", "serve"});
  CHECK(output.status == 0);
  CHECK(agent.calls("TaskList") == asked);
}

TEST_CASE("a service of attached endpoints has no tasks, and nothing runs it by accident") {
  FakeAgent agent;
  agent.answer<api::Service>("ServiceCreate", R"(id: "s1" spec { name: "db" runtime: "none" })");
  const Output output =
      agent.weft({"service", "create", "db", "--network", "app", "--runtime", "none"});
  CHECK(output.err == "");
  CHECK(output.status == 0);
  CHECK(agent.last<api::ServiceCreateRequest>("ServiceCreate") ==
        R"(spec { name: "db" networks: "app" runtime: "none" })");
  CHECK(agent.calls("TaskList") == 0);
}

TEST_CASE("service update names the fields that it sets") {
  FakeAgent agent;
  agent.answer<api::Service>("ServiceUpdate", R"(id: "s1")");
  CHECK(agent
            .weft({"service", "update", "web", "--replicas", "0", "--publish", "none",
                   "--health-timeout", "1s", "--health-retries", "3"})
            .status == 0);
  CHECK(agent.last<api::ServiceUpdateRequest>("ServiceUpdate") ==
        R"(name: "web" spec { health { timeout_ms: 1000 retries: 3 } } fields: "replicas" )"
        R"(fields: "ports" fields: "health")");
}

TEST_CASE("service ps shows tasks by slot with node names, addresses and messages") {
  FakeAgent agent;
  agent.answer<api::Service>("ServiceShow", R"(id: "s1" spec { name: "web" })");
  agent.answer<api::NodeList>("NodeList", two_nodes);
  agent.answer<api::TaskList>("TaskList", R"(
    tasks { id: "t2" service_id: "s1" slot: 2 name: "web.2.t2" state: TASK_FAILED exit_code: 3
            node_id: "cccccccccccccccccccccccccccccccc" message: "line one\nline two\033[2J" }
    tasks { id: "t1" service_id: "s1" slot: 1 name: "web.1.t1" state: TASK_RUNNING
            node_id: "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
            attachments { address4: "10.0.1.5" address6: "fd00::5" } attachments {} }
    tasks { id: "t3" service_id: "s1" slot: 3 name: "web.3.t3" state: TASK_PENDING })");
  const Output output = agent.weft({"service", "ps", "--all", "web"});
  CHECK(output.err == "");
  CHECK(output.out ==
        "ID   NAME       NODE           STATE     SINCE   ADDRESS             MESSAGE\n"
        "t1   web.1.t1   n1             running   -       10.0.1.5, fd00::5\n"
        "t2   web.2.t2   cccccccccccc   failed    -       -                   "
        "line one line two?[2J, exit status 3\n"
        "t3   web.3.t3   -              pending   -       -\n");
  CHECK(agent.last<api::TaskListRequest>("TaskList") == R"(service: "s1" all: true)");
}

TEST_CASE("a map is dumped with its fields as columns") {
  FakeAgent agent;
  agent.answer<api::MapDumpReply>("MapDump", R"(
    name: "endpoints" key_fields: "network" key_fields: "address" value_fields: "mac" more: true
    entries { key { key: "address" value: "10.0.1.5" } key { key: "network" value: "4097" }
              value { key: "mac" value: "02:42:0a:00:01:05" } })");
  Output output = agent.weft({"map", "dump", "endpoints", "--limit", "1"});
  CHECK(output.out ==
        "NETWORK   ADDRESS    MAC\n"
        "4097      10.0.1.5   02:42:0a:00:01:05\n");
  CHECK(output.err == "weft: there are more entries: raise --limit\n");
  output = agent.weft({"map", "get", "endpoints", "4097", "10.0.1.5"});
  CHECK(agent.last<api::MapDumpRequest>("MapDump") ==
        R"(name: "endpoints" key: "4097" key: "10.0.1.5")");
}

TEST_CASE("removing several goes on after a failure and tells it by the status") {
  FakeAgent agent;
  agent.refuse("NetworkRemove", ErrorCode::conflict, "network a is used by service web");
  agent.answer<api::Empty>("NetworkRemove", "");
  const Output output = agent.weft({"network", "rm", "a", "b/c"});
  CHECK(output.status == 1);
  CHECK(output.out == "b/c\n");
  CHECK(output.err == "weft: network a is used by service web\n");
  CHECK(agent.last<api::NameRequest>("NetworkRemove") == R"(name: "b/c")");
}

TEST_CASE("dns query prints records, and a name that does not exist fails") {
  FakeAgent agent;
  agent.answer<api::DnsQueryReply>("DnsQuery", R"(
    status: "NOERROR" answers { name: "web" type: "A" ttl_s: 5 data: "10.0.1.2" })");
  agent.answer<api::DnsQueryReply>("DnsQuery", R"(status: "NXDOMAIN")");
  CHECK(agent.weft({"dns", "query", "web", "--type", "A", "--network", "app"}).out ==
        "web   5   A   10.0.1.2\n");
  const Output output = agent.weft({"dns", "query", "nobody"});
  CHECK(output.status == 1);
  CHECK(output.err == "weft: nobody: NXDOMAIN\n");
}

TEST_CASE("an endpoint attaches a namespace by path or by name") {
  FakeAgent agent;
  agent.answer<api::Endpoint>("EndpointAttach", R"(id: "e1")");
  CHECK(agent
            .weft({"endpoint", "attach", "--netns", "box", "--network", "app", "--ip", "10.0.1.9",
                   "--ip", "fd00::9", "--alias", "b"})
            .out == "e1\n");
  CHECK(agent.last<api::EndpointAttachRequest>("EndpointAttach") ==
        R"(netns: "/run/netns/box" network: "app" address4: "10.0.1.9" address6: "fd00::9" )"
        R"(aliases: "b")");
}

TEST_CASE("cluster init tells how to add a worker; join fills in the managers' port") {
  FakeAgent agent;
  agent.answer<api::ClusterInitReply>("ClusterInit",
                                      R"(cluster_id: "cccccccccccccccc" worker_token: "WEFT-1-w")");
  agent.answer<api::ClusterStatus>("ClusterShow", R"(managers: "192.0.2.1:2377")");
  agent.answer<api::ClusterStatus>("ClusterJoin", R"(cluster_id: "c1" node_name: "n2")");
  CHECK(agent.weft({"cluster", "init"}).out.find("weft cluster join WEFT-1-w 192.0.2.1:2377\n") !=
        std::string::npos);
  CHECK(agent.weft({"cluster", "join", "T", "localhost", "192.0.2.1:99", "fd00::1", "[fd00::2]:5"})
            .out == "This node has joined cluster c1 as worker n2.\n");
  CHECK(agent.last<api::ClusterJoinRequest>("ClusterJoin") ==
        R"(token: "T" managers: "127.0.0.1:2377" managers: "192.0.2.1:99" )"
        R"(managers: "[fd00::1]:2377" managers: "[fd00::2]:5")");
  const Output lost = agent.weft({"cluster", "join", "T", "no-such-host.invalid"});
  CHECK(lost.status == 1);
  CHECK(lost.err ==
        "weft: cannot find the address of 'no-such-host.invalid': give the manager's IP address\n");
  CHECK(agent.calls("ClusterJoin") == 1);
}

TEST_CASE("doctor fails when a check fails") {
  FakeAgent agent;
  agent.answer<api::DoctorReply>("Doctor", R"(checks { name: "btf" result: "ok" })");
  agent.answer<api::DoctorReply>("Doctor",
                                 R"(checks { name: "mtu" result: "failed" detail: "1400 on eth0" }
                   checks { name: "btf" result: "ok" })");
  CHECK(agent.weft({"doctor"}).status == 0);
  const Output output = agent.weft({"doctor"});
  CHECK(output.status == 1);
  CHECK(output.out ==
        "CHECK   RESULT   DETAIL\n"
        "mtu     failed   1400 on eth0\n"
        "btf     ok\n");
  CHECK(output.err == "weft: 1 of 2 checks failed\n");
}

TEST_CASE("status shows counters that count, drops and problems") {
  FakeAgent agent;
  agent.answer<api::StatusReply>("Status", R"(
    cluster { cluster_id: "c1" node_id: "n1" node_name: "one" role: MANAGER state: "ready"
              nodes_alive: 2 nodes_total: 3 }
    version: "0.1.0" uplink: "eth0" underlay_address: "192.0.2.1" networks: 2 services: 1
    local_endpoints: 3 known_endpoints: 9 counters { key: "overlay_tx" value: 5000000000 }
    counters { key: "zero" value: 0 } drops { key: "spoofed" value: 7 }
    problems: "no IPv6 on the uplink")");
  CHECK(agent.weft({"status"}).out ==
        "Version:     0.1.0, started -\n"
        "Cluster:     ready\n"
        "Node:        one (n1), manager\n"
        "Nodes:       2 of 3 alive\n"
        "Uplink:      eth0 192.0.2.1\n"
        "Networks:    2\n"
        "Services:    1\n"
        "Endpoints:   3 here, 9 known\n"
        "Counters:\n"
        "  overlay_tx   5000000000\n"
        "Drops:\n"
        "  spoofed   7\n"
        "Problems:\n"
        "  no IPv6 on the uplink\n");
}

TEST_CASE("every command has help with examples in at most 100 columns") {
  const std::string page = read_file("cli/man/weft.1");
  std::istringstream lines(page);
  int commands = 0;
  for (std::string line; std::getline(lines, line);) {
    if (!line.starts_with(".SS weft ")) continue;
    ++commands;
    std::istringstream words(line.substr(9));
    std::vector<std::string> command;
    for (std::string word; words >> word;) command.push_back(word);
    command.push_back("--help");
    const Output output = run(command);
    CHECK(output.status == 0);
    CHECK(output.out.starts_with("Usage: weft " + command[0]));
    CHECK(output.out.find("\nExamples:\n  ") != std::string::npos);
    std::istringstream help(output.out);
    for (std::string text; std::getline(help, text);) CHECK_MESSAGE(text.size() <= 100, text);
  }
  CHECK(commands >= 38);
  CHECK(run({"--help"}).status == 0);
  CHECK(run({"network", "-h"}).out.find("weft network create [OPTIONS] NETWORK") !=
        std::string::npos);
}

TEST_CASE("the manual page is what the table of commands says") {
  CHECK(run({"completion", "man"}).out == read_file("cli/man/weft.1"));
}

TEST_CASE("completions know the nouns, verbs and options") {
  for (const char* shell : {"bash", "zsh", "fish"}) {
    const std::string script = run({"completion", shell}).out;
    for (const char* word : {"network", "create", "aux-address", "endpoint-mode"}) {
      CHECK_MESSAGE(script.find(word) != std::string::npos, shell, word);
    }
  }
}
