// SPDX-License-Identifier: Apache-2.0
#include "netns/dns_lab.h"

using namespace weft;
using namespace weft::dns;
using namespace weft::dns::lab;

TEST_CASE("a container's service name is answered over UDP and TCP") {
  Lab lab;
  for (int type : {SOCK_DGRAM, SOCK_STREAM}) {
    const Message message = ask(lab.container, "web", Type::a, type);
    CHECK(message.authoritative());
    CHECK(data_of(message) == Data{"10.1.0.100"});
  }
  CHECK(lab.server->counters().answered == 2);
  CHECK(lab.server->counters().tcp_connections == 1);
}

TEST_CASE("dig understands the answers, and comes over TCP for what does not fit") {
  Lab lab;
  CHECK(dig(lab.container, {"+short", "WEB.n1"}) == "10.1.0.100\n");
  CHECK(dig(lab.container, {"+short", "+tcp", "tasks.web"}) == "10.1.0.2\n");
  CHECK(dig(lab.container, {"+short", "-x", "10.1.0.2"}) == "web.1.t1.n1.\n");
  CHECK(dig(lab.container, {"web", "AAAA"}).find("status: NOERROR") != std::string::npos);
  CHECK(dig(lab.container, {"only"}).find("status: NXDOMAIN") != std::string::npos);
  CHECK(dig(lab.container, {"CH", "TXT", "version.bind"}).find("status: REFUSED") !=
        std::string::npos);
  const std::string big = dig(lab.container, {"+short", "big"});
  CHECK(std::count(big.begin(), big.end(), '\n') == 200);
  CHECK(lab.server->counters().truncated == 1);
}

TEST_CASE("each container sees its own networks, and a change of them") {
  Lab lab;
  const Fd second = make_netns();
  lab.add("c2", second, {.networks = {"2"}});
  CHECK(data_of(ask(lab.container, "web")) == Data{"10.1.0.100"});
  CHECK(data_of(ask(second, "web")) == Data{"10.2.0.2"});
  CHECK(lab.server->counters().containers == 2);
  lab.server->update("c1", {.networks = {"2"}});
  CHECK(wait_until([&] { return data_of(ask(lab.container, "web")) == Data{"10.2.0.2"}; }));
}

TEST_CASE("the newest view answers") {
  Lab lab;
  CHECK(data_of(ask(lab.container, "web")) == Data{"10.1.0.100"});
  lab.views.put(make_view(101));
  CHECK(data_of(ask(lab.container, "web")) == Data{"10.1.0.101"});
}

TEST_CASE("without a view nothing is forwarded") {
  FakeUpstream upstream(answers(1));
  Lab lab(quick(), false);
  lab.upstreams({upstream.address()});
  CHECK(ask(lab.container, "web").rcode == Rcode::servfail);
  CHECK(ask(lab.container, "example.com").rcode == Rcode::servfail);
  CHECK(upstream.seen().empty());
}

TEST_CASE("a removed container's server is gone") {
  Lab lab;
  CHECK(data_of(ask(lab.container, "web")) == Data{"10.1.0.100"});
  const Fd open = dial(lab.container, SOCK_STREAM);
  CHECK(wait_until([&] { return lab.server->counters().tcp_open == 1; }));
  lab.server->remove("c1");
  CHECK(receive_frame(open).empty());
  CHECK(wait_until([&] { return lab.server->counters().containers == 0; }));
  CHECK(lab.server->counters().tcp_open == 0);
  CHECK_FALSE(dial(lab.container, SOCK_STREAM));
  // The port is free again.
  CHECK(open_dns_sockets(lab.container.get()));
}

TEST_CASE("sockets cannot be opened twice, nor in what is not a namespace") {
  Lab lab;
  const auto twice = open_dns_sockets(lab.container.get());
  REQUIRE_FALSE(twice);
  CHECK(twice.error().system_error() == EADDRINUSE);
  CHECK_FALSE(open_dns_sockets(-1));
}

TEST_CASE("sockets are refused while lo is down") {
  enter_node_namespace();
  const Fd down = make_netns(false);
  const auto refused = open_dns_sockets(down.get());
  REQUIRE_FALSE(refused);
  CHECK(refused.error().message() == "open the name server's sockets: lo is down");
  in_netns(down, [] { set_lo_up(); });
  CHECK(open_dns_sockets(down.get()));
}

