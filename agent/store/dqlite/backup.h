// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "store/dqlite/client.h"

namespace weft::store::dqlite {

// Makes one sqlite file at `path` of a dump, atomically; `scratch` is a folder for what is between.
Result<> write_backup(const Files& dump, const std::string& scratch, const std::string& path);

// Whether a dump is a sound database.
Result<> check_dump(const Files& dump, const std::string& scratch);

// All rows of a backup as the statements that put them into an empty database. The backup is not
// changed. Error: it is damaged, no store, or of a newer version.
Result<std::vector<Client::Statement>> read_backup(const std::string& path,
                                                   const std::string& scratch);

}  // namespace weft::store::dqlite
