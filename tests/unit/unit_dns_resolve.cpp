// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <algorithm>
#include <set>

#include "core/dns/answer.h"
#include "core/dns/message.h"
#include "core/dns/query.h"
#include "core/dns/resolve.h"

using namespace weft;
using namespace weft::dns;

namespace {

using Action = Decision::Action;

Address ip(const std::string& text) { return *Address::parse(text); }

EndpointInput task(const char* service, const char* slot, const char* id,
                   std::vector<Address> addresses) {
  return {.addresses = std::move(addresses), .service = service, .slot = slot, .task_id = id};
}

// n1: web (VIP, two tasks), rr (dnsrr), big (100 tasks), idle (scaled to zero), box.
// n.two: svc.dotted, web (another VIP). far: only. dev: shares its name with a public domain.
DnsView make_view() {
  NetworkInput n1{.id = "1",
                  .name = "n1",
                  .subnets = {*Prefix::parse("10.1.0.0/16"), *Prefix::parse("fd01::/64")}};
  n1.services = {{.name = "web",
                  .aliases = {"www"},
                  .vips = {ip("10.1.0.100")},
                  .ports = {{"http", "tcp", 80, 8080}, {"", "udp", 53, 0}}},
                 {.name = "rr", .ports = {{"", "tcp", 5000, 0}}},
                 {.name = "big"},
                 {.name = "idle", .vips = {ip("10.1.0.101")}}};
  n1.endpoints = {task("web", "1", "t1", {ip("10.1.0.2"), ip("fd01::2")}),
                  task("web", "2", "t2", {ip("10.1.0.3"), ip("fd01::3")}),
                  task("rr", "1", "t3", {ip("10.1.0.4")}),
                  task("rr", "2", "t4", {ip("10.1.0.5")}),
                  {.name = "box", .addresses = {ip("10.1.0.6"), ip("fd01::6")}}};
  for (uint32_t i = 0; i < 100; ++i)
    n1.endpoints.push_back({.name = "b" + std::to_string(i),
                            .addresses = {Address::v4(0x0a010200 + i)},
                            .service = "big"});
  NetworkInput two{.id = "2", .name = "n.two", .subnets = {*Prefix::parse("10.2.0.0/24")}};
  two.services = {{.name = "svc.dotted"}, {.name = "web", .vips = {ip("10.2.0.100")}}};
  two.endpoints = {task("svc.dotted", "1", "t5", {ip("10.2.0.2")}),
                   task("web", "1", "t6", {ip("10.2.0.3")})};
  NetworkInput far{.id = "3", .name = "far", .subnets = {*Prefix::parse("10.3.0.0/24")}};
  far.endpoints = {{.name = "only", .addresses = {ip("10.3.0.2")}}};
  NetworkInput dev{.id = "4", .name = "dev"};
  dev.endpoints = {{.name = "mine", .addresses = {ip("10.4.0.2")}}};
  dev.forward_unknown = true;
  return DnsView({.networks = {NetworkNames::build(n1), NetworkNames::build(two),
                               NetworkNames::build(far), NetworkNames::build(dev)},
                  .known_names = {"elsewhere"},
                  .known_networks = {"n9"},
                  .known_subnets = {*Prefix::parse("10.9.0.0/24")},
                  .serial = 42});
}

struct Asked {
  Decision decision;
  Bytes bytes;
  Message message;

  std::set<std::string> data() const {
    std::set<std::string> out;
    for (const Record& record : message.answers) out.insert(record.data);
    return out;
  }
};

struct Ask {
  Asker asker{.networks = {"1", "2", "4"}};
  Transport transport = Transport::udp;
  uint64_t seed = 1;

