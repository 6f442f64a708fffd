// SPDX-License-Identifier: Apache-2.0
#include <arpa/inet.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "base/fd.h"
#include "bench/load.h"

namespace weft::bench {

namespace {

std::vector<int> allowed_cpus() {
  cpu_set_t set;
  CPU_ZERO(&set);
  std::vector<int> out;
  if (::sched_getaffinity(0, sizeof set, &set) != 0) fail("read the CPUs");
  for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
    if (CPU_ISSET(cpu, &set)) out.push_back(cpu);
  return out;
}

}  // namespace

void fail(const std::string& what) {
  const char* reason = errno != 0 ? std::strerror(errno) : nullptr;
  std::fprintf(stderr, "bench_load: %s%s%s\n", what.c_str(), reason ? ": " : "",
               reason ? reason : "");
  std::_Exit(1);
}

void pin(unsigned cpu) {
  // Read before the first thread narrows its own set; new threads inherit theirs.
  static const std::vector<int> cpus = allowed_cpus();
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(cpus[cpu % cpus.size()], &set);
  if (::sched_setaffinity(0, sizeof set, &set) != 0) fail("pin to a CPU");
}

void die_with_parent() {
  if (::prctl(PR_SET_PDEATHSIG, SIGKILL) != 0) fail("ask to end with the parent");
}

void enter_netns(const std::string& path) {
  const Fd netns(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!netns || ::setns(netns.get(), CLONE_NEWNET) != 0) fail("enter " + path);
}

sockaddr_in make_address(const std::string& text, uint16_t port) {
  sockaddr_in out{};
  out.sin_family = AF_INET;
  out.sin_port = htons(port);
  errno = 0;
  if (::inet_pton(AF_INET, text.c_str(), &out.sin_addr) != 1) fail("no IPv4 address: " + text);
  return out;
}

bool read_all(int socket, void* data, size_t size) {
  auto* at = static_cast<char*>(data);
  while (size > 0) {
    const ssize_t got = ::recv(socket, at, size, 0);
    if (got <= 0) return false;
    at += got;
    size -= got;
  }
  return true;
}

bool write_all(int socket, const void* data, size_t size) {
  const auto* at = static_cast<const char*>(data);
  while (size > 0) {
    const ssize_t sent = ::send(socket, at, size, MSG_NOSIGNAL);
    if (sent <= 0) return false;
    at += sent;
    size -= sent;
  }
  return true;
}

}  // namespace weft::bench
