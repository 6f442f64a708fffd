// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <set>
#include <string>

#include "io/clock.h"
#include "io/pki.h"

using namespace weft;
using namespace weft::io;

namespace {

WallTime plus(WallTime t, std::chrono::milliseconds by) { return {t.milliseconds + by.count()}; }

struct Pki {
  WallTime now = clock_wall_now();
  CertifiedKey ca = *create_cluster_ca("cluster-1", now);
  std::string key = *create_key();
  std::string request = *create_signing_request(key);

  std::string sign(const std::string& role, const std::string& cluster = "cluster-1") const {
    return *sign_node_certificate(ca, request, {"node-1", role, cluster}, now);
  }
};

std::string reason(const Result<>& result) { return result ? "" : result.error().message(); }

}  // namespace

TEST_CASE("a node certificate names the node, its role and its cluster for 90 days") {
  const Pki pki;
  const std::string certificate = pki.sign("worker");
  const auto identity = parse_certificate(certificate);
  REQUIRE(identity);
  CHECK(identity->node_id == "node-1");
  CHECK(identity->role == "worker");
  CHECK(identity->cluster_id == "cluster-1");
  const int64_t now_s = pki.now.milliseconds / 1000;
  CHECK(identity->not_before.milliseconds / 1000 == now_s - 3600);
  CHECK(identity->not_after.milliseconds / 1000 == now_s + 90 * 86400);
  CHECK(verify_certificate(certificate, pki.ca.certificate_pem, pki.now));
}

TEST_CASE("a certificate is refused outside its time, of another CA, and of another cluster") {
  const Pki pki, other;
  const std::string certificate = pki.sign("worker");
  const std::string& ca = pki.ca.certificate_pem;
  CHECK(verify_certificate(certificate, ca, plus(pki.now, -59min)));
  CHECK(reason(verify_certificate(certificate, ca, plus(pki.now, -61min))) ==
        "certificate is not yet valid");
  CHECK(verify_certificate(certificate, ca, plus(pki.now, 24h * 89)));
  CHECK(reason(verify_certificate(certificate, ca, plus(pki.now, 24h * 91))) ==
        "certificate has expired");
  CHECK(!verify_certificate(certificate, other.ca.certificate_pem, pki.now));
  CHECK(reason(verify_certificate(pki.sign("worker", "cluster-2"), ca, pki.now)) ==
        "the certificate is of another cluster");
  CHECK(!verify_certificate(ca, ca, pki.now));
  // A node certificate does not make its owner a CA.
  const CertifiedKey node{certificate, pki.key};
  const auto below =
      sign_node_certificate(node, pki.request, {"x", "manager", "cluster-1"}, pki.now);
  REQUIRE(below);
  CHECK(!verify_certificate(*below, certificate, pki.now));
  CHECK(!verify_certificate(*below, ca, pki.now));
}

TEST_CASE("a request that is garbage, forged or of an unknown role is not signed") {
  const Pki pki;
  const NodeIdentity node{"n", "worker", "cluster-1"};
  for (const std::string& bad : {std::string(), std::string("hello"), pki.ca.certificate_pem,
                                 pki.request.substr(0, pki.request.size() / 2)}) {
    const auto refused = sign_node_certificate(pki.ca, bad, node, pki.now);
    REQUIRE(!refused);
    CHECK(refused.error().code() == ErrorCode::invalid);
  }
  // Every change of one character of the body must be noticed.
  int signed_requests = 0;
  for (size_t at = 60; at + 60 < pki.request.size(); at += 7) {
    std::string forged = pki.request;
    if (forged[at] == '\n') continue;
    forged[at] = forged[at] == 'A' ? 'B' : 'A';
    signed_requests += bool(sign_node_certificate(pki.ca, forged, node, pki.now));
  }
  CHECK(signed_requests == 0);
  CHECK(!sign_node_certificate(pki.ca, pki.request, {"n", "king", "cluster-1"}, pki.now));
  CHECK(!sign_node_certificate(pki.ca, pki.request, {"", "worker", "cluster-1"}, pki.now));
  CHECK(!parse_certificate(pki.ca.certificate_pem));
}

TEST_CASE("a join token survives the round trip, in upper case and with white space too") {
  const Pki pki;
  const JoinToken token{*certificate_digest(pki.ca.certificate_pem), create_join_secret()};
  const std::string text = token.to_string();
  CHECK(text.starts_with("WEFT-1-"));
  CHECK(token.secret.size() >= 25);
  std::string upper;
  for (const char c : text) upper += char(toupper(c));
  for (const std::string& form : {text, upper, "  " + text + "\n"}) {
    const auto parsed = JoinToken::parse(form);
    REQUIRE(parsed);
    CHECK(parsed->ca_digest == token.ca_digest);
    CHECK(parsed->secret == token.secret);
  }
}

TEST_CASE("every wrong character and every swap of neighbours in a join token is noticed") {
  const std::string text = JoinToken{Digest{1, 2, 3}, create_join_secret()}.to_string();
  const std::string alphabet = "abcdefghijklmnopqrstuvwxyz234567-0 ";
  for (size_t at = 0; at < text.size(); ++at) {
    for (const char c : alphabet) {
      std::string typo = text;
      if (tolower(typo[at]) == c) continue;
      typo[at] = c;
      CAPTURE(typo);
      REQUIRE(!JoinToken::parse(typo));
    }
    std::string swapped = text;
    if (at == 0 || swapped[at] == swapped[at - 1]) continue;
    std::swap(swapped[at], swapped[at - 1]);
    REQUIRE(!JoinToken::parse(swapped));
    REQUIRE(!JoinToken::parse(text.substr(0, at)));
  }
}

TEST_CASE("a text that is no join token is refused with the reason") {
  const std::string advice = "; copy it again from 'weft cluster token show'";
  const std::string good = JoinToken{Digest{}, std::string(26, 'a')}.to_string();
  const auto why = [](const std::string& text) {
    const auto parsed = JoinToken::parse(text);
    REQUIRE(!parsed);
    CHECK(parsed.error().code() == ErrorCode::invalid);
    return parsed.error().message();
  };
  CHECK(why("") == "the join token does not start with WEFT-1-" + advice);
  CHECK(why("SWMTKN-1-abc-def") == "the join token does not start with WEFT-1-" + advice);
  CHECK(why("WEFT-") == "the join token is cut off" + advice);
  CHECK(why("WEFT-2-abc-def") == "the join token has version 2, this weftd knows version 1 only");
  CHECK(why("WEFT-1-abc") == "the join token is cut off" + advice);
  CHECK(why("WEFT-1-abc-def") == "the join token has a character too many or too few" + advice);
  CHECK(why(good.substr(0, 70)) == "the join token is cut off" + advice);
  CHECK(why("WEFT-1-abc8-def") == "the join token contains '8', which no token does" + advice);
  CHECK(why(good + "b") == "the join token has a typing error" + advice);
}

TEST_CASE("secrets, keys and random bytes differ each time") {
  std::set<std::string> secrets;
  for (int i = 0; i < 100; ++i) secrets.insert(create_join_secret());
  CHECK(secrets.size() == 100);
  CHECK(*create_key() != *create_key());
  CHECK(random_bytes(32) != random_bytes(32));
  CHECK(random_bytes(32).size() == 32);
  CHECK(equal_secrets("abc", "abc"));
  CHECK(!equal_secrets("abc", "abd"));
  CHECK(!equal_secrets("abc", "ab"));
}