TEST_CASE("one TCP connection carries many queries, in one piece or byte by byte") {
  FakeUpstream upstream(answers(1));
  Lab lab;
  lab.upstreams({upstream.address()});
  const Fd socket = dial(lab.container, SOCK_STREAM);
  Bytes all;
  for (uint16_t id = 0; id < 300; ++id) {
    const Bytes frame = framed(*encode_query(id % 10 == 0 ? "example.com" : "web", Type::a, id));
    all.insert(all.end(), frame.begin(), frame.end());
  }
  send_all(socket, all);
  std::set<uint16_t> ids;
  for (int i = 0; i < 300; ++i) {
    auto message = decode_message(receive_frame(socket));
    REQUIRE(message);
    CHECK(data_of(*message) == (message->id % 10 == 0 ? Data{"192.0.2.1"} : Data{"10.1.0.100"}));
    ids.insert(message->id);
  }
  CHECK(ids.size() == 300);
  for (uint8_t byte : framed(*encode_query("web", Type::a, 9))) send_all(socket, Bytes{byte});
  CHECK(decode_message(receive_frame(socket))->id == 9);
  CHECK(lab.server->counters().tcp_connections == 1);
}

TEST_CASE("a client that closes its half still gets its answers, then the end") {
  FakeUpstream upstream(answers(1));
  Lab lab;
  lab.upstreams({upstream.address()});
  const Fd socket = dial(lab.container, SOCK_STREAM);
  send_all(socket, framed(*encode_query("example.com", Type::a, 5)));
  ::shutdown(socket.get(), SHUT_WR);
  CHECK(decode_message(receive_frame(socket))->id == 5);
  CHECK(receive_frame(socket).empty());
  CHECK(wait_until([&] { return lab.server->counters().tcp_open == 0; }));
}

TEST_CASE("idle TCP connections are closed, even if they trickle bytes") {
  DnsServerOptions options = quick();
  options.tcp_idle_timeout = 200ms;
  Lab lab(options);
  const Fd idle = dial(lab.container, SOCK_STREAM);
  CHECK(receive_frame(idle).empty());
  // The length of a query that never gets whole.
  const Fd trickle = dial(lab.container, SOCK_STREAM);
  CHECK(wait_until([&] {
    const uint8_t byte = 0xff;
    return ::send(trickle.get(), &byte, 1, MSG_NOSIGNAL) < 0;
  }));
  CHECK(lab.server->counters().tcp_connections == 2);
}

TEST_CASE("TCP connections over a container's cap are closed, the others live") {
  DnsServerOptions options = quick();
  options.max_tcp_connections_per_container = 2;
  Lab lab(options);
  const Fd first = dial(lab.container, SOCK_STREAM);
  const Fd second = dial(lab.container, SOCK_STREAM);
  const Fd third = dial(lab.container, SOCK_STREAM);
  CHECK(receive_frame(third).empty());
  send_all(second, framed(*encode_query("web", Type::a, 3)));
  CHECK(decode_message(receive_frame(second))->id == 3);
  CHECK(lab.server->counters().tcp_refused == 1);
}

TEST_CASE("a client that never reads does not stop the server or fill its memory") {
  Lab lab;
  const Fd socket = dial(lab.container, SOCK_STREAM);
  ::fcntl(socket.get(), F_SETFL, O_NONBLOCK);
  const Bytes frame = framed(*encode_query("big", Type::a, 1));
  // Until the server takes no more: two rounds with nothing sent and nothing answered.
  size_t sent = 0;
  uint64_t before = 0;
  CHECK(wait_until([&] {
    const size_t start = sent;
    while (::send(socket.get(), frame.data(), frame.size(), MSG_NOSIGNAL) > 0) ++sent;
    const bool alive = data_of(ask(lab.container, "web")) == Data{"10.1.0.100"};
    const uint64_t queries = lab.server->counters().queries;
    return alive && sent == start && queries == std::exchange(before, queries) + 1;
  }));
  // An answer has 3 kB: what was taken fits into the sockets' buffers and the server's limit.
  CHECK(lab.server->counters().queries < 10'000);
  CHECK(sent > lab.server->counters().queries);
}

TEST_CASE("garbage is dropped or refused and the server goes on") {
  Lab lab;
  const Fd socket = dial(lab.container, SOCK_DGRAM);
  send_all(socket, Bytes{1, 2, 3});
  send_all(socket, Bytes(5000, 0));
  Bytes response = *encode_query("web", Type::a, 1);
  response[2] |= 0x80;
  send_all(socket, response);
  Bytes malformed = *encode_query("web", Type::a, 2);
  malformed.resize(20);
  send_all(socket, malformed);
  const Message message = *decode_message(receive(socket));
  CHECK(message.rcode == Rcode::formerr);
  CHECK(message.id == 2);
  CHECK(lab.server->counters().dropped == 3);
  CHECK(data_of(ask(lab.container, "web")) == Data{"10.1.0.100"});
}
