// SPDX-License-Identifier: Apache-2.0
#include "node/identity.h"

#include <charconv>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "io/files.h"
#include "io/pki.h"

namespace weft::node {

namespace {

using Json = nlohmann::json;

constexpr const char* identity_file = "/identity.json";
constexpr const char* epoch_file = "/boot-epoch";

}  // namespace

std::string new_id() {
  static const char digits[] = "0123456789abcdef";
  std::string out;
  for (uint8_t byte : io::random_bytes(16)) {
    out += digits[byte >> 4];
    out += digits[byte & 15];
  }
  return out;
}

Result<Identity> IdentityStore::load() const {
  const std::string path = folder_ + identity_file;
  const std::string text = TRY(io::read_file(path));
  Identity out;
  try {
    const Json json = Json::parse(text);
    out.node_id = json.at("node_id");
    out.cluster_id = json.at("cluster_id");
    out.role = json.at("role");
    out.advertise_address = json.at("advertise_address");
    out.managers = json.at("managers").get<std::vector<std::string>>();
    out.ca_pem = json.at("ca");
    out.certificate_pem = json.at("certificate");
    out.key_pem = json.at("key");
  } catch (const Json::exception&) {
    return Error(path + " is damaged: restore it, or remove it and join the cluster again");
  }
  return out;
}

Result<> IdentityStore::save(const Identity& identity) const {
  const Json json = {{"node_id", identity.node_id},
                     {"cluster_id", identity.cluster_id},
                     {"role", identity.role},
                     {"advertise_address", identity.advertise_address},
                     {"managers", identity.managers},
                     {"ca", identity.ca_pem},
                     {"certificate", identity.certificate_pem},
                     {"key", identity.key_pem}};
  return io::write_file_atomically(folder_ + identity_file, json.dump(2) + "\n", 0600);
}

Result<> IdentityStore::erase() const {
  std::error_code failure;
  // The identity last: a node that is killed meanwhile leaves again.
  for (const char* name : {"/store", "/assignment.pb", "/endpoints.pb", "/identity.json"}) {
    std::filesystem::remove_all(folder_ + name, failure);
    if (failure) return Error("cannot remove " + folder_ + name + ": " + failure.message());
  }
  return Ok;
}

Result<uint64_t> IdentityStore::next_boot_epoch() const {
  const std::string path = folder_ + epoch_file;
  uint64_t epoch = 0;
  if (auto text = io::read_file(path)) {
    const auto parsed = std::from_chars(text->data(), text->data() + text->size(), epoch);
    if (parsed.ec != std::errc())
      return Error(path +
                   " is damaged: write a number into it that is larger than any before, as by "
                   "`date +%s`");
  } else if (text.error().code() != ErrorCode::not_found) {
    return std::move(text).error();
  }
  epoch++;
  TRY(io::write_file_atomically(path, std::to_string(epoch) + "\n", 0600));
  return epoch;
}

}  // namespace weft::node
