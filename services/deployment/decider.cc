#include "services/deployment/decider.h"

#include <fmt/format.h>

#include "services/runtime/check.h"

namespace concordat::deployment {

v1::Event Refused(const google::protobuf::Message& command, v1::Reason reason, std::string detail) {
  v1::Event event;
  v1::CommandRefused& refused = *event.mutable_command_refused();
  refused.set_command(command.GetDescriptor()->full_name());
  refused.set_reason(reason);
  refused.set_detail(std::move(detail));
  return event;
}

v1::Event NotFound(const google::protobuf::Message& command, const std::string& name,
                   std::string_view expected) {
  return Refused(command, v1::REASON_NOT_FOUND,
                 fmt::format("{} is not known at this site; expected {}.", name, expected));
}

std::string NewName(const runtime::Facts& facts) {
  return fmt::format("sites/{}/deployments/d-{}", facts.site, runtime::DerivedId(facts));
}

namespace {

v1::Event WrongState(const google::protobuf::Message& command, const v1::Deployment& deployment,
                     std::string_view expected) {
  return Refused(command, v1::REASON_WRONG_STATE,
                 fmt::format("{} is in state {}; expected {}.", deployment.name(),
                             v1::DeploymentState_Name(deployment.state()), expected));
}

v1::Event RegisterArtefact(const Rows& rows, const v1::RegisterArtefactRequest& request) {
  if (rows.artefacts.Contains(request.name())) {
    return Refused(request, v1::REASON_ALREADY_EXISTS,
                   fmt::format("{} is registered already; expected a new name.", request.name()));
  }
  v1::Event event;
  v1::ArtefactRegistered& artefact = *event.mutable_artefact_registered();
  artefact.set_name(request.name());
  artefact.set_digest(request.digest());
  artefact.set_licence(request.licence());
  artefact.set_trained_in(request.trained_in());
  artefact.set_provenance(request.provenance());
  return event;
}

v1::Event Deploy(const Rows& rows, const v1::DeployRequest& request, const runtime::Facts& facts) {
  if (runtime::SiteOfName(request.reservation()) != facts.site) {
    return Refused(request, v1::REASON_NOT_HOME,
                   fmt::format("{} belongs to another site; expected one of sites/{}.",
                               request.reservation(), facts.site));
  }
  const std::optional<v1::Artefact> artefact = rows.artefacts.Get(request.artefact());
  if (!artefact) return NotFound(request, request.artefact(), "an artefact that was registered");
  const std::optional<v1::ReservationRecord> reservation =
      rows.deployment_reservations.Get(request.reservation());
  if (!reservation) {
    return NotFound(request, request.reservation(), "a reservation that has started");
  }
  if (reservation->vacating()) {
    return Refused(request, v1::REASON_RESERVATION_NOT_ACTIVE,
                   fmt::format("{} is over; expected one that is active.", request.reservation()));
  }
  if (auto refusal = CheckMaintenance(rows, request, reservation->servers())) return *refusal;
  const std::string name = NewName(facts);
  if (rows.deployments.Contains(name)) {
    return Refused(request, v1::REASON_ALREADY_EXISTS,
                   fmt::format("{} exists already; send the request again with a new id.", name));
  }
  v1::Event event;
  v1::DeploymentRequested& requested = *event.mutable_deployment_requested();
  requested.set_name(name);
  *requested.mutable_artefact() = artefact->artefact();
  requested.set_reservation(request.reservation());
  *requested.mutable_servers() = reservation->servers();
  requested.set_customer(reservation->customer());
  return event;
}

// A reservation is recorded once: what is over must not come back by a late or repeated record.
v1::Event RecordReservation(const Rows& rows, const v1::RecordReservation& command) {
  if (rows.deployment_reservations.Contains(command.reservation().reservation())) {
    return Refused(command, v1::REASON_ALREADY_EXISTS,
                   fmt::format("{} is recorded already; expected one that is not.",
                               command.reservation().reservation()));
  }
  v1::Event event;
  *event.mutable_reservation_recorded() = command.reservation();
  return event;
}

v1::Event JoinServers(const Rows& rows, const v1::JoinServers& command) {
  const std::optional<v1::ReservationRecord> reservation =
      rows.deployment_reservations.Get(command.reservation());
  if (!reservation)
    return NotFound(command, command.reservation(), "a reservation that has started");
  if (reservation->vacating()) {
    return Refused(command, v1::REASON_RESERVATION_NOT_ACTIVE,
                   fmt::format("{} is over; expected one that is active.", command.reservation()));
  }
  v1::Event event;
  event.mutable_servers_joined()->set_reservation(command.reservation());
  *event.mutable_servers_joined()->mutable_servers() = command.servers();
  *event.mutable_servers_joined()->mutable_replaced_servers() = command.replaced_servers();
  return event;
}

v1::Event ClearDeployment(const Rows& rows, const v1::ClearDeployment& command) {
  const std::optional<v1::Deployment> deployment = rows.deployments.Get(command.name());
  if (!deployment) return NotFound(command, command.name(), "a deployment that was requested");
  if (deployment->state() != v1::DEPLOYMENT_STATE_REQUESTED) {
    return WrongState(command, *deployment, "one that waits for compliance");
  }
  v1::Event event;
  const std::optional<v1::ReservationRecord> reservation =
      rows.deployment_reservations.Get(deployment->reservation());
  if (reservation && reservation->vacating()) {
    // Vacating takes requested deployments along, so this is not expected; but were one left
    // behind, it must neither be placed nor stay.
    v1::PlacementFailed& failed = *event.mutable_placement_failed();
    failed.set_name(command.name());
    failed.set_detail(fmt::format("{} is over, so nothing was placed.", deployment->reservation()));
    failed.set_given_up(true);
    return event;
  }
  event.mutable_deployment_cleared()->set_name(command.name());
  return event;
}

v1::Event ProhibitDeployment(const Rows& rows, const v1::ProhibitDeployment& command) {
  const std::optional<v1::Deployment> deployment = rows.deployments.Get(command.name());
  if (!deployment) return NotFound(command, command.name(), "a deployment that was requested");
  if (deployment->state() != v1::DEPLOYMENT_STATE_REQUESTED) {
    return WrongState(command, *deployment, "one that waits for compliance");
  }
  v1::Event event;
  event.mutable_deployment_prohibited()->set_name(command.name());
  event.mutable_deployment_prohibited()->set_detail(command.detail());
  return event;
}

v1::Event WrongAttempt(const google::protobuf::Message& command, const v1::Deployment& deployment,
                       int attempt) {
  return Refused(command, v1::REASON_WRONG_STATE,
                 fmt::format("{}: found attempt {}, expected {}.", deployment.name(), attempt,
                             int64_t{deployment.failed_attempts()} + 1));
}

bool IsNext(const v1::Deployment& deployment, int attempt) {
  return attempt == int64_t{deployment.failed_attempts()} + 1;
}

v1::Event RecordPlacement(const Rows& rows, const v1::RecordPlacement& command) {
  const std::optional<v1::Deployment> deployment = rows.deployments.Get(command.name());
  if (!deployment) return NotFound(command, command.name(), "a deployment that is being placed");
  // One that is being removed by now stays so, whatever came of this attempt: its removal is
  // carried out after the attempt, and forbids a later one (see target.h).
  if (deployment->state() != v1::DEPLOYMENT_STATE_PLACING) {
    return WrongState(command, *deployment, "one that is being placed");
  }
  if (!IsNext(*deployment, command.attempt())) {
    return WrongAttempt(command, *deployment, command.attempt());
  }
  v1::Event event;
  if (command.error().empty()) {
    event.mutable_model_placed()->set_name(command.name());
    event.mutable_model_placed()->set_manifest_digest(command.manifest_digest());
    return event;
  }
  v1::PlacementFailed& failed = *event.mutable_placement_failed();
  failed.set_name(command.name());
  failed.set_attempt(command.attempt());
  failed.set_detail(command.error());
  failed.set_given_up(command.attempt() >= kMaxPlacementAttempts);
  return event;
}

v1::Event RecordRemoval(const Rows& rows, const v1::RecordRemoval& command) {
  const std::optional<v1::Deployment> deployment = rows.deployments.Get(command.name());
  if (!deployment) return NotFound(command, command.name(), "a deployment that is being removed");
  if (deployment->state() != v1::DEPLOYMENT_STATE_REMOVING) {
    return WrongState(command, *deployment, "one that is being removed");
  }
  if (!IsNext(*deployment, command.attempt())) {
    return WrongAttempt(command, *deployment, command.attempt());
  }
  v1::Event event;
  if (command.error().empty()) {
    event.mutable_model_removed()->set_name(command.name());
    event.mutable_model_removed()->set_reservation(deployment->reservation());
    return event;
  }
  event.mutable_removal_failed()->set_name(command.name());
  event.mutable_removal_failed()->set_attempt(command.attempt());
  event.mutable_removal_failed()->set_detail(command.error());
  return event;
}

v1::Event Vacated(const std::string& reservation) {
  v1::Event event;
  event.mutable_reservation_vacated()->set_reservation(reservation);
  return event;
}

v1::Event VacateReservation(const Rows& rows, const v1::VacateReservation& command) {
  const std::optional<v1::ReservationRecord> reservation =
      rows.deployment_reservations.Get(command.reservation());
  // What was never recorded here carries nothing.
  if (!reservation) return Vacated(command.reservation());
  if (reservation->vacating()) {
    return Refused(
        command, v1::REASON_WRONG_STATE,
        fmt::format("{} is {} already; expected one that is active.", command.reservation(),
                    reservation->vacated() ? "vacated" : "vacating"));
  }
  v1::Event event;
  v1::ReservationVacating& vacating = *event.mutable_reservation_vacating();
  vacating.set_reservation(command.reservation());
  for (const std::string& name : reservation->deployments()) {
    const std::optional<v1::Deployment> deployment = rows.deployments.Get(name);
    if (!deployment) continue;
    // A requested one ends by this too. A failed attempt may have left something on the servers.
    if (IsLive(*deployment) || deployment->state() == v1::DEPLOYMENT_STATE_FAILED) {
      vacating.add_deployments(name);
    }
  }
  return vacating.deployments().empty() ? Vacated(command.reservation()) : event;
}

v1::Event ConfirmVacated(const Rows& rows, const v1::ConfirmVacated& command) {
  const std::optional<v1::ReservationRecord> reservation =
      rows.deployment_reservations.Get(command.reservation());
  if (!reservation) {
    return NotFound(command, command.reservation(), "a reservation that is vacating");
  }
  if (!reservation->vacating() || reservation->vacated()) {
    return Refused(command, v1::REASON_WRONG_STATE,
                   fmt::format("{} is {}; expected one that is vacating.", command.reservation(),
                               reservation->vacated() ? "vacated" : "active"));
  }
  if (!IsEmpty(rows, *reservation)) {
    return Refused(
        command, v1::REASON_WRONG_STATE,
        fmt::format("{} still carries deployments; expected none.", command.reservation()));
  }
  return Vacated(command.reservation());
}

}  // namespace

v1::Event Decide(const State& state, const v1::Command& command, const runtime::Facts& facts) {
  const Rows& rows = state.rows;
  switch (command.command_case()) {
    case v1::Command::kRegisterArtefact:
      return RegisterArtefact(rows, command.register_artefact());
    case v1::Command::kDeploy:
      return Deploy(rows, command.deploy(), facts);
    case v1::Command::kRecordReservation:
      return RecordReservation(rows, command.record_reservation());
    case v1::Command::kJoinServers:
      return JoinServers(rows, command.join_servers());
    case v1::Command::kClearDeployment:
      return ClearDeployment(rows, command.clear_deployment());
    case v1::Command::kProhibitDeployment:
      return ProhibitDeployment(rows, command.prohibit_deployment());
    case v1::Command::kRecordPlacement:
      return RecordPlacement(rows, command.record_placement());
    case v1::Command::kRecordRemoval:
      return RecordRemoval(rows, command.record_removal());
    case v1::Command::kVacateReservation:
      return VacateReservation(rows, command.vacate_reservation());
    case v1::Command::kConfirmVacated:
      return ConfirmVacated(rows, command.confirm_vacated());
    case v1::Command::kDrainServers:
      return DrainServers(rows, command.drain_servers());
    case v1::Command::kConfirmDrained:
      return ConfirmDrained(rows, command.confirm_drained());
    case v1::Command::kReturnServers:
      return ReturnServers(rows, command.return_servers());
    case v1::Command::kRedeploy:
      return Redeploy(rows, command.redeploy(), facts);
    case v1::Command::COMMAND_NOT_SET:
      break;
  }
  return Refused(command, v1::REASON_NOT_FOUND,
                 "The command is empty; expected one of the commands of deployment.");
}

std::string Subject(const v1::Command& command, const runtime::Facts& facts) {
  switch (command.command_case()) {
    case v1::Command::kRegisterArtefact:
      return command.register_artefact().name();
    case v1::Command::kDeploy:
      return NewName(facts);
    case v1::Command::kRecordReservation:
      return command.record_reservation().reservation().reservation();
    case v1::Command::kJoinServers:
      return command.join_servers().reservation();
    case v1::Command::kClearDeployment:
      return command.clear_deployment().name();
    case v1::Command::kProhibitDeployment:
      return command.prohibit_deployment().name();
    case v1::Command::kRecordPlacement:
      return command.record_placement().name();
    case v1::Command::kRecordRemoval:
      return command.record_removal().name();
    case v1::Command::kVacateReservation:
      return command.vacate_reservation().reservation();
    case v1::Command::kConfirmVacated:
      return command.confirm_vacated().reservation();
    case v1::Command::kDrainServers:
      return command.drain_servers().window();
    case v1::Command::kConfirmDrained:
      return command.confirm_drained().window();
    case v1::Command::kReturnServers:
      return command.return_servers().window();
    case v1::Command::kRedeploy:
      return NewName(facts);
    case v1::Command::COMMAND_NOT_SET:
      break;
  }
  return "sites/" + facts.site;
}

}  // namespace concordat::deployment
