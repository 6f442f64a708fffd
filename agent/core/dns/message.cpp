// SPDX-License-Identifier: Apache-2.0
#include "core/dns/message.h"

#include <array>

#include "base/address.h"

namespace weft::dns {

namespace {

// Reads one message from the front; after the first fault everything reads as empty.
class MessageReader {
 public:
  explicit MessageReader(ByteView message) : message_(message), in_(message) {}

  bool ok() const { return ok_ && in_.ok(); }
  bool done() const { return ok_ && in_.done(); }
  void fail() { ok_ = false; }
  size_t at() const { return message_.size() - in_.remaining(); }
  uint8_t u8() { return in_.u8(); }
  uint16_t u16() { return in_.u16(); }
  uint32_t u32() { return in_.u32(); }
  ByteView raw(size_t size) { return in_.raw(size); }

  // A name in presentation form, compressed or not.
  std::string name() {
    std::string wire;
    size_t at = this->at();
    size_t earliest = at;
    bool jumped = false;
    for (;;) {
      if (at >= message_.size()) return broken();
      const uint8_t length = message_[at];
      if (length >= 0xc0) {
        if (at + 1 >= message_.size()) return broken();
        const size_t target = size_t(length & 0x3f) << 8 | message_[at + 1];
        if (!jumped) in_.raw(at + 2 - this->at());
        jumped = true;
        // Each jump leads further to the front: no loops.
        if (target >= earliest) return broken();
        earliest = at = target;
        continue;
      }
      if (length > 63 || at + 1 + length > message_.size()) return broken();
      if (length == 0) break;
      if (wire.size() + 1 + length > name_limit) return broken();
      wire += text_of(message_.subspan(at, size_t(1) + length));
      at += size_t(1) + length;
    }
    if (!jumped) in_.raw(at + 1 - this->at());
    return dotted_name(wire);
  }

 private:
  std::string broken() {
    ok_ = false;
    return {};
  }

