// SPDX-License-Identifier: Apache-2.0
#include "drivers/bpf/data_path.h"

#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstring>

#include "registry.h"

namespace weft::bpf {

struct EmbeddedObject {
  const char* name;
  const void* (*elf_bytes)(size_t* size);
};

}  // namespace weft::bpf

#include "objects.inc"  // embedded_objects[]

namespace weft::bpf {
namespace {

// libbpf reports through a callback without context; loading happens on one thread.
std::string* libbpf_messages = nullptr;

int collect(libbpf_print_level level, const char* format, va_list arguments) {
  if (level == LIBBPF_DEBUG || libbpf_messages == nullptr) return 0;
  char line[4096];
  const int size = vsnprintf(line, sizeof line, format, arguments);
  *libbpf_messages += line;
  constexpr size_t keep = 4000;
  if (libbpf_messages->size() > keep) libbpf_messages->erase(0, libbpf_messages->size() - keep);
  return size;
}

class CollectMessages {
 public:
  CollectMessages() : previous_(libbpf_set_print(collect)) { libbpf_messages = &text_; }
  ~CollectMessages() {
    libbpf_messages = nullptr;
    libbpf_set_print(previous_);
  }
  const std::string& text() const { return text_; }

 private:
  std::string text_;
  libbpf_print_fn_t previous_;
};

const MapEntry* entry_of(std::string_view name) {
  const auto it = std::find_if(map_registry.begin(), map_registry.end(),
                               [&](const MapEntry& entry) { return entry.name == name; });
  return it == map_registry.end() ? nullptr : &*it;
}

MapDefinition wanted_definition(const bpf_map* map) {
  return {uint32_t(bpf_map__type(map)), bpf_map__key_size(map), bpf_map__value_size(map),
          bpf_map__max_entries(map), bpf_map__map_flags(map)};
}

bool same_but_length(MapDefinition a, const MapDefinition& b) {
  a.max_entries = b.max_entries;
  return a == b;
}

Result<> copy_array(const RawMap& from, RawMap& to) {
  Bytes values;
  const uint32_t count = std::min(from.definition().max_entries, to.definition().max_entries);
  TRY(from.for_each(
      [&](ByteView, ByteView value) { values.insert(values.end(), value.begin(), value.end()); }, 0,
      count));
  return to.fill(0, values);
}

// Writes weft_config into the object's read-only data. An object without it needs none.
Result<> set_config(bpf_object* object, const weft_config& config) {
  const btf* types = bpf_object__btf(object);
  if (types == nullptr) return Error("the object has no BTF");
  const int section = btf__find_by_name_kind(types, ".rodata", BTF_KIND_DATASEC);
  if (section < 0) return Ok;
  const btf_type* type = btf__type_by_id(types, uint32_t(section));
  const btf_var_secinfo* variables = btf_var_secinfos(type);
  for (uint16_t i = 0; i < btf_vlen(type); ++i) {
    const btf_type* variable = btf__type_by_id(types, variables[i].type);
    if (std::strcmp(btf__name_by_offset(types, variable->name_off), "weft_config") != 0) continue;
    bpf_map* map = nullptr;
    bpf_object__for_each_map(map, object) {
      if (!bpf_map__is_internal(map) || !std::strstr(bpf_map__name(map), ".rodata")) continue;
      size_t size = 0;
      const auto* data = static_cast<const uint8_t*>(bpf_map__initial_value(map, &size));
      if (data == nullptr || variables[i].size != sizeof config ||
          variables[i].offset + sizeof config > size)
        return Error("weft_config has another size in the object");
      Bytes changed(data, data + size);
      std::memcpy(changed.data() + variables[i].offset, &config, sizeof config);
      if (const int done = bpf_map__set_initial_value(map, changed.data(), size); done < 0)
        return errno_error("cannot set weft_config", -done);
      return Ok;
    }
  }
  return Ok;
}

// The file's image has been read and will not be again: it need not stay in memory.
void release_pages(const void* bytes, size_t size) {
  const uintptr_t page = uintptr_t(sysconf(_SC_PAGESIZE));
  const uintptr_t begin = (uintptr_t(bytes) + page - 1) / page * page;
  const uintptr_t end = (uintptr_t(bytes) + size) / page * page;
  if (begin < end) madvise(reinterpret_cast<void*>(begin), end - begin, MADV_DONTNEED);
}

// Programs without which containers still talk to each other.
bool is_optional(uint32_t type) {
  return type == BPF_PROG_TYPE_XDP || type == BPF_PROG_TYPE_CGROUP_SOCK_ADDR ||
         type == BPF_PROG_TYPE_CGROUP_SOCK || type == BPF_PROG_TYPE_SK_LOOKUP;
}

Error load_error(int number, const std::string& messages) {
  if (number == EPERM)
    return Error(ErrorCode::denied,
                 "the kernel refused to load programs: needs root (CAP_BPF, CAP_NET_ADMIN), or "
                 "kernel lockdown is on")
        .with_errno(number);
  std::string text = std::strerror(number);
  if (!messages.empty()) text += "\n" + messages;
  return Error(text).with_errno(number);
}

}  // namespace

void FreeObject::operator()(bpf_object* object) const { bpf_object__close(object); }

// Before the load: maps that exist are shared.
Result<> DataPath::share_maps(bpf_object* object, const std::string& folder) {
  bpf_map* map = nullptr;
  bpf_object__for_each_map(map, object) {
    const MapEntry* entry = entry_of(bpf_map__name(map));
    if (bpf_map__is_internal(map) || entry == nullptr) continue;
    const std::string name(entry->name);
    if (maps_.find(name) == nullptr) {
      const std::string path = pin_path(folder, entry->name, entry->version);
      auto pinned = RawMap::open_pinned(path, name);
      if (!pinned && pinned.error().code() == ErrorCode::not_found) continue;
      if (!pinned) return std::move(pinned).error();
      if (pinned->definition() != wanted_definition(map)) {
        const bool only_length = same_but_length(pinned->definition(), wanted_definition(map));
        if (entry->lifetime == MapLifetime::state && !(pinned->is_array() && only_length))
          return Error(ErrorCode::conflict,
                       "the pinned map " + path +
                           " has another layout than this weftd; stop the weftd it belongs to and "
                           "remove it, or use another --bpffs");
        if (entry->lifetime == MapLifetime::state) outgrown_.add(std::move(*pinned));
        if (unlink(path.c_str()) < 0) return errno_error("cannot remove " + path);
        continue;
      }
      maps_.add(std::move(*pinned));
    }
    const RawMap& shared = maps_.get(name);
    if (shared.definition() != wanted_definition(map))
      return Error("map '" + name + "' is defined differently in two objects");
    if (const int done = bpf_map__reuse_fd(map, shared.fd()); done < 0)
      return errno_error("cannot use map '" + name + "' again", -done);
  }
  return Ok;
}

// After the load: new maps are pinned and known.
Result<> DataPath::keep_maps(bpf_object* object, const std::string& folder) {
  bpf_map* map = nullptr;
  bpf_object__for_each_map(map, object) {
    const MapEntry* entry = entry_of(bpf_map__name(map));
    if (bpf_map__is_internal(map) || entry == nullptr || maps_.find(entry->name)) continue;
    Fd fd(fcntl(bpf_map__fd(map), F_DUPFD_CLOEXEC, 3));
    if (!fd) return errno_error("cannot keep map '" + std::string(entry->name) + "'");
    const std::string name(entry->name);
    auto made = TRY(RawMap::from_fd(std::move(fd), name));
    if (const RawMap* before = outgrown_.find(name)) TRY(copy_array(*before, made));
    TRY(made.pin(pin_path(folder, entry->name, entry->version)));
    maps_.add(std::move(made));
  }
  return Ok;
}

Result<> DataPath::load_object(std::string_view name, ByteView elf, const LoadOptions& options) {
  const CollectMessages messages;
  LIBBPF_OPTS(bpf_object_open_opts, open_options, .object_name = name.data());
  std::unique_ptr<bpf_object, FreeObject> object(
      bpf_object__open_mem(elf.data(), elf.size(), &open_options));
  if (!object) return load_error(errno, messages.text());
  TRY(set_config(object.get(), options.config));
  TRY(share_maps(object.get(), options.bpffs));
  bool optional = true;
  bpf_program* program = nullptr;
  bpf_object__for_each_program(program, object.get()) {
    optional = optional && is_optional(uint32_t(bpf_program__type(program)));
  }
  if (const int done = bpf_object__load(object.get()); done < 0) {
    Error error = load_error(-done, messages.text());
    if (!optional) return error;
    warnings_.push_back(
        std::move(error).in("this kernel does not take " + std::string(name)).message());
    return Ok;
  }
  TRY(keep_maps(object.get(), options.bpffs));
  // The object itself, with all its instructions and types, is not needed again.
  bpf_object__for_each_program(program, object.get()) {
    Fd fd(fcntl(bpf_program__fd(program), F_DUPFD_CLOEXEC, 3));
    if (!fd) return errno_error("cannot keep program " + std::string(bpf_program__name(program)));
    programs_.push_back({bpf_program__name(program), fd.get(), uint32_t(bpf_program__type(program)),
                         uint32_t(bpf_program__expected_attach_type(program))});
    program_fds_.push_back(std::move(fd));
  }
  return Ok;
}

Result<DataPath> DataPath::load(const LoadOptions& options) {
  TRY(ensure_bpffs(options.bpffs));
  DataPath data_path;
  for (const EmbeddedObject& object : embedded_objects) {
    const std::string name = object.name;
    if (!options.objects.empty() &&
        std::find(options.objects.begin(), options.objects.end(), name) == options.objects.end())
      continue;
    size_t size = 0;
    const void* bytes = object.elf_bytes(&size);
    auto loaded =
        data_path.load_object(name, ByteView(static_cast<const uint8_t*>(bytes), size), options);
    if (!loaded) return std::move(loaded).error().in("load " + name);
    release_pages(bytes, size);
  }
  return data_path;
}

const Program* DataPath::find(std::string_view name) const {
  for (const Program& program : programs_)
    if (program.name == name) return &program;
  return nullptr;
}

std::vector<std::string> object_names() {
  std::vector<std::string> out;
  for (const EmbeddedObject& object : embedded_objects) out.emplace_back(object.name);
  return out;
}

}  // namespace weft::bpf
