// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <sstream>

#include "drivers/netns/netns.h"
#include "harness/netns.h"

WEFT_NETNS_TESTS;

using namespace weft;
using namespace weft::netns;
using weft::test::TestFolder;

namespace {

std::string mounts() {
  std::ifstream file("/proc/self/mounts");
  std::ostringstream out;
  out << file.rdbuf();
  return out.str();
}

NetnsId id_of(int fd) {
  auto id = netns_id(fd);
  REQUIRE(id.has_value());
  return *id;
}

}  // namespace

TEST_CASE("work inside a namespace never moves the calling thread") {
  const Fd own = *open_own_netns();
  const Fd other = *make_anonymous_netns();
  CHECK(id_of(own.get()) != id_of(other.get()));
  auto inside = in_netns(other.get(), [] { return open_own_netns(); });
  REQUIRE(inside.has_value());
  CHECK(id_of(inside->get()) == id_of(other.get()));
  CHECK(id_of(open_own_netns()->get()) == id_of(own.get()));
}

TEST_CASE("an error of the function inside comes back as it is") {
  const Fd other = *make_anonymous_netns();
  const auto done =
      run_in_netns(other.get(), []() -> Result<> { return Error(ErrorCode::conflict, "taken"); });
  REQUIRE(!done.has_value());
  CHECK(done.error().code() == ErrorCode::conflict);
  CHECK(done.error().message() == "taken");
}

TEST_CASE("a named namespace outlives its descriptors and goes with its file") {
  const TestFolder folder;
  const std::string path = folder.path() + "/netns";
  NetnsId made;
  {
    const Fd fd = *make_named_netns(path);
    made = id_of(fd.get());
  }
  auto again = open_netns(path);
  REQUIRE(again.has_value());
  CHECK(id_of(again->get()) == made);
  const auto twice = make_named_netns(path);
  REQUIRE(!twice.has_value());
  CHECK(twice.error().code() == ErrorCode::conflict);
  CHECK(remove_named_netns(path).has_value());
  CHECK(!std::filesystem::exists(path));
  CHECK(mounts().find(path) == std::string::npos);
  CHECK(remove_named_netns(path).has_value());
}

TEST_CASE("what is missing or no network namespace is told apart") {
  const TestFolder folder;
  const auto missing = open_netns(folder.path() + "/none");
  REQUIRE(!missing.has_value());
  CHECK(missing.error().code() == ErrorCode::not_found);
  std::ofstream(folder.path() + "/file") << "text";
  for (const std::string& path :
       {folder.path() + "/file", folder.path(), std::string("/proc/self/ns/uts")}) {
    const auto wrong = open_netns(path);
    REQUIRE(!wrong.has_value());
    CHECK(wrong.error().code() == ErrorCode::invalid);
  }
  const auto nobody = open_netns(pid_t(0x3fffffff));
  REQUIRE(!nobody.has_value());
  CHECK(nobody.error().code() == ErrorCode::not_found);
  CHECK(open_netns(getpid()).has_value());
}

TEST_CASE("a namespace that could not be kept leaves no file behind") {
  const TestFolder folder;
  const auto failed = make_named_netns(folder.path() + "/no/such/folder");
  REQUIRE(!failed.has_value());
  CHECK(std::filesystem::is_empty(folder.path()));
}

TEST_CASE("a namespace has one agent, and another one when the first has gone") {
  const Fd other = *make_anonymous_netns();
  const auto claim = [&] { return in_netns(other.get(), [] { return claim_own_netns(); }); };
  auto first = claim();
  REQUIRE(first.has_value());
  const auto second = claim();
  REQUIRE(!second.has_value());
  CHECK(second.error().code() == ErrorCode::conflict);
  CHECK(in_netns((*make_anonymous_netns()).get(), [] { return claim_own_netns(); }).has_value());
  first->reset();
  CHECK(claim().has_value());
}

TEST_CASE("every namespace has its own cookie, the same from every side") {
  const Fd a = *make_anonymous_netns();
  const Fd b = *make_anonymous_netns();
  const uint64_t cookie = *netns_cookie(a.get());
  CHECK(cookie != 0);
  CHECK(cookie != *netns_cookie(b.get()));
  CHECK(cookie == *in_netns(a.get(), [] { return netns_cookie(-1); }));
}