  ByteView message_;
  ByteReader in_;
  bool ok_ = true;
};

std::string quoted(ByteView text) {
  std::string out = "\"";
  for (uint8_t c : text) {
    if (c == '"' || c == '\\') {
      out += '\\';
      out += char(c);
    } else if (c >= ' ' && c < 127) {
      out += char(c);
    } else {
      out += '\\';
      out += char('0' + c / 100);
      out += char('0' + c / 10 % 10);
      out += char('0' + c % 10);
    }
  }
  return out + "\"";
}

std::string generic(ByteView data) {
  std::string out = "\\# " + std::to_string(data.size());
  if (!data.empty()) out += ' ';
  for (uint8_t byte : data) {
    out += "0123456789abcdef"[byte >> 4];
    out += "0123456789abcdef"[byte & 15];
  }
  return out;
}

std::string address_text(ByteView data) {
  Address::Bytes bytes{};
  if (data.size() == 4) bytes[10] = bytes[11] = 0xff;
  std::copy(data.begin(), data.end(), bytes.end() - std::ptrdiff_t(data.size()));
  return Address(bytes).to_string();
}

std::string txt_text(MessageReader& reader, size_t size) {
  std::string out;
  while (size > 0 && reader.ok()) {
    const size_t length = reader.u8();
    if (length + 1 > size) {
      reader.fail();
      break;
    }
    if (!out.empty()) out += ' ';
    out += quoted(reader.raw(length));
    size -= length + 1;
  }
  return out;
}

std::string data_text(MessageReader& reader, Type type, size_t size) {
  switch (type) {
    case Type::a:
    case Type::aaaa:
      if (size != (type == Type::a ? 4u : 16u)) {
        reader.fail();
        return {};
      }
      return address_text(reader.raw(size));
    case Type::ns:
    case Type::cname:
    case Type::ptr:
      return reader.name();
    case Type::mx: {
      const std::string preference = std::to_string(reader.u16());
      return preference + " " + reader.name();
    }
    case Type::srv: {
      std::string out;
      for (int i = 0; i < 3; ++i) out += std::to_string(reader.u16()) + " ";
      return out + reader.name();
    }
    case Type::soa: {
      std::string out = reader.name() + " ";
      out += reader.name();
      for (int i = 0; i < 5; ++i) out += " " + std::to_string(reader.u32());
      return out;
    }
    case Type::txt:
      return txt_text(reader, size);
    default:
      return generic(reader.raw(size));
  }
}

void read_record(MessageReader& reader, Message& message, std::vector<Record>& out) {
  Record record;
  record.name = reader.name();
  record.type = Type(reader.u16());
  record.record_class = reader.u16();
  record.ttl = reader.u32();
  const size_t size = reader.u16();
  const size_t end = reader.at() + size;
  if (record.type == Type::opt) {
    message.edns = true;
    message.udp_size = record.record_class;
    message.edns_version = uint8_t(record.ttl >> 16);
    message.rcode = Rcode(uint16_t(message.rcode) | (record.ttl >> 24) << 4);
    reader.raw(size);
    return;
  }
  // Other classes give the types other meanings.
  record.data = record.record_class == class_in ? data_text(reader, record.type, size)
                                                : generic(reader.raw(size));
  if (reader.ok() && reader.at() != end) reader.fail();
  out.push_back(std::move(record));
}

std::string class_name(uint16_t value) {
  if (value == class_in) return "IN";
  if (value == 3) return "CH";
  if (value == 255) return "ANY";
  return "CLASS" + std::to_string(value);
}

void add_section(std::string& out, const char* title, const std::vector<Record>& records) {
  if (records.empty()) return;
  out += std::string(";; ") + title + "\n";
  for (const Record& record : records) out += to_text(record) + "\n";
}

}  // namespace

Result<Bytes> encode_query(std::string_view name, Type type, uint16_t id) {
  const std::string wire = TRY(wire_name(name));
  Bytes out;
  ByteWriter writer(out);
  writer.u16(id);
  writer.u16(flag_recursion_desired);
  for (uint16_t count : {1, 0, 0, 1}) writer.u16(count);
  writer.raw(view_of(wire));
  writer.u8(0);
  writer.u16(uint16_t(type));
  writer.u16(class_in);
  writer.u8(0);
  writer.u16(uint16_t(Type::opt));
  writer.u16(edns_udp_size);
  writer.u32(0);
  writer.u16(0);
  return out;
}

Result<Message> decode_message(ByteView bytes) {
  MessageReader reader(bytes);
  Message message;
  message.id = reader.u16();
  message.flags = reader.u16();
  message.rcode = Rcode(message.flags & mask_rcode);
  std::array<uint16_t, 4> counts;
  for (uint16_t& count : counts) count = reader.u16();
  for (int i = 0; i < counts[0] && reader.ok(); ++i) {
    Question question;
    question.name = reader.name();
    question.type = Type(reader.u16());
    question.question_class = reader.u16();
    message.questions.push_back(std::move(question));
  }
  std::vector<Record>* const sections[] = {&message.answers, &message.authority,
                                           &message.additional};
  for (size_t section = 0; section < 3; ++section)
    for (int i = 0; i < counts[section + 1] && reader.ok(); ++i)
      read_record(reader, message, *sections[section]);
  if (!reader.done()) return Error(ErrorCode::invalid, "malformed DNS message");
  return message;
}

std::string to_text(const Record& record) {
  return record.name + "\t" + std::to_string(record.ttl) + "\t" + class_name(record.record_class) +
         "\t" + type_name(record.type) + "\t" + record.data;
}

std::string to_text(const Message& message) {
  static constexpr std::pair<uint16_t, const char*> flag_names[] = {
      {flag_response, "qr"},          {flag_authoritative, "aa"},       {flag_truncated, "tc"},
      {flag_recursion_desired, "rd"}, {flag_recursion_available, "ra"}, {flag_authentic, "ad"},
      {flag_checking_disabled, "cd"}};
  std::string out =
      ";; " + rcode_name(message.rcode) + ", id " + std::to_string(message.id) + ", flags";
  for (const auto& [flag, name] : flag_names)
    if (message.flags & flag) out += std::string(" ") + name;
  if (message.edns) out += ", EDNS size " + std::to_string(message.udp_size);
  out += "\n";
  if (!message.questions.empty()) out += ";; QUESTION\n";
  for (const Question& question : message.questions)
    out += ";" + question.name + "\t" + class_name(question.question_class) + "\t" +
           type_name(question.type) + "\n";
  add_section(out, "ANSWER", message.answers);
  add_section(out, "AUTHORITY", message.authority);
  add_section(out, "ADDITIONAL", message.additional);
  return out;
}

}  // namespace weft::dns
