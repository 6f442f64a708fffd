// SPDX-License-Identifier: Apache-2.0
#include <bpf/bpf.h>
#include <doctest/doctest.h>
#include <linux/bpf.h>
#include <sys/mount.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>

#include "drivers/bpf/attach.h"
#include "drivers/bpf/data_path.h"
#include "drivers/bpf/features.h"
#include "drivers/bpf/map_store.h"
#include "drivers/link/link.h"
#include "drivers/netns/netns.h"
#include "harness/fake_maps.h"
#include "harness/netns.h"
#include "registry.h"

WEFT_NETNS_TESTS;

using namespace weft;
using namespace weft::bpf;
using weft::test::ChildProcess;
using weft::test::TestFolder;
using weft::test::TestNetns;
using weft::test::value;

namespace {

// A bpffs folder of the test's own, gone with it.
struct TestPins {
  TestFolder folder;
  std::string path = folder.path() + "/bpf";
  ~TestPins() {
    const auto done = unpin_all(path);
    CHECK_MESSAGE(done.has_value(), done.error().message());
  }
};

weft_endpoint_key key_of(uint32_t number) {
  weft_endpoint_key key{};
  key.vni = 4096;
  std::memcpy(key.address, Address::v4(0x0a000000 + number).bytes().data(), 16);
  return key;
}

diff::Operation endpoint_operation(uint32_t number, uint16_t node) {
  weft_endpoint endpoint{};
  endpoint.node = node;
  return diff::set_of(diff::MapId::endpoints, key_of(number), endpoint);
}

LoadOptions options(const TestPins& pins) {
  LoadOptions out;
  out.bpffs = pins.path;
  out.config.node = 7;
  out.config.jiffies_per_second = kernel_ticks_per_second();
  return out;
}

Result<Fd> program_that_returns(bpf_prog_type type, int result) {
  const bpf_insn code[] = {{uint8_t(BPF_ALU64 | BPF_MOV | BPF_K), 0, 0, 0, result},
                           {uint8_t(BPF_JMP | BPF_EXIT), 0, 0, 0, 0}};
  LIBBPF_OPTS(bpf_prog_load_opts, load);
  if (type == BPF_PROG_TYPE_CGROUP_SOCK_ADDR) load.expected_attach_type = BPF_CGROUP_INET4_CONNECT;
  Fd program(bpf_prog_load(type, "weft_test", "GPL", code, 2, &load));
  if (!program) return errno_error("load");
  return program;
}

}  // namespace

TEST_CASE("maps of every kind are written and read back in batches") {
  RawMap hash = value(RawMap::create("t_hash", {BPF_MAP_TYPE_HASH, sizeof(weft_endpoint_key),
                                                sizeof(weft_endpoint), 20000, BPF_F_NO_PREALLOC}));
  BpfMap<weft_endpoint_key, weft_endpoint> endpoints(hash);
  for (uint32_t i = 0; i < 10000; ++i) {
    weft_endpoint endpoint{};
    endpoint.ifindex = i;
    REQUIRE(endpoints.update(key_of(i), endpoint).has_value());
  }
  CHECK(value(hash.count()) == 10000);
  uint64_t sum = 0;
  value(endpoints.for_each([&](const auto&, const weft_endpoint& e) { sum += e.ifindex; }));
  CHECK(sum == 9999ull * 10000 / 2);
  CHECK(value(endpoints.lookup(key_of(77)))->ifindex == 77);
  CHECK(endpoints.erase(key_of(77)).has_value());
  CHECK(endpoints.erase(key_of(77)).has_value());
  CHECK(!value(endpoints.lookup(key_of(77))).has_value());

  RawMap array = value(RawMap::create("t_array", {BPF_MAP_TYPE_ARRAY, 4, 8, 1000, 0}));
  std::vector<uint64_t> numbers{11, 12, 13};
  const ByteView bytes(reinterpret_cast<uint8_t*>(numbers.data()), 24);
  CHECK(array.fill(500, bytes).has_value());
  std::vector<uint64_t> seen;
  value(array.for_each(
      [&](ByteView, ByteView v) {
        uint64_t n;
        std::memcpy(&n, v.data(), 8);
        seen.push_back(n);
      },
      499, 5));
  CHECK(seen == std::vector<uint64_t>{0, 11, 12, 13, 0});
  const auto beyond = array.fill(998, bytes);
  REQUIRE(!beyond.has_value());
  CHECK(beyond.error().code() == ErrorCode::exhausted);

  RawMap trie = value(RawMap::create(
      "t_trie", {BPF_MAP_TYPE_LPM_TRIE, sizeof(weft_subnet_key), 4, 100, BPF_F_NO_PREALLOC}));
  weft_subnet_key subnet{};
  subnet.prefix_bits = 120;
  CHECK(trie.update(diff::bytes_of(subnet), diff::bytes_of(uint32_t(4096))).has_value());
  CHECK(value(trie.count()) == 1);

  RawMap counters = value(RawMap::create("t_count", {BPF_MAP_TYPE_PERCPU_ARRAY, 4, 8, 3, 0}));
  Bytes per_cpu(counters.value_bytes());
  for (size_t i = 0; i < per_cpu.size(); i += 8) per_cpu[i] = 5;
  CHECK(counters.update(diff::bytes_of(uint32_t(1)), per_cpu).has_value());
  CHECK(value(sums(counters)) == std::vector<uint64_t>{0, 5 * per_cpu.size() / 8, 0});
}

