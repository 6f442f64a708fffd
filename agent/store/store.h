// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "base/result.h"
#include "core/manage/transaction.h"

namespace weft::store {

// What a store holds when it is opened.
struct Snapshot {
  std::vector<manage::StoredObject> objects;
  // Results of the newest transactions by operation id.
  std::map<std::string, std::string> results;
};

struct Committed {
  bool repeated = false;  // this operation id was committed before: nothing was changed now
  std::string result;     // of the first time
};

// The managers' memory. A transaction is acknowledged when it survives the loss of this process
// (and, replicated, of a minority of managers). One transaction is under way at a time: the caller
// waits for the answer before it commits the next.
class Store {
 public:
  using Answer = std::function<void(Result<Committed>)>;

  virtual ~Store() = default;
  virtual Result<Snapshot> load() = 0;
  // May answer before it returns. Errors: conflict (a claim is taken or an object is not at the
  // expected version; nothing was changed), failed (not acknowledged: after a restart it may turn
  // out to have been committed, and the same operation id tells).
  virtual void commit(const manage::Transaction& transaction, Answer answer) = 0;
};

// Operation ids are remembered for at least this many transactions.
constexpr int remembered_operations = 4096;

}  // namespace weft::store