  Asked operator()(const Bytes& packet) const {
    static const DnsView view = make_view();
    Rng rng(seed);
    Asked out;
    out.decision = resolve(view, asker, packet, transport, rng, out.bytes);
    if (out.decision.action != Action::answer) {
      CHECK(out.bytes.empty());
      return out;
    }
    auto message = decode_message(out.bytes);
    REQUIRE(message);
    out.message = *message;
    CHECK(out.message.response());
    CHECK(out.message.id == 7);
    return out;
  }
  Asked operator()(const char* name, Type type = Type::a) const {
    return (*this)(*encode_query(name, type, 7));
  }
};

using Data = std::set<std::string>;

// An empty answer with a SOA in the authority section.
bool is_empty(const Asked& asked, Rcode rcode, const char* zone) {
  return asked.decision.action == Action::answer && asked.message.rcode == rcode &&
         asked.message.answers.empty() && asked.message.authority.size() == 1 &&
         asked.message.authority[0].type == Type::soa && asked.message.authority[0].ttl == 1 &&
         asked.message.authority[0].name == zone && asked.message.authoritative();
}

Bytes without_edns(const char* name, Type type = Type::a) {
  Bytes packet = *encode_query(name, type, 7);
  packet.resize(packet.size() - opt_size);
  packet[11] = 0;
  return packet;
}

}  // namespace

TEST_CASE("a service name answers its VIP, authoritative, with a short TTL") {
  const Asked asked = Ask()("web");
  CHECK(asked.data() == Data{"10.1.0.100"});
  CHECK(asked.message.authoritative());
  CHECK((asked.message.flags & flag_recursion_available) != 0);
  CHECK((asked.message.flags & flag_recursion_desired) != 0);
  CHECK(asked.message.answers[0].ttl == 2);
  CHECK(asked.message.edns);
  CHECK(asked.message.udp_size == 1232);
}

TEST_CASE("a name works with its network, a trailing dot, dots inside, and in any case") {
  const Ask ask;
  CHECK(ask("web.n1").data() == Data{"10.1.0.100"});
  CHECK(ask("web.n1.").data() == Data{"10.1.0.100"});
  CHECK(ask("web.n.two").data() == Data{"10.2.0.100"});
  CHECK(ask("svc.dotted").data() == Data{"10.2.0.2"});
  CHECK(ask("svc.dotted.n.two").data() == Data{"10.2.0.2"});
  CHECK(ask("tasks.svc.dotted.n.two").data() == Data{"10.2.0.2"});
  CHECK(ask("web.1").data() == Data{"10.1.0.2"});
  CHECK(ask("web.1.t6.n.two").data() == Data{"10.2.0.3"});
  CHECK(ask("box.n1", Type::aaaa).data() == Data{"fd01::6"});

  Bytes packet = *encode_query("web.n1", Type::a, 7);
  packet[13] = 'W';
  packet[15] = 'B';
  packet[17] = 'N';
  const Asked asked = ask(packet);
  CHECK(asked.data() == Data{"10.1.0.100"});
  CHECK(asked.message.questions[0].name == "WeB.N1.");
  CHECK(asked.message.answers[0].name == "WeB.N1.");
}

TEST_CASE("the first of the asker's networks that has the name answers") {
  Ask ask;
  ask.asker.networks = {"2", "1"};
  CHECK(ask("web").data() == Data{"10.2.0.100"});
}

TEST_CASE("tasks.SERVICE and dnsrr services answer every ready task in changing order") {
  const Ask ask;
  CHECK(ask("tasks.web").data() == Data{"10.1.0.2", "10.1.0.3"});
  CHECK(ask("tasks.www").data() == Data{"10.1.0.2", "10.1.0.3"});
  CHECK(ask("rr").data() == Data{"10.1.0.4", "10.1.0.5"});
  std::set<std::string> firsts;
  for (uint64_t seed = 0; seed < 64; ++seed) {
    Ask seeded;
    seeded.seed = seed;
    firsts.insert(seeded("rr").message.answers[0].data);
  }
  CHECK(firsts.size() == 2);
}

TEST_CASE("a known name without the type asked for is NOERROR with a SOA, not forwarded") {
  const Ask ask;
  for (Type type : {Type::aaaa, Type::mx, Type::txt, Type::ns, Type::cname, Type::srv, Type(65)}) {
    CAPTURE(type_name(type));
    CHECK(is_empty(ask("web", type), Rcode::noerror, "."));
    CHECK(is_empty(ask("web.n1", type), Rcode::noerror, "n1."));
  }
  CHECK(ask("box", Type::any).data() == Data{"10.1.0.6", "fd01::6"});
}

