// SPDX-License-Identifier: Apache-2.0
#include "core/manage/decide.h"

#include <functional>
#include <map>

namespace weft::manage {

namespace {

using Handler = std::function<Result<std::string>(Draft&, const Caller&, std::string_view payload)>;

template <typename Request, typename Reply>
Handler handler(Result<Reply> (*f)(Draft&, const Caller&, const Request&)) {
  return [f](Draft& draft, const Caller& caller, std::string_view payload) -> Result<std::string> {
    Request request;
    if (!request.ParseFromArray(payload.data(), int(payload.size())))
      return Error(ErrorCode::invalid, "the request cannot be read as a " +
                                           Request::descriptor()->name() +
                                           ": caller and manager may differ in version");
    return serialize(TRY(f(draft, caller, request)));
  };
}

const std::map<std::string, Handler, std::less<>>& handlers() {
  static const std::map<std::string, Handler, std::less<>> all = {
      {"NodeList", handler(list_nodes)},
      {"NodeShow", handler(show_node)},
      {"NodeUpdate", handler(update_node)},
      {"NodeRemove", handler(remove_node_on_request)},
      {"NetworkCreate", handler(create_network)},
      {"NetworkList", handler(list_networks)},
      {"NetworkShow", handler(show_network)},
      {"NetworkRemove", handler(remove_network)},
      {"ServiceCreate", handler(create_service)},
      {"ServiceList", handler(list_services)},
      {"ServiceShow", handler(show_service)},
      {"ServiceUpdate", handler(update_service)},
      {"ServiceScale", handler(scale_service)},
      {"ServiceRemove", handler(remove_service)},
      {"TaskList", handler(list_tasks)},
      {"TaskShow", handler(show_task)},
      {"ReportTasks", handler(report_tasks)},
      {"AllocateEndpoint", handler(allocate_endpoint)},
      {"ReleaseEndpoint", handler(release_endpoint)},
      {"Leave", handler(leave)},
  };
  return all;
}

}  // namespace

bool is_query(std::string_view method) {
  return method.ends_with("List") || method.ends_with("Show");
}

Result<std::string> decide(Draft& draft, const Caller& caller, std::string_view method,
                           std::string_view payload) {
  const auto found = handlers().find(method);
  if (found == handlers().end())
    return Error(ErrorCode::not_found, "managers do not know the method '" + std::string(method) +
                                           "': caller and manager may differ in version");
  return found->second(draft, caller, payload);
}

}  // namespace weft::manage
