#include <fmt/format.h>

#include <algorithm>

#include "services/deployment/decider.h"

namespace concordat::deployment {
namespace {

using Servers = google::protobuf::RepeatedPtrField<std::string>;

v1::Event NoDrain(const google::protobuf::Message& command, const std::string& window) {
  return NotFound(command, window, "a maintenance window that was opened");
}

}  // namespace

std::optional<v1::Event> CheckMaintenance(const Rows& rows,
                                          const google::protobuf::Message& command,
                                          const Servers& servers) {
  const std::optional<v1::Drain> drain = DrainOf(rows, servers);
  if (!drain) return std::nullopt;
  return Refused(command, v1::REASON_MAINTENANCE,
                 fmt::format("One of the {} servers is worked on in {}; expected none of them.",
                             servers.size(), drain->name()));
}

v1::Event DrainServers(const Rows& rows, const v1::DrainServers& command) {
  if (rows.drains.Contains(command.window())) {
    return Refused(command, v1::REASON_ALREADY_EXISTS,
                   fmt::format("{} was opened already; expected a new one.", command.window()));
  }
  v1::Event event;
  v1::ServersDraining& draining = *event.mutable_servers_draining();
  draining.set_window(command.window());
  *draining.mutable_servers() = command.servers();
  // Windows are few, so everything that ever ran is looked through.
  rows.deployments.Scan("", [&](std::string_view name, const v1::Deployment& deployment) {
    if (!Share(deployment.servers(), command.servers())) return true;
    if (deployment.state() == v1::DEPLOYMENT_STATE_FAILED) {
      draining.add_remnants(std::string(name));
    } else if (IsLive(deployment) && deployment.state() != v1::DEPLOYMENT_STATE_REMOVING) {
      draining.add_deployments(std::string(name));
    }
    return true;
  });
  return event;
}

v1::Event ConfirmDrained(const Rows& rows, const v1::ConfirmDrained& command) {
  const std::optional<v1::Drain> drain = rows.drains.Get(command.window());
  if (!drain) return NoDrain(command, command.window());
  if (drain->drained() || drain->returned() || !IsFree(rows, drain->servers())) {
    return Refused(command, v1::REASON_WRONG_STATE,
                   fmt::format("{} is {}; expected one whose last deployment has been removed.",
                               command.window(),
                               drain->returned()  ? "over"
                               : drain->drained() ? "drained"
                                                  : "being drained"));
  }
  v1::Event event;
  event.mutable_servers_drained()->set_window(command.window());
  return event;
}

v1::Event ReturnServers(const Rows& rows, const v1::ReturnServers& command) {
  const std::optional<v1::Drain> drain = rows.drains.Get(command.window());
  if (!drain) return NoDrain(command, command.window());
  if (drain->returned()) {
    return Refused(command, v1::REASON_WRONG_STATE,
                   fmt::format("{} is over already; expected one that is open.", command.window()));
  }
  v1::Event event;
  v1::ServersReturned& returned = *event.mutable_servers_returned();
  returned.set_window(command.window());
  for (const std::string& name : drain->deployments()) {
    const v1::Deployment deployment = rows.deployments.Get(name).value_or(v1::Deployment());
    // It was moved, and goes on elsewhere.
    if (IsContinued(rows, deployment)) continue;
    const auto reservation = rows.deployment_reservations.Get(deployment.reservation());
    const bool goes_on = reservation && !reservation->vacating();
    goes_on ? returned.add_deployments(name) : returned.add_over(name);
  }
  return event;
}

v1::Event Redeploy(const Rows& rows, const v1::Redeploy& command, const runtime::Facts& facts) {
  const std::optional<v1::Deployment> removed = rows.deployments.Get(command.deployment());
  if (!removed) return NotFound(command, command.deployment(), "one that was removed");
  if (removed->state() != v1::DEPLOYMENT_STATE_REMOVED) {
    return Refused(command, v1::REASON_WRONG_STATE,
                   fmt::format("{} is in state {}; expected one that was removed.",
                               command.deployment(), v1::DeploymentState_Name(removed->state())));
  }
  if (IsContinued(rows, *removed)) {
    return Refused(command, v1::REASON_WRONG_STATE,
                   fmt::format("{} goes on as another deployment already; expected one that does "
                               "not.",
                               command.deployment()));
  }
  const auto reservation = rows.deployment_reservations.Get(removed->reservation());
  const auto artefact = rows.artefacts.Get(removed->artefact());
  if (!reservation || !artefact || reservation->vacating()) {
    return Refused(command, v1::REASON_RESERVATION_NOT_ACTIVE,
                   fmt::format("{} is over; expected one that is active.", removed->reservation()));
  }
  if (auto refusal = CheckMaintenance(rows, command, reservation->servers())) return *refusal;
  v1::Event event;
  v1::DeploymentRequested& requested = *event.mutable_deployment_requested();
  requested.set_name(NewName(facts));
  *requested.mutable_artefact() = artefact->artefact();
  requested.set_reservation(removed->reservation());
  *requested.mutable_servers() = reservation->servers();
  requested.set_customer(reservation->customer());
  requested.set_continues(command.deployment());
  return event;
}

}  // namespace concordat::deployment
