// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include "core/dns/resolv_conf.h"

using namespace weft;
using namespace weft::dns;

TEST_CASE("name servers are read in order and bad ones are skipped") {
  const ResolvConf conf = parse_resolv_conf(
      "nameserver 10.0.0.1\nnameserver bogus\nnameserver fe80::1%eth0\nnameserver\n"
      "nameserver   fd00::1  \nnameserver\t10.0.0.2");
  REQUIRE(conf.nameservers.size() == 3);
  CHECK(conf.nameservers[0].to_string() == "10.0.0.1");
  CHECK(conf.nameservers[1].to_string() == "fd00::1");
  CHECK(conf.nameservers[2].to_string() == "10.0.0.2");
}

TEST_CASE("the last search or domain wins") {
  CHECK(parse_resolv_conf("search a b\nsearch c d\n").search == std::vector<std::string>{"c", "d"});
  CHECK(parse_resolv_conf("search a b\ndomain c\n").search == std::vector<std::string>{"c"});
  CHECK(parse_resolv_conf("domain c\nsearch a b\n").search == std::vector<std::string>{"a", "b"});
}

TEST_CASE("options accumulate and the last valid ndots wins") {
  const ResolvConf conf = parse_resolv_conf(
      "options timeout:1 ndots:2\noptions rotate ndots:3\noptions ndots:x ndots:-1 ndots:\n");
  CHECK(conf.options == std::vector<std::string>{"timeout:1", "rotate"});
  CHECK(conf.ndots == 3);
  CHECK_FALSE(parse_resolv_conf("options ndots:bad").ndots.has_value());
}

TEST_CASE("a comment starts in column 0 only") {
  const ResolvConf conf =
      parse_resolv_conf("#nameserver 10.0.0.1\n;search x\nnameserver 10.0.0.2 # mine\n\r\n");
  REQUIRE(conf.nameservers.size() == 1);
  CHECK(conf.nameservers[0].to_string() == "10.0.0.2");
  CHECK(conf.search.empty());
}

TEST_CASE("a container's file keeps search and options and adds ndots:0 unless it is set") {
  CHECK(container_resolv_conf(parse_resolv_conf("nameserver 1.1.1.1\nsearch a b\n"
                                                "options rotate\n")) ==
        "nameserver 127.0.0.11\nsearch a b\noptions rotate ndots:0\n");
  CHECK(container_resolv_conf(parse_resolv_conf("options ndots:5\n")) ==
        "nameserver 127.0.0.11\noptions ndots:5\n");
}
