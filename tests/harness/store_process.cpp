// SPDX-License-Identifier: Apache-2.0
#include "harness/store_process.h"

#include <doctest/doctest.h>
#include <poll.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include <cstdlib>
#include <fstream>
#include <functional>
#include <sstream>

#include "io/loop.h"
#include "io/rpc.h"
#include "io/tls_tunnel.h"

namespace weft::test {
namespace {

using store::DqliteStore;
using store::MemberRole;

constexpr size_t max_message = 180 << 10;

// Commands, each answered once:
//   put OP ID VERSION BYTES [VALUE]   one object "network ID", claiming ("vni", VALUE)
//   bulk OP PREFIX COUNT BYTES        a transaction of COUNT objects, each with a claim
//   list                              load(): "ID=BYTES ..."
//   leader                            "self", or the leader's address, or "nobody"
//   changes                           how often that has changed
//   add ID ADDRESS ROLE | role ID ROLE | remove ID | transfer ID | members
//   generation | backup PATH | memory | processor
//   cut [NAME@ADDRESS ...]            no connection with these members, until the next cut
class Child {
 public:
  Child(const StoreProcess::Settings& settings, Fd control)
      : settings_(settings), control_(std::move(control)) {}

  [[noreturn]] void run(const std::string& start) {
    auto done = open(start);
    answer(0, done ? Result<std::string>("ready") : Result<std::string>(done.error()));
    if (!done) ::_exit(0);
    const auto watch = loop_.watch_read(control_.get(), [this] { serve(); });
    loop_.run();
    ::_exit(0);
  }

 private:
  Result<> open(const std::string& start);
  DqliteStore::Settings store_settings();
  void accept(std::unique_ptr<io::TlsStream> stream);
  void serve();
  void serve(uint64_t number, std::istringstream& command);
  void put(uint64_t number, std::istringstream& command);
  void bulk(uint64_t number, std::istringstream& command);
  void commit(uint64_t number, const manage::Transaction& transaction);
  void list(uint64_t number);
  void member(uint64_t number, const std::string& verb, std::istringstream& command);
  void cut(std::istringstream& command);
  std::string leader() const;
  DqliteStore::Done finish(uint64_t number) {
    return [this, number](Result<> done) {
      answer(number, done ? Result<std::string>("done") : Result<std::string>(done.error()));
    };
  }
  void answer(uint64_t number, const Result<std::string>& result) {
    const std::string text =
        std::to_string(number) +
        (result ? " ok - " + *result
                : " no " + std::string(io::error_code_name(result.error().code())) + " " +
                      result.error().message());
    (void)!::send(control_.get(), text.data(), text.size(), MSG_NOSIGNAL);
  }

