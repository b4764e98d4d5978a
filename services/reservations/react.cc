#include "services/reservations/react.h"

#include <absl/algorithm/container.h>
#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "services/reservations/amendments.h"
#include "services/reservations/bundles.h"
#include "services/reservations/margins.h"
#include "services/reservations/notices.h"
#include "services/reservations/quotas.h"
#include "services/reservations/shortfalls.h"
#include "services/reservations/windows.h"
#include "services/runtime/check.h"
#include "services/runtime/zones.h"

namespace concordat::reservations {
namespace {

// One prohibiting finding in words; empty for any other.
std::string Describe(const compliance::v1::Finding& finding) {
  const bool violated = finding.outcome() == compliance::v1::FINDING_OUTCOME_VIOLATED;
  const bool unevaluable = finding.outcome() == compliance::v1::FINDING_OUTCOME_UNEVALUABLE;
  const bool warns = finding.effect() == compliance::v1::EFFECT_WARN;
  if (warns || (!violated && !unevaluable)) return {};
  return fmt::format("{} version {} \"{}\" {} ({}, {})", finding.rule(), finding.version(),
                     finding.title(), violated ? "is violated" : "could not be evaluated",
                     finding.citation().instrument(), finding.citation().article());
}

std::string Describe(const compliance::v1::ReservationJudged& judged) {
  std::string detail;
  for (const compliance::v1::Finding& finding : judged.findings()) {
    const std::string described = Describe(finding);
    if (!described.empty()) detail += fmt::format("{}{}", detail.empty() ? "" : "; ", described);
  }
  return detail.empty() ? "Compliance prohibits it and names no rule." : detail + ".";
}

// An amendment is judged as a hold is, under its own name.
Intents JudgeAmendment(const std::string& reservation,
                       const compliance::v1::ReservationJudged& judged) {
  v1::Command command;
  if (judged.verdict() == compliance::v1::VERDICT_CLEARED) {
    command.mutable_confirm_amendment()->set_reservation(reservation);
    command.mutable_confirm_amendment()->set_amendment(judged.reservation());
    return One("confirm-amendment", judged.reservation(), std::move(command));
  }
  if (judged.verdict() == compliance::v1::VERDICT_PROHIBITED) {
    command.mutable_drop_amendment()->set_reservation(reservation);
    command.mutable_drop_amendment()->set_amendment(judged.reservation());
    command.mutable_drop_amendment()->set_detail(Describe(judged));
    return One("drop-amendment", judged.reservation(), std::move(command));
  }
  return {};  // it lapses
}

Intents Judge(const compliance::v1::ReservationJudged& judged) {
  const std::string amended = ReservationOfAmendment(judged.reservation());
  if (!amended.empty()) return JudgeAmendment(amended, judged);
  v1::Command command;
  if (judged.verdict() == compliance::v1::VERDICT_CLEARED) {
    command.mutable_confirm_reservation()->set_name(judged.reservation());
    return One("confirm", judged.reservation(), std::move(command));
  }
  if (judged.verdict() == compliance::v1::VERDICT_PROHIBITED) {
    command.mutable_decline_reservation()->set_name(judged.reservation());
    command.mutable_decline_reservation()->set_detail(Describe(judged));
    return One("decline", judged.reservation(), std::move(command));
  }
  return {};  // the hold lapses
}

Intent StartOf(const std::string& name, const std::string& correlation_id) {
  v1::Command command;
  command.mutable_start_reservation()->set_name(name);
  return {.kind = "start",
          .subject = name,
          .command = std::move(command),
          .correlation_id = correlation_id};
}

// Of one that waits for its servers.
Intent StartOfDelayed(const Rows& rows, const std::string& name) {
  const v1::Reservation waiting = rows.reservations.Get(name).value_or(v1::Reservation());
  return StartOf(name, waiting.correlation_id());
}

// Whether what the delayed one waits for may be free once these servers are: one of them, or power
// or cooling.
bool MayStart(const v1::ReservationDelayed& delayed,
              const google::protobuf::RepeatedPtrField<std::string>& freed) {
  const auto& taken = delayed.taken_servers();
  return taken.empty() || std::any_of(taken.begin(), taken.end(), [&](const std::string& server) {
           return absl::c_linear_search(freed, server);
         });
}

int32_t PriorityOf(const Rows& rows, const std::string& name) {
  const v1::Reservation reservation = rows.reservations.Get(name).value_or(v1::Reservation());
  const v1::Contract contract =
      rows.contracts.Get(reservation.terms().contract()).value_or(v1::Contract());
  return contract.terms().conditions().priority();
}

// There may be power for one and not for all, so the contract of the highest priority comes first.
Intents StartDelayed(const Rows& rows, const std::string& ended) {
  const v1::Reservation reservation = rows.reservations.Get(ended).value_or(v1::Reservation());
  std::vector<std::pair<int32_t, Intent>> starts;
  rows.delayed.Scan("", [&](std::string_view key, const v1::ReservationDelayed& delayed) {
    if (!MayStart(delayed, reservation.servers())) return true;
    const std::string name(key);
    starts.emplace_back(PriorityOf(rows, name), StartOfDelayed(rows, name));
    return true;
  });
  std::stable_sort(starts.begin(), starts.end(),
                   [](const auto& a, const auto& b) { return a.first > b.first; });
  Intents intents;
  for (auto& [priority, intent] : starts) intents.push_back(std::move(intent));
  return intents;
}

// What looks at the reservation again: it is over, or takes other times or servers.
Intents And(Intents intents, Intents more) {
  for (Intent& one : more) intents.push_back(std::move(one));
  return intents;
}

Intents ReviewOf(const Rows& rows, const std::string& name) {
  return And(ReviewWindowsOf(rows, name), ReviewShortfallsOf(rows, name));
}

// What has other times or other servers now may have left any shortfall.
Intents ReviewChanged(const Rows& rows, const std::string& name) {
  return And(ReviewWindowsOf(rows, name), ReviewShortfalls(rows));
}

// With other servers: what waited for them may start, and windows that took them look again.
Intents GoOn(const Rows& rows, const std::string& reassigned) {
  Intents intents = ReviewChanged(rows, reassigned);
  if (rows.delayed.Contains(reassigned)) intents.push_back(StartOfDelayed(rows, reassigned));
  return intents;
}

Intents End(const Rows& rows, const std::string& name) {
  Intents intents = StartDelayed(rows, name);
  for (Intent& intent : ReviewShortfallsOf(rows, name)) intents.push_back(std::move(intent));
  return intents;
}

Intents Fulfil(const v1::ReservationOrdered& order, const runtime::Accepted<v1::Event>& accepted) {
  if (order.site() != fmt::format("sites/{}", accepted.here)) return {};
  v1::Command command;
  *command.mutable_fulfil_order()->mutable_order() = order;
  return One("fulfil", order.reservation(), std::move(command));
}

Intents Record(const v1::ContractSigned& contract, const runtime::Accepted<v1::Event>& accepted) {
  const std::string here = fmt::format("sites/{}", accepted.here);
  if (!absl::c_linear_search(contract.sites(), here)) return {};
  v1::Command command;
  *command.mutable_record_contract()->mutable_contract() = contract;
  command.mutable_record_contract()->set_home_site(fmt::format("sites/{}", accepted.site));
  return One("contract", contract.name(), std::move(command));
}

// An answer to an order that came from here; all others are not for us.
Intents Answer(const std::string& order, v1::OrderState state, v1::Reason reason,
               const std::string& detail, const runtime::Accepted<v1::Event>& accepted) {
  if (runtime::SiteOfName(order) != accepted.here) return {};
  v1::Command command;
  command.mutable_record_order_answer()->set_site(fmt::format("sites/{}", accepted.site));
  v1::OrderAnswered& answer = *command.mutable_record_order_answer()->mutable_answer();
  answer.set_order(order);
  answer.set_state(state);
  answer.set_reason(reason);
  answer.set_detail(detail);
  return One("answer", order, std::move(command));
}

// A site that runs dry asks for more, once it has an answer and not at every refusal.
constexpr absl::Duration kAskAgainAfter = absl::Seconds(10);

Intents AskForQuota(const Rows& rows, const v1::QuotaShortfall& shortfall,
                    const std::string& on_behalf_of, const runtime::Accepted<v1::Event>& accepted) {
  if (shortfall.contract().empty()) return {};
  const std::string name = QuotaName(accepted.here, shortfall.contract());
  const auto quota = rows.quotas.Get(name);
  if (!quota || quota->open_request() > 0) return {};
  if (quota->has_requested_time() &&
      accepted.time < runtime::ToTime(quota->requested_time()) + kAskAgainAfter) {
    return {};
  }
  v1::Command command;
  v1::RequestQuotaRequest& request = *command.mutable_request_quota();
  request.set_contract(shortfall.contract());
  *request.mutable_amount() = shortfall.missing();
  request.set_on_behalf_of(on_behalf_of);
  return One("ask", name, std::move(command));
}

// Of what was refused for it, the order or the part of a bundle too.
Intents AskForQuotaOf(const Rows& rows, const runtime::Accepted<v1::Event>& accepted) {
  const v1::Event& event = accepted.event;
  const v1::QuotaShortfall& shortfall =
      event.has_order_declined()         ? event.order_declined().shortfall()
      : event.has_reservation_declined() ? event.reservation_declined().shortfall()
                                         : event.command_refused().shortfall();
  return AskForQuota(rows, shortfall, "", accepted);
}

// What the home could not give it asks of the other sites.
Intents AskOthers(const Rows& rows, const std::string& contract, const std::string& site,
                  const v1::QuotaAmount& missing, const runtime::Accepted<v1::Event>& accepted) {
  if (missing.accelerators() <= 0 && missing.accelerator_seconds() <= 0) return {};
  v1::QuotaShortfall shortfall;
  shortfall.set_contract(contract);
  *shortfall.mutable_missing() = missing;
  return AskForQuota(rows, shortfall, site, accepted);
}

// What came back goes to those that did not get what they asked for.
Intents GrantMissing(const Rows& rows, const v1::QuotaReclaimed& reclaimed, std::string_view here) {
  const std::string name = QuotaName(here, reclaimed.contract());
  const v1::Quota quota = rows.quotas.Get(name).value_or(v1::Quota());
  Intents intents;
  for (const v1::QuotaShare& share : quota.shares()) {
    const v1::QuotaAmount& missing = share.missing();
    // Who gave back wants no more.
    if (share.site() == reclaimed.site()) continue;
    if (missing.accelerators() <= 0 && missing.accelerator_seconds() <= 0) continue;
    v1::Command command;
    command.mutable_grant_quota()->set_contract(quota.contract());
    command.mutable_grant_quota()->set_site(share.site());
    // One kind for each site: a cause leads to one command of a kind and subject.
    intents.push_back({.kind = "grant-" + std::string(runtime::SiteOfName(share.site())),
                       .subject = name,
                       .command = std::move(command)});
  }
  return intents;
}

Intents AnswerRequest(const v1::QuotaRequested& requested,
                      const runtime::Accepted<v1::Event>& accepted) {
  const std::string here = fmt::format("sites/{}", accepted.here);
  if (!absl::c_linear_search(requested.asked(), here)) {
    return {};
  }
  const std::string name = QuotaName(accepted.here, requested.contract());
  v1::Command command;
  // The home asks several at once, or for somebody; whoever else asks, asks the home.
  if (requested.recall()) {
    command.mutable_return_quota()->set_contract(requested.contract());
    *command.mutable_return_quota()->mutable_amount() = requested.amount();
    return One("return", name, std::move(command));
  }
  command.mutable_grant_quota()->set_contract(requested.contract());
  command.mutable_grant_quota()->set_site(fmt::format("sites/{}", accepted.site));
  *command.mutable_grant_quota()->mutable_request() = requested;
  return One("grant", name, std::move(command));
}

template <typename Answer>
Intents RecordAnswer(const Answer& answer, const runtime::Accepted<v1::Event>& accepted) {
  if (answer.site() != fmt::format("sites/{}", accepted.here)) return {};
  v1::Command command;
  v1::RecordQuotaAnswer& record = *command.mutable_record_quota_answer();
  record.set_site(fmt::format("sites/{}", accepted.site));
  if constexpr (std::is_same_v<Answer, v1::QuotaGranted>) {
    *record.mutable_granted() = answer;
  } else {
    *record.mutable_declined() = answer;
  }
  return One("credit", QuotaName(accepted.here, answer.contract()), std::move(command));
}

Intents Reclaim(const v1::QuotaReturned& returned, const runtime::Accepted<v1::Event>& accepted) {
  if (returned.home_site() != fmt::format("sites/{}", accepted.here)) return {};
  v1::Command command;
  command.mutable_reclaim_quota()->set_site(fmt::format("sites/{}", accepted.site));
  *command.mutable_reclaim_quota()->mutable_returned() = returned;
  return One("reclaim", QuotaName(accepted.here, returned.contract()), std::move(command));
}

Intents Record(const v1::ProjectRegistered& registered,
               const runtime::Accepted<v1::Event>& accepted) {
  // What others have recorded is not told on.
  if (registered.home_site() != fmt::format("sites/{}", accepted.site)) return {};
  v1::Command command;
  *command.mutable_record_project()->mutable_project() = registered;
  return One("project", registered.name(), std::move(command));
}

// Schedules that were expanded with other data of the time zones than this process has.
void ReviewSchedules(const Rows& rows, size_t limit, Intents& intents) {
  const absl::StatusOr<std::string>& version = runtime::ZoneDataVersion();
  if (!version.ok() || intents.size() >= limit) return;
  const std::string current = *version + "/";
  const auto review = [&](const google::protobuf::StringValue& name) {
    v1::Command command;
    command.mutable_review_schedule()->set_name(name.value());
    Intent intent{.kind = "review", .subject = name.value(), .command = std::move(command)};
    // Data that come back are another occasion.
    const v1::Schedule schedule = rows.schedules.Get(name.value()).value_or(v1::Schedule());
    intent.deadline =
        fmt::format("{}{}/{}", current, schedule.zone_data_version(), schedule.reviews());
    intents.push_back(std::move(intent));
    return intents.size() < limit;
  };
  rows.zone_versions.Scan("", [&](std::string_view key, const google::protobuf::StringValue& name) {
    return key < current && review(name);
  });
  // What sorts after those of the current version: `0` follows the slash.
  if (intents.size() >= limit) return;
  rows.zone_versions.Scan(
      "", [&](std::string_view, const google::protobuf::StringValue& name) { return review(name); },
      *version + "0");
}

void ExtendSchedules(const Rows& rows, const std::string& last, size_t limit, Intents& intents) {
  if (intents.size() >= limit) return;
  rows.horizons.Scan("", [&](std::string_view key, const google::protobuf::StringValue& name) {
    if (key.substr(0, last.size()) > last) return false;
    v1::Command command;
    command.mutable_extend_schedule()->set_name(name.value());
    Intent intent{.kind = "extend", .subject = name.value(), .command = std::move(command)};
    intent.deadline = std::string(key);
    intents.push_back(std::move(intent));
    return intents.size() < limit;
  });
}

// What follows at the site itself, whether or not the event is about a part of a bundle.
Intents Follow(const Rows& rows, const runtime::Accepted<v1::Event>& accepted) {
  const v1::Event& event = accepted.event;
  switch (event.event_case()) {
    case v1::Event::kReservationEnded:
      return End(rows, event.reservation_ended().name());
    case v1::Event::kCommandRefused:
    case v1::Event::kOrderDeclined:
      return AskForQuotaOf(rows, accepted);
    case v1::Event::kQuotaGranted:
      return AskOthers(rows, event.quota_granted().contract(), event.quota_granted().site(),
                       event.quota_granted().missing(), accepted);
    case v1::Event::kQuotaDeclined:
      return AskOthers(rows, event.quota_declined().contract(), event.quota_declined().site(),
                       event.quota_declined().missing(), accepted);
    case v1::Event::kQuotaReclaimed:
      return GrantMissing(rows, event.quota_reclaimed(), accepted.here);
    case v1::Event::kReservationDeclined:
      if (event.reservation_declined().name_taken()) return {};
      return And(ReviewOf(rows, event.reservation_declined().name()),
                 AskForQuotaOf(rows, accepted));
    case v1::Event::kPromiseBroken:
      return ReviewOf(rows, event.promise_broken().name());
    case v1::Event::kHoldLapsed:
      return ReviewOf(rows, event.hold_lapsed().name());
    case v1::Event::kReservationStarted:
      return ReviewWindowsOf(rows, event.reservation_started().name());
    case v1::Event::kReservationEnding:
      return ReviewWindowsOf(rows, event.reservation_ending().name());
    case v1::Event::kReservationCancelled:
      return ReviewOf(rows, event.reservation_cancelled().name());
    case v1::Event::kReservationReleased:
      return ReviewOf(rows, event.reservation_released().name());
    case v1::Event::kReservationCleaning:
      // From the end of the cleaning on it takes nothing.
      return ReviewShortfallsOf(rows, event.reservation_cleaning().name());
    case v1::Event::kReservationRevoked:
      return ReviewOf(rows, event.reservation_revoked().name());
    case v1::Event::kOccurrencesShifted:
      return ReviewChanged(rows, event.occurrences_shifted().name());
    case v1::Event::kServersReassigned:
      return GoOn(rows, event.servers_reassigned().reservation());
    case v1::Event::kAmendmentConfirmed:
      return ReviewChanged(rows, event.amendment_confirmed().reservation());
    case v1::Event::kAmendmentDropped:
      return ReviewChanged(rows, event.amendment_dropped().reservation());
    case v1::Event::kWindowAffects:
      return FollowAffects(rows, event.window_affects());
    case v1::Event::kServerRecorded:
      return ReviewWindowsFor(rows, event.server_recorded());
    case v1::Event::kEnvelopeRecorded:
      return ReviewLimit(rows, "", event.envelope_recorded());
    case v1::Event::kFeedRecorded:
      return ReviewLimit(rows, event.feed_recorded().feed(), event.feed_recorded().step());
    case v1::Event::kQuotaRequested:
    case v1::Event::kQuotaAnswered:
    case v1::Event::kQuotaReturned:
    case v1::Event::kNoticeGiven:
    case v1::Event::kNoticeDelivered:
    case v1::Event::kWavePlanned:
    case v1::Event::kProjectRegistered:
    case v1::Event::kAmendmentHeld:
    case v1::Event::kMarginsSet:
    case v1::Event::kReservationGraceStarted:
    case v1::Event::kCustomerRegistered:
    case v1::Event::kContractSigned:
    case v1::Event::kContractRecorded:
    case v1::Event::kSiteRecorded:
    case v1::Event::kReservationHeld:
    case v1::Event::kReservationConfirmed:
    case v1::Event::kReservationDelayed:
    case v1::Event::kReservationOrdered:
    case v1::Event::kOrderAnswered:
    case v1::Event::kScheduleExtended:
    case v1::Event::kOccurrencesKept:
    case v1::Event::kPartiesSeparated:
    case v1::Event::kSeparationEnded:
    case v1::Event::kBundleRequested:
    case v1::Event::kPartHeld:
    case v1::Event::kPartRecorded:
    case v1::Event::kBundlePrepared:
    case v1::Event::kPartPromised:
    case v1::Event::kBundleCommitted:
    case v1::Event::kBundleAborted:
    case v1::Event::kWindowReleased:
    case v1::Event::kReplacementOffered:
    case v1::Event::kServersMissing:
    case v1::Event::kShortfallFound:
    case v1::Event::kShortfallCleared:
    case v1::Event::EVENT_NOT_SET:
      break;
  }
  return {};
}

}  // namespace

Intents React(const Rows& rows, const runtime::Accepted<v1::Event>& accepted) {
  const v1::Event& event = accepted.event;
  if (event.has_part_recorded()) return ReactToPart(rows, event.part_recorded());
  return And(ReactToBundle(accepted), Follow(rows, accepted));
}

Intents React(const runtime::Accepted<compliance::v1::Event>& accepted) {
  using Event = compliance::v1::Event;
  switch (accepted.event.event_case()) {
    case Event::kReservationJudged:
      return Judge(accepted.event.reservation_judged());
    case Event::kRuleAdopted:
    case Event::kRuleRepealed:
    case Event::kArtefactJudged:
    case Event::kSiteRecorded:
    case Event::kCommandRefused:
    case Event::EVENT_NOT_SET:
      break;
  }
  return {};
}

Intents React(const runtime::Accepted<deployment::v1::Event>& accepted) {
  using Event = deployment::v1::Event;
  switch (accepted.event.event_case()) {
    case Event::kReservationVacated: {
      v1::Command command;
      const std::string& reservation = accepted.event.reservation_vacated().reservation();
      command.mutable_end_reservation()->set_name(reservation);
      return One("end", reservation, std::move(command));
    }
    case Event::kArtefactRegistered:
    case Event::kReservationRecorded:
    case Event::kServersJoined:
    case Event::kDeploymentRequested:
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
    case Event::kCommandRefused:
    case Event::EVENT_NOT_SET:
      break;
  }
  return {};
}

Intents React(const runtime::Accepted<v1::Event>& accepted) {
  if (accepted.site == accepted.here) return {};
  const v1::Event& event = accepted.event;
  if (Intents intents = ReactToBundle(accepted); !intents.empty()) return intents;
  switch (event.event_case()) {
    case v1::Event::kReservationOrdered:
      return Fulfil(event.reservation_ordered(), accepted);
    case v1::Event::kContractSigned:
      return Record(event.contract_signed(), accepted);
    case v1::Event::kReservationConfirmed:
      return Answer(event.reservation_confirmed().order(), v1::ORDER_STATE_CONFIRMED,
                    v1::REASON_UNSPECIFIED, "", accepted);
    case v1::Event::kReservationDeclined: {
      const v1::ReservationDeclined& declined = event.reservation_declined();
      return Answer(declined.order(), v1::ORDER_STATE_DECLINED, declined.reason(),
                    declined.detail(), accepted);
    }
    case v1::Event::kHoldLapsed:
      return Answer(event.hold_lapsed().order(), v1::ORDER_STATE_DECLINED, v1::REASON_HOLD_LAPSED,
                    "The hold lapsed before compliance had judged it.", accepted);
    case v1::Event::kReservationCancelled: {
      const v1::ReservationCancelled& cancelled = event.reservation_cancelled();
      return Answer(cancelled.order(), v1::ORDER_STATE_CANCELLED, v1::REASON_UNSPECIFIED,
                    cancelled.reason(), accepted);
    }
    case v1::Event::kReservationRevoked: {
      const v1::ReservationRevoked& revoked = event.reservation_revoked();
      return Answer(revoked.order(), v1::ORDER_STATE_REVOKED, v1::REASON_UNSPECIFIED,
                    revoked.cause(), accepted);
    }
    case v1::Event::kAmendmentHeld:
    case v1::Event::kAmendmentConfirmed:
    case v1::Event::kAmendmentDropped:
    case v1::Event::kMarginsSet:
    case v1::Event::kReservationReleased:
    case v1::Event::kReservationGraceStarted:
    case v1::Event::kReservationCleaning:
      break;
    case v1::Event::kOrderDeclined: {
      const v1::OrderDeclined& declined = event.order_declined();
      return Answer(declined.order(), v1::ORDER_STATE_DECLINED, declined.reason(),
                    declined.detail(), accepted);
    }
    case v1::Event::kQuotaRequested:
      return AnswerRequest(event.quota_requested(), accepted);
    case v1::Event::kQuotaGranted:
      return RecordAnswer(event.quota_granted(), accepted);
    case v1::Event::kQuotaDeclined:
      return RecordAnswer(event.quota_declined(), accepted);
    case v1::Event::kQuotaReturned:
      return Reclaim(event.quota_returned(), accepted);
    case v1::Event::kProjectRegistered:
      return Record(event.project_registered(), accepted);
    case v1::Event::kNoticeGiven:
    case v1::Event::kNoticeDelivered:
    case v1::Event::kWavePlanned:
    case v1::Event::kQuotaAnswered:
    case v1::Event::kQuotaReclaimed:
    case v1::Event::kCustomerRegistered:
    case v1::Event::kContractRecorded:
    case v1::Event::kSiteRecorded:
    case v1::Event::kEnvelopeRecorded:
    case v1::Event::kFeedRecorded:
    case v1::Event::kServerRecorded:
    case v1::Event::kReservationHeld:
    case v1::Event::kReservationStarted:
    case v1::Event::kReservationDelayed:
    case v1::Event::kReservationEnding:
    case v1::Event::kReservationEnded:
    case v1::Event::kOrderAnswered:
    case v1::Event::kScheduleExtended:
    case v1::Event::kOccurrencesShifted:
    case v1::Event::kWindowAffects:
    case v1::Event::kServersReassigned:
    case v1::Event::kReplacementOffered:
    case v1::Event::kServersMissing:
    case v1::Event::kWindowReleased:
    case v1::Event::kShortfallFound:
    case v1::Event::kShortfallCleared:
    case v1::Event::kOccurrencesKept:
    case v1::Event::kPartiesSeparated:
    case v1::Event::kSeparationEnded:
    case v1::Event::kBundleRequested:
    case v1::Event::kPartHeld:
    case v1::Event::kPartRecorded:
    case v1::Event::kBundlePrepared:
    case v1::Event::kPartPromised:
    case v1::Event::kBundleCommitted:
    case v1::Event::kBundleAborted:
    case v1::Event::kPromiseBroken:
    case v1::Event::kCommandRefused:
    case v1::Event::EVENT_NOT_SET:
      break;
  }
  return {};
}

Intents Due(const Rows& rows, absl::Time now, size_t limit) {
  Intents intents;
  if (limit == 0) return intents;
  // Rounded down, as the keys are rounded up.
  const std::string last = TimeKey(absl::FromUnixMicros(absl::ToUnixMicros(now)));
  // Before what ends: a notice of the end comes first.
  rows.notice_times.Scan("", [&](std::string_view key, const google::protobuf::StringValue& value) {
    if (key.substr(0, last.size()) > last) return false;
    const std::string& name = value.value();
    const v1::Reservation reservation = rows.reservations.Get(name).value_or(v1::Reservation());
    v1::Command command;
    command.mutable_give_notice()->set_name(name);
    Intent intent{.kind = "notice", .subject = name, .command = std::move(command)};
    intent.deadline = fmt::format("{}/{}", key, NoticeOccasion(reservation));
    intent.correlation_id = reservation.correlation_id();
    intents.push_back(std::move(intent));
    return intents.size() < limit;
  });
  if (intents.size() >= limit) return intents;
  rows.deadlines.Scan("", [&](std::string_view key, const google::protobuf::StringValue& value) {
    if (key.substr(0, last.size()) > last) return false;
    const std::string& name = value.value();
    const v1::Reservation reservation = rows.reservations.Get(name).value_or(v1::Reservation());
    Intent intent = StartOf(name, reservation.correlation_id());
    intent.deadline = std::string(key);
    const v1::Amendment& amendment = reservation.amendment();
    // What is held for the amendment is given up before anything is done on the same instant.
    if (reservation.has_amendment() &&
        runtime::ToTime(amendment.hold_expires_at()) <= *DeadlineOf(reservation)) {
      intent.kind = "lapse-amendment";
      intent.command.mutable_drop_amendment()->set_reservation(name);
      intent.command.mutable_drop_amendment()->set_amendment(amendment.name());
      // Another one may lapse at the same time: no amendment is held beyond the start.
      intent.deadline += "/" + amendment.name();
    } else if (IsToHeal(reservation)) {
      intent.kind = "heal";
      intent.command.mutable_heal_reservation()->set_name(name);
      // What is lost and comes back within one instant is looked at twice.
      intent.deadline += fmt::format("/{}", reservation.heal_occasions());
    } else if (reservation.state() == v1::RESERVATION_STATE_HELD) {
      intent.kind = "lapse";
      intent.command.mutable_lapse_hold()->set_name(name);
    } else if (reservation.state() == v1::RESERVATION_STATE_CLEANING) {
      intent.kind = "end";
      intent.command.mutable_end_reservation()->set_name(name);
    } else if (IsInUse(reservation) || reservation.terms().has_access()) {
      intent.kind = "finish";
      intent.command.mutable_begin_end_reservation()->set_name(name);
    }
    intents.push_back(std::move(intent));
    return intents.size() < limit;
  });
  DueShortfalls(rows, now, limit, intents);
  DueBundles(rows, last, limit, intents);
  // Before reviews, of which new data of the time zones make as many as there are schedules.
  ExtendSchedules(rows, last, limit, intents);
  ReviewSchedules(rows, limit, intents);
  return intents;
}

}  // namespace concordat::reservations
