// SPDX-License-Identifier: Apache-2.0
// Member operations and dumps: on a thread of their own, each over a connection of its own.
#include <poll.h>

#include <algorithm>
#include <chrono>

#include "store/dqlite/backup.h"
#include "store/dqlite/layout.h"
#include "store/dqlite/state.h"

namespace weft::store {

using dqlite::Client;
using dqlite::Empty;
using dqlite::Failure;
using dqlite::Outcome;

namespace {

// A new member must get the whole database within this time.
constexpr auto change_timeout = 30s;
constexpr auto ask_timeout = 5s;
constexpr auto pause_between_attempts = 20ms;

dqlite::Role role_of(MemberRole role) { return dqlite::Role(int(role)); }
MemberRole role_of(dqlite::Role role) { return MemberRole(int(role)); }

const Member* find(const std::vector<Member>& members, uint64_t id) {
  const auto found =
      std::find_if(members.begin(), members.end(), [&](const Member& m) { return m.id == id; });
  return found == members.end() ? nullptr : &*found;
}

Error failed(const std::string& what, const Failure& failure) {
  return Error(ErrorCode::unavailable, what + ": " + failure.message);
}

}  // namespace

Result<Client> DqliteStore::State::client(Duration timeout) const {
  Client client(TRY(node->connect()), stop.get());
  client.set_timeout(timeout);
  if (auto welcome = client.greet(); !welcome) return failed("store", welcome.failure());
  return client;
}

Result<> DqliteStore::State::change(const std::string& what, const Call& call) const {
  const auto deadline = std::chrono::steady_clock::now() + change_timeout;
  while (true) {
    Client connection = TRY(client(change_timeout));
    const auto done = call(connection);
    if (done) return Ok;
    const Failure& failure = done.failure();
    if (failure.code == dqlite::code_not_leader || failure.code == dqlite::code_leadership_lost)
      return Error(ErrorCode::unavailable, what + ": this manager does not lead");
    pollfd stopped{stop.get(), POLLIN, 0};
    const bool again = failure.code == dqlite::code_busy || failure.code == dqlite::code_failed;
    if (!again || std::chrono::steady_clock::now() >= deadline ||
        ::poll(&stopped, 1, int(std::chrono::milliseconds(pause_between_attempts).count())) > 0)
      return failed(what, failure);
  }
}

Result<std::vector<Member>> DqliteStore::State::members() const {
  Client connection = TRY(client(ask_timeout));
  auto nodes = connection.nodes();
  if (!nodes) return failed("list the store's members", nodes.failure());
  std::vector<Member> members;
  for (const dqlite::Node& node : *nodes)
    members.push_back({node.id, node.address, role_of(node.role)});
  return members;
}

Result<> DqliteStore::State::add(const Member& member) const {
  const std::string what = "add manager " + member.address;
  const auto known = TRY(members());
  const Member* same = find(known, member.id);
  if (same != nullptr && same->address != member.address)
    return Error(ErrorCode::conflict, what + ": its id belongs to " + same->address);
  for (const Member& other : known)
    if (other.address == member.address && other.id != member.id)
      return Error(ErrorCode::conflict,
                   what + ": a manager with this address exists: remove it first");
  if (same == nullptr)
    TRY(change(what, [&](Client& c) { return c.add(member.id, member.address); }));
  return set_role(member.id, member.role);
}

Result<> DqliteStore::State::set_role(uint64_t id, MemberRole role) const {
  const auto known = TRY(members());
  const Member* member = find(known, id);
  if (member == nullptr)
    return Error(ErrorCode::not_found, "the store has no member " + std::to_string(id));
  if (member->role == role) return Ok;
  if (id == self.id && role != MemberRole::voter)
    return Error(ErrorCode::invalid, "the leader must be a voter: transfer the leadership first");
  return change("change the role of manager " + member->address,
                [&](Client& c) { return c.assign(id, role_of(role)); });
}

Result<> DqliteStore::State::remove(uint64_t id) const {
  if (id == self.id)
    return Error(ErrorCode::invalid,
                 "the leader cannot remove itself: transfer the leadership first");
  const auto known = TRY(members());
  const Member* member = find(known, id);
  if (member == nullptr) return Ok;
  return change("remove manager " + member->address, [&](Client& c) { return c.remove(id); });
}

Result<> DqliteStore::State::transfer(uint64_t id) const {
  if (id == self.id) return Ok;
  const auto known = TRY(members());
  const Member* to = nullptr;
  for (const Member& member : known)
    if (member.role == MemberRole::voter && member.id != self.id && (id == 0 || member.id == id))
      to = &member;
  if (to == nullptr)
    return Error(ErrorCode::not_found, "no other voter can take over the leadership");
  return change("transfer the leadership to " + to->address,
                [&](Client& c) { return c.transfer(to->id); });
}

Result<> DqliteStore::State::backup(const std::string& path) const {
  Client connection = TRY(client(change_timeout));
  auto files = connection.dump(dqlite::database_name);
  if (!files) return failed("dump the store", files.failure());
  return dqlite::write_backup(*files, settings.directory + "/backup.tmp", path);
}

Result<> DqliteStore::State::check_sound() const {
  Client connection = TRY(client(change_timeout));
  auto files = connection.dump(dqlite::database_name);
  if (!files) return failed("dump the store", files.failure());
  if (auto sound = dqlite::check_dump(*files, settings.directory + "/backup.tmp"); !sound)
    return dqlite::damaged_store(settings.directory, sound.error().message());
  return Ok;
}

void DqliteStore::State::dump_if_changed() {
  const auto dump = [this]() -> Result<> {
    Client connection = TRY(client(change_timeout));
    auto files = connection.dump(dqlite::database_name);
    if (!files) return failed("dump the store", files.failure());
    size_t content = 0;
    for (const auto& file : files->files)
      content = content * 31 + std::hash<std::string>()(file.bytes);
    if (content == dumped) return Ok;
    TRY(dqlite::write_backup(*files, settings.directory + "/backup.tmp",
                             dqlite::backup_file(settings.directory)));
    dumped = content;
    return Ok;
  };
  if (auto done = dump(); !done && settings.on_problem)
    settings.post([fn = settings.on_problem, error = done.error()] { fn(error); });
  dump_timer = operating.loop().after(settings.dump_interval, [this] { dump_if_changed(); });
}

void DqliteStore::add_member(const Member& member, Done done) {
  State* state = state_.get();
  state->operating.loop().post([state, member, done = std::move(done)]() mutable {
    state->answer<weft::Done>(std::move(done), state->add(member));
  });
}

void DqliteStore::set_role(uint64_t id, MemberRole role, Done done) {
  State* state = state_.get();
  state->operating.loop().post([state, id, role, done = std::move(done)]() mutable {
    state->answer<weft::Done>(std::move(done), state->set_role(id, role));
  });
}

void DqliteStore::remove_member(uint64_t id, Done done) {
  State* state = state_.get();
  state->operating.loop().post([state, id, done = std::move(done)]() mutable {
    state->answer<weft::Done>(std::move(done), state->remove(id));
  });
}

void DqliteStore::transfer_leadership(uint64_t id, Done done) {
  State* state = state_.get();
  state->operating.loop().post([state, id, done = std::move(done)]() mutable {
    state->answer<weft::Done>(std::move(done), state->transfer(id));
    state->observing.loop().post([state] { state->observer->hurry(); });
  });
}

void DqliteStore::members(std::function<void(Result<std::vector<Member>>)> done) {
  State* state = state_.get();
  state->operating.loop().post([state, done = std::move(done)]() mutable {
    state->answer<std::vector<Member>>(std::move(done), state->members());
  });
}

void DqliteStore::backup(const std::string& path, Done done) {
  State* state = state_.get();
  state->operating.loop().post([state, path, done = std::move(done)]() mutable {
    state->answer<weft::Done>(std::move(done), state->backup(path));
  });
}

}  // namespace weft::store