TEST_CASE("a full map says so") {
  RawMap map = value(RawMap::create("t_small", {BPF_MAP_TYPE_HASH, 4, 4, 2, 0}));
  for (uint32_t i = 0; i < 2; ++i)
    CHECK(map.update(diff::bytes_of(i), diff::bytes_of(i)).has_value());
  const auto full = map.update(diff::bytes_of(uint32_t(9)), diff::bytes_of(uint32_t(9)));
  REQUIRE(!full.has_value());
  CHECK(full.error().code() == ErrorCode::exhausted);
  CHECK(full.error().message() == "map 't_small' is full (2 entries)");
}

TEST_CASE("every program loads, with the agent's configuration and shared maps") {
  const TestPins pins;
  DataPath data_path = value(DataPath::load(options(pins)));
  for (const std::string& warning : data_path.warnings()) MESSAGE(warning);
  CHECK(data_path.programs().size() >= object_names().size());
  CHECK(data_path.find("weft_from_container") != nullptr);
  CHECK(data_path.find("none") == nullptr);
  for (const auto& [name, map] : data_path.maps().all()) {
    CAPTURE(name);
    const auto entry = std::find_if(map_registry.begin(), map_registry.end(),
                                    [&](const MapEntry& e) { return e.name == name; });
    REQUIRE(entry != map_registry.end());
    CHECK(map.definition().key_size == entry->key_size);
    CHECK(map.definition().value_size == entry->value_size);
    CHECK(std::filesystem::exists(pin_path(pins.path, entry->name, entry->version)));
  }
}

TEST_CASE("a fresh agent finds what the killed one wrote") {
  const TestPins pins;
  ChildProcess agent([&] {
    auto data_path = DataPath::load(options(pins));
    if (!data_path) return 1;
    for (uint32_t i = 0; i < 100; ++i)
      if (!data_path->maps().apply(endpoint_operation(i, 3))) return 2;
    ChildProcess::ready_and_wait();
  });
  REQUIRE(agent.wait_until_ready() == "ready");
  agent.kill_now();
  DataPath data_path = value(DataPath::load(options(pins)));
  diff::Held held;
  REQUIRE(data_path.maps().read_back(held).has_value());
  CHECK(held.endpoints.size() == 100);
  CHECK(held.endpoints.at(key_of(5)).node == 3);
  CHECK(data_path.maps().apply(diff::remove_of(diff::MapId::endpoints, key_of(5))).has_value());
  CHECK(value(open_maps(pins.path)).all().size() == data_path.maps().all().size());
}

