// SPDX-License-Identifier: Apache-2.0
#include "netns/dns_lab.h"

using namespace weft;
using namespace weft::dns;
using namespace weft::dns::lab;

TEST_CASE("a foreign name is forwarded and the answer comes back as it was") {
  FakeUpstream upstream([](const Bytes& query, bool) {
    Bytes answer = error_answer(query, Rcode::nxdomain);
    return std::vector<Bytes>{answer};
  });
  Lab lab;
  lab.upstreams({upstream.address()});
  const Bytes query = *encode_query("No.Example.com", Type::mx, 0x0102);
  const Message message = ask(lab.container, query);
  CHECK(message.rcode == Rcode::nxdomain);
  CHECK_FALSE(message.authoritative());
  REQUIRE(upstream.seen().size() == 1);
  const Bytes seen = upstream.seen()[0];
  CHECK(std::equal(query.begin() + 2, query.end(), seen.begin() + 2, seen.end()));
  CHECK(lab.server->counters().forwarded == 1);
  CHECK(lab.server->counters().failed == 0);
}

TEST_CASE("forwarded queries have changing ids and source ports") {
  FakeUpstream upstream(answers(1));
  Lab lab;
  lab.upstreams({upstream.address()});
  for (int i = 0; i < 8; ++i)
    CHECK(data_of(ask(lab.container, "a.example.com")) == Data{"192.0.2.1"});
  std::set<uint16_t> ids;
  for (const Bytes& query : upstream.seen()) ids.insert(uint16_t(query[0] << 8 | query[1]));
  const auto ports = upstream.ports();
  CHECK(ids.size() > 4);
  CHECK(std::set<uint16_t>(ports.begin(), ports.end()).size() > 4);
}

TEST_CASE("nothing internal reaches an upstream") {
  FakeUpstream upstream(answers(1));
  Lab lab;
  lab.upstreams({upstream.address()});
  for (const char* name : {"web", "only", "only.n2", "gone.n1", "tasks.gone", "web.9.t9",
                           "9.9.1.10.in-addr.arpa", "_80._tcp.web"})
    for (Type type : {Type::a, Type::aaaa, Type::txt, Type::any, Type::ns, Type::ptr, Type::srv})
      ask(lab.container, name, type);
  CHECK(upstream.seen().empty());
  ask(lab.container, "example.com");
  CHECK(upstream.seen().size() == 1);
}

TEST_CASE("the next upstream is asked on SERVFAIL, REFUSED, a closed port and silence") {
  FakeUpstream good(answers(7));
  FakeUpstream servfail(fails(Rcode::servfail));
  FakeUpstream refused(fails(Rcode::refused));
  FakeUpstream silent(stay_silent);
  std::optional<FakeUpstream> closed(answers(9));
  const SocketAddress nobody = closed->address();
  closed.reset();
  for (const SocketAddress& bad :
       {servfail.address(), refused.address(), nobody, silent.address()}) {
    CAPTURE(bad.to_string());
    for (int type : {SOCK_DGRAM, SOCK_STREAM}) {
      Lab lab;
      lab.upstreams({bad, good.address()});
      CHECK(data_of(ask(lab.container, "example.com", Type::a, type)) == Data{"192.0.2.7"});
    }
  }
  CHECK(good.seen().size() == 8);
  CHECK(silent.seen().size() == 2);
}

TEST_CASE("an upstream that was silent is not asked first again") {
  FakeUpstream silent(stay_silent);
  FakeUpstream good(answers(7));
  Lab lab;
  lab.upstreams({silent.address(), good.address()});
  for (int i = 0; i < 3; ++i)
    CHECK(data_of(ask(lab.container, "example.com")) == Data{"192.0.2.7"});
  CHECK(silent.seen().size() == 1);
  CHECK(good.seen().size() == 3);
}

TEST_CASE("a silent upstream is asked again until the time is over, then SERVFAIL") {
  FakeUpstream silent(stay_silent);
  Lab lab;
  lab.upstreams({silent.address()});
  const auto start = Clock::now();
  CHECK(ask(lab.container, "example.com").rcode == Rcode::servfail);
  CHECK(Clock::now() - start >= 400ms);
  CHECK(Clock::now() - start < 3s);
  CHECK(silent.seen().size() >= 2);
  CHECK(lab.server->counters().failed == 1);
  CHECK(lab.server->counters().forwards_pending == 0);
}

