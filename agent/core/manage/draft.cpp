// SPDX-License-Identifier: Apache-2.0
#include "core/manage/draft.h"

namespace weft::manage {

std::string Draft::new_id() {
  static constexpr char digits[] = "0123456789abcdef";
  for (;;) {
    std::string id;
    uint64_t bits = rng_();
    for (int i = 0; i < 16; i++, bits >>= 4) id += digits[bits & 15];
    // All digits would read as a number in some shells and YAML; the first is a letter.
    id[0] = char('a' + id[0] % 6);
    if (!find<api::Network>(id) && !find<api::Service>(id) && !find<api::Task>(id) &&
        !find<api::Endpoint>(id))
      return id;
  }
}

bool Draft::only_endpoints_changed() const {
  const size_t all =
      std::apply([](const auto&... changes) { return (changes.size() + ...); }, changes_);
  const size_t of_endpoints = changed<api::Endpoint>().size() +
                              changed<api::AddressLease>().size() +
                              changed<api::AddressCursor>().size();
  return all > 0 && all == of_endpoints;
}

// Objects that were put back as they were are left out.
Transaction Draft::finish(std::string operation_id, std::string result) const {
  Transaction transaction{std::move(operation_id), std::move(result), {}};
  const auto add = [&]<typename T>(const std::map<std::string, std::optional<T>>& changes) {
    for (const auto& [id, value] : changes) {
      Write write;
      write.kind = kind_of<T>;
      write.id = id;
      if (const auto found = base_.versions.find({write.kind, id}); found != base_.versions.end())
        write.expected_version = found->second;
      write.remove = !value;
      if (value) {
        write.bytes = serialize(*value);
        write.claims = claims_of(*value);
        const auto old = base_.table<T>().find(id);
        if (old != base_.table<T>().end() && serialize(old->second) == write.bytes) continue;
      }
      transaction.writes.push_back(std::move(write));
    }
  };
  std::apply([&](const auto&... changes) { (add(changes), ...); }, changes_);
  return transaction;
}

}  // namespace weft::manage
