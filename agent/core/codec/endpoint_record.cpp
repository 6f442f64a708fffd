// SPDX-License-Identifier: Apache-2.0
#include "core/codec/endpoint_record.h"

#include <algorithm>

#include "weft/api/weft.pb.h"

namespace weft::codec {

namespace {

std::string bytes_of(const Address& address, size_t skip) {
  return std::string(reinterpret_cast<const char*>(address.bytes().data()) + skip, 16 - skip);
}

Result<Address> address_of(const std::string& bytes, size_t size) {
  if (bytes.empty()) return Address();
  if (bytes.size() != size)
    return Error(ErrorCode::invalid,
                 "endpoint record with an address of " + std::to_string(bytes.size()) + " bytes");
  Address::Bytes raw{};
  if (size == 4) raw[10] = raw[11] = 0xff;
  std::copy(bytes.begin(), bytes.end(), raw.end() - long(size));
  return Address(raw);
}

}  // namespace

std::string encode(const EndpointRecord& record) {
  api::EndpointRecord out;
  if (!record.address4.is_none()) out.set_address4(bytes_of(record.address4, 12));
  if (!record.address6.is_none()) out.set_address6(bytes_of(record.address6, 0));
  out.set_mac(std::string(record.mac.bytes.begin(), record.mac.bytes.end()));
  out.set_state(api::EndpointState(record.state));
  out.set_service_id(record.service_id);
  out.set_task_id(record.task_id);
  out.set_slot(record.slot);
  out.set_name(record.name);
  out.set_hostname(record.hostname);
  for (const std::string& alias : record.aliases) out.add_aliases(alias);
  out.set_weight(record.weight == 1 ? 0 : record.weight);
  return out.SerializeAsString();
}

Result<EndpointRecord> decode_endpoint_record(std::string_view bytes) {
  api::EndpointRecord in;
  if (!in.ParseFromArray(bytes.data(), int(bytes.size())))
    return Error(ErrorCode::invalid, "endpoint record that does not decode");
  EndpointRecord out;
  out.address4 = TRY(address_of(in.address4(), 4));
  out.address6 = TRY(address_of(in.address6(), 16));
  if (in.mac().size() != 6)
    return Error(ErrorCode::invalid, "endpoint record without a MAC address");
  std::copy(in.mac().begin(), in.mac().end(), out.mac.bytes.begin());
  if (!out.mac.is_unicast())
    return Error(ErrorCode::invalid, "endpoint record with a multicast MAC address");
  if (in.state() < api::ENDPOINT_STARTING || in.state() > api::ENDPOINT_DRAINING)
    return Error(ErrorCode::invalid, "endpoint record of an unknown state");
  out.state = EndpointState(in.state());
  out.service_id = in.service_id();
  out.task_id = in.task_id();
  out.slot = in.slot();
  out.name = in.name();
  out.hostname = in.hostname();
  out.aliases.assign(in.aliases().begin(), in.aliases().end());
  out.weight = in.weight() == 0 ? 1 : in.weight();
  return out;
}

}  // namespace weft::codec
