// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>
#include <rapidcheck.h>

#include <map>
#include <set>

#include "core/ipam/ipam.h"

using namespace weft;
using namespace weft::ipam;

namespace {

Prefix prefix(const char* text) { return *Prefix::parse(text); }
Address address(const char* text) { return *Address::parse(text); }

// The caller's side: leases with their release time, as the manager keeps them.
struct Leases {
  std::map<Address, Use> uses;
  Address last;
  Look look() {
    return [this](const Address& a) {
      const auto found = uses.find(a);
      return found == uses.end() ? Use{} : found->second;
    };
  }
  Result<Address> take(const Pool& pool, int64_t now_ms) {
    auto chosen = choose(pool, last, look(), WallTime{now_ms});
    if (!chosen) return chosen;
    uses[*chosen] = Use{true, std::nullopt};
    last = *chosen;
    return chosen;
  }
  void release(const Address& a, int64_t now_ms) { uses[a] = Use{false, WallTime{now_ms}}; }
};

}  // namespace

TEST_CASE("addresses come next-fit, without network and broadcast address") {
  const Pool pool = *make_pool(prefix("10.0.9.0/29"), {});
  Leases leases;
  leases.uses[address("10.0.9.1")] = Use{true, {}};
  for (const char* want : {"10.0.9.2", "10.0.9.3", "10.0.9.4", "10.0.9.5", "10.0.9.6"})
    CHECK(leases.take(pool, 0)->to_string() == want);
  const auto full = leases.take(pool, 0);
  REQUIRE(!full);
  CHECK(full.error().code() == ErrorCode::exhausted);
  CHECK(full.error().message() == "all 6 addresses of 10.0.9.0/29 are in use");
}

