// SPDX-License-Identifier: Apache-2.0
#include "cli/actions.h"

#include <nlohmann/json.hpp>

namespace weft::cli {

Result<int> inspect(const Context& context, const std::string& collection) {
  Json all = Json::array();
  int status = 0;
  for (const std::string& name : context.arguments.operands) {
    auto object = context.client.get(path_of(collection, name));
    if (object) {
      all.push_back(*object);
    } else {
      complain(object.error().message());
      status = 1;
    }
  }
  if (all.empty()) return status;
  if (context.quiet) {
    for (const Json& object : all) print_line(text(object, "id"));
  } else {
    print_json(context.arguments.operands.size() == 1 ? all[0] : all);
  }
  return status;
}

Result<int> remove_each(const Context& context, const std::string& collection,
                        const Parameters& query) {
  int status = 0;
  for (const std::string& name : context.arguments.operands) {
    const auto done = context.client.remove(path_of(collection, name), query);
    if (done) {
      print_line(name);
    } else {
      complain(done.error().message());
      status = 1;
    }
  }
  return status;
}

Result<std::map<std::string, std::string>> names_by_id(const Context& context,
                                                       const char* collection) {
  const Json answer = TRY(context.client.get(std::string("/v1/") + collection));
  std::map<std::string, std::string> names;
  for (const Json& object : answer.value(collection, Json::array())) {
    names[text(object, "id")] = text(object, "name");
  }
  return names;
}

std::string name_of(const std::map<std::string, std::string>& names, const std::string& id) {
  const auto found = names.find(id);
  return found == names.end() ? short_id(id) : found->second;
}

}  // namespace weft::cli
