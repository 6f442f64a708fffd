// SPDX-License-Identifier: Apache-2.0
#include "runtimes/netns/task_folder.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "base/bytes.h"
#include "drivers/netns/netns.h"
#include "runtimes/netns/task_files.h"

namespace weft::runtime {
namespace {

constexpr uint8_t spec_version = 1;

Result<> write_file(const std::string& path, std::string_view text, mode_t mode) {
  const std::string draft = path + ".new";
  Fd file(::open(draft.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode));
  if (!file) return errno_error("cannot create '" + draft + "'");
  if (::write(file.get(), text.data(), text.size()) != ssize_t(text.size()))
    return errno_error("cannot write '" + draft + "'");
  if (rename(draft.c_str(), path.c_str()) < 0) return errno_error("cannot create '" + path + "'");
  return Ok;
}

std::optional<std::string> read_file(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) return std::nullopt;
  std::ostringstream text;
  text << in.rdbuf();
  return text.str();
}

// Field 22 of /proc/<pid>/stat, in clock ticks since boot.
std::string start_time(pid_t process) {
  const auto stat = read_file("/proc/" + std::to_string(process) + "/stat");
  if (!stat) return {};
  std::istringstream words(stat->substr(std::min(stat->rfind(')'), stat->size())));
  std::string word;
  for (int field = 2; field <= 22; ++field) words >> word;
  return word;
}

WallTime changed_at(const std::string& path) {
  struct stat info {};
  if (stat(path.c_str(), &info) < 0) return {};
  return {info.st_mtim.tv_sec * 1000 + info.st_mtim.tv_nsec / 1'000'000};
}

void parse_log(const std::string& text, std::vector<LogLine>& out) {
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    std::istringstream words(line);
    LogLine entry;
    std::string origin;
    if (!(words >> entry.at.milliseconds >> origin)) continue;  // cut short by a full disk
    entry.is_error = origin == "e";
    words.get();
    std::getline(words, entry.text);
    out.push_back(std::move(entry));
  }
}

}  // namespace

std::string hostname_of(const TaskSpec& spec) {
  constexpr size_t longest = 63;
  return spec.hostname.empty() ? spec.id.substr(0, 12) : spec.hostname.substr(0, longest);
}

bool valid_task_id(std::string_view id) {
  if (id.empty() || id.size() > 128 || id[0] == '.') return false;
  return std::all_of(id.begin(), id.end(), [](char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '.' ||
           c == '-' || c == '_';
  });
}

Result<> TaskFolder::create() {
  std::error_code error;
  std::filesystem::create_directories(path_, error);
  if (error) return errno_error("cannot create '" + path_ + "'", error.value());
  return Ok;
}

Result<> TaskFolder::remove() {
  TRY(netns::remove_named_netns(file(files::netns)));
  std::error_code error;
  std::filesystem::remove_all(path_, error);
  if (error) return errno_error("cannot remove '" + path_ + "'", error.value());
  return Ok;
}

Result<> TaskFolder::write_spec(const TaskSpec& spec) {
  Bytes bytes;
  ByteWriter out(bytes);
  out.u8(spec_version);
  out.field(view_of(spec.id));
  for (const auto* list : {&spec.command, &spec.environment}) {
    out.varint(list->size());
    for (const std::string& word : *list) out.field(view_of(word));
  }
  out.field(view_of(spec.hostname));
  out.varint(spec.hosts.size());
  for (const auto& [address, name] : spec.hosts) {
    out.raw(address.bytes());
    out.field(view_of(name));
  }
  out.u8(spec.restart);
  return write_file(file(files::spec), text_of(bytes), 0600);
}

