#include "services/inventory/react.h"

#include <absl/algorithm/container.h>
#include <fmt/format.h>

#include <utility>

#include "services/inventory/facility.h"
#include "services/inventory/windows.h"
#include "services/runtime/check.h"

namespace concordat::inventory {
namespace {

using Intent = runtime::Intent<v1::Command>;

// The window is the cordon's reason, by which it is known again.
Intents Cordon(const Rows& rows, const v1::WindowOpened& opened) {
  Intents intents;
  for (const std::string& name : opened.servers()) {
    const auto server = rows.servers.Get(name);
    if (!server || server->state() != v1::SERVER_STATE_IN_SERVICE || server->cordoned()) continue;
    v1::Command command;
    command.mutable_cordon_server()->set_name(name);
    command.mutable_cordon_server()->set_reason(opened.name());
    intents.push_back(Intent{.kind = "cordon", .subject = name, .command = std::move(command)});
  }
  return intents;
}

// Whether another window works on the server now.
bool IsInOpenWindow(const Rows& rows, const std::string& server) {
  bool found = false;
  rows.windows.Scan("", [&](std::string_view, const v1::Window& window) {
    const auto& servers = window.plan().servers();
    found = IsOpen(window) && absl::c_linear_search(servers, server);
    return !found;
  });
  return found;
}

// What a window has cordoned is given back; what somebody else has cordoned is not.
template <typename Over>
Intents Uncordon(const Rows& rows, const Over& over) {
  Intents intents;
  for (const std::string& name : over.servers()) {
    const auto server = rows.servers.Get(name);
    if (!server || !server->cordoned() ||
        !runtime::MatchesName(server->intent_reason(), "sites/*/windows/*") ||
        IsInOpenWindow(rows, name))
      continue;
    v1::Command command;
    command.mutable_uncordon_server()->set_name(name);
    intents.push_back(Intent{.kind = "uncordon", .subject = name, .command = std::move(command)});
  }
  return intents;
}

// The envelope comes to what the facility can give, in what lies within the two times.
Intents FollowFacility(const Rows& rows, const std::string& name, absl::Time now,
                       absl::Time from = absl::InfinitePast(),
                       absl::Time until = absl::InfiniteFuture()) {
  Intents intents;
  const auto site = rows.sites.Get(name);
  if (!site || !site->has_facility()) return intents;
  for (const v1::EnvelopeSet& step : StepsOf(*site, now)) {
    const absl::Time begin = runtime::ToTime(step.effective_from());
    if (begin < from || begin >= until) continue;
    v1::Command command;
    v1::SetEnvelopeRequest& set = *command.mutable_set_envelope();
    set.set_site(step.site());
    *set.mutable_effective_from() = step.effective_from();
    *set.mutable_until() = step.until();
    set.set_it_power_watts(step.it_power_watts());
    set.set_cooling_watts(step.cooling_watts());
    set.set_cause(step.cause());
    set.set_detail(step.detail());
    *set.mutable_plan() = step.plan();
    intents.push_back(Intent{.kind = "follow",
                             .subject = runtime::ToText(runtime::ToTime(step.effective_from())),
                             .command = std::move(command)});
  }
  return intents;
}

Intents RecordAffected(const reservations::v1::WindowAffects& affects) {
  v1::Command command;
  v1::WindowAffectedRecorded& recorded = *command.mutable_record_affected()->mutable_affected();
  recorded.set_name(affects.window());
  for (const reservations::v1::AffectedReservation& found : affects.affected()) {
    v1::AffectedReservation& affected = *recorded.add_affected();
    affected.set_reservation(found.reservation());
    affected.set_customer(found.customer());
    *affected.mutable_servers() = found.servers();
    *affected.mutable_start_time() = found.start_time();
    *affected.mutable_end_time() = found.end_time();
    affected.set_active(found.active());
    affected.set_needs_consent(found.needs_consent());
    *affected.mutable_free_servers() = found.free_servers();
    affected.set_moves(found.has_kept_from());
    affected.set_never_moved(found.never_moved());
    affected.set_consent_by(found.consent_by());
    affected.set_relocation_consent_by(found.relocation_consent_by());
  }
  return {Intent{.kind = "affected", .subject = affects.window(), .command = std::move(command)}};
}

Intents RecordTenancyEnd(const std::string& reservation,
                         const google::protobuf::RepeatedPtrField<std::string>& servers) {
  if (servers.empty()) return {};
  v1::Command command;
  v1::RecordTenancyEnd& tenancy = *command.mutable_record_tenancy_end();
  tenancy.set_reservation(reservation);
  *tenancy.mutable_servers() = servers;
  return {Intent{.kind = "tenancy", .subject = reservation, .command = std::move(command)}};
}

void AdvanceWindows(const Rows& rows, absl::Time now, size_t limit, Intents& intents) {
  if (intents.size() >= limit) return;
  const std::string last = WindowDeadlineKey(now, "");
  rows.window_deadlines.Scan(
      "", [&](std::string_view key, const google::protobuf::StringValue& name) {
        if (key.substr(0, last.size()) > last) return false;
        Intent intent{.kind = "advance", .subject = name.value(), .command = {}};
        intent.command.mutable_advance_window()->set_name(name.value());
        // It may be refused, and be due at the same time again once it is known who is affected.
        const v1::Window window = rows.windows.Get(name.value()).value_or(v1::Window());
        intent.deadline = fmt::format("{}/{}", key, window.reviews());
        intents.push_back(std::move(intent));
        return intents.size() < limit;
      });
}

}  // namespace

Intents React(const Rows& rows, const runtime::Accepted<v1::Event>& accepted) {
  const v1::Event& event = accepted.event;
  switch (event.event_case()) {
    case v1::Event::kWindowOpened:
      return Cordon(rows, event.window_opened());
    case v1::Event::kWindowClosed:
      return Uncordon(rows, event.window_closed());
    case v1::Event::kWindowAborted:
      return Uncordon(rows, event.window_aborted());
    case v1::Event::kFacilityReported:
      return FollowFacility(rows, event.facility_reported().site(), accepted.time);
    case v1::Event::kEnvelopeSet:
      // What follows one report may be decided when the next one counts already.
      if (!event.envelope_set().has_plan()) break;
      return FollowFacility(rows, event.envelope_set().site(), accepted.time,
                            runtime::ToTime(event.envelope_set().effective_from()),
                            runtime::ToTime(event.envelope_set().until()));
    case v1::Event::kSiteOpened:
    case v1::Event::kModelRegistered:
    case v1::Event::kServerOrdered:
    case v1::Event::kServerDelivered:
    case v1::Event::kServerInstalled:
    case v1::Event::kBurnInPassed:
    case v1::Event::kBurnInFailed:
    case v1::Event::kServerEnteredService:
    case v1::Event::kServerCordoned:
    case v1::Event::kServerUncordoned:
    case v1::Event::kServerLeftService:
    case v1::Event::kCommandRefused:
    case v1::Event::kServerSanitised:
    case v1::Event::kServerRetired:
    case v1::Event::kServerWithdrawn:
    case v1::Event::kRackDefined:
    case v1::Event::kPlanRegistered:
    case v1::Event::kTenancyEnded:
    case v1::Event::kFeedDefined:
    case v1::Event::kFeedEnvelopeSet:
    case v1::Event::kReadingRecorded:
    case v1::Event::kStageLimitSet:
    case v1::Event::kServerPlanned:
    case v1::Event::kDeliverySlipped:
    case v1::Event::kManifestReceived:
    case v1::Event::kTestStarted:
    case v1::Event::kEvidenceExpired:
    case v1::Event::kServerQuarantined:
    case v1::Event::kServerRepaired:
    case v1::Event::kPartReplaced:
    case v1::Event::kFirmwareChanged:
    case v1::Event::kServerRetiring:
    case v1::Event::kWindowProposed:
    case v1::Event::kWindowWorkAdded:
    case v1::Event::kWindowAnnounced:
    case v1::Event::kWindowAffectedRecorded:
    case v1::Event::kWindowConsentGiven:
    case v1::Event::kWindowConsentRefused:
    case v1::Event::kWindowConsentLapsed:
    case v1::Event::kWindowDrained:
    case v1::Event::kWindowOverrunning:
    case v1::Event::kWindowCancelled:
    case v1::Event::EVENT_NOT_SET:
      break;
  }
  return {};
}

// Of others' many events few are for the inventory; a new one of theirs changes nothing here.
Intents React(const runtime::Accepted<reservations::v1::Event>& accepted) {
  if (accepted.event.has_window_affects()) return RecordAffected(accepted.event.window_affects());
  if (accepted.event.has_reservation_ended()) {
    const auto& ended = accepted.event.reservation_ended();
    return RecordTenancyEnd(ended.name(), ended.retest_servers());
  }
  if (accepted.event.has_servers_reassigned()) {
    const auto& reassigned = accepted.event.servers_reassigned();
    return RecordTenancyEnd(reassigned.reservation(), reassigned.retest_servers());
  }
  return {};
}

Intents React(const runtime::Accepted<deployment::v1::Event>& accepted) {
  if (!accepted.event.has_servers_drained()) return {};
  const std::string& window = accepted.event.servers_drained().window();
  v1::Command command;
  command.mutable_record_drained()->set_name(window);
  return {Intent{.kind = "drained", .subject = window, .command = std::move(command)}};
}

Intents Due(const Rows& rows, absl::Time now, size_t limit) {
  Intents intents;
  if (limit == 0) return intents;
  // Rounded down, as the keys are rounded up.
  const absl::Time until = absl::FromUnixMicros(absl::ToUnixMicros(now));
  const std::string last = TimeKey(until);
  rows.deadlines.Scan("", [&](std::string_view key, const google::protobuf::StringValue& name) {
    if (key.substr(0, last.size()) > last) return false;
    Intent intent{.kind = "expire", .subject = name.value(), .command = {}};
    if (key.substr(last.size(), 8) == "/expire/") {
      intent.command.mutable_expire_evidence()->set_name(name.value());
    } else {
      intent.kind = "uncordon";
      intent.command.mutable_uncordon_server()->set_name(name.value());
    }
    intent.deadline = std::string(key);
    intents.push_back(std::move(intent));
    return intents.size() < limit;
  });
  AdvanceWindows(rows, until, limit, intents);
  return intents;
}

}  // namespace concordat::inventory
