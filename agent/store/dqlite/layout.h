// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "base/result.h"
#include "store/dqlite_store.h"

// The files of a member: member, raft/ (the library's), backup.db.
namespace weft::store::dqlite {

// Of the library, in raft/.
constexpr const char* database_name = "weft";

std::string raft_folder(const std::string& directory);
std::string member_file(const std::string& directory);
std::string backup_file(const std::string& directory);

// ErrorCode::not_found: there is none.
Result<MemberIdentity> read_member(const std::string& directory);
Result<> write_member(const std::string& directory, const MemberIdentity& member);
std::string new_generation();

// A member that has run before has these files; without them it would start with an empty log and
// vote for it.
Result<> check_has_log(const std::string& directory);

// The library preallocates its log in pieces and copes badly with a disk that fills up in the
// middle: writes are refused before.
Result<> check_space(const std::string& directory);

}  // namespace weft::store::dqlite