  StoreProcess::Settings settings_;
  Fd control_;
  io::Loop loop_;
  std::unique_ptr<io::TlsTunnel> tunnel_;
  std::unique_ptr<io::RpcServer> server_;
  std::unique_ptr<DqliteStore> store_;
  int changes_ = 0;
  // Read by the library's threads.
  Mailbox<std::set<std::string>> cut_;
};

bool holds(const Mailbox<std::set<std::string>>& cut, const std::string& what) {
  const auto now = cut.get();
  return now && now->contains(what);
}

DqliteStore::Settings Child::store_settings() {
  DqliteStore::Settings settings;
  settings.directory = settings_.directory;
  settings.dump_interval = settings_.dump_interval;
  settings.network_latency = settings_.network_latency;
  settings.on_leadership = [this](const store::Leadership&) { ++changes_; };
  settings.post = [this](std::function<void()> fn) { loop_.post(std::move(fn)); };
  settings.connect = [this](const std::string& address) -> Result<Fd> {
    if (holds(cut_, address)) return Error(ErrorCode::unavailable, "cut");
    return tunnel_->connect(TRY(SocketAddress::parse(address)));
  };
  return settings;
}

Result<> Child::open(const std::string& start) {
  io::TlsTunnel::Settings tunnel;
  tunnel.protocol = "weft-raft";
  tunnel.on_lost = [this] {
    loop_.post([this] {
      if (store_) store_->peer_lost();
    });
  };
  tunnel_ = TRY(io::TlsTunnel::start(std::move(tunnel), settings_.identity));
  server_ = TRY(io::RpcServer::listen(loop_, TRY(SocketAddress::parse(settings_.address)),
                                      settings_.identity, {}));
  TRY(server_->add_protocol(
      "weft-raft", [this](std::unique_ptr<io::TlsStream> stream) { accept(std::move(stream)); },
      "manager"));
  std::istringstream words(start);
  std::string how;
  words >> how;
  if (how == "create") {
    store_ = TRY(DqliteStore::create(store_settings(), settings_.address));
  } else if (how == "join") {
    store::Member self{0, settings_.address, MemberRole::voter};
    std::string generation;
    words >> self.id >> generation;
    store_ = TRY(DqliteStore::join(store_settings(), self, generation));
  } else {
    store_ = TRY(DqliteStore::open(store_settings()));
  }
  tunnel_->open(store_->greeting(), [this] { return store_->connect_local(); });
  return Ok;
}

void Child::accept(std::unique_ptr<io::TlsStream> stream) {
  if (!holds(cut_, stream->peer().node_id)) tunnel_->accept(std::move(stream));
}

void Child::serve() {
  std::string message(max_message, '\0');
  const ssize_t size = ::recv(control_.get(), message.data(), message.size(), MSG_DONTWAIT);
  if (size == 0) ::_exit(0);
  if (size < 0) return;
  std::istringstream command(message.substr(0, size_t(size)));
  uint64_t number = 0;
  command >> number;
  serve(number, command);
}

void Child::serve(uint64_t number, std::istringstream& command) {
  std::string verb;
  command >> verb;
  if (verb == "put") return put(number, command);
  if (verb == "bulk") return bulk(number, command);
  if (verb == "list") return list(number);
  if (verb == "leader") return answer(number, leader());
  if (verb == "changes") return answer(number, std::to_string(changes_));
  if (verb == "generation") return answer(number, store_->identity().generation);
  if (verb == "cut") {
    cut(command);
    return answer(number, std::string("done"));
  }
  if (verb == "backup") {
    std::string path;
    command >> path;
    return store_->backup(path, finish(number));
  }
  if (verb == "memory") {
    std::ifstream status("/proc/self/status");
    for (std::string line; std::getline(status, line);)
      if (line.starts_with("VmRSS:")) return answer(number, line.substr(6));
  }
  if (verb == "processor") {
    rusage usage{};
    ::getrusage(RUSAGE_SELF, &usage);
    const auto us = (usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1'000'000 +
                    usage.ru_utime.tv_usec + usage.ru_stime.tv_usec;
    return answer(number, std::to_string(us));
  }
  member(number, verb, command);
}

std::string Child::leader() const {
  const store::Leadership now = store_->leadership();
  return now.self ? "self" : now.leader == 0 ? "nobody" : now.address;
}

void Child::put(uint64_t number, std::istringstream& command) {
  manage::Transaction transaction;
  manage::Write write{"network", "", 0, false, "", {}};
  std::string claim;
  command >> transaction.operation_id >> write.id >> write.expected_version >> write.bytes;
  if (command >> claim) write.claims.push_back({"vni", claim});
  transaction.result = "result-of-" + transaction.operation_id;
  transaction.writes.push_back(std::move(write));
  commit(number, transaction);
}

void Child::bulk(uint64_t number, std::istringstream& command) {
  manage::Transaction transaction;
  std::string prefix;
  size_t count = 0, bytes = 0;
  command >> transaction.operation_id >> prefix >> count >> bytes;
  for (size_t i = 0; i < count; i++) {
    const std::string id = prefix + std::to_string(i);
    transaction.writes.push_back({"network", id, 0, false, std::string(bytes, 'x'), {{"vni", id}}});
  }
  commit(number, transaction);
}

void Child::commit(uint64_t number, const manage::Transaction& transaction) {
  store_->commit(transaction, [this, number](Result<store::Committed> done) {
    if (done)
      answer(number, (done->repeated ? "repeated " : "committed ") + done->result);
    else
      answer(number, done.error());
  });
}

void Child::list(uint64_t number) {
  store_->load([this, number](Result<store::Snapshot> snapshot) {
    if (!snapshot) return answer(number, snapshot.error());
    std::string text;
    for (const auto& object : snapshot->objects) text += object.id + "=" + object.bytes + " ";
    answer(number, text);
  });
}

void Child::member(uint64_t number, const std::string& verb, std::istringstream& command) {
  static const std::map<std::string, MemberRole> roles = {
      {"voter", MemberRole::voter}, {"standby", MemberRole::standby}, {"spare", MemberRole::spare}};
  uint64_t id = 0;
  std::string address, role;
  if (verb == "members")
    return store_->members([this, number](Result<std::vector<store::Member>> members) {
      if (!members) return answer(number, members.error());
      std::string text;
      for (const auto& member : *members)
        for (const auto& [name, value] : roles)
          if (value == member.role)
            text += std::to_string(member.id) + "/" + member.address + "/" + name + " ";
      answer(number, text);
    });
  command >> id;
  if (verb == "add") {
    command >> address >> role;
    return store_->add_member({id, address, roles.at(role)}, finish(number));
  }
  if (verb == "role") {
    command >> role;
    return store_->set_role(id, roles.at(role), finish(number));
  }
  if (verb == "remove") return store_->remove_member(id, finish(number));
  if (verb == "transfer") return store_->transfer_leadership(id, finish(number));
  answer(number, Error(ErrorCode::invalid, "unknown command " + verb));
}

void Child::cut(std::istringstream& command) {
  std::set<std::string> cut;
  for (std::string peer; command >> peer;) {
    const size_t at = peer.find('@');
    cut.insert(peer.substr(0, at));
    cut.insert(peer.substr(at + 1));
  }
  cut_.put(std::make_shared<const std::set<std::string>>(cut));
  for (const std::string& name : cut) tunnel_->drop(name);
  // Those that we have connected to are known by address only.
  if (!cut.empty()) tunnel_->drop("");
}

}  // namespace

StoreProcess::StoreProcess(const Settings& settings, const std::string& start) {
  int ends[2];
  REQUIRE(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) == 0);
  pid_ = ::fork();
  REQUIRE(pid_ >= 0);
  if (pid_ == 0) {
    ::close(ends[0]);
    Child(settings, Fd(ends[1])).run(start);
  }
  control_ = Fd(ends[0]);
  ::close(ends[1]);
}

StoreProcess::~StoreProcess() { kill(); }

void StoreProcess::kill() {
  if (pid_ <= 0) return;
  ::kill(pid_, SIGKILL);
  ::waitpid(pid_, nullptr, 0);
  pid_ = -1;
}

void StoreProcess::pause() { ::kill(pid_, SIGSTOP); }
void StoreProcess::resume() { ::kill(pid_, SIGCONT); }

uint64_t StoreProcess::send(const std::string& command) {
  const uint64_t number = next_++;
  const std::string message = std::to_string(number) + " " + command;
  if (::send(control_.get(), message.data(), message.size(), MSG_NOSIGNAL) < 0) dead_ = true;
  return number;
}

bool StoreProcess::receive(Duration timeout) {
  pollfd ready{control_.get(), POLLIN, 0};
  const auto ms = std::chrono::duration_cast<std::chrono::milliseconds>(timeout).count();
  if (dead_ || ::poll(&ready, 1, int(ms)) <= 0) return false;
  std::string message(max_message, '\0');
  const ssize_t size = ::recv(control_.get(), message.data(), message.size(), 0);
  if (size <= 0) {
    dead_ = true;
    return false;
  }
  std::istringstream words(message.substr(0, size_t(size)));
  uint64_t number = 0;
  std::string outcome;
  StoreReply reply;
  words >> number >> outcome >> reply.code;
  words.get();
  std::getline(words, reply.text, '\0');
  reply.ok = outcome == "ok";
  replies_[number] = std::move(reply);
  return true;
}

std::string StoreProcess::how_it_died() {
  int status = 0;
  if (pid_ <= 0 || ::waitpid(pid_, &status, 0) != pid_) return "killed before";
  pid_ = -1;
  return WIFSIGNALED(status) ? "signal " + std::to_string(WTERMSIG(status))
                             : "exit " + std::to_string(WEXITSTATUS(status));
}

StoreReply StoreProcess::reply(uint64_t number, Duration timeout) {
  const auto deadline = std::chrono::steady_clock::now() + timeout;
  while (!replies_.contains(number)) {
    const auto left = deadline - std::chrono::steady_clock::now();
    if (left <= Duration::zero() || !receive(left))
      return dead_ ? StoreReply{false, "dead", how_it_died()} : StoreReply{false, "silent", ""};
  }
  return replies_.at(number);
}

bool StoreProcess::replied(uint64_t number) {
  while (!replies_.contains(number) && receive(0s)) {
  }
  return replies_.contains(number);
}

const StoreReply& StoreProcess::started() {
  (void)reply(0, 15s);
  return replies_[0];
}

StoreReply StoreProcess::call(const std::string& command, Duration timeout) {
  return reply(send(command), timeout);
}

}  // namespace weft::test