TEST_CASE("a pinned map of another shape is made anew, one with state is refused") {
  const TestPins pins;
  value(ensure_bpffs(pins.path));
  value(value(RawMap::create("networks", {BPF_MAP_TYPE_HASH, 4, 4, 10, 0}))
            .pin(pin_path(pins.path, "networks", 1)));
  {
    DataPath data_path = value(DataPath::load(options(pins)));
    CHECK(data_path.maps().get("networks").definition().value_size == sizeof(weft_network));
  }
  std::filesystem::remove(pin_path(pins.path, "drops", 1));
  value(value(RawMap::create("drops", {BPF_MAP_TYPE_HASH, 4, 4, 10, 0}))
            .pin(pin_path(pins.path, "drops", 1)));
  const auto refused = DataPath::load(options(pins));
  REQUIRE(!refused.has_value());
  CHECK(refused.error().code() == ErrorCode::conflict);
  CHECK(refused.error().message().find("another layout") != std::string::npos);
}

TEST_CASE("counters of an agent that knew fewer of them are kept") {
  const TestPins pins;
  value(ensure_bpffs(pins.path));
  RawMap old = value(RawMap::create("drops", {BPF_MAP_TYPE_PERCPU_ARRAY, 4, 8, 3, 0}));
  Bytes per_cpu(old.value_bytes());
  per_cpu[0] = 9;
  value(old.update(diff::bytes_of(uint32_t(2)), per_cpu));
  value(old.pin(pin_path(pins.path, "drops", 1)));
  DataPath data_path = value(DataPath::load(options(pins)));
  const auto drops = value(sums(data_path.maps().get("drops")));
  CHECK(drops.size() == WEFT_DROP_REASONS);
  CHECK(drops[2] == 9);
  CHECK(drops[3] == 0);
}

TEST_CASE("the programs see the agent's configuration") {
  const TestPins pins;
  DataPath data_path = value(DataPath::load(options(pins)));
  const Program* program = data_path.find("weft_from_container");
  REQUIRE(program != nullptr);
  uint32_t ids[32] = {};
  bpf_prog_info info{};
  info.nr_map_ids = 32;
  info.map_ids = uint64_t(uintptr_t(ids));
  uint32_t size = sizeof info;
  REQUIRE(bpf_obj_get_info_by_fd(program->fd, &info, &size) == 0);
  const weft_config wanted = options(pins).config;
  const Bytes needle = diff::bytes_of(wanted);
  bool found = false;
  for (uint32_t i = 0; i < info.nr_map_ids; ++i) {
    auto map = value(RawMap::from_fd(Fd(bpf_map_get_fd_by_id(ids[i])), "of the program"));
    if (map.definition().max_entries != 1 || map.definition().value_size < sizeof wanted) continue;
    const auto data = *value(map.lookup(diff::bytes_of(uint32_t(0))));
    found |= std::search(data.begin(), data.end(), needle.begin(), needle.end()) != data.end();
  }
  CHECK(found);
}

TEST_CASE("the maps in memory behave like the kernel's") {
  const TestPins pins;
  DataPath data_path = value(DataPath::load(options(pins)));
  test::FakeMaps fake;
  weft_service service{};
  service.id = 77;
  service.table = (uint64_t(3) << 32) | 8;  // slots 8..15
  service.backends = 16;
  service.backend_count = 2;
  weft_backend backend{};
  backend.flags = WEFT_BACKEND_READY;
  backend.node = 4;
  weft_slots slots{};
  slots.pair[1].primary = 1;
  const std::vector<diff::Operation> operations = {
      endpoint_operation(1, 3),
      endpoint_operation(2, 3),
      diff::remove_of(diff::MapId::endpoints, key_of(1)),
      diff::fill_of(diff::MapId::backends, 16, std::vector{backend, backend}),
      diff::fill_of(diff::MapId::service_slots, 4, std::vector{slots, slots, slots, slots}),
      diff::set_of(diff::MapId::services, uint32_t(5), service)};
  for (const auto& operation : operations) {
    value(data_path.maps().apply(operation));
    value(fake.apply(operation));
  }
  diff::Held real, in_memory;
  value(data_path.maps().read_back(real));
  value(fake.read_back(in_memory));
  for (const diff::Held* held : {&real, &in_memory}) {
    CHECK(held->endpoints.size() == 1);
    CHECK(held->services.at(5).id == 77);
    CHECK(held->backend(17).node == 4);
    CHECK(held->slot(15).primary == 1);
    CHECK(held->slot(14).primary == 0);
  }
  fake.fail_at(2);
  CHECK(fake.apply(operations[0]).has_value());
  CHECK(!fake.apply(operations[0]).has_value());
  CHECK(fake.apply(operations[0]).has_value());
}

