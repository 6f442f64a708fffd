// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <algorithm>

#include "base/rng.h"
#include "core/cluster/types.h"
#include "io/sealed/sealer.h"

using namespace weft;
using weft::io::Sealer;
using Drop = Sealer::Drop;

static_assert(cluster::Limits::packet_bytes <= Sealer::plaintext_bytes);

namespace {

Sealer::SenderId sender(uint8_t n) {
  Sealer::SenderId id{};
  id.fill(n);
  return id;
}
Sealer::Key key(uint32_t epoch) {
  Sealer::Key k{epoch, {}};
  k.bytes.fill(uint8_t(epoch * 37 + 1));
  return k;
}
Bytes text(std::string_view s) { return Bytes(s.begin(), s.end()); }

Bytes sealed(Sealer& s, std::string_view content) { return s.seal(view_of(content)).value(); }

bool opens(Sealer& s, ByteView datagram) {
  return std::holds_alternative<Sealer::Opened>(s.open(datagram));
}
Drop dropped(Sealer& s, ByteView datagram) {
  auto outcome = s.open(datagram);
  REQUIRE(std::holds_alternative<Drop>(outcome));
  return std::get<Drop>(outcome);
}

}  // namespace

TEST_CASE("what one node seals another opens, with sender, boot and key epoch") {
  Sealer a(sender(1), 100, {{}, key(5), {}});
  Sealer b(sender(2), 7, {{}, key(5), {}});
  for (const std::string& content : {std::string("hello"), std::string(), std::string(1317, 'x')}) {
    const Bytes datagram = sealed(a, content);
    CHECK(datagram.size() == content.size() + Sealer::overhead_bytes_min);
    CHECK(datagram.size() <= 1372);
    auto outcome = b.open(datagram);
    REQUIRE(std::holds_alternative<Sealer::Opened>(outcome));
    const auto& opened = std::get<Sealer::Opened>(outcome);
    CHECK(opened.plaintext == text(content));
    CHECK(opened.sender == sender(1));
    CHECK(opened.boot_epoch == 100);
    CHECK(opened.key_epoch == 5);
  }
  CHECK(a.seal(Bytes(Sealer::plaintext_bytes + 1)).error().code() == ErrorCode::invalid);
  CHECK(b.counters().opened == 3);
  CHECK(a.counters().sealed == 3);
}

TEST_CASE("a replay is dropped, whatever the order of arrival within the window") {
  Sealer a(sender(1), 1, {{}, key(1), {}});
  Sealer b(sender(2), 1, {{}, key(1), {}});
  std::vector<Bytes> datagrams;
  for (int i = 0; i < 6000; ++i) datagrams.push_back(sealed(a, std::to_string(i)));
  Rng rng(1);
  // Shuffle within blocks smaller than the window.
  for (size_t block = 0; block + 1000 <= datagrams.size(); block += 1000) {
    for (size_t i = 999; i > 0; --i) {
      std::swap(datagrams[block + i], datagrams[block + rng.below(i + 1)]);
    }
  }
  for (const Bytes& datagram : datagrams) CHECK(opens(b, datagram));
  for (size_t i = 5000; i < 6000; ++i) CHECK(dropped(b, datagrams[i]) == Drop::replay);
  CHECK(dropped(b, datagrams[100]) == Drop::too_old);
  CHECK(b.counters().opened == 6000);
  CHECK(b.counters().dropped_for(Drop::replay) == 1000);
}

TEST_CASE("the window holds exactly its size") {
  Sealer a(sender(1), 1, {{}, key(1), {}});
  Sealer b(sender(2), 1, {{}, key(1), {}});
  std::vector<Bytes> datagrams;  // counter i + 1
  for (uint64_t i = 0; i < Sealer::replay_window + 2; ++i) datagrams.push_back(sealed(a, "x"));
  CHECK(opens(b, datagrams.back()));
  CHECK(dropped(b, datagrams[0]) == Drop::too_old);
  CHECK(dropped(b, datagrams[1]) == Drop::too_old);
  CHECK(opens(b, datagrams[2]));
  CHECK(dropped(b, datagrams[2]) == Drop::replay);
  CHECK(opens(b, datagrams[70]));
}

