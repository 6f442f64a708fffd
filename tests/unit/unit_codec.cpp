// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>
#include <google/protobuf/stubs/logging.h>

#include "base/rng.h"
#include "core/codec/endpoint_record.h"

using namespace weft;
using namespace weft::codec;

namespace {

EndpointRecord sample() {
  EndpointRecord r;
  r.address4 = *Address::parse("10.0.1.3");
  r.address6 = *Address::parse("fd00::3");
  r.mac = *Mac::parse("02:42:0a:00:01:03");
  r.state = EndpointState::draining;
  r.service_id = "service";
  r.task_id = "task";
  r.slot = 7;
  r.name = "web.7.task";
  r.hostname = "host";
  r.aliases = {"a", "b"};
  r.weight = 5;
  return r;
}

}  // namespace

TEST_CASE("an endpoint record survives its encoding") {
  CHECK(*decode_endpoint_record(encode(sample())) == sample());
  EndpointRecord small;
  small.mac = sample().mac;
  CHECK(*decode_endpoint_record(encode(small)) == small);
}

TEST_CASE("an endpoint record with a multicast MAC, a short address or of garbage is refused") {
  EndpointRecord multicast = sample();
  multicast.mac.bytes[0] = 0x01;
  CHECK(!decode_endpoint_record(encode(multicast)));
  CHECK(!decode_endpoint_record(std::string("\x0a\x03\x01\x02\x03", 5)));
  CHECK(!decode_endpoint_record("\xff\xff\xff"));
  CHECK(!decode_endpoint_record(""));
}

TEST_CASE("no bytes crash the decoder of endpoint records") {
  google::protobuf::SetLogHandler(nullptr);  // it would print each refusal
  Rng rng(1);
  const std::string good = encode(sample());
  size_t refused = 0;
  for (int i = 0; i < 5000; i++) {
    std::string bytes = good;
    for (int flips = 0; flips < 4; flips++) bytes[rng.below(bytes.size())] = char(rng());
    bytes.resize(rng.below(bytes.size() + 1));
    refused += !decode_endpoint_record(bytes);
  }
  CHECK(refused > 0);
}
