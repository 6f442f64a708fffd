// SPDX-License-Identifier: Apache-2.0
#include "frontends/control/routes.h"

#include <google/protobuf/descriptor.h>
#include <google/protobuf/message.h>
#include <google/protobuf/util/json_util.h>

#include <charconv>
#include <map>
#include <memory>

#include "frontends/control/query.h"
#include "weft/api/weft.pb.h"

namespace weft::control {
namespace {

namespace pb = google::protobuf;
using Field = pb::FieldDescriptor;

Error invalid(std::string message) { return Error(ErrorCode::invalid, std::move(message)); }

std::vector<Route::Segment> parse_pattern(const std::string& path) {
  std::vector<Route::Segment> segments;
  for (size_t start = 1; start <= path.size();) {
    const size_t end = std::min(path.find('/', start), path.size());
    const std::string text = path.substr(start, end - start);
    if (text.starts_with('{')) {
      segments.push_back({.is_field = true, .text = text.substr(1, text.size() - 2)});
    } else {
      segments.push_back({.is_field = false, .text = text});
    }
    start = end + 1;
  }
  return segments;
}

bool matches(const Route& route, const std::vector<std::string>& segments) {
  if (route.path.size() != segments.size()) return false;
  for (size_t i = 0; i < segments.size(); ++i) {
    if (route.path[i].is_field ? segments[i].empty() : route.path[i].text != segments[i]) {
      return false;
    }
  }
  return true;
}

template <typename Number>
Result<Number> parse_number(const std::string& text) {
  Number number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size()) {
    return invalid("'" + text + "' is not a number that fits");
  }
  return number;
}

Result<bool> parse_bool(const std::string& text) {
  // "?all" alone means yes, as a flag does.
  if (text == "true" || text == "1" || text.empty()) return true;
  if (text == "false" || text == "0") return false;
  return invalid("'" + text + "' is neither true nor false");
}

// Sets a scalar field, or appends to a repeated string, from one piece of text.
Result<> set_from_text(pb::Message& message, const Field& field, const std::string& text) {
  const pb::Reflection& reflection = *message.GetReflection();
  if (field.is_repeated()) {
    if (field.is_map() || field.cpp_type() != Field::CPPTYPE_STRING) {
      return invalid("it can only be given in a JSON body");
    }
    reflection.AddString(&message, &field, text);
    return Ok;
  }
  switch (field.cpp_type()) {
    case Field::CPPTYPE_STRING:
      reflection.SetString(&message, &field, text);
      return Ok;
    case Field::CPPTYPE_BOOL:
      reflection.SetBool(&message, &field, TRY(parse_bool(text)));
      return Ok;
    case Field::CPPTYPE_UINT32:
      reflection.SetUInt32(&message, &field, TRY(parse_number<uint32_t>(text)));
      return Ok;
    case Field::CPPTYPE_UINT64:
      reflection.SetUInt64(&message, &field, TRY(parse_number<uint64_t>(text)));
      return Ok;
    case Field::CPPTYPE_INT32:
      reflection.SetInt32(&message, &field, TRY(parse_number<int32_t>(text)));
      return Ok;
    case Field::CPPTYPE_INT64:
      reflection.SetInt64(&message, &field, TRY(parse_number<int64_t>(text)));
      return Ok;
    case Field::CPPTYPE_ENUM: {
      const pb::EnumValueDescriptor* value = field.enum_type()->FindValueByName(text);
      if (!value) return invalid("'" + text + "' is not one of its values");
      reflection.SetEnum(&message, &field, value);
      return Ok;
    }
    default:
      return invalid("it can only be given in a JSON body");
  }
}

// protobuf's parser reports a position in several lines; the first one says what is wrong.
std::string first_line(std::string_view text) {
  std::string line(text.substr(0, text.find('\n')));
  while (!line.empty() && (line.back() == '.' || line.back() == ' ')) line.pop_back();
  return line;
}

// protobuf writes "(spec) replicaz: Cannot find field" and "(spec.replicas): invalid value "x" for
// type TYPE_UINT32": one sentence that begins with the field instead.
std::string plain_sentence(const std::string& text) {
  std::string path, rest = text;
  if (rest.starts_with('(') && rest.find(')') != std::string::npos) {
    path = rest.substr(1, rest.find(')') - 1);
    rest.erase(0, rest.find(')') + 1);
  }
  rest.erase(0, rest.find_first_not_of(' '));
  const size_t colon = rest.find(": ");
  if (colon == std::string::npos) return text;
  const std::string name = rest.substr(0, colon);
  if (name.find(' ') != std::string::npos) return text;  // prose, not a field
  const std::string field = path + (path.empty() || name.empty() ? "" : ".") + name;
  rest.erase(0, colon + 2);
  if (rest == "Cannot find field") return "there is no field '" + field + "'";
  constexpr std::string_view bad_value = "invalid value ";
  if (rest.starts_with(bad_value) && rest.find(" for type ") != std::string::npos) {
    const std::string value =
        rest.substr(bad_value.size(), rest.rfind(" for type ") - bad_value.size());
    return "field '" + field + "' cannot be " + value;
  }
  return "field '" + field + "': " + rest;
}

Result<> merge_body(pb::Message& message, const std::string& body) {
  const size_t first = body.find_first_not_of(" \t\r\n");
  if (first == std::string::npos) return Ok;
  // protobuf would take `null` and, for some messages, other values: only an object is a request.
  if (body[first] != '{') return invalid("the request's body is not a JSON object");
  pb::util::JsonParseOptions options;
  options.ignore_unknown_fields = false;
  const auto status = pb::util::JsonStringToMessage(body, &message, options);
  if (!status.ok()) {
    const std::string_view text(status.message().data(), status.message().size());
    return invalid("the request's JSON is wrong: " + plain_sentence(first_line(text)));
  }
  return Ok;
}

Result<> set_parameters(pb::Message& message, const Target& target) {
  std::map<std::string, int> seen;
  for (const auto& [name, value] : target.parameters) {
    const Field* field = message.GetDescriptor()->FindFieldByName(name);
    if (!field) return invalid("there is no parameter '" + name + "'");
    if (++seen[name] > 1 && !field->is_repeated()) {
      return invalid("parameter '" + name + "' is given twice");
    }
    TRY_IN("parameter '" + name + "'", set_from_text(message, *field, value));
  }
  return Ok;
}

// The path names the object; a body or query that names another one is a mistake, not a rename.
Result<> set_path_fields(pb::Message& message, const Route& route, const Target& target) {
  for (size_t i = 0; i < route.path.size(); ++i) {
    if (!route.path[i].is_field) continue;
    const std::string& name = route.path[i].text;
    const Field* field = message.GetDescriptor()->FindFieldByName(name);
    WEFT_ASSERT(field && !field->is_repeated() && field->cpp_type() == Field::CPPTYPE_STRING);
    const std::string given = message.GetReflection()->GetString(message, field);
    const std::string& value = target.segments[i];
    if (!given.empty() && given != value) {
      return invalid("field '" + name + "' is '" + given + "' but the path says '" + value + "'");
    }
    message.GetReflection()->SetString(&message, field, value);
  }
  return Ok;
}

std::unique_ptr<pb::Message> new_message(const pb::Descriptor* type) {
  const pb::Message* prototype = pb::MessageFactory::generated_factory()->GetPrototype(type);
  WEFT_ASSERT(prototype);
  return std::unique_ptr<pb::Message>(prototype->New());
}

pb::util::JsonPrintOptions print_options() {
  pb::util::JsonPrintOptions options;
  options.always_print_primitive_fields = true;
  options.preserve_proto_field_names = true;
  return options;
}

}  // namespace

