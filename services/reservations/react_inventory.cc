// What the inventory says, as commands that record it.
#include <absl/strings/ascii.h>
#include <fmt/format.h>

#include <string>
#include <utility>

#include "services/reservations/react.h"
#include "services/reservations/windows.h"
#include "services/runtime/check.h"

namespace concordat::reservations {
namespace {

Intents Record(v1::SiteRecorded site) {
  v1::Command command;
  *command.mutable_record_site()->mutable_site() = site;
  return One("site", site.name(), std::move(command));
}

Intents Record(v1::EnvelopeRecorded envelope) {
  v1::Command command;
  *command.mutable_record_envelope()->mutable_envelope() = envelope;
  return One("envelope", envelope.site(), std::move(command));
}

Intents Record(const std::string& name, v1::EnvelopeRecorded step) {
  v1::Command command;
  v1::FeedRecorded& feed = *command.mutable_record_feed()->mutable_feed();
  feed.set_feed(name.substr(name.rfind('/') + 1));
  *feed.mutable_step() = std::move(step);
  return One("feed", name, std::move(command));
}

// Without a model the decider keeps what is known of the server.
v1::ServerRecorded Server(const std::string& name, bool bookable, bool lost) {
  v1::ServerRecorded server;
  server.set_name(name);
  server.set_bookable(bookable);
  server.set_lost(lost);
  return server;
}

Intents Record(v1::ServerRecorded server) {
  v1::Command command;
  *command.mutable_record_server()->mutable_server() = server;
  return One("server", server.name(), std::move(command));
}

Intents Record(const inventory::v1::SiteOpened& opened) {
  v1::SiteRecorded site;
  site.set_name(opened.name());
  site.set_country(opened.country());
  *site.mutable_certifications() = opened.certifications();
  return Record(std::move(site));
}

// `equipment: chiller 2 failed`.
std::string CauseOf(const inventory::v1::EnvelopeSet& set) {
  constexpr std::string_view kPrefix = "ENVELOPE_CAUSE_";
  std::string words;
  if (set.cause() != inventory::v1::ENVELOPE_CAUSE_UNSPECIFIED) {
    for (const char c : inventory::v1::EnvelopeCause_Name(set.cause()).substr(kPrefix.size()))
      words += c == '_' ? ' ' : absl::ascii_tolower(static_cast<unsigned char>(c));
  }
  if (set.detail().empty()) return words;
  return words.empty() ? set.detail() : fmt::format("{}: {}", words, set.detail());
}

v1::EnvelopeRecorded StepOf(const inventory::v1::EnvelopeSet& set) {
  v1::EnvelopeRecorded envelope;
  envelope.set_site(set.site());
  *envelope.mutable_effective_from() = set.effective_from();
  envelope.set_it_power_watts(set.it_power_watts());
  envelope.set_cooling_watts(set.cooling_watts());
  if (set.has_until()) *envelope.mutable_until() = set.until();
  envelope.set_cause(CauseOf(set));
  return envelope;
}

Intents Record(const inventory::v1::EnvelopeSet& set) {
  v1::EnvelopeRecorded envelope = StepOf(set);
  Intents intents = Record(envelope);
  for (int i = 0; i < set.also_from_size(); ++i) {
    *envelope.mutable_effective_from() = set.also_from(i);
    for (Intent& again : Record(envelope)) {
      again.kind = fmt::format("envelope-{}", i + 1);
      intents.push_back(std::move(again));
    }
  }
  return intents;
}

Intents Record(const inventory::v1::FeedDefined& defined) {
  v1::EnvelopeRecorded step;
  step.set_site(fmt::format("sites/{}", runtime::SiteOfName(defined.name())));
  step.set_it_power_watts(defined.it_power_watts());
  return Record(defined.name(), std::move(step));
}

Intents Record(const inventory::v1::ServerEnteredService& entered) {
  v1::ServerRecorded server = Server(entered.name(), !entered.cordoned(), false);
  server.set_retest_after_tenant(entered.retest_after_tenant());
  if (entered.has_retest_margin()) *server.mutable_retest_margin() = entered.retest_margin();
  server.set_model(entered.model());
  server.set_it_power_watts(entered.it_power_watts());
  server.set_cooling_watts(entered.cooling_watts());
  server.set_accelerators(entered.accelerators());
  server.set_room(entered.room());
  server.set_rack(entered.rack());
  server.set_position(entered.position());
  server.set_nvlink_domain(entered.nvlink_domain());
  server.set_power_feed(entered.power_feed());
  return Record(std::move(server));
}

}  // namespace

Intents React(const runtime::Accepted<inventory::v1::Event>& accepted) {
  using Event = inventory::v1::Event;
  const Event& event = accepted.event;
  switch (event.event_case()) {
    case Event::kSiteOpened:
      return Record(event.site_opened());
    case Event::kEnvelopeSet:
      return Record(event.envelope_set());
    case Event::kFeedEnvelopeSet:
      return Record(event.feed_envelope_set().feed(), StepOf(event.feed_envelope_set().envelope()));
    case Event::kFeedDefined:
      return Record(event.feed_defined());
    case Event::kServerEnteredService:
      return Record(event.server_entered_service());
    case Event::kServerCordoned:
      if (event.server_cordoned().not_in_service()) break;
      return Record(Server(event.server_cordoned().name(), false, false));
    case Event::kServerUncordoned:
      if (event.server_uncordoned().not_in_service()) break;
      return Record(Server(event.server_uncordoned().name(), true, false));
    case Event::kServerWithdrawn:
      if (!event.server_withdrawn().in_service()) break;
      return Record(Server(event.server_withdrawn().name(), false, false));
    case Event::kServerLeftService:
      return Record(Server(event.server_left_service().name(), false, true));
    case Event::kServerQuarantined:
      if (!event.server_quarantined().in_service()) break;
      return Record(Server(event.server_quarantined().name(), false, true));
    case Event::kBurnInPassed:
      if (!event.burn_in_passed().in_service()) break;
      return {RecordPassed(event.burn_in_passed())};
    case Event::kBurnInFailed:
      if (!event.burn_in_failed().in_service()) break;
      return Record(Server(event.burn_in_failed().name(), false, true));
    case Event::kEvidenceExpired:
      if (!event.evidence_expired().in_service()) break;
      return {RecordUntested(event.evidence_expired().name())};
    case Event::kTenancyEnded: {
      // A test that was recorded before the end was heard of says nothing of what came after it.
      Intents intents;
      for (const std::string& server : event.tenancy_ended().servers())
        intents.push_back(RecordUntested(server));
      return intents;
    }
    case Event::kWindowAnnounced:
    case Event::kWindowOverrunning:
    case Event::kWindowClosed:
    case Event::kWindowAborted:
    case Event::kWindowCancelled:
    case Event::kWindowConsentLapsed:
    case Event::kWindowWorkAdded:
    case Event::kWindowConsentGiven:
    case Event::kWindowConsentRefused:
    case Event::kWindowDrained:
      return FollowWindow(event, accepted.time);
    case Event::kModelRegistered:
    case Event::kPlanRegistered:
    case Event::kRackDefined:
    case Event::kServerPlanned:
    case Event::kServerOrdered:
    case Event::kDeliverySlipped:
    case Event::kManifestReceived:
    case Event::kServerDelivered:
    case Event::kServerInstalled:
    case Event::kTestStarted:
    case Event::kServerRepaired:
    case Event::kPartReplaced:
    case Event::kFirmwareChanged:
    case Event::kServerRetiring:
    case Event::kServerSanitised:
    case Event::kServerRetired:
    case Event::kWindowProposed:
    case Event::kWindowAffectedRecorded:
    case Event::kWindowOpened:
    case Event::kStageLimitSet:
    case Event::kFacilityReported:
    case Event::kReadingRecorded:
    case Event::kCommandRefused:
    case Event::EVENT_NOT_SET:
      break;
  }
  return {};
}

}  // namespace concordat::reservations
