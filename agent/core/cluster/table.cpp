// SPDX-License-Identifier: Apache-2.0
#include "core/cluster/table.h"

#include <algorithm>
#include <cstring>

namespace weft::cluster {

namespace {

constexpr size_t ranges_ahead = 64;
constexpr size_t entry_overhead = 112;  // tree node and two string headers

uint64_t mix(uint64_t z) {  // finalizer of SplitMix64
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
  return z ^ (z >> 31);
}

uint64_t id_hash(const NodeId& id) {
  uint64_t words[2];
  std::memcpy(words, id.bytes.data(), sizeof words);
  // The same on every byte order, or two nodes would never agree.
  if constexpr (std::endian::native == std::endian::big) {
    words[0] = __builtin_bswap64(words[0]);
    words[1] = __builtin_bswap64(words[1]);
  }
  return mix(words[0] + 0x9e3779b97f4a7c15ull * mix(words[1] + 1));
}

}  // namespace

uint64_t version_hash(const wire::Version& v) {
  return mix(id_hash(v.origin) ^ mix(v.boot_epoch * 0x9e3779b97f4a7c15ull + mix(v.mark + 1)));
}

uint16_t salted_hash(const wire::Version& v, uint32_t salt) {
  return uint16_t(mix(version_hash(v) + salt) >> 48);
}

uint16_t bucket_of(const NodeId& origin, uint8_t log2_buckets) {
  return uint16_t(id_hash(origin) & ((uint64_t(1) << log2_buckets) - 1));
}

void OriginLog::account(const std::string& key, const Entry& entry, int sign) {
  const size_t bytes = entry_overhead + key.size() + entry.value.size();
  stored_bytes_ += sign > 0 ? bytes : -bytes;
  if (entry.kind == wire::RecordKind::tombstone) tombstones_ += size_t(sign);
}

bool OriginLog::complete() const {
  const auto baseline = records_.find(std::string_view());
  return baseline != records_.end() && baseline->second.sequence <= mark_;
}

bool OriginLog::covers(uint64_t sequence) const {
  if (sequence <= mark_) return true;
  for (const Range& range : ahead_) {
    if (sequence > range.from && sequence <= range.through) return true;
  }
  return false;
}

const OriginLog::Entry* OriginLog::effective(std::string_view key) const {
  if (const auto it = records_.find(key); it != records_.end()) {
    return it->second.kind == wire::RecordKind::value ? &it->second : nullptr;
  }
  if (!previous_) return nullptr;
  const auto it = previous_->find(key);
  return it == previous_->end() ? nullptr : &it->second;
}

void OriginLog::begin_epoch(uint64_t boot_epoch) {
  auto merged = std::make_unique<Records>();
  stored_bytes_ = 0;
  tombstones_ = 0;
  auto keep = [&](Records& from) {
    for (auto it = from.begin(); it != from.end();) {
      auto node = from.extract(it++);
      if (node.mapped().kind == wire::RecordKind::value) merged->insert(std::move(node));
    }
  };
  // A key erased in the boot that ends must not reappear from the one before.
  if (previous_) {
    for (const auto& [key, entry] : records_) previous_->erase(key);
    keep(*previous_);
  }
  keep(records_);
  records_.clear();
  for (const auto& [key, entry] : *merged) account(key, entry, +1);
  previous_ = merged->empty() ? nullptr : std::move(merged);
  ahead_.clear();
  boot_epoch_ = boot_epoch;
  mark_ = floor_ = 0;
}

bool OriginLog::apply(Instant now, const wire::Record& record) {
  if (covers(record.sequence)) return false;
  auto it = records_.find(record.key);
  if (it == records_.end()) {
    it = records_.emplace(std::string(record.key), Entry{}).first;
  } else {
    if (it->second.sequence >= record.sequence) return false;
    account(it->first, it->second, -1);
  }
  it->second = Entry{record.sequence, now, record.kind, std::string(record.value)};
  account(it->first, it->second, +1);
  return true;
}

void OriginLog::cover(uint64_t from, uint64_t through) {
  if (through <= mark_) return;
  if (from <= mark_) {
    mark_ = through;
  } else {
    // Merge into the ordered list of ranges.
    Range added{from, through};
    std::vector<Range> merged;
    merged.reserve(ahead_.size() + 1);
    for (const Range& range : ahead_) {
      if (range.through < added.from || range.from > added.through) {
        merged.push_back(range);
      } else {
        added = {std::min(added.from, range.from), std::max(added.through, range.through)};
      }
    }
    const auto place = std::find_if(merged.begin(), merged.end(),
                                    [&](const Range& range) { return range.from > added.from; });
    merged.insert(place, added);
    if (merged.size() > ranges_ahead) merged.resize(ranges_ahead);
    ahead_ = std::move(merged);
  }
  size_t absorbed = 0;
  for (const Range& range : ahead_) {
    if (range.from > mark_) break;
    mark_ = std::max(mark_, range.through);
    ++absorbed;
  }
  ahead_.erase(ahead_.begin(), ahead_.begin() + ptrdiff_t(absorbed));
}

std::unique_ptr<OriginLog::Records> OriginLog::take_superseded() {
  if (!previous_ || !complete()) return nullptr;
  for (const auto& [key, entry] : *previous_) account(key, entry, -1);
  auto out = std::move(previous_);
  std::erase_if(*out, [&](const auto& item) { return records_.contains(item.first); });
  return out;
}

std::vector<std::string> OriginLog::discard_previous() {
  std::vector<std::string> gone;
  if (!previous_) return gone;
  for (const auto& [key, entry] : *previous_) {
    account(key, entry, -1);
    if (!records_.contains(key)) gone.push_back(key);
  }
  previous_.reset();
  return gone;
}

std::vector<std::string> OriginLog::unlisted(uint64_t through,
                                             const std::vector<uint64_t>& keep) const {
  std::vector<std::string> keys;
  for (const auto& [key, entry] : records_) {
    if (entry.sequence > through) continue;
    if (!std::binary_search(keep.begin(), keep.end(), entry.sequence)) keys.push_back(key);
  }
  return keys;
}

void OriginLog::drop(std::string_view key) {
  if (const auto it = records_.find(key); it != records_.end()) remove(it);
}

// The former boot's record of the same key was replaced by this one: it goes too, or it would be
// visible again.
OriginLog::Records::iterator OriginLog::remove(Records::iterator it) {
  if (previous_) {
    if (const auto old = previous_->find(it->first); old != previous_->end()) {
      account(old->first, old->second, -1);
      previous_->erase(old);
    }
  }
  account(it->first, it->second, -1);
  return records_.erase(it);
}

std::vector<std::string> OriginLog::void_below(uint64_t base) {
  std::vector<std::string> gone;
  for (auto it = records_.begin(); it != records_.end();) {
    if (it->second.sequence >= base) {
      ++it;
      continue;
    }
    if (it->second.kind == wire::RecordKind::value) gone.push_back(it->first);
    it = remove(it);
  }
  if (base > 0) {
    cover(0, base - 1);
    raise_floor(base - 1);
  }
  return gone;
}

void OriginLog::collect_tombstones(Instant before) {
  if (tombstones_ == 0) return;
  for (auto it = records_.begin(); it != records_.end();) {
    const Entry& entry = it->second;
    const bool collect = entry.kind == wire::RecordKind::tombstone && entry.since < before &&
                         entry.sequence <= mark_;  // the floor must be covered
    if (!collect) {
      ++it;
      continue;
    }
    raise_floor(entry.sequence);
    it = remove(it);
  }
}

}  // namespace weft::cluster