Routes::Routes() {
  const auto* service = api::Empty::descriptor()->file()->FindServiceByName("Control");
  WEFT_ASSERT(service);
  for (int i = 0; i < service->method_count(); ++i) {
    const pb::MethodDescriptor* method = service->method(i);
    const api::Http& http = method->options().GetExtension(api::http);
    WEFT_ASSERT(!http.method().empty() && http.path().starts_with('/'));
    routes_.push_back({.name = method->name(),
                       .http_method = http.method(),
                       .path = parse_pattern(http.path()),
                       .leader = method->options().GetExtension(api::where) == api::LEADER,
                       .method = method});
  }
}

Result<Call> Routes::resolve(const HttpRequest& request) const {
  const Target target = TRY(parse_target(request.target));
  const Route* found = nullptr;
  std::string others;
  for (const Route& route : routes_) {
    if (!matches(route, target.segments)) continue;
    if (route.http_method == request.method) {
      found = &route;
      break;
    }
    others += (others.empty() ? "" : ", ") + route.http_method;
  }
  const std::string path = request.target.substr(0, request.target.find('?'));
  if (!found && !others.empty()) {
    return invalid(path + " does not take " + request.method + ", only " + others);
  }
  if (!found) return Error(ErrorCode::not_found, "there is no " + request.method + " " + path);

  auto message = new_message(found->method->input_type());
  TRY(merge_body(*message, request.body));
  TRY(set_parameters(*message, target));
  TRY(set_path_fields(*message, *found, target));
  return Call{.route = found, .payload = message->SerializeAsString()};
}

Result<std::string> answer_json(const Route& route, const std::string& payload) {
  auto message = new_message(route.method->output_type());
  if (!message->ParseFromString(payload)) {
    return Error("the answer to " + route.name + " is not a " +
                 route.method->output_type()->name());
  }
  std::string json;
  const auto status = pb::util::MessageToJsonString(*message, &json, print_options());
  if (!status.ok()) return Error("the answer to " + route.name + " cannot be written as JSON");
  return json;
}

std::string error_json(const Error& error) {
  api::ErrorReply reply;
  reply.set_code(std::string(code_name(error.code())));
  reply.set_message(error.message());
  std::string json;
  const auto status = pb::util::MessageToJsonString(reply, &json, print_options());
  // A message that is not UTF-8 (a file name, say) must not hide that the request failed.
  if (!status.ok()) return R"({"code":"failed","message":"the error cannot be written as JSON"})";
  return json;
}

int http_status(ErrorCode code) {
  switch (code) {
    case ErrorCode::invalid:
      return 400;
    case ErrorCode::not_found:
      return 404;
    case ErrorCode::conflict:
    case ErrorCode::exhausted:
      return 409;
    case ErrorCode::unavailable:
      return 503;
    case ErrorCode::denied:
      return 403;
    case ErrorCode::failed:
      break;
  }
  return 500;
}

std::string_view code_name(ErrorCode code) {
  switch (code) {
    case ErrorCode::invalid:
      return "invalid";
    case ErrorCode::not_found:
      return "not_found";
    case ErrorCode::conflict:
      return "conflict";
    case ErrorCode::exhausted:
      return "exhausted";
    case ErrorCode::unavailable:
      return "unavailable";
    case ErrorCode::denied:
      return "denied";
    case ErrorCode::failed:
      break;
  }
  return "failed";
}

}  // namespace weft::control
