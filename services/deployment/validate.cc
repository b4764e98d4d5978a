#include <fmt/format.h>

#include "services/deployment/decider.h"
#include "services/runtime/check.h"

namespace concordat::deployment {
namespace {

using runtime::Presence;

absl::Status CheckOutcome(const std::string& name, int attempt, bool succeeded, bool failed) {
  absl::Status status =
      runtime::FirstError({runtime::CheckName("name", name, "sites/*/deployments/*"),
                           runtime::CheckPositive("attempt", attempt)});
  if (!status.ok() || succeeded != failed) return status;
  return absl::InvalidArgumentError(fmt::format(
      "manifest_digest, error: found {}, expected one of them", succeeded ? "both" : "neither"));
}

absl::Status CheckArtefact(const v1::RegisterArtefactRequest& request) {
  return runtime::FirstError({
      runtime::CheckName("name", request.name(), "artefacts/*"),
      runtime::CheckHex("digest", request.digest(), 64),
      runtime::CheckText("licence", request.licence()),
      runtime::CheckCountry("trained_in", request.trained_in()),
      // Whether an artefact without provenance may run is for the rules to say.
      runtime::CheckText("provenance", request.provenance(), Presence::kOptional),
  });
}

}  // namespace

absl::Status Validate(const v1::Command& command) {
  switch (command.command_case()) {
    case v1::Command::kRegisterArtefact:
      return CheckArtefact(command.register_artefact());
    case v1::Command::kDeploy:
      return runtime::FirstError(
          {runtime::CheckName("artefact", command.deploy().artefact(), "artefacts/*"),
           runtime::CheckName("reservation", command.deploy().reservation(),
                              "sites/*/reservations/*")});
    case v1::Command::kRecordReservation:
      return runtime::CheckText("reservation.reservation",
                                command.record_reservation().reservation().reservation());
    case v1::Command::kJoinServers:
      return runtime::CheckText("reservation", command.join_servers().reservation());
    case v1::Command::kClearDeployment:
      return runtime::CheckText("name", command.clear_deployment().name());
    case v1::Command::kProhibitDeployment:
      return runtime::CheckText("name", command.prohibit_deployment().name());
    case v1::Command::kRecordPlacement: {
      const v1::RecordPlacement& placement = command.record_placement();
      return CheckOutcome(placement.name(), placement.attempt(),
                          !placement.manifest_digest().empty(), !placement.error().empty());
    }
    case v1::Command::kRecordRemoval: {
      const v1::RecordRemoval& removal = command.record_removal();
      return CheckOutcome(removal.name(), removal.attempt(), removal.error().empty(),
                          !removal.error().empty());
    }
    case v1::Command::kVacateReservation:
      return runtime::CheckText("reservation", command.vacate_reservation().reservation());
    case v1::Command::kConfirmVacated:
      return runtime::CheckText("reservation", command.confirm_vacated().reservation());
    case v1::Command::kDrainServers:
      return runtime::CheckText("window", command.drain_servers().window());
    case v1::Command::kConfirmDrained:
      return runtime::CheckText("window", command.confirm_drained().window());
    case v1::Command::kReturnServers:
      return runtime::CheckText("window", command.return_servers().window());
    case v1::Command::kRedeploy:
      return runtime::CheckText("deployment", command.redeploy().deployment());
    case v1::Command::COMMAND_NOT_SET:
      break;
  }
  return absl::InvalidArgumentError(
      "command: found nothing, expected one of the commands of deployment");
}

}  // namespace concordat::deployment
