// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "base/result.h"
#include "core/manage/transaction.h"

// What every engine executes: one text, so that a file of one is a file of the other.
namespace weft::store::sql {

// In the file's user_version. A new schema has a new number and an upgrade step.
constexpr int schema_version = 1;

// `barriers` is written before a read that decides: an engine that is no longer the leader fails
// there instead of reading old news.
constexpr const char* create = R"sql(
CREATE TABLE objects (
  kind TEXT NOT NULL, id TEXT NOT NULL, version INTEGER NOT NULL, bytes BLOB NOT NULL,
  PRIMARY KEY (kind, id)) WITHOUT ROWID;
CREATE TABLE claims (
  space TEXT NOT NULL, value TEXT NOT NULL, kind TEXT NOT NULL, id TEXT NOT NULL,
  PRIMARY KEY (space, value)) WITHOUT ROWID;
CREATE INDEX claims_of_object ON claims (kind, id);
CREATE TABLE operations (
  number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, result BLOB NOT NULL);
CREATE TABLE barriers (number INTEGER NOT NULL);
INSERT INTO barriers VALUES (0);
PRAGMA user_version = 1;
)sql";

constexpr const char* version = "PRAGMA user_version";
constexpr const char* begin = "BEGIN IMMEDIATE";
constexpr const char* begin_reading = "BEGIN";
constexpr const char* commit = "COMMIT";
constexpr const char* rollback = "ROLLBACK";

constexpr const char* insert_object =
    "INSERT INTO objects (kind, id, version, bytes) VALUES (?, ?, 1, ?)";
constexpr const char* update_object =
    "UPDATE objects SET version = version + 1, bytes = ? WHERE kind = ? AND id = ? AND version = ?";
constexpr const char* remove_object =
    "DELETE FROM objects WHERE kind = ? AND id = ? AND version = ?";
constexpr const char* drop_claims = "DELETE FROM claims WHERE kind = ? AND id = ?";
constexpr const char* add_claim = "INSERT INTO claims (space, value, kind, id) VALUES (?, ?, ?, ?)";
constexpr const char* claim_owner = "SELECT kind, id FROM claims WHERE space = ? AND value = ?";
constexpr const char* find_operation = "SELECT result FROM operations WHERE id = ?";
constexpr const char* add_operation = "INSERT INTO operations (id, result) VALUES (?, ?)";
constexpr const char* forget_operations =
    "DELETE FROM operations WHERE number <= (SELECT max(number) FROM operations) - ?";

constexpr const char* all_objects =
    "SELECT kind, id, version, bytes FROM objects ORDER BY kind, id";
constexpr const char* all_operations = "SELECT id, result FROM operations";
constexpr const char* raise_barrier = "UPDATE barriers SET number = number + 1";

}  // namespace weft::store::sql

namespace weft::store {

inline Error stale_object(const manage::Write& write) {
  return Error(ErrorCode::conflict, write.kind + " '" + write.id +
                                        "' was changed by somebody else meanwhile: try again");
}

// `owner`: "network 'a'", or empty if it cannot be told.
inline Error taken_claim(const manage::Claim& claim, const std::string& owner) {
  return Error(ErrorCode::conflict, claim.space + " " + claim.value + " already belongs to " +
                                        (owner.empty() ? "somebody" : owner));
}

inline Error newer_schema(const std::string& path, int64_t found) {
  return Error("store " + path + " has schema " + std::to_string(found) +
               ", written by a newer weft: this version knows up to " +
               std::to_string(sql::schema_version) + "; install the newer version");
}

}  // namespace weft::store