TEST_CASE("a service scaled to zero has no address and is not forwarded") {
  CHECK(is_empty(Ask()("idle"), Rcode::noerror, "."));
  CHECK(is_empty(Ask()("tasks.idle"), Rcode::noerror, "."));
  CHECK(is_empty(Ask()("idle.n1"), Rcode::noerror, "n1."));
}

TEST_CASE("names of other networks and names that are gone are denied, never forwarded") {
  const Ask ask;
  for (const char* name : {"only", "elsewhere", "tasks.only", "tasks.gone", "web.7", "web.7.t9",
                           "web.node5.x1y2z3", "_80._tcp.only", "_80._tcp.tasks.gone"}) {
    CAPTURE(name);
    CHECK(is_empty(ask(name), Rcode::nxdomain, "."));
  }
  CHECK(is_empty(ask("only.far"), Rcode::nxdomain, "far."));
  CHECK(is_empty(ask("gone.far"), Rcode::nxdomain, "far."));
  CHECK(is_empty(ask("x.y.n9"), Rcode::nxdomain, "n9."));
  CHECK(is_empty(ask("gone.n.two"), Rcode::nxdomain, "n.two."));
  CHECK(is_empty(ask("tasks"), Rcode::noerror, "."));
  CHECK(is_empty(ask("n1"), Rcode::noerror, "n1."));
  CHECK(is_empty(ask("far"), Rcode::noerror, "far."));
}

TEST_CASE("a network's own name has a SOA") {
  const Asked asked = Ask()("n1", Type::soa);
  CHECK(asked.data() == Data{"weft. hostmaster.weft. 42 3600 600 86400 1"});
}

TEST_CASE("everything else is forwarded") {
  const Ask ask;
  for (const char* name : {"example.com", "web.example.com", "tasks.example.com", "printer", "two",
                           "web.lan", ".", "com", "n1.example.com"}) {
    CAPTURE(name);
    CHECK(ask(name).decision.action == Action::forward);
    CHECK(ask(name, Type::mx).decision.action == Action::forward);
  }
}

TEST_CASE("a network that shares its name with a public domain forwards what it does not have") {
  const Ask ask;
  CHECK(ask("mine.dev").data() == Data{"10.4.0.2"});
  CHECK(ask("go.dev").decision.action == Action::forward);
  CHECK(is_empty(ask("only.dev"), Rcode::nxdomain, "dev."));
  CHECK(is_empty(ask("tasks.x.dev"), Rcode::nxdomain, "dev."));
}

TEST_CASE("a container on internal networks alone forwards nothing") {
  Ask ask;
  ask.asker.internal_only = true;
  const Asked asked = ask("example.com");
  CHECK(asked.decision.action == Action::answer);
  CHECK(asked.message.rcode == Rcode::servfail);
  CHECK(ask("web").data() == Data{"10.1.0.100"});
}

TEST_CASE("with the container's own ndots a single label is not forwarded") {
  Ask ask;
  ask.asker.ndots = 1;
  CHECK(is_empty(ask("printer"), Rcode::noerror, "."));
  CHECK(is_empty(ask("printer", Type::aaaa), Rcode::noerror, "."));
  CHECK(ask("com", Type::ns).decision.action == Action::forward);
  CHECK(ask("printer.lan").decision.action == Action::forward);
}

TEST_CASE("SRV answers a service's ports by name and by either number") {
  const Ask ask;
  for (const char* name :
       {"_http._tcp.web", "_80._tcp.web", "_8080._tcp.web.n1", "_HTTP._TCP.www"}) {
    CAPTURE(name);
    const Asked asked = ask(name, Type::srv);
    REQUIRE(asked.message.answers.size() == 1);
    const bool alias = std::string_view(name).ends_with("www");
    CHECK(asked.data() == Data{alias ? "0 0 80 www.n1." : "0 0 80 web.n1."});
    REQUIRE(asked.message.additional.size() == 1);
    CHECK(asked.message.additional[0].name == (alias ? "www.n1." : "web.n1."));
    CHECK(asked.message.additional[0].data == "10.1.0.100");
  }
  CHECK(ask("_53._udp.web", Type::srv).data() == Data{"0 0 53 web.n1."});
}

