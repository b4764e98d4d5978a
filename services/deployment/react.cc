#include "services/deployment/react.h"

#include <absl/algorithm/container.h>
#include <fmt/format.h>

#include <set>

namespace concordat::deployment {
namespace {

Intents ConfirmIfEmpty(const Rows& rows, const std::string& name) {
  const std::optional<v1::ReservationRecord> reservation = rows.deployment_reservations.Get(name);
  if (!reservation || !reservation->vacating() || reservation->vacated() ||
      !IsEmpty(rows, *reservation))
    return {};
  v1::Command command;
  command.mutable_confirm_vacated()->set_reservation(name);
  return {{.kind = "confirm", .subject = name, .command = std::move(command)}};
}

Intents Redeploy(const std::string& deployment) {
  v1::Command command;
  command.mutable_redeploy()->set_deployment(deployment);
  return {{.kind = "redeploy", .subject = deployment, .command = std::move(command)}};
}

void Append(Intents& intents, Intents more) {
  for (auto& intent : more) intents.push_back(std::move(intent));
}

// Windows whose servers the deployment was the last on.
Intents ConfirmDrainsOf(const Rows& rows, const v1::Deployment& deployment) {
  Intents intents;
  rows.drains.Scan("", [&](std::string_view name, const v1::Drain& drain) {
    if (drain.drained() || drain.returned() || !Share(drain.servers(), deployment.servers()) ||
        !IsFree(rows, drain.servers()))
      return true;
    v1::Command command;
    command.mutable_confirm_drained()->set_window(std::string(name));
    intents.push_back(
        {.kind = "drained", .subject = std::string(name), .command = std::move(command)});
    return true;
  });
  return intents;
}

// Its window was over before it was removed.
bool IsToReturn(const Rows& rows, const v1::Deployment& deployment) {
  const std::optional<v1::Drain> drain = rows.drains.Get(deployment.drained_by());
  return drain && drain->returned() &&
         absl::c_linear_search(drain->deployments(), deployment.name());
}

Intents ConfirmAfter(const Rows& rows, const std::string& deployment_name) {
  const std::optional<v1::Deployment> deployment = rows.deployments.Get(deployment_name);
  if (!deployment) return {};
  Intents intents = ConfirmIfEmpty(rows, deployment->reservation());
  Append(intents, ConfirmDrainsOf(rows, *deployment));
  if (deployment->state() == v1::DEPLOYMENT_STATE_REMOVED && IsToReturn(rows, *deployment))
    Append(intents, Redeploy(deployment->name()));
  return intents;
}

Intents ConfirmIfDrained(const Rows& rows, const v1::ServersDraining& draining) {
  if (!IsFree(rows, draining.servers())) return {};
  v1::Command command;
  command.mutable_confirm_drained()->set_window(draining.window());
  return {{.kind = "drained", .subject = draining.window(), .command = std::move(command)}};
}

// What a window had removed of a reservation goes on where that has been moved to.
Intents GoOn(const Rows& rows, const v1::ServersJoined& joined) {
  if (joined.replaced_servers().empty()) return {};
  const auto reservation = rows.deployment_reservations.Get(joined.reservation());
  if (!reservation || DrainOf(rows, reservation->servers())) return {};
  Intents intents;
  for (const std::string& name : reservation->deployments()) {
    const auto deployment = rows.deployments.Get(name);
    if (deployment && deployment->state() == v1::DEPLOYMENT_STATE_REMOVED &&
        (IsDrained(rows, *deployment) || IsToReturn(rows, *deployment)) &&
        !IsContinued(rows, *deployment))
      Append(intents, Redeploy(name));
  }
  return intents;
}

// What is removed already; the rest follows its removal. What an earlier window had removed waited
// where this one had taken a server of the same reservation.
Intents PutBack(const Rows& rows, const v1::ServersReturned& returned) {
  std::set<std::string> names(returned.deployments().begin(), returned.deployments().end());
  const v1::Drain drain = rows.drains.Get(returned.window()).value_or(v1::Drain());
  rows.deployment_reservations.Scan(
      "", [&](std::string_view, const v1::ReservationRecord& reservation) {
        if (reservation.vacating() || !Share(reservation.servers(), drain.servers())) return true;
        for (const std::string& name : reservation.deployments()) {
          const auto deployment = rows.deployments.Get(name);
          if (deployment && IsToReturn(rows, *deployment) && !IsContinued(rows, *deployment))
            names.insert(name);
        }
        return true;
      });
  Intents intents;
  for (const std::string& name : names) {
    const auto deployment = rows.deployments.Get(name);
    if (deployment && deployment->state() == v1::DEPLOYMENT_STATE_REMOVED)
      Append(intents, Redeploy(name));
  }
  return intents;
}

Intents Drain(const inventory::v1::WindowOpened& opened) {
  v1::Command command;
  command.mutable_drain_servers()->set_window(opened.name());
  *command.mutable_drain_servers()->mutable_servers() = opened.servers();
  return {{.kind = "drain", .subject = opened.name(), .command = std::move(command)}};
}

Intents Return(const std::string& window) {
  v1::Command command;
  command.mutable_return_servers()->set_window(window);
  return {{.kind = "return", .subject = window, .command = std::move(command)}};
}

Intents Record(const reservations::v1::ReservationStarted& started) {
  v1::Command command;
  v1::ReservationRecorded& recorded = *command.mutable_record_reservation()->mutable_reservation();
  recorded.set_reservation(started.name());
  recorded.set_customer(started.customer());
  *recorded.mutable_servers() = started.servers();
  return {{.kind = "record", .subject = started.name(), .command = std::move(command)}};
}

using Names = google::protobuf::RepeatedPtrField<std::string>;

Intents Join(const std::string& reservation, const Names& servers, const Names& replaced = {}) {
  if (servers.empty()) return {};
  v1::Command command;
  command.mutable_join_servers()->set_reservation(reservation);
  *command.mutable_join_servers()->mutable_servers() = servers;
  *command.mutable_join_servers()->mutable_replaced_servers() = replaced;
  return {{.kind = "join", .subject = reservation, .command = std::move(command)}};
}

Intents Vacate(const std::string& reservation) {
  v1::Command command;
  command.mutable_vacate_reservation()->set_reservation(reservation);
  return {{.kind = "vacate", .subject = reservation, .command = std::move(command)}};
}

// Whether the finding is one of those that the verdict comes from.
bool Prohibits(const compliance::v1::Finding& finding) {
  return finding.effect() != compliance::v1::EFFECT_WARN &&
         (finding.outcome() == compliance::v1::FINDING_OUTCOME_VIOLATED ||
          finding.outcome() == compliance::v1::FINDING_OUTCOME_UNEVALUABLE);
}

// `rules/x version 2: title (instrument, article)`, a rule after the other.
std::string WhyProhibited(const compliance::v1::ArtefactJudged& judged) {
  std::string detail;
  for (const compliance::v1::Finding& finding : judged.findings()) {
    if (!Prohibits(finding)) continue;
    const bool known = finding.outcome() == compliance::v1::FINDING_OUTCOME_VIOLATED;
    detail +=
        fmt::format("{}{} version {}{}: {} ({}, {})", detail.empty() ? "" : "; ", finding.rule(),
                    finding.version(), known ? "" : " could not be evaluated", finding.title(),
                    finding.citation().instrument(), finding.citation().article());
  }
  return detail.empty() ? "compliance did not clear it, and names no rule" : detail;
}

Intents Follow(const compliance::v1::ArtefactJudged& judged) {
  v1::Command command;
  if (judged.verdict() == compliance::v1::VERDICT_CLEARED) {
    command.mutable_clear_deployment()->set_name(judged.deployment());
    return {{.kind = "clear", .subject = judged.deployment(), .command = std::move(command)}};
  }
  command.mutable_prohibit_deployment()->set_name(judged.deployment());
  command.mutable_prohibit_deployment()->set_detail(WhyProhibited(judged));
  return {{.kind = "prohibit", .subject = judged.deployment(), .command = std::move(command)}};
}

}  // namespace

Intents React(const Rows& rows, const runtime::Accepted<v1::Event>& accepted) {
  const v1::Event& event = accepted.event;
  switch (event.event_case()) {
    case v1::Event::kModelRemoved:
      return ConfirmAfter(rows, event.model_removed().name());
    case v1::Event::kPlacementFailed:
      return ConfirmAfter(rows, event.placement_failed().name());
    case v1::Event::kDeploymentProhibited:
      return ConfirmAfter(rows, event.deployment_prohibited().name());
    case v1::Event::kServersDraining:
      return ConfirmIfDrained(rows, event.servers_draining());
    case v1::Event::kServersReturned:
      return PutBack(rows, event.servers_returned());
    case v1::Event::kServersJoined:
      return GoOn(rows, event.servers_joined());
    case v1::Event::kArtefactRegistered:
    case v1::Event::kReservationRecorded:
    case v1::Event::kDeploymentRequested:
    case v1::Event::kDeploymentCleared:
    case v1::Event::kModelPlaced:
    case v1::Event::kReservationVacating:
    case v1::Event::kRemovalFailed:
    case v1::Event::kReservationVacated:
    case v1::Event::kServersDrained:
    case v1::Event::kCommandRefused:
    case v1::Event::EVENT_NOT_SET:
      break;
  }
  return {};
}

Intents React(const runtime::Accepted<reservations::v1::Event>& accepted) {
  using Event = reservations::v1::Event;
  switch (accepted.event.event_case()) {
    case Event::kReservationStarted:
      return Record(accepted.event.reservation_started());
    case Event::kReservationEnding:
      return Vacate(accepted.event.reservation_ending().name());
    case Event::kReservationReleased:
      return Vacate(accepted.event.reservation_released().name());
    case Event::kReservationRevoked:
      if (!accepted.event.reservation_revoked().vacates()) return {};
      return Vacate(accepted.event.reservation_revoked().name());
    case Event::kAmendmentConfirmed:
      return Join(accepted.event.amendment_confirmed().reservation(),
                  accepted.event.amendment_confirmed().added_servers());
    case Event::kServersReassigned:
      if (!accepted.event.servers_reassigned().in_use()) return {};
      return Join(accepted.event.servers_reassigned().reservation(),
                  accepted.event.servers_reassigned().added(),
                  accepted.event.servers_reassigned().removed());
    case Event::kAmendmentHeld:
    case Event::kAmendmentDropped:
    case Event::kMarginsSet:
    case Event::kReservationGraceStarted:
    case Event::kReservationCleaning:
    case Event::kCustomerRegistered:
    case Event::kContractSigned:
    case Event::kContractRecorded:
    case Event::kSiteRecorded:
    case Event::kEnvelopeRecorded:
    case Event::kServerRecorded:
    case Event::kReservationHeld:
    case Event::kReservationConfirmed:
    case Event::kReservationDeclined:
    case Event::kHoldLapsed:
    case Event::kReservationEnded:
    case Event::kReservationCancelled:
    case Event::kCommandRefused:
    case Event::kReservationOrdered:
    case Event::kOrderDeclined:
    case Event::kOrderAnswered:
    case Event::kScheduleExtended:
    case Event::kOccurrencesShifted:
    case Event::kOccurrencesKept:
    case Event::kPartiesSeparated:
    case Event::kSeparationEnded:
    case Event::kBundleRequested:
    case Event::kPartHeld:
    case Event::kPartRecorded:
    case Event::kBundlePrepared:
    case Event::kPartPromised:
    case Event::kBundleCommitted:
    case Event::kBundleAborted:
    case Event::kPromiseBroken:
    case Event::kQuotaRequested:
    case Event::kQuotaGranted:
    case Event::kQuotaDeclined:
    case Event::kQuotaAnswered:
    case Event::kQuotaReturned:
    case Event::kQuotaReclaimed:
    case Event::kNoticeGiven:
    case Event::kNoticeDelivered:
    case Event::kWavePlanned:
    case Event::kProjectRegistered:
    case Event::kWindowAffects:
    case Event::kWindowReleased:
    case Event::kReplacementOffered:
    case Event::kServersMissing:
    case Event::kShortfallFound:
    case Event::kFeedRecorded:
    case Event::kShortfallCleared:
    case Event::kReservationDelayed:
    case Event::EVENT_NOT_SET:
      break;
  }
  return {};
}

Intents React(const runtime::Accepted<compliance::v1::Event>& accepted) {
  using Event = compliance::v1::Event;
  switch (accepted.event.event_case()) {
    case Event::kArtefactJudged:
      return Follow(accepted.event.artefact_judged());
    case Event::kRuleAdopted:
    case Event::kRuleRepealed:
    case Event::kReservationJudged:
    case Event::kSiteRecorded:
    case Event::kCommandRefused:
    case Event::EVENT_NOT_SET:
      break;
  }
  return {};
}

// Of the inventory's many events three are for deployment; a new one changes nothing here.
Intents React(const runtime::Accepted<inventory::v1::Event>& accepted) {
  const inventory::v1::Event& event = accepted.event;
  if (event.has_window_opened()) return Drain(event.window_opened());
  if (event.has_window_closed()) return Return(event.window_closed().name());
  if (event.has_window_aborted()) return Return(event.window_aborted().name());
  return {};
}

Intents Due(const Rows&, absl::Time, size_t) { return {}; }

}  // namespace concordat::deployment
