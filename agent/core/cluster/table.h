// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/cluster/types.h"
#include "core/cluster/wire.h"

namespace weft::cluster {

// What one node knows of one owner's writes in one scope.
//
// Every write of the owner has a sequence, from 1 up, in its current boot epoch. Only the newest
// write of a key is kept. A sequence is *covered* when this node has that write or knows that it
// was replaced; everything up to `mark` is covered, and some ranges ahead of it. A covered write is
// never applied again: that is what keeps an erased record from coming back. The version vector
// carries marks, so a gap is always asked for.
//
// Tombstones up to `floor` may have been collected. Whoever is behind the floor gets a snapshot,
// which removes what it does not list.
//
// When the owner restarts, the records of its former boot stay in `previous`, and visible, until
// the owner has written its baseline record: then what it did not write again vanishes at once.
class OriginLog {
 public:
  struct Entry {
    uint64_t sequence = 0;
    Instant since;  // when this node applied it
    wire::RecordKind kind{};
    std::string value;
  };
  using Records = std::map<std::string, Entry, std::less<>>;

  explicit OriginLog(uint64_t boot_epoch) : boot_epoch_(boot_epoch) {}

  uint64_t boot_epoch() const { return boot_epoch_; }
  uint64_t mark() const { return mark_; }
  uint64_t last() const { return ahead_.empty() ? mark_ : ahead_.back().through; }
  uint64_t floor() const { return floor_; }
  const Records& records() const { return records_; }
  const Records* previous() const { return previous_.get(); }
  size_t size() const { return records_.size() + (previous_ ? previous_->size() : 0); }
  size_t stored_bytes() const { return stored_bytes_; }
  bool has_tombstones() const { return tombstones_ > 0; }
  // The owner said that everything it holds is in this log, up to a sequence that is covered.
  bool complete() const;

  bool covers(uint64_t sequence) const;
  // The record that counts for `key`: null if there is none or it is erased.
  const Entry* effective(std::string_view key) const;
  template <typename F>
  void for_each_effective(F&& visit) const {
    for (const auto& [key, entry] : records_) {
      if (entry.kind == wire::RecordKind::value) visit(key, entry);
    }
    if (!previous_) return;
    for (const auto& [key, entry] : *previous_) {
      if (!records_.contains(key)) visit(key, entry);
    }
  }

  // The owner booted again: what is here becomes `previous`.
  void begin_epoch(uint64_t boot_epoch);
  // Applies a write; false if it is covered, or older than what is kept.
  bool apply(Instant now, const wire::Record& record);
  // (from, through] is known completely. Ranges ahead of the mark are bounded; the excess is
  // forgotten and asked for again.
  void cover(uint64_t from, uint64_t through);
  // Once complete, takes what remains of the former boot, for the caller to announce as erased.
  std::unique_ptr<Records> take_superseded();
  // The former boot's records belong to a stay in the scope that has ended.
  // Returns its keys that were visible.
  std::vector<std::string> discard_previous();
  // Keys with a sequence up to `through` that `keep` (ascending sequences) does not list.
  std::vector<std::string> unlisted(uint64_t through, const std::vector<uint64_t>& keep) const;
  // Forgets a key without a trace.
  void drop(std::string_view key);
  // Writes below `base` belong to a former stay of the owner in this scope. Returns the visible
  // keys that vanish.
  std::vector<std::string> void_below(uint64_t base);
  // A snapshot up to `floor` was applied: older tombstones are unknown here.
  void raise_floor(uint64_t floor) { floor_ = std::max(floor_, floor); }
  // Collects tombstones applied before `before`.
  void collect_tombstones(Instant before);

  // Bookkeeping of the engine.
  bool shown = false;       // its records are visible now
  bool ever_shown = false;  // callers have heard of its records
  Instant pulled_at{};      // when its missing part was last asked for
  Instant inactive_since{};

 private:
  Records::iterator remove(Records::iterator it);
  void account(const std::string& key, const Entry& entry, int sign);

  uint64_t boot_epoch_ = 0;
  uint64_t mark_ = 0;
  uint64_t floor_ = 0;
  struct Range {
    uint64_t from, through;  // (from, through]
  };
  std::vector<Range> ahead_;  // ascending, apart, above mark_
  Records records_;
  std::unique_ptr<Records> previous_;
  size_t tombstones_ = 0;
  size_t stored_bytes_ = 0;
};

// The share of one log in the hash of its scope.
uint64_t version_hash(const wire::Version& version);
// The same as a part of a digest's bucket: another salt, other collisions.
uint16_t salted_hash(const wire::Version& version, uint32_t salt);
// Bucket of an origin, of 2^log2 buckets.
uint16_t bucket_of(const NodeId& origin, uint8_t log2_buckets);

}  // namespace weft::cluster
