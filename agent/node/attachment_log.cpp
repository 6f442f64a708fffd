// SPDX-License-Identifier: Apache-2.0
#include "node/attachment_log.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "io/files.h"

namespace weft::node {

namespace {

// Lines of attachments that are over, beyond as many as there are others.
constexpr size_t spare_lines = 1000;

using Json = nlohmann::json;

std::string text(const Address& address) { return address.is_none() ? "" : address.to_string(); }

Result<Address> address_from(const Json& json) {
  const std::string value = json;
  if (value.empty()) return Address();
  return Address::parse(value);
}

Json to_json(const Attachment& a) {
  return {{"endpoint_id", a.endpoint_id},
          {"network_id", a.network_id},
          {"task_id", a.task_id},
          {"netns", a.netns},
          {"interface", a.interface},
          {"mac", a.mac.to_string()},
          {"host_mac", a.host_mac.to_string()},
          {"address4", text(a.address4)},
          {"address6", text(a.address6)},
          {"mtu_bytes", a.mtu_bytes},
          {"local_id", a.local_id}};
}

Result<Attachment> from_json(const Json& json) {
  Attachment a;
  a.endpoint_id = json.at("endpoint_id");
  a.network_id = json.at("network_id");
  a.task_id = json.at("task_id");
  a.netns = json.at("netns");
  a.interface = json.at("interface");
  a.mac = TRY(Mac::parse(json.at("mac").get<std::string>()));
  a.host_mac = TRY(Mac::parse(json.at("host_mac").get<std::string>()));
  a.address4 = TRY(address_from(json.at("address4")));
  a.address6 = TRY(address_from(json.at("address6")));
  a.mtu_bytes = json.at("mtu_bytes");
  a.local_id = json.at("local_id");
  return a;
}

std::string line_of(const Json& json) { return json.dump() + "\n"; }

// The machine's, of this boot.
Result<std::string> read_boot_id() {
  std::string out = TRY(io::read_file("/proc/sys/kernel/random/boot_id"));
  while (!out.empty() && out.back() == '\n') out.pop_back();
  return out;
}

}  // namespace

Result<AttachmentLog> AttachmentLog::open(std::string path, Contents& contents) {
  AttachmentLog log(std::move(path), TRY(read_boot_id()));
  TRY(log.read(contents));
  TRY(log.rewrite(contents.all));
  return log;
}

Result<> AttachmentLog::read(Contents& contents) {
  auto content = io::read_file(path_);
  if (!content) {
    if (content.error().code() == ErrorCode::not_found) return Ok;
    return std::move(content).error();
  }
  bool same_boot = true;
  size_t start = 0;
  // What has no end of line was never noted.
  for (size_t end; (end = content->find('\n', start)) != std::string::npos; start = end + 1) {
    const std::string_view line = std::string_view(*content).substr(start, end - start);
    try {
      const Json json = Json::parse(line);
      if (json.contains("boot_id")) {
        same_boot = json.at("boot_id") == boot_id_;
        next_local_id_ = json.at("next_local_id");
      } else if (json.contains("detached")) {
        contents.all.erase(json.at("detached").get<std::string>());
      } else {
        Attachment a = TRY_IN(path_, from_json(json));
        next_local_id_ = std::max(next_local_id_, a.local_id + 1);
        contents.all[a.endpoint_id] = std::move(a);
      }
    } catch (const Json::exception&) {
      if (same_boot && start > 0)
        return Error(path_ + " is damaged: remove it, and attach its containers again");
    }
  }
  contents.next_local_id = next_local_id_;
  return Ok;
}

Result<> AttachmentLog::rewrite(const All& all) {
  std::string content = line_of({{"boot_id", boot_id_}, {"next_local_id", next_local_id_}});
  for (const auto& [id, attachment] : all) content += line_of(to_json(attachment));
  TRY(io::write_file_atomically(path_, content, 0600));
  file_ = Fd(::open(path_.c_str(), O_WRONLY | O_APPEND | O_CLOEXEC));
  if (!file_) return errno_error("cannot write " + path_);
  lines_ = all.size() + 1;
  return Ok;
}

Result<> AttachmentLog::append(const std::string& line) {
  const off_t size = ::lseek(file_.get(), 0, SEEK_END);
  const ssize_t written = ::write(file_.get(), line.data(), line.size());
  if (written == ssize_t(line.size())) {
    lines_++;
    return Ok;
  }
  Error error = errno_error("cannot write " + path_, written < 0 ? errno : ENOSPC);
  // A part of a line would spoil the next one.
  if (size < 0 || ::ftruncate(file_.get(), size) < 0) file_.reset();
  return error;
}

Result<> AttachmentLog::rewrite_if_long(const All& all) {
  if (file_ && lines_ <= 2 * all.size() + spare_lines) return Ok;
  return rewrite(all);
}

Result<> AttachmentLog::note_attached(const Attachment& attachment, const All& all) {
  next_local_id_ = std::max(next_local_id_, attachment.local_id + 1);
  TRY(rewrite_if_long(all));
  return append(line_of(to_json(attachment)));
}

Result<> AttachmentLog::note_detached(const std::string& endpoint_id, const All& all) {
  TRY(rewrite_if_long(all));
  return append(line_of({{"detached", endpoint_id}}));
}

}  // namespace weft::node
