#include "services/compliance/react.h"

#include <fmt/format.h>

namespace concordat::compliance {
namespace {

using FactList = google::protobuf::RepeatedPtrField<v1::Fact>;

template <typename Values>
void AddWords(FactList& facts, std::string_view name, const Values& values) {
  v1::Fact& fact = *facts.Add();
  fact.set_name(std::string(name));
  for (const std::string& value : values) fact.add_values(value);
}

// An empty word is one that is not known: the fact stays absent, so that a rule over it prohibits.
void AddWord(FactList& facts, std::string_view name, const std::string& value) {
  if (!value.empty()) AddWords(facts, name, std::vector<std::string>{value});
}

void AddNumber(FactList& facts, std::string_view name, int64_t number) {
  v1::Fact& fact = *facts.Add();
  fact.set_name(std::string(name));
  fact.set_is_number(true);
  fact.set_number(number);
}

// `TRAINING` of PURPOSE_TRAINING; empty for one that this release does not know.
std::string PurposeWord(reservations::v1::Purpose purpose) {
  if (purpose == reservations::v1::PURPOSE_UNSPECIFIED ||
      !reservations::v1::Purpose_IsValid(purpose))
    return "";
  constexpr std::string_view kPrefix = "PURPOSE_";
  return reservations::v1::Purpose_Name(purpose).substr(kPrefix.size());
}

// Terms that are held, of a reservation or of its amendment; `held` has what the rules need to know
// beside them.
template <typename Held>
Intents Judge(const std::string& name, const reservations::v1::Terms& terms, const Held& held,
              std::string_view here) {
  v1::Command command;
  v1::JudgeReservation& judge = *command.mutable_judge_reservation();
  judge.set_reservation(name);
  FactList& facts = *judge.mutable_facts();
  AddWord(facts, "site.name", fmt::format("sites/{}", here));
  AddWord(facts, "site.country", held.site_country());
  // No certifications are a fact only where the site is known at all.
  if (!held.site_country().empty()) {
    AddWords(facts, "site.certifications", held.site_certifications());
  }
  AddWord(facts, "customer.name", terms.customer());
  AddWord(facts, "customer.country", held.customer_country());
  AddWord(facts, "customer.sector", held.customer_sector());
  AddWord(facts, "purpose", PurposeWord(terms.purpose()));
  AddWords(facts, "data_classes", terms.data_classes());
  AddWord(facts, "model", terms.model());
  AddNumber(facts, "server_count", terms.count());
  return {{.kind = "judge", .subject = name, .command = std::move(command)}};
}

Intents Judge(const deployment::v1::DeploymentRequested& requested, std::string_view here) {
  v1::Command command;
  v1::JudgeArtefact& judge = *command.mutable_judge_artefact();
  const deployment::v1::ArtefactRegistered& artefact = requested.artefact();
  judge.set_deployment(requested.name());
  judge.set_artefact(artefact.name());
  FactList& facts = *judge.mutable_facts();
  AddWord(facts, "site.name", fmt::format("sites/{}", here));
  AddWord(facts, "customer.name", requested.customer());
  AddWord(facts, "artefact.name", artefact.name());
  AddWord(facts, "artefact.digest", artefact.digest());
  AddWord(facts, "artefact.licence", artefact.licence());
  AddWord(facts, "artefact.trained_in", artefact.trained_in());
  std::vector<std::string> provenance;
  if (!artefact.provenance().empty()) provenance.push_back(artefact.provenance());
  AddWords(facts, "artefact.provenance", provenance);
  // Whether a free text was given at all can only be asked of a number.
  AddNumber(facts, "artefact.provenance_bytes", static_cast<int64_t>(artefact.provenance().size()));
  return {{.kind = "judge", .subject = requested.name(), .command = std::move(command)}};
}

Intents RecordSite(const inventory::v1::SiteOpened& opened) {
  v1::Command command;
  v1::SiteRecorded& site = *command.mutable_record_site()->mutable_site();
  site.set_name(opened.name());
  site.set_country(opened.country());
  *site.mutable_certifications() = opened.certifications();
  return {{.kind = "record", .subject = opened.name(), .command = std::move(command)}};
}

}  // namespace

Intents React(const Rows&, const runtime::Accepted<v1::Event>&) { return {}; }

Intents React(const runtime::Accepted<inventory::v1::Event>& accepted) {
  using Event = inventory::v1::Event;
  switch (accepted.event.event_case()) {
    case Event::kSiteOpened:
      return RecordSite(accepted.event.site_opened());
    case Event::kEnvelopeSet:
    case Event::kModelRegistered:
    case Event::kPlanRegistered:
    case Event::kRackDefined:
    case Event::kFeedDefined:
    case Event::kServerPlanned:
    case Event::kServerOrdered:
    case Event::kDeliverySlipped:
    case Event::kManifestReceived:
    case Event::kServerDelivered:
    case Event::kServerInstalled:
    case Event::kTestStarted:
    case Event::kBurnInPassed:
    case Event::kBurnInFailed:
    case Event::kEvidenceExpired:
    case Event::kTenancyEnded:
    case Event::kServerEnteredService:
    case Event::kServerCordoned:
    case Event::kServerUncordoned:
    case Event::kServerWithdrawn:
    case Event::kServerLeftService:
    case Event::kServerQuarantined:
    case Event::kServerRepaired:
    case Event::kPartReplaced:
    case Event::kFirmwareChanged:
    case Event::kServerRetiring:
    case Event::kServerSanitised:
    case Event::kServerRetired:
    case Event::kWindowProposed:
    case Event::kWindowWorkAdded:
    case Event::kWindowAnnounced:
    case Event::kWindowAffectedRecorded:
    case Event::kWindowConsentGiven:
    case Event::kWindowConsentRefused:
    case Event::kWindowConsentLapsed:
    case Event::kWindowOpened:
    case Event::kWindowDrained:
    case Event::kWindowOverrunning:
    case Event::kWindowClosed:
    case Event::kWindowAborted:
    case Event::kWindowCancelled:
    case Event::kStageLimitSet:
    case Event::kFacilityReported:
    case Event::kReadingRecorded:
    case Event::kFeedEnvelopeSet:
    case Event::kCommandRefused:
    case Event::EVENT_NOT_SET:
      break;
  }
  return {};
}

Intents React(const runtime::Accepted<reservations::v1::Event>& accepted) {
  using Event = reservations::v1::Event;
  switch (accepted.event.event_case()) {
    case Event::kReservationHeld:
      return Judge(accepted.event.reservation_held().name(),
                   accepted.event.reservation_held().terms(), accepted.event.reservation_held(),
                   accepted.here);
    case Event::kAmendmentHeld:
      return Judge(accepted.event.amendment_held().amendment().name(),
                   accepted.event.amendment_held().amendment().terms(),
                   accepted.event.amendment_held(), accepted.here);
    case Event::kAmendmentConfirmed:
    case Event::kAmendmentDropped:
    case Event::kCustomerRegistered:
    case Event::kContractSigned:
    case Event::kContractRecorded:
    case Event::kSiteRecorded:
    case Event::kEnvelopeRecorded:
    case Event::kServerRecorded:
    case Event::kReservationConfirmed:
    case Event::kReservationDeclined:
    case Event::kHoldLapsed:
    case Event::kReservationStarted:
    case Event::kReservationEnding:
    case Event::kMarginsSet:
    case Event::kReservationReleased:
    case Event::kReservationRevoked:
    case Event::kReservationGraceStarted:
    case Event::kReservationCleaning:
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
    case Event::kServersReassigned:
    case Event::kShortfallFound:
    case Event::kFeedRecorded:
    case Event::kShortfallCleared:
    case Event::kReservationDelayed:
    case Event::EVENT_NOT_SET:
      break;
  }
  return {};
}

Intents React(const runtime::Accepted<deployment::v1::Event>& accepted) {
  using Event = deployment::v1::Event;
  switch (accepted.event.event_case()) {
    case Event::kDeploymentRequested:
      return Judge(accepted.event.deployment_requested(), accepted.here);
    case Event::kArtefactRegistered:
    case Event::kReservationRecorded:
    case Event::kServersJoined:
    case Event::kDeploymentCleared:
    case Event::kDeploymentProhibited:
    case Event::kModelPlaced:
    case Event::kPlacementFailed:
    case Event::kReservationVacating:
    case Event::kModelRemoved:
    case Event::kRemovalFailed:
    case Event::kServersDraining:
    case Event::kServersDrained:
    case Event::kServersReturned:
    case Event::kReservationVacated:
    case Event::kCommandRefused:
    case Event::EVENT_NOT_SET:
      break;
  }
  return {};
}

Intents Due(const Rows&, absl::Time, size_t) { return {}; }

}  // namespace concordat::compliance