TEST_CASE("a released address rests, and is handed out early only when nothing else is left") {
  const Pool pool = *make_pool(prefix("10.0.9.0/29"), {});
  Leases leases;
  for (int i = 0; i < 4; i++) (void)*leases.take(pool, 0);
  leases.release(address("10.0.9.2"), 1000);
  leases.release(address("10.0.9.1"), 2000);
  CHECK(leases.take(pool, 3000)->to_string() == "10.0.9.5");
  CHECK(leases.take(pool, 3000)->to_string() == "10.0.9.6");
  // Nothing but resting ones: the oldest first.
  CHECK(leases.take(pool, 3000)->to_string() == "10.0.9.2");
  // After its rest an address is as good as any.
  leases.release(address("10.0.9.4"), 3000);
  CHECK(leases.take(pool, 2000 + 60'000)->to_string() == "10.0.9.1");
}

TEST_CASE("an ip range limits the automatic choice, a requested address may lie outside of it") {
  const Pool pool = *make_pool(prefix("10.20.0.0/24"), prefix("10.20.0.64/30"));
  Leases leases;
  std::set<std::string> got;
  for (int i = 0; i < 4; i++) got.insert(leases.take(pool, 0)->to_string());
  CHECK(got == std::set<std::string>{"10.20.0.64", "10.20.0.65", "10.20.0.66", "10.20.0.67"});
  CHECK(!leases.take(pool, 0));
  CHECK(check_requested(pool, address("10.20.0.9"), leases.look()));
  CHECK(check_requested(pool, address("10.20.0.64"), leases.look()).error().code() ==
        ErrorCode::conflict);
  CHECK(check_requested(pool, address("10.20.1.9"), leases.look()).error().message() ==
        "address 10.20.1.9 is outside subnet 10.20.0.0/24");
  CHECK(check_requested(pool, address("10.20.0.255"), leases.look()).error().message() ==
        "address 10.20.0.255 is reserved: it is the broadcast address of subnet 10.20.0.0/24");
}

TEST_CASE("a subnet or range that cannot work is refused in one sentence") {
  CHECK(make_pool(prefix("10.0.0.0/31"), {}).error().message() ==
        "subnet 10.0.0.0/31 is too small for a gateway and an endpoint: use /30 or larger");
  CHECK(!make_pool(prefix("10.0.0.1/32"), {}));
  CHECK(!make_pool(prefix("fd00::/127"), {}));
  CHECK(make_pool(prefix("fd00::/126"), {}));
  CHECK(!make_pool(prefix("224.1.0.0/24"), {}));
  CHECK(!make_pool(prefix("0.0.0.0/0"), {}));
  CHECK(make_pool(prefix("10.1.0.0/24"), prefix("10.1.0.0/16")).error().message() ==
        "ip range 10.1.0.0/16 is not inside subnet 10.1.0.0/24");
  CHECK(!make_pool(prefix("10.1.0.0/24"), prefix("10.1.0.0/32")));
}

TEST_CASE("an IPv6 subnet reserves its router anycast address and uses the last one") {
  const Pool pool = *make_pool(prefix("fd00::/126"), {});
  Leases leases;
  CHECK(leases.take(pool, 0)->to_string() == "fd00::1");
  CHECK(leases.take(pool, 0)->to_string() == "fd00::2");
  CHECK(leases.take(pool, 0)->to_string() == "fd00::3");
  CHECK(!leases.take(pool, 0));
  const Pool wide = *make_pool(prefix("fd00::/64"), {});
  Leases far;
  far.last = address("fd00::ffff:ffff:ffff:ffff");
  CHECK(far.take(wide, 0)->to_string() == "fd00::1");
}

TEST_CASE("subnets are taken in turn from the pool around networks and routes") {
  const std::vector<Prefix> taken = {prefix("10.0.0.0/20"), prefix("10.0.17.0/24"),
                                     prefix("10.0.18.128/25")};
  CHECK(choose_subnet(prefix("10.0.0.0/8"), 24, {}, taken)->to_string() == "10.0.16.0/24");
  CHECK(choose_subnet(prefix("10.0.0.0/8"), 24, prefix("10.0.16.0/24"), taken)->to_string() ==
        "10.0.19.0/24");
  CHECK(choose_subnet(prefix("10.0.0.0/8"), 24, prefix("10.255.255.0/24"), taken)->to_string() ==
        "10.0.16.0/24");
  CHECK(choose_subnet(prefix("10.0.0.0/23"), 24, {}, taken).error().code() == ErrorCode::exhausted);
}

TEST_CASE("the IPv6 pool of a cluster is a ULA /48 of its own, cut into /64") {
  const Prefix a = unique_local_pool("cluster-a"), b = unique_local_pool("cluster-b");
  CHECK(a != b);
  CHECK(a.length == 48);
  CHECK(a.address.bytes()[0] == 0xfd);
  const Prefix first = *choose_subnet(a, 64, {}, {});
  const Prefix second = *choose_subnet(a, 64, first, std::vector{first});
  CHECK(first.address == a.address);
  CHECK(a.contains(second));
  CHECK(!first.overlaps(second));
  CHECK(second.address.bytes()[7] == 1);
}

TEST_CASE("property: never two owners, never a reserved address, and small ranges are used up") {
  CHECK(rc::check([] {
    const auto length = *rc::gen::inRange<unsigned>(25, 31);
    const Prefix subnet{address("10.7.0.0"), uint8_t(length)};
    const auto range_length = *rc::gen::inRange<unsigned>(length, 31);
    const auto piece = *rc::gen::inRange<unsigned>(0, 1u << (range_length - length));
    const Prefix range{subnet.address.plus(uint64_t(piece) << (32 - range_length)),
                       uint8_t(range_length)};
    const Pool pool = *make_pool(subnet, range);
    Leases leases;
    std::set<Address> owned;
    int64_t now = 0;
    const auto steps = *rc::gen::container<std::vector<int>>(rc::gen::inRange(0, 100));
    for (const int step : steps) {
      now += step * 500;
      if (step % 3 == 0 && !owned.empty()) {
        const Address victim = *std::next(owned.begin(), step % int(owned.size()));
        owned.erase(victim);
        leases.release(victim, now);
        continue;
      }
      const auto got = leases.take(pool, now);
      RC_ASSERT(got.has_value() == (owned.size() < usable(pool)));
      if (!got) continue;
      RC_ASSERT(!is_reserved(subnet, *got));
      RC_ASSERT(range.contains(*got));
      RC_ASSERT(owned.insert(*got).second);
    }
    // Whatever happened before, the whole range can be handed out.
    while (owned.size() < usable(pool)) RC_ASSERT(owned.insert(*leases.take(pool, now)).second);
    RC_ASSERT(!leases.take(pool, now));
  }));
}

TEST_CASE("property: a resting address is never chosen while a rested one is free") {
  CHECK(rc::check([] {
    const Pool pool = *make_pool(prefix("10.7.0.0/28"), {});
    Leases leases;
    std::vector<Address> owned;
    for (int i = 0; i < 10; i++) owned.push_back(*leases.take(pool, 0));
    const auto releases = *rc::gen::inRange<size_t>(1, 10);
    for (size_t i = 0; i < releases; i++) leases.release(owned[i], 1000);
    for (int i = 0; i < 4; i++) {
      const Address got = *leases.take(pool, 2000);
      RC_ASSERT(std::find(owned.begin(), owned.end(), got) == owned.end());
    }
  }));
}