TEST_CASE("a datagram cut at any length is dropped and does no harm") {
  Sealer a(sender(1), 1, {{}, key(1), {}});
  Sealer b(sender(2), 1, {{}, key(1), {}});
  const Bytes datagram = sealed(a, "some content of the cluster");
  for (size_t length = 0; length < datagram.size(); ++length) {
    const Drop reason = dropped(b, ByteView(datagram).first(length));
    CHECK(reason == (length < Sealer::overhead_bytes_min ? Drop::truncated : Drop::forged));
  }
  CHECK(dropped(b, Bytes(Sealer::datagram_bytes + 1)) == Drop::oversize);
  CHECK(opens(b, datagram));
}

TEST_CASE("one flipped bit anywhere is noticed") {
  Sealer a(sender(1), 1, {{}, key(1), {}});
  Sealer b(sender(2), 1, {{}, key(1), {}});
  const Bytes datagram = sealed(a, "content");
  for (size_t bit = 0; bit < datagram.size() * 8; ++bit) {
    Bytes flipped = datagram;
    flipped[bit / 8] ^= uint8_t(1 << (bit % 8));
    CHECK_FALSE(opens(b, flipped));
  }
  // None of them has moved the replay window or the boot epoch.
  CHECK(opens(b, datagram));
}

TEST_CASE("a foreign key is not accepted, the three of the ring are") {
  Sealer a(sender(1), 1, {{}, key(3), {}});
  Sealer b(sender(2), 1, {key(2), key(3), key(4)});
  CHECK(opens(b, sealed(a, "current")));
  a.set_keys({{}, key(2), {}});
  CHECK(opens(b, sealed(a, "previous")));
  a.set_keys({{}, key(4), {}});
  CHECK(opens(b, sealed(a, "next")));
  a.set_keys({{}, key(9), {}});
  CHECK(dropped(b, sealed(a, "another epoch")) == Drop::unknown_key);
  Sealer::Key foreign = key(3);
  foreign.bytes[0] ^= 1;
  a.set_keys({{}, foreign, {}});
  CHECK(dropped(b, sealed(a, "another cluster")) == Drop::forged);
  // A replay under another key of the ring does not get around the window either.
  a.set_keys({{}, key(3), {}});
  const Bytes datagram = sealed(a, "once");
  CHECK(opens(b, datagram));
  b.set_keys({key(3), key(4), {}});
  CHECK(dropped(b, datagram) == Drop::replay);
}

TEST_CASE(
    "after a restart the counter starts anew under another subkey, and the old boot is over") {
  Sealer first(sender(1), 10, {{}, key(1), {}});
  Sealer second(sender(1), 11, {{}, key(1), {}});
  Sealer b(sender(2), 1, {{}, key(1), {}});
  // Same key, same counter, same content: if the nonce met the same subkey, these would be equal.
  const Bytes before = sealed(first, "same content"), after = sealed(second, "same content");
  CHECK_FALSE(std::equal(before.begin() + 20, before.end(), after.begin() + 20));
  CHECK(opens(b, before));
  CHECK(opens(b, after));
  CHECK(dropped(b, sealed(first, "from the old boot")) == Drop::old_boot);
  CHECK(dropped(b, after) == Drop::replay);
  CHECK(opens(b, sealed(second, "next")));
}

TEST_CASE("two senders never share a subkey") {
  Sealer a(sender(1), 10, {{}, key(1), {}});
  Sealer c(sender(3), 10, {{}, key(1), {}});
  const Bytes one = sealed(a, "same content"), other = sealed(c, "same content");
  CHECK_FALSE(std::equal(one.begin() + 20, one.end(), other.begin() + 20));
}

TEST_CASE("a removed node's datagrams are dropped, and our own") {
  Sealer a(sender(1), 1, {{}, key(1), {}});
  Sealer b(sender(2), 1, {{}, key(1), {}});
  CHECK(opens(b, sealed(a, "x")));
  b.set_removed({sender(1)});
  CHECK(dropped(b, sealed(a, "x")) == Drop::removed);
  CHECK(dropped(b, sealed(b, "x")) == Drop::own);
  b.set_removed({});
  CHECK(opens(b, sealed(a, "x")));
}

TEST_CASE("the largest header and content fit the datagram") {
  Sealer a(sender(1), ~uint64_t(0), {{}, key(~uint32_t(0)), {}});
  Sealer b(sender(2), 1, {{}, key(~uint32_t(0)), {}});
  const Bytes datagram = sealed(a, std::string(Sealer::plaintext_bytes, 'x'));
  CHECK(datagram.size() <= Sealer::datagram_bytes);
  CHECK(opens(b, datagram));
}