Result<TaskSpec> TaskFolder::read_spec() const {
  const auto text = read_file(file(files::spec));
  if (!text) return Error(ErrorCode::not_found, "'" + file(files::spec) + "' cannot be read");
  ByteReader in(view_of(*text));
  TaskSpec spec;
  const bool known = in.u8() == spec_version;
  spec.id = text_of(in.field());
  for (auto* list : {&spec.command, &spec.environment})
    for (uint64_t left = in.varint(); left > 0 && in.ok(); --left)
      list->emplace_back(text_of(in.field()));
  spec.hostname = text_of(in.field());
  for (uint64_t left = in.varint(); left > 0 && in.ok(); --left) {
    Address::Bytes address{};
    const ByteView raw = in.raw(address.size());
    std::copy(raw.begin(), raw.end(), address.begin());
    spec.hosts.emplace_back(Address(address), text_of(in.field()));
  }
  spec.restart = in.u8() != 0;
  if (!known || !in.done() || spec.command.empty())
    return Error(ErrorCode::invalid, "'" + file(files::spec) + "' is damaged");
  return spec;
}

Result<> TaskFolder::write_etc(const TaskSpec& spec) {
  const std::string hostname = hostname_of(spec);
  std::string hosts = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n";
  for (const auto& [address, name] : spec.hosts) hosts += address.to_string() + "\t" + name + "\n";
  TRY(write_file(file(files::resolv_conf), "nameserver 127.0.0.11\noptions ndots:0\n", 0644));
  TRY(write_file(file(files::hosts), hosts, 0644));
  return write_file(file(files::hostname), hostname + "\n", 0644);
}

Result<> TaskFolder::set_wanted(bool wanted) {
  if (wanted) return write_file(file(files::wanted), "", 0600);
  if (unlink(file(files::wanted).c_str()) < 0 && errno != ENOENT)
    return errno_error("cannot remove '" + file(files::wanted) + "'");
  return Ok;
}

bool TaskFolder::wanted() const { return access(file(files::wanted).c_str(), F_OK) == 0; }

Result<> TaskFolder::forget_run() {
  for (const char* name : {files::run, files::status})
    if (unlink(file(name).c_str()) < 0 && errno != ENOENT)
      return errno_error("cannot remove '" + file(name) + "'");
  return Ok;
}

std::optional<Ended> TaskFolder::ended() const {
  const auto text = read_file(file(files::status));
  if (!text) return std::nullopt;
  std::istringstream words(*text);
  Ended ended;
  if (!(words >> ended.exit_code >> ended.at.milliseconds)) return std::nullopt;
  words.get();
  std::getline(words, ended.message);
  return ended;
}

bool TaskFolder::has_run() const { return access(file(files::run).c_str(), F_OK) == 0; }

std::optional<RunningShim> TaskFolder::running() const {
  const auto text = read_file(file(files::run));
  if (!text) return std::nullopt;
  std::istringstream words(*text);
  RunningShim shim;
  std::string started, boot;
  if (!(words >> shim.process >> started >> boot)) return std::nullopt;
  // First the descriptor, then the look: the number cannot be given to another process in between
  // without the start time telling.
  shim.pidfd = Fd(int(syscall(SYS_pidfd_open, shim.process, 0)));
  if (!shim.pidfd || start_time(shim.process) != started) return std::nullopt;
  const auto now = read_file("/proc/sys/kernel/random/boot_id");
  if (!now || !now->starts_with(boot)) return std::nullopt;
  // Readable: it has ended, and nobody has waited for it yet.
  pollfd end{shim.pidfd.get(), POLLIN, 0};
  if (poll(&end, 1, 0) != 0) return std::nullopt;
  shim.started_at = changed_at(file(files::run));
  return shim;
}

Result<std::vector<LogLine>> TaskFolder::logs(size_t tail) const {
  std::vector<LogLine> out;
  for (const char* name : {files::old_log, files::log})
    if (const auto text = read_file(file(name))) parse_log(*text, out);
  if (tail > 0 && out.size() > tail) out.erase(out.begin(), out.end() - ptrdiff_t(tail));
  return out;
}

}  // namespace weft::runtime