TEST_CASE("when every upstream fails the last one's answer is passed on") {
  FakeUpstream refused(fails(Rcode::refused));
  Lab lab;
  lab.upstreams({refused.address()});
  CHECK(ask(lab.container, "example.com").rcode == Rcode::refused);
  CHECK(refused.seen().size() == 1);
}

TEST_CASE("without an upstream, or with our own address as the only one, SERVFAIL comes at once") {
  Lab lab(DnsServerOptions{});
  const auto start = Clock::now();
  CHECK(ask(lab.container, "example.com").rcode == Rcode::servfail);
  lab.upstreams({{Address::v4(0x7f00000b), 53}, {Address::v4(0), 53}});
  CHECK(ask(lab.container, "example.com").rcode == Rcode::servfail);
  CHECK(ask(lab.container, "example.com", Type::a, SOCK_STREAM).rcode == Rcode::servfail);
  CHECK(Clock::now() - start < 1s);
  CHECK(lab.server->counters().failed == 3);
}

TEST_CASE("answers with another id, question or direction are not believed") {
  FakeUpstream upstream([](const Bytes& query, bool) {
    Bytes wrong_id = reply(query, 1);
    wrong_id[0] ^= 0xff;
    Bytes wrong_name = reply(query, 2);
    wrong_name[13] ^= 1;
    Bytes wrong_type = reply(query, 3);
    wrong_type[wrong_type.size() - 16 - opt_size - 3] ^= 1;
    Bytes other_case = reply(query, 5);
    other_case[13] ^= 0x20;
    return std::vector<Bytes>{wrong_id, wrong_name, wrong_type, query, Bytes{1}, other_case};
  });
  Lab lab;
  lab.upstreams({upstream.address()});
  CHECK(data_of(ask(lab.container, "example.com")) == Data{"192.0.2.5"});
}

TEST_CASE("a query over TCP is forwarded over TCP, and TC is passed on over UDP") {
  FakeUpstream upstream([](const Bytes& query, bool tcp) {
    Bytes answer = reply(query, tcp ? 2 : 1);
    if (!tcp) answer[2] |= 2;
    return std::vector<Bytes>{answer};
  });
  Lab lab;
  lab.upstreams({upstream.address()});
  CHECK(ask(lab.container, "example.com").truncated());
  const Message whole = ask(lab.container, "example.com", Type::a, SOCK_STREAM);
  CHECK_FALSE(whole.truncated());
  CHECK(data_of(whole) == Data{"192.0.2.2"});
}

TEST_CASE("an answer over the asker's size is cut and marked") {
  FakeUpstream upstream([](const Bytes& query, bool) {
    Bytes answer = reply(query, 1);
    answer.resize(2000);
    return std::vector<Bytes>{answer};
  });
  Lab lab;
  lab.upstreams({upstream.address()});
  const Message message = ask(lab.container, "example.com");
  CHECK(message.truncated());
  CHECK(message.answers.empty());
  CHECK(message.questions[0].name == "example.com.");
}

TEST_CASE("forwards over the cap are refused with SERVFAIL, and the cluster's names still answer") {
  FakeUpstream silent(stay_silent);
  DnsServerOptions options;
  options.max_forwards = 4;
  Lab lab(options);
  lab.upstreams({silent.address()});
  const Fd socket = dial(lab.container, SOCK_DGRAM);
  for (uint16_t i = 0; i < 6; ++i) send_all(socket, *encode_query("example.com", Type::a, i));
  std::set<uint16_t> refused;
  for (int i = 0; i < 2; ++i) {
    const Message message = *decode_message(receive(socket));
    CHECK(message.rcode == Rcode::servfail);
    refused.insert(message.id);
  }
  CHECK(refused == std::set<uint16_t>{4, 5});
  CHECK(lab.server->counters().forwards_pending == 4);
  CHECK(data_of(ask(lab.container, "web")) == Data{"10.1.0.100"});
  lab.server->remove("c1");
  CHECK(wait_until([&] { return lab.server->counters().forwards_pending == 0; }));
}
