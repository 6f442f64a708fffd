// SPDX-License-Identifier: Apache-2.0
// A manager's store in a process of its own, with TLS and the managers' port on a loopback address:
// to be killed, stopped and cut off.
#pragma once

#include <sys/types.h>

#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "base/fd.h"
#include "base/mailbox.h"
#include "io/tls.h"
#include "store/dqlite_store.h"

namespace weft::test {

// What a command to a store process came to.
struct StoreReply {
  bool ok = false;
  std::string code;  // of an error: "conflict"
  std::string text;  // the result, or the error's sentence
};

class StoreProcess {
 public:
  struct Settings {
    std::string name;       // node id in the certificate
    std::string directory;  // of the store
    std::string address;    // 127.x.y.z:port
    io::TlsIdentity identity;
    Duration dump_interval{};
    Duration network_latency = store::DqliteStore::Settings().network_latency;
  };
  // `start`: "create", "open" or "join ID GENERATION". The caller must have no threads.
  StoreProcess(const Settings& settings, const std::string& start);
  // Kills it.
  ~StoreProcess();
  StoreProcess(const StoreProcess&) = delete;

  // "ready", or why the store did not start.
  const StoreReply& started();
  // Sends a command and waits for the reply. Commands: see store_process.cpp.
  StoreReply call(const std::string& command, Duration timeout = 15s);
  // Without waiting: a number for reply().
  uint64_t send(const std::string& command);
  // Not ok with code "silent" if nothing came in time, "dead" if the process is gone.
  StoreReply reply(uint64_t number, Duration timeout);
  bool replied(uint64_t number);

  void kill();   // SIGKILL, and waits until it is gone
  void pause();  // SIGSTOP
  void resume();
  bool leads() { return call("leader").text == "self"; }

 private:
  // False: nothing came in time, or the process is gone.
  bool receive(Duration timeout);
  std::string how_it_died();

  pid_t pid_ = -1;
  Fd control_;
  uint64_t next_ = 1;
  bool dead_ = false;
  std::map<uint64_t, StoreReply> replies_;
};

}  // namespace weft::test