TEST_CASE("XDP keeps away from virtual links unless it is asked for") {
  link::Link hardware, veth;
  veth.kind = "veth";
  CHECK(xdp_mode(value(parse_xdp_setting("auto")), hardware) == XdpMode::native);
  CHECK(!xdp_mode(value(parse_xdp_setting("auto")), veth).has_value());
  CHECK(xdp_mode(value(parse_xdp_setting("generic")), veth) == XdpMode::generic);
  CHECK(!xdp_mode(value(parse_xdp_setting("off")), hardware).has_value());
  CHECK(!parse_xdp_setting("fast").has_value());
}

TEST_CASE("pins of other versions go, ours and strangers' stay") {
  const TestPins pins;
  value(ensure_bpffs(pins.path));
  const RawMap map = value(RawMap::create("networks", {BPF_MAP_TYPE_HASH, 4, 4, 10, 0}));
  for (const char* name : {"/networks_v1", "/networks_v999", "/mine_v7", "/networks_vx"})
    value(map.pin(pins.path + name));
  CHECK(value(remove_old_pins(pins.path)) == std::vector<std::string>{"networks_v999"});
}

//   a ──── b     (one namespace)
TEST_CASE("a tc program is replaced in place, detached, and swept, with clsact and with tcx") {
  TcWay way = TcWay::clsact;
  SUBCASE("clsact") {}
  SUBCASE("what this kernel has") { way = tc_way(); }
  const TestNetns node;
  node.run([&]() -> Result<> {
    auto links = TRY(link::Links::open(-1));
    const auto a = TRY(links.ensure_veth({.name = "x0", .peer_name = "x1"}));
    const Fd first = TRY(program_that_returns(BPF_PROG_TYPE_SCHED_CLS, 0));
    const Fd second = TRY(program_that_returns(BPF_PROG_TYPE_SCHED_CLS, 0));
    CHECK(!TRY(attached_tc(a.index, TcHook::ingress)).has_value());
    TRY(detach_tc(a.index));
    TRY(attach_tc(a.index, TcHook::ingress, first.get(), way));
    const auto was = TRY(attached_tc(a.index, TcHook::ingress));
    TRY(attach_tc(a.index, TcHook::ingress, second.get(), way));
    const auto is = TRY(attached_tc(a.index, TcHook::ingress));
    CHECK(was != is);
    TRY(attach_tc(a.index, TcHook::ingress, second.get(), way));
    CHECK(is == TRY(attached_tc(a.index, TcHook::ingress)));
    CHECK(!TRY(attached_tc(a.index, TcHook::egress)).has_value());
    TRY(attach_tc(a.index, TcHook::egress, second.get(), way));
    CHECK(TRY(sweep_tc()) == std::vector<std::string>{"x0"});
    CHECK(TRY(sweep_tc()).empty());
    const auto gone = attach_tc(9999, TcHook::ingress, first.get(), way);
    REQUIRE(!gone.has_value());
    CHECK(gone.error().message().find("link 9999") != std::string::npos);
    return Ok;
  });
  CHECK(node.shell("tc qdisc show dev x0").find("clsact") == std::string::npos);
}

