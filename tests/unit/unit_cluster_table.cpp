// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <algorithm>
#include <map>

#include "base/rng.h"
#include "core/cluster/table.h"

using namespace weft;
using namespace weft::cluster;
using wire::RecordKind;

namespace {

constexpr Instant now{1h};

bool put(OriginLog& log, uint64_t sequence, std::string_view key, std::string_view value) {
  const bool applied = log.apply(now, {sequence, RecordKind::value, key, value});
  log.cover(sequence - 1, sequence);
  return applied;
}
bool bury(OriginLog& log, uint64_t sequence, std::string_view key) {
  const bool applied = log.apply(now, {sequence, RecordKind::tombstone, key, ""});
  log.cover(sequence - 1, sequence);
  return applied;
}
std::string value_of(const OriginLog& log, std::string_view key) {
  const auto* entry = log.effective(key);
  return entry ? entry->value : "-";
}

}  // namespace

TEST_CASE("writes may arrive in any order, and more than once") {
  struct Write {
    uint64_t sequence;
    std::string key, value;  // no value: a tombstone
  };
  Rng rng(5);
  for (int round = 0; round < 300; ++round) {
    std::vector<Write> writes;
    std::map<std::string, std::string> truth;
    for (uint64_t s = 1; s <= 40; ++s) {
      Write w{s, "k" + std::to_string(rng.below(6)), rng.below(3) ? std::to_string(s) : ""};
      if (w.value.empty())
        truth.erase(w.key);
      else
        truth[w.key] = w.value;
      writes.push_back(w);
    }
    for (size_t i = writes.size(); i > 1; --i) std::swap(writes[i - 1], writes[rng.below(i)]);
    writes.insert(writes.end(), writes.begin(), writes.begin() + 10);
    OriginLog log(1);
    for (const Write& w : writes) {
      if (w.value.empty())
        bury(log, w.sequence, w.key);
      else
        put(log, w.sequence, w.key, w.value);
    }
    CHECK(log.mark() == 40);
    std::map<std::string, std::string> seen;
    log.for_each_effective([&](const auto& key, const auto& entry) { seen[key] = entry.value; });
    CHECK(seen == truth);
  }
}

TEST_CASE("the mark stops at a gap and moves on when it is filled") {
  OriginLog log(1);
  put(log, 1, "a", "1");
  put(log, 3, "c", "3");
  put(log, 5, "e", "5");
  CHECK(log.mark() == 1);
  CHECK(log.covers(3));
  CHECK_FALSE(log.covers(2));
  put(log, 2, "b", "2");
  CHECK(log.mark() == 3);
  log.cover(3, 9);
  CHECK(log.mark() == 9);
}

TEST_CASE("an erased record does not come back after its tombstone was collected") {
  OriginLog log(1);
  put(log, 1, "a", "1");
  bury(log, 2, "a");
  log.collect_tombstones(now + 1ms);
  CHECK_FALSE(log.has_tombstones());
  CHECK(log.floor() == 2);
  CHECK_FALSE(put(log, 1, "a", "1"));
  CHECK(value_of(log, "a") == "-");
  CHECK(log.stored_bytes() == 0);
}

TEST_CASE("a tombstone ahead of a gap is not collected") {
  OriginLog log(1);
  bury(log, 2, "a");
  log.collect_tombstones(now + 1ms);
  CHECK(log.has_tombstones());
  CHECK_FALSE(put(log, 1, "a", "1"));
}

TEST_CASE("the former boot's records stay until the new log is complete") {
  OriginLog log(1);
  put(log, 1, "a", "1");
  put(log, 2, "b", "1");
  put(log, 3, "c", "1");
  log.begin_epoch(2);
  CHECK(log.mark() == 0);
  CHECK(value_of(log, "a") == "1");
  put(log, 1, "a", "2");
  bury(log, 2, "b");
  CHECK(value_of(log, "a") == "2");
  CHECK(value_of(log, "b") == "-");
  // Collecting a tombstone of the new boot must not uncover the old record.
  log.collect_tombstones(now + 1ms);
  CHECK(value_of(log, "b") == "-");
  CHECK_FALSE(log.take_superseded());
  // Complete only when nothing before the baseline is missing.
  log.apply(now, {4, RecordKind::baseline, "", ""});
  log.cover(3, 4);
  CHECK_FALSE(log.complete());
  log.cover(2, 3);
  CHECK(log.complete());
  const auto gone = log.take_superseded();
  REQUIRE(gone);
  CHECK(gone->size() == 1);
  CHECK(gone->contains("c"));
  CHECK(value_of(log, "c") == "-");
}

TEST_CASE("two restarts in a row keep the newest record of each key") {
  OriginLog log(1);
  put(log, 1, "a", "1");
  put(log, 2, "b", "1");
  log.begin_epoch(2);
  put(log, 1, "a", "2");
  bury(log, 2, "b");
  log.begin_epoch(3);
  CHECK(value_of(log, "a") == "2");
  CHECK(value_of(log, "b") == "-");
}

TEST_CASE("ranges ahead of the mark are bounded") {
  OriginLog log(1);
  for (uint64_t s = 2; s < 4000; s += 2) log.cover(s - 1, s);
  CHECK(log.mark() == 0);
  CHECK(log.covers(2));
  CHECK_FALSE(log.covers(3998));
}

TEST_CASE("what belongs to a former stay in a network is void") {
  OriginLog log(1);
  put(log, 1, "a", "1");
  put(log, 2, "b", "1");
  CHECK(log.void_below(3) == std::vector<std::string>{"a", "b"});
  CHECK(log.mark() == 2);
  CHECK_FALSE(put(log, 2, "b", "1"));
  CHECK(put(log, 3, "a", "2"));
}

TEST_CASE("the hash depends on origin, boot and mark, the buckets on the origin alone") {
  NodeId a, b;
  a.bytes.fill(1);
  b.bytes.fill(2);
  CHECK(version_hash({a, 1, 1}) != version_hash({b, 1, 1}));
  CHECK(version_hash({a, 1, 1}) != version_hash({a, 2, 1}));
  CHECK(version_hash({a, 1, 1}) != version_hash({a, 1, 2}));
  CHECK(version_hash({a, 1, 2}) != version_hash({a, 2, 1}));
  CHECK(bucket_of(a, 0) == 0);
  CHECK(bucket_of(a, 9) < 512);
}
