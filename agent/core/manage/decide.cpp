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
      {"Control.NodeList", handler(list_nodes)},
      {"Control.NodeShow", handler(show_node)},
      {"Control.NodeUpdate", handler(update_node)},
      {"Control.NodeRemove", handler(remove_node_on_request)},
      {"Control.NetworkCreate", handler(create_network)},
      {"Control.NetworkList", handler(list_networks)},
      {"Control.NetworkShow", handler(show_network)},
      {"Control.NetworkRemove", handler(remove_network)},
      {"Control.ServiceCreate", handler(create_service)},
      {"Control.ServiceList", handler(list_services)},
      {"Control.ServiceShow", handler(show_service)},
      {"Control.ServiceUpdate", handler(update_service)},
      {"Control.ServiceScale", handler(scale_service)},
      {"Control.ServiceRemove", handler(remove_service)},
      {"Control.TaskList", handler(list_tasks)},
      {"Control.TaskShow", handler(show_task)},
      {"Manager.ReportTasks", handler(report_tasks)},
      {"Manager.AllocateEndpoint", handler(allocate_endpoint)},
      {"Manager.ReleaseEndpoint", handler(release_endpoint)},
      {"Manager.Leave", handler(leave)},
  };
  return all;
}

}  // namespace

Result<std::string> decide(Draft& draft, const Caller& caller, std::string_view method,
                           std::string_view payload) {
  const auto found = handlers().find(method);
  if (found == handlers().end())
    return Error(ErrorCode::not_found, "managers do not know the method '" + std::string(method) +
                                           "': caller and manager may differ in version");
  return found->second(draft, caller, payload);
}

}  // namespace weft::manage