TEST_CASE("SRV of a dnsrr service or tasks. names every task with its address") {
  const Asked rr = Ask()("_5000._tcp.rr", Type::srv);
  CHECK(rr.data() == Data{"0 0 5000 rr.1.t3.n1.", "0 0 5000 rr.2.t4.n1."});
  CHECK(rr.message.additional.size() == 2);
  const Asked tasks = Ask()("_http._tcp.tasks.web", Type::srv);
  CHECK(tasks.data() == Data{"0 0 80 web.1.t1.n1.", "0 0 80 web.2.t2.n1."});
  CHECK(tasks.message.additional.size() == 4);
}

TEST_CASE("SRV of an unknown port is denied, of another type empty") {
  const Ask ask;
  CHECK(is_empty(ask("_81._tcp.web", Type::srv), Rcode::nxdomain, "."));
  CHECK(is_empty(ask("_80._udp.web.n1", Type::srv), Rcode::nxdomain, "n1."));
  CHECK(is_empty(ask("_80._tcp.web", Type::a), Rcode::noerror, "."));
  CHECK(is_empty(ask("_tcp.web", Type::srv), Rcode::noerror, "."));
  CHECK(is_empty(ask("_80._tcp.box", Type::srv), Rcode::nxdomain, "."));
  CHECK(ask("_ldap._tcp.example.com", Type::srv).decision.action == Action::forward);
  CHECK(ask("_tcp", Type::srv).decision.action == Action::forward);
}

TEST_CASE("PTR answers endpoints and VIPs of the asker's networks, in any case") {
  const Ask ask;
  CHECK(ask("2.0.1.10.in-addr.arpa", Type::ptr).data() == Data{"web.1.t1.n1."});
  CHECK(ask("100.0.1.10.in-addr.arpa", Type::ptr).data() == Data{"web.n1."});
  CHECK(ask("2.0.2.10.in-addr.arpa", Type::ptr).data() == Data{"svc.dotted.1.t5.n.two."});
  CHECK(ask("6.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.1.0.d.f.ip6.arpa", Type::ptr)
            .data() == Data{"box.n1."});
  Bytes packet = *encode_query("2.0.1.10.in-addr.arpa", Type::ptr, 7);
  for (uint8_t& byte : packet)
    if (byte >= 'a' && byte <= 'z') byte = uint8_t(byte - 32);
  const Asked asked = ask(packet);
  CHECK(asked.data() == Data{"web.1.t1.n1."});
  CHECK(asked.message.answers[0].name == "2.0.1.10.IN-ADDR.ARPA.");
}

TEST_CASE("an address of a known subnet never leaks through PTR") {
  const Ask ask;
  for (const char* name : {"9.9.1.10.in-addr.arpa", "2.0.3.10.in-addr.arpa",
                           "7.0.9.10.in-addr.arpa", "9.0.0.127.in-addr.arpa"}) {
    CAPTURE(name);
    CHECK(is_empty(ask(name, Type::ptr), Rcode::nxdomain, "in-addr.arpa."));
  }
  CHECK(is_empty(ask("0.1.10.in-addr.arpa", Type::soa), Rcode::noerror, "in-addr.arpa."));
  CHECK(is_empty(ask("2.0.1.10.in-addr.arpa", Type::a), Rcode::noerror, "in-addr.arpa."));
  for (const char* name :
       {"8.8.8.8.in-addr.arpa", "10.in-addr.arpa", "in-addr.arpa", "1.1.168.192.in-addr.arpa",
        "x.0.1.10.in-addr.arpa", "256.0.1.10.in-addr.arpa", "1.2.0.1.10.in-addr.arpa"}) {
    CAPTURE(name);
    CHECK(ask(name, Type::ptr).decision.action == Action::forward);
  }
}

TEST_CASE("localhost is answered here") {
  const Ask ask;
  CHECK(ask("localhost").data() == Data{"127.0.0.1"});
  CHECK(ask("a.localhost", Type::aaaa).data() == Data{"::1"});
  CHECK(is_empty(ask("localhost", Type::mx), Rcode::noerror, "localhost."));
  CHECK(ask("1.0.0.127.in-addr.arpa", Type::ptr).data() == Data{"localhost."});
}

