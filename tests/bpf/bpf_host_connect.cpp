// SPDX-License-Identifier: Apache-2.0
// Sockets of a process in a cgroup and a network namespace of its own. 10.255.0.1, the gateway of
// the ingress network, is an address of lo here, so that what is led there is answered.
#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <doctest/doctest.h>
#include <fcntl.h>
#include <sched.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>

#include "base/fd.h"
#include "harness/bpf_check.h"
// After the types that it uses.
#include "bpf/host_connect.skel.h"

using namespace weft;
using namespace weft::test;

namespace {

// Where this machine has its version 2 cgroups; empty: nowhere.
std::string cgroup_root() {
  std::ifstream mounts("/proc/mounts");
  std::string device, folder, type, rest;
  while (mounts >> device >> folder >> type && std::getline(mounts, rest))
    if (type == "cgroup2") return folder;
  return {};
}

struct Cgroup {
  std::string path = cgroup_root() + "/weft-test-" + std::to_string(getpid());
  Cgroup() { ::mkdir(path.c_str(), 0755); }
  ~Cgroup() { ::rmdir(path.c_str()); }
};

sockaddr_in at(const char* address, uint16_t port) {
  sockaddr_in a{};
  a.sin_family = AF_INET;
  a.sin_port = htons(port);
  inet_pton(AF_INET, address, &a.sin_addr);
  return a;
}

bool is(const sockaddr_in& a, const char* address, uint16_t port) {
  sockaddr_in b = at(address, port);
  return a.sin_addr.s_addr == b.sin_addr.s_addr && a.sin_port == b.sin_port;
}

Fd server(int type, const char* address, uint16_t port) {
  Fd fd(::socket(AF_INET, type, 0));
  auto a = at(address, port);
  if (::bind(fd.get(), reinterpret_cast<sockaddr*>(&a), sizeof a)) return Fd();
  if (type == SOCK_STREAM && ::listen(fd.get(), 4)) return Fd();
  return fd;
}

// What the child found wrong, as its exit status; 0: nothing.
int talk() {
  Fd tcp = server(SOCK_STREAM, "10.255.0.1", 8080), udp = server(SOCK_DGRAM, "10.255.0.1", 8080);
  if (!tcp || !udp) return 10;
  timeval limit{5, 0};
  sockaddr_in peer{};
  socklen_t size = sizeof peer;

  Fd stream(::socket(AF_INET, SOCK_STREAM, 0));
  auto called = at("127.0.0.1", 8080);
  if (::connect(stream.get(), reinterpret_cast<sockaddr*>(&called), sizeof called)) return 11;
  if (::getpeername(stream.get(), reinterpret_cast<sockaddr*>(&peer), &size)) return 12;
  if (!is(peer, "127.0.0.1", 8080)) return 13;

  // A port that is not published stays where it is.
  Fd other(::socket(AF_INET, SOCK_STREAM, 0));
  auto closed = at("127.0.0.1", 8081);
  if (!::connect(other.get(), reinterpret_cast<sockaddr*>(&closed), sizeof closed)) return 14;

  Fd datagram(::socket(AF_INET, SOCK_DGRAM, 0));
  ::setsockopt(datagram.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  ::setsockopt(udp.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  char text[4] = "abc";
  if (::sendto(datagram.get(), text, 3, 0, reinterpret_cast<sockaddr*>(&called), sizeof called) !=
      3)
    return 15;
  size = sizeof peer;
  if (::recvfrom(udp.get(), text, 3, 0, reinterpret_cast<sockaddr*>(&peer), &size) != 3) return 16;
  if (::sendto(udp.get(), text, 3, 0, reinterpret_cast<sockaddr*>(&peer), size) != 3) return 17;
  size = sizeof peer;
  if (::recvfrom(datagram.get(), text, 3, 0, reinterpret_cast<sockaddr*>(&peer), &size) != 3)
    return 18;
  return is(peer, "127.0.0.1", 8080) ? 0 : 19;
}

int run_child(const Cgroup& cgroup) {
  if (::unshare(CLONE_NEWNET)) return 2;
  if (std::system("ip link set lo up && ip addr add 10.255.0.1/32 dev lo")) return 3;
  Fd probe(::socket(AF_INET, SOCK_DGRAM, 0));
  uint64_t cookie = 0;
  socklen_t size = sizeof cookie;
  if (::getsockopt(probe.get(), SOL_SOCKET, SO_NETNS_COOKIE, &cookie, &size)) return 4;
  auto* skeleton = host_connect__open();
  if (!skeleton) return 5;
  weft_config config{};
  config.netns_cookie = cookie;
  copy(config.host_gateway4, Node::host_gateway());
  std::memcpy(const_cast<weft_config*>(&skeleton->rodata->weft_config), &config, sizeof config);
  if (host_connect__load(skeleton)) return 6;
  weft_published_key key{};
  for (auto protocol : {WEFT_PROTOCOL_TCP, WEFT_PROTOCOL_UDP}) {
    key.port = htons(8080);
    key.protocol = protocol;
    weft_published value{};
    bpf_map_update_elem(bpf_map__fd(skeleton->maps.published), &key, &value, BPF_ANY);
  }
  Fd folder(::open(cgroup.path.c_str(), O_RDONLY | O_DIRECTORY));
  bpf_program* program;
  bpf_object__for_each_program(program, skeleton->obj) {
    if (bpf_prog_attach(bpf_program__fd(program), folder.get(),
                        bpf_program__expected_attach_type(program), 0))
      return 7;
  }
  std::ofstream(cgroup.path + "/cgroup.procs") << ::getpid();
  int wrong = talk();
  // The group can go only when it is empty.
  std::ofstream(cgroup_root() + "/cgroup.procs") << ::getpid();
  return wrong;
}

}  // namespace

TEST_CASE("a process of the node calls a published port on localhost and keeps seeing that peer") {
  if (cgroup_root().empty()) {
    MESSAGE("skipped: no version 2 cgroups here");
    std::exit(77);
  }
  Cgroup cgroup;
  pid_t child = ::fork();
  if (child == 0) ::_exit(run_child(cgroup));
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  CHECK(WIFEXITED(status));
  CHECK(WEXITSTATUS(status) == 0);
}
