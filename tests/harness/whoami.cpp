// SPDX-License-Identifier: Apache-2.0
// A server for labs, demo and tests: says who answers and whom it sees.
//   whoami PORT     TCP and UDP on every address
// HTTP gets one answer and the end of the connection; any other TCP stream is answered line by
// line, so that a connection can be kept open; each UDP datagram is answered once:
//   task=web.1 client=10.99.0.200:41234 local=10.0.1.4:8080
#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <string>
#include <vector>

namespace {

std::string text_of(const sockaddr_storage& address) {
  char host[INET6_ADDRSTRLEN] = {};
  uint16_t port = 0;
  if (address.ss_family == AF_INET6) {
    const auto& six = reinterpret_cast<const sockaddr_in6&>(address);
    ::inet_ntop(AF_INET6, &six.sin6_addr, host, sizeof host);
    port = ntohs(six.sin6_port);
  }
  const std::string text = std::strncmp(host, "::ffff:", 7) == 0 ? host + 7 : host;
  return text + ":" + std::to_string(port);
}

std::string description(const std::string& client, int socket) {
  char name[128] = {};
  ::gethostname(name, sizeof name - 1);
  sockaddr_storage local{};
  socklen_t size = sizeof local;
  ::getsockname(socket, reinterpret_cast<sockaddr*>(&local), &size);
  return std::string("task=") + name + " client=" + client + " local=" + text_of(local) + "\n";
}

int open_socket(int type, uint16_t port) {
  const int fd = ::socket(AF_INET6, type | SOCK_CLOEXEC, 0);
  const int off = 0, on = 1;
  ::setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
  ::setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  sockaddr_in6 any{};
  any.sin6_family = AF_INET6;
  any.sin6_port = htons(port);
  if (fd < 0 || ::bind(fd, reinterpret_cast<sockaddr*>(&any), sizeof any) != 0 ||
      (type == SOCK_STREAM && ::listen(fd, 1024) != 0)) {
    std::perror("whoami: cannot listen");
    std::exit(1);
  }
  return fd;
}

struct Stream {
  std::string client, pending;
  bool http = false;
};

// False when the connection is over.
bool serve_stream(int fd, Stream& stream) {
  char buffer[65536];
  const ssize_t count = ::read(fd, buffer, sizeof buffer);
  if (count <= 0) return false;
  stream.pending.append(buffer, size_t(count));
  if (stream.pending.starts_with("GET ") || stream.pending.starts_with("HEAD ")) stream.http = true;
  if (stream.http) {
    if (stream.pending.find("\r\n\r\n") == std::string::npos) return stream.pending.size() < 65536;
    const std::string body = description(stream.client, fd);
    const std::string reply =
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nConnection: close\r\nContent-Length: " +
        std::to_string(body.size()) + "\r\n\r\n" + body;
    if (::write(fd, reply.data(), reply.size()) < 0) return false;
    return false;
  }
  size_t end;
  while ((end = stream.pending.find('\n')) != std::string::npos) {
    stream.pending.erase(0, end + 1);
    const std::string reply = description(stream.client, fd);
    if (::write(fd, reply.data(), reply.size()) < 0) return false;
  }
  return stream.pending.size() < 65536;
}

void serve_datagram(int fd) {
  char buffer[65536];
  sockaddr_storage from{};
  socklen_t size = sizeof from;
  if (::recvfrom(fd, buffer, sizeof buffer, 0, reinterpret_cast<sockaddr*>(&from), &size) < 0)
    return;
  const std::string reply = description(text_of(from), fd);
  ::sendto(fd, reply.data(), reply.size(), 0, reinterpret_cast<sockaddr*>(&from), size);
}

}  // namespace

int main(int argc, char** argv) {
  const int port = argc == 2 ? std::atoi(argv[1]) : 0;
  if (port <= 0 || port > 65535) {
    std::fprintf(stderr, "usage: whoami PORT\n");
    return 2;
  }
  ::signal(SIGPIPE, SIG_IGN);
  const int listener = open_socket(SOCK_STREAM, uint16_t(port));
  const int datagrams = open_socket(SOCK_DGRAM, uint16_t(port));
  std::map<int, Stream> streams;
  while (true) {
    std::vector<pollfd> waiting = {{listener, POLLIN, 0}, {datagrams, POLLIN, 0}};
    for (const auto& [fd, stream] : streams) waiting.push_back({fd, POLLIN, 0});
    if (::poll(waiting.data(), waiting.size(), -1) < 0) continue;
    if (waiting[0].revents) {
      sockaddr_storage from{};
      socklen_t size = sizeof from;
      const int fd = ::accept4(listener, reinterpret_cast<sockaddr*>(&from), &size, SOCK_CLOEXEC);
      if (fd >= 0) streams[fd].client = text_of(from);
    }
    if (waiting[1].revents) serve_datagram(datagrams);
    for (size_t i = 2; i < waiting.size(); i++) {
      const int fd = waiting[i].fd;
      if (!waiting[i].revents || serve_stream(fd, streams[fd])) continue;
      ::close(fd);
      streams.erase(fd);
    }
  }
}