TEST_CASE("without EDNS an answer is cut at 512 bytes and marked, over TCP it is whole") {
  const Asked plain = Ask()(without_edns("big"));
  CHECK(plain.bytes.size() <= 512);
  CHECK(plain.message.truncated());
  CHECK(plain.decision.truncated);
  CHECK_FALSE(plain.message.edns);
  CHECK(plain.message.answers.size() == (512 - 12 - 9) / 16);
  CHECK(plain.data().size() == plain.message.answers.size());

  Ask tcp;
  tcp.transport = Transport::tcp;
  const Asked whole = tcp(without_edns("big"));
  CHECK(whole.data().size() == 100);
  CHECK_FALSE(whole.message.truncated());
}

TEST_CASE("with EDNS an answer is cut at the asker's size, at most 1232") {
  const auto sized = [](uint16_t size) {
    Bytes packet = *encode_query("big", Type::a, 7);
    packet[packet.size() - 8] = uint8_t(size >> 8);
    packet[packet.size() - 7] = uint8_t(size);
    return Ask()(packet);
  };
  const auto records = [](size_t size) { return (size - 12 - 9 - 11) / 16; };
  CHECK(sized(4096).message.answers.size() == records(1232));
  CHECK(sized(4096).bytes.size() <= 1232);
  CHECK(sized(1000).message.answers.size() == records(1000));
  CHECK(sized(100).message.answers.size() == records(512));
  CHECK(sized(4096).message.truncated());
}

TEST_CASE("EDNS versions above 0 get BADVERS and the DO bit comes back") {
  Bytes packet = *encode_query("web", Type::a, 7);
  packet[packet.size() - 4] = 0x80;
  CHECK(Ask()(packet).bytes[Ask()(packet).bytes.size() - 4] == 0x80);
  packet[packet.size() - 5] = 1;
  const Asked asked = Ask()(packet);
  CHECK(asked.message.rcode == Rcode::badvers);
  CHECK(asked.message.edns);
  CHECK(asked.message.edns_version == 0);
  CHECK(asked.message.answers.empty());
}

TEST_CASE("other classes and zone transfers are refused") {
  for (int query_class : {3, 4, 255}) {
    Bytes packet = without_edns("web");
    packet.back() = uint8_t(query_class);
    const Asked asked = Ask()(packet);
    CHECK(asked.message.rcode == Rcode::refused);
    CHECK(asked.message.answers.empty());
  }
  CHECK(Ask()("n1", Type::axfr).message.rcode == Rcode::refused);
  CHECK(Ask()("example.com", Type::ixfr).message.rcode == Rcode::refused);
}

TEST_CASE("malformed packets get FORMERR, other opcodes NOTIMP, answers nothing") {
  Bytes packet = *encode_query("web", Type::a, 7);
  packet[5] = 2;
  const Asked twice = Ask()(packet);
  CHECK(twice.message.rcode == Rcode::formerr);
  CHECK(twice.bytes.size() == header_size);
  packet[5] = 1;
  packet[2] = 0x11;
  const Asked status = Ask()(packet);
  CHECK(status.message.rcode == Rcode::notimp);
  CHECK((status.message.flags & mask_opcode) == 0x1000);
  packet[2] = 0x80;
  CHECK(Ask()(packet).decision.action == Action::drop);
  CHECK(Ask()(Bytes{1, 2, 3}).decision.action == Action::drop);
  CHECK(Ask()(Bytes{}).decision.action == Action::drop);
}

TEST_CASE("an error answer repeats the question and carries the rcode") {
  const Bytes bytes = error_answer(*encode_query("x.com", Type::a, 7), Rcode::servfail);
  const Message message = *decode_message(bytes);
  CHECK(message.rcode == Rcode::servfail);
  CHECK(message.questions[0].name == "x.com.");
  CHECK(message.edns);
  CHECK(error_answer(Bytes{1}, Rcode::servfail).empty());
}