TEST_CASE("another program's filter and qdisc stay when ours goes") {
  const TestNetns node;
  node.shell(
      "ip link add x0 type veth peer name x1; tc qdisc add dev x0 clsact;"
      "tc filter add dev x0 ingress prio 1 protocol ip u32 match u32 0 0 flowid 1:1");
  node.run([&]() -> Result<> {
    auto links = TRY(link::Links::open(-1));
    const Fd program = TRY(program_that_returns(BPF_PROG_TYPE_SCHED_CLS, 0));
    const auto a = TRY(links.get("x0"));
    TRY(attach_tc(a.index, TcHook::ingress, program.get(), TcWay::clsact));
    return detach_tc(a.index);
  });
  CHECK(node.shell("tc filter show dev x0 ingress").find("u32") != std::string::npos);
}

TEST_CASE("XDP and cgroup programs stay attached when the agent dies, and go with their pins") {
  const TestPins pins;
  const TestNetns node;
  REQUIRE(ensure_bpffs(pins.path).has_value());
  const auto root = cgroup2_root();
  REQUIRE_MESSAGE(root.has_value(), root.error().message());
  const std::string cgroup = *root + "/weft-test-" + std::to_string(getpid());
  REQUIRE(std::filesystem::create_directory(cgroup));
  const std::string xdp = links_folder(pins.path) + "/xdp",
                    connect = links_folder(pins.path) + "/c4";
  node.shell("ip link add x0 type veth peer name x1");
  const auto attach_both = [&]() -> Result<> {
    return netns::run_in_netns(node.fd(), [&]() -> Result<> {
      const auto a = TRY(TRY(link::Links::open(-1)).get("x0"));
      const Fd pass = TRY(program_that_returns(BPF_PROG_TYPE_XDP, XDP_PASS));
      const Fd allow = TRY(program_that_returns(BPF_PROG_TYPE_CGROUP_SOCK_ADDR, 1));
      TRY(attach_xdp(a.index, pass.get(), XdpMode::generic, xdp));
      return attach_cgroup(cgroup, BPF_CGROUP_INET4_CONNECT, allow.get(), connect);
    });
  };
  ChildProcess agent([&] {
    if (!attach_both()) return 1;
    ChildProcess::ready_and_wait();
  });
  REQUIRE(agent.wait_until_ready() == "ready");
  agent.kill_now();
  CHECK(node.shell("ip link show x0").find("xdpgeneric") != std::string::npos);
  value(attach_both());  // a restarted agent
  CHECK(node.shell("ip link show x0").find("xdpgeneric") != std::string::npos);
  CHECK(node.shell("bpftool cgroup show " + cgroup).find("weft_test") != std::string::npos);
  REQUIRE(detach_link(xdp).has_value());
  REQUIRE(detach_link(xdp).has_value());
  CHECK(node.shell("ip link show x0").find("xdp") == std::string::npos);
  REQUIRE(unpin_all(pins.path).has_value());
  CHECK(!std::filesystem::exists(pins.path));
  CHECK(node.shell("bpftool cgroup show " + cgroup).find("weft_test") == std::string::npos);
  std::filesystem::remove(cgroup);
}

TEST_CASE("this kernel has what the agent needs") {
  for (const Feature& feature : feature_check()) {
    CAPTURE(feature.name);
    CAPTURE(feature.detail);
    CHECK(feature.result != FeatureResult::failed);
    CHECK(feature.detail.empty() == (feature.result == FeatureResult::ok));
  }
  const unsigned ticks = kernel_ticks_per_second();
  CHECK((ticks == 100 || ticks == 250 || ticks == 300 || ticks == 1000));
}

TEST_CASE("a bpffs folder must be absolute, and removing a missing one is fine") {
  const auto relative = ensure_bpffs("pins");
  REQUIRE(!relative.has_value());
  CHECK(relative.error().code() == ErrorCode::invalid);
  const TestFolder folder;
  CHECK(unpin_all(folder.path() + "/none").has_value());
  const auto wrong = unpin_all(folder.path());
  REQUIRE(!wrong.has_value());
  CHECK(std::filesystem::exists(folder.path()));
}
