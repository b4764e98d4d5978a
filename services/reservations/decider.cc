#include "services/reservations/decider.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "services/reservations/envelopes.h"
#include "services/reservations/quotas.h"
#include "services/reservations/shortfalls.h"
#include "services/runtime/check.h"

namespace concordat::reservations {

v1::Event Refused(const google::protobuf::Message& command, v1::Reason reason, std::string detail) {
  v1::Event event;
  v1::CommandRefused& refused = *event.mutable_command_refused();
  refused.set_command(command.GetDescriptor()->full_name());
  refused.set_reason(reason);
  refused.set_detail(std::move(detail));
  return event;
}

v1::Event Refused(const google::protobuf::Message& command, const Obstacle& obstacle) {
  v1::Event event = Refused(command, obstacle.reason, obstacle.detail);
  if (!obstacle.shortfall.contract().empty())
    *event.mutable_command_refused()->mutable_shortfall() = obstacle.shortfall;
  if (obstacle.shortage) *event.mutable_command_refused()->mutable_shortage() = *obstacle.shortage;
  return event;
}

std::string Here(const runtime::Facts& facts) { return fmt::format("sites/{}", facts.site); }

v1::Event NotHome(const google::protobuf::Message& command, const std::string& name,
                  const runtime::Facts& facts) {
  return Refused(command, v1::REASON_NOT_HOME,
                 fmt::format("\"{}\" belongs to another site; ask there, {} decides only about its "
                             "own.",
                             name, Here(facts)));
}

Watts EnvelopeAt(const v1::SiteRecord& site, absl::Time at) {
  Watts envelope;
  for (const v1::EnvelopeRecorded& step : site.envelope()) {
    if (runtime::ToTime(step.effective_from()) > at) break;
    envelope = {step.it_power_watts(), step.cooling_watts()};
  }
  return envelope;
}

void ForEachStep(const v1::SiteRecord& site, const Span& span,
                 absl::FunctionRef<bool(const Span& part, const Watts& limit)> visit) {
  ForEachStep(site.envelope(), span, [&](const Span& part, const v1::EnvelopeRecorded* step) {
    return visit(part,
                 step == nullptr ? Watts() : Watts{step->it_power_watts(), step->cooling_watts()});
  });
}

std::string Subject(const v1::Command& command, const runtime::Facts& facts) {
  switch (command.command_case()) {
    case v1::Command::kRegisterCustomer:
      return command.register_customer().name();
    case v1::Command::kSignContract:
      return command.sign_contract().name();
    case v1::Command::kReserve: {
      const bool home = command.reserve().site() == Here(facts);
      return fmt::format("{}/{}/r-{}", Here(facts), home ? "reservations" : "orders",
                         runtime::DerivedId(facts));
    }
    case v1::Command::kCancelReservation:
      return command.cancel_reservation().name();
    case v1::Command::kFulfilOrder:
      return command.fulfil_order().order().reservation();
    case v1::Command::kRecordOrderAnswer:
      return command.record_order_answer().answer().order();
    case v1::Command::kRecordContract:
      return command.record_contract().contract().name();
    case v1::Command::kRecordSite:
      return command.record_site().site().name();
    case v1::Command::kRecordEnvelope:
      return command.record_envelope().envelope().site();
    case v1::Command::kRecordServer:
      return command.record_server().server().name();
    case v1::Command::kConfirmReservation:
      return command.confirm_reservation().name();
    case v1::Command::kDeclineReservation:
      return command.decline_reservation().name();
    case v1::Command::kLapseHold:
      return command.lapse_hold().name();
    case v1::Command::kStartReservation:
      return command.start_reservation().name();
    case v1::Command::kBeginEndReservation:
      return command.begin_end_reservation().name();
    case v1::Command::kEndReservation:
      return command.end_reservation().name();
    case v1::Command::kExtendSchedule:
      return command.extend_schedule().name();
    case v1::Command::kReviewSchedule:
      return command.review_schedule().name();
    case v1::Command::kSeparateParties:
      return command.separate_parties().name();
    case v1::Command::kEndSeparation:
      return command.end_separation().name();
    case v1::Command::kReserveBundle:
      return fmt::format("{}/bundles/b-{}", Here(facts), runtime::DerivedId(facts));
    case v1::Command::kFulfilPart:
      return command.fulfil_part().part().reservation();
    case v1::Command::kRecordPart:
      return command.record_part().part().bundle();
    case v1::Command::kPrepareBundle:
      return command.prepare_bundle().name();
    case v1::Command::kPromisePart:
      return command.promise_part().name();
    case v1::Command::kSettleBundle:
      return command.settle_bundle().name();
    case v1::Command::kSettlePart:
      return command.settle_part().name();
    case v1::Command::kBreakPromise:
      return command.break_promise().name();
    case v1::Command::kRequestQuota:
      return QuotaName(facts.site, command.request_quota().contract());
    case v1::Command::kReturnQuota:
      return QuotaName(facts.site, command.return_quota().contract());
    case v1::Command::kGrantQuota:
      return QuotaName(facts.site, command.grant_quota().contract());
    case v1::Command::kRecordQuotaAnswer:
      return QuotaName(facts.site, command.record_quota_answer().has_granted()
                                       ? command.record_quota_answer().granted().contract()
                                       : command.record_quota_answer().declined().contract());
    case v1::Command::kReclaimQuota:
      return QuotaName(facts.site, command.reclaim_quota().returned().contract());
    case v1::Command::kGiveNotice:
      return command.give_notice().name();
    case v1::Command::kRecordNoticeDelivery:
      return command.record_notice_delivery().name();
    case v1::Command::kPlanWave:
      return command.plan_wave().name();
    case v1::Command::kRegisterProject:
      return command.register_project().name();
    case v1::Command::kRecordProject:
      return command.record_project().project().name();
    case v1::Command::kSetMargins:
      return command.set_margins().site();
    case v1::Command::kReleaseReservation:
      return command.release_reservation().name();
    case v1::Command::kRevokeReservation:
      return command.revoke_reservation().name();
    case v1::Command::kExtendReservation:
      return command.extend_reservation().name();
    case v1::Command::kAmendReservation:
      return command.amend_reservation().name();
    case v1::Command::kWithdrawAmendment:
      return command.withdraw_amendment().name();
    case v1::Command::kConfirmAmendment:
      return command.confirm_amendment().reservation();
    case v1::Command::kDropAmendment:
      return command.drop_amendment().reservation();
    case v1::Command::kRecordWindow:
      return command.record_window().window().window();
    case v1::Command::kReviewWindow:
      return command.review_window().window();
    case v1::Command::kProlongWindow:
      return command.prolong_window().window();
    case v1::Command::kReleaseWindow:
      return command.release_window().window();
    case v1::Command::kRecordRelocationConsent:
      return command.record_relocation_consent().window();
    case v1::Command::kRecordWindowDrained:
      return command.record_window_drained().window();
    case v1::Command::kReassignServers:
      return command.reassign_servers().reservation();
    case v1::Command::kHealReservation:
      return command.heal_reservation().name();
    case v1::Command::kAcceptReplacement:
      return command.accept_replacement().name();
    case v1::Command::kRecordFeed:
      return fmt::format("{}/feeds/{}", Here(facts), command.record_feed().feed().feed());
    case v1::Command::kReviewShortfall:
      return ShortfallName(command.review_shortfall(), facts);
    case v1::Command::COMMAND_NOT_SET:
      break;
  }
  return Here(facts);
}

v1::Event Decide(const State& state, const v1::Command& command, const runtime::Facts& facts) {
  switch (command.command_case()) {
    case v1::Command::kRegisterCustomer:
      return RegisterCustomer(state, command.register_customer());
    case v1::Command::kSignContract:
      return SignContract(state, command.sign_contract(), facts);
    case v1::Command::kReserve:
      return Reserve(state, command.reserve(), facts);
    case v1::Command::kCancelReservation:
      return Cancel(state, command.cancel_reservation(), facts);
    case v1::Command::kFulfilOrder:
      return Fulfil(state, command.fulfil_order(), facts);
    case v1::Command::kRecordOrderAnswer:
      return RecordOrderAnswer(state, command.record_order_answer());
    case v1::Command::kRecordContract:
      return RecordContract(state, command.record_contract(), facts);
    case v1::Command::kRecordSite:
      return RecordSite(command.record_site(), facts);
    case v1::Command::kRecordEnvelope:
      return RecordEnvelope(state, command.record_envelope(), facts);
    case v1::Command::kRecordServer:
      return RecordServer(state, command.record_server(), facts);
    case v1::Command::kConfirmReservation:
      return Confirm(state, command.confirm_reservation(), facts);
    case v1::Command::kDeclineReservation:
      return Decline(state, command.decline_reservation(), facts);
    case v1::Command::kLapseHold:
      return Lapse(state, command.lapse_hold(), facts);
    case v1::Command::kStartReservation:
      return Start(state, command.start_reservation(), facts);
    case v1::Command::kBeginEndReservation:
      return BeginEnd(state, command.begin_end_reservation(), facts);
    case v1::Command::kEndReservation:
      return End(state, command.end_reservation(), facts);
    case v1::Command::kExtendSchedule:
      return Extend(state, command.extend_schedule(), facts);
    case v1::Command::kReviewSchedule:
      return Review(state, command.review_schedule(), facts);
    case v1::Command::kSeparateParties:
      return SeparateParties(state, command.separate_parties(), facts);
    case v1::Command::kEndSeparation:
      return EndSeparation(state, command.end_separation(), facts);
    case v1::Command::kReserveBundle:
      return ReserveBundle(state, command.reserve_bundle(), facts);
    case v1::Command::kFulfilPart:
      return FulfilPart(state, command.fulfil_part(), facts);
    case v1::Command::kRecordPart:
      return RecordPart(state, command.record_part(), facts);
    case v1::Command::kPrepareBundle:
      return PrepareBundle(state, command.prepare_bundle(), facts);
    case v1::Command::kPromisePart:
      return PromisePart(state, command.promise_part(), facts);
    case v1::Command::kSettleBundle:
      return SettleBundle(state, command.settle_bundle(), facts);
    case v1::Command::kSettlePart:
      return SettlePart(state, command.settle_part(), facts);
    case v1::Command::kBreakPromise:
      return BreakPromise(state, command.break_promise(), facts);
    case v1::Command::kRequestQuota:
      return RequestQuota(state, command.request_quota(), facts);
    case v1::Command::kReturnQuota:
      return ReturnQuota(state, command.return_quota(), facts);
    case v1::Command::kGrantQuota:
      return GrantQuota(state, command.grant_quota(), facts);
    case v1::Command::kRecordQuotaAnswer:
      return RecordQuotaAnswer(state, command.record_quota_answer(), facts);
    case v1::Command::kReclaimQuota:
      return ReclaimQuota(state, command.reclaim_quota(), facts);
    case v1::Command::kGiveNotice:
      return GiveNotice(state, command.give_notice(), facts);
    case v1::Command::kRecordNoticeDelivery:
      return RecordNoticeDelivery(state, command.record_notice_delivery(), facts);
    case v1::Command::kPlanWave:
      return PlanWave(state, command.plan_wave(), facts);
    case v1::Command::kRegisterProject:
      return RegisterProject(state, command.register_project(), facts);
    case v1::Command::kRecordProject:
      return RecordProject(state, command.record_project());
    case v1::Command::kSetMargins:
      return SetMargins(state, command.set_margins(), facts);
    case v1::Command::kReleaseReservation:
      return Release(state, command.release_reservation(), facts);
    case v1::Command::kRevokeReservation:
      return Revoke(state, command.revoke_reservation(), facts);
    case v1::Command::kExtendReservation:
      return ExtendUse(state, command.extend_reservation(), facts);
    case v1::Command::kAmendReservation:
      return Amend(state, command.amend_reservation(), facts);
    case v1::Command::kWithdrawAmendment:
      return WithdrawAmendment(state, command.withdraw_amendment(), facts);
    case v1::Command::kConfirmAmendment:
      return ConfirmAmendment(state, command.confirm_amendment(), facts);
    case v1::Command::kDropAmendment:
      return DropAmendment(state, command.drop_amendment(), facts);
    case v1::Command::kRecordWindow:
      return RecordWindow(state, command.record_window(), facts);
    case v1::Command::kReviewWindow:
      return ReviewWindow(state, command.review_window(), facts);
    case v1::Command::kProlongWindow:
      return ProlongWindow(state, command.prolong_window(), facts);
    case v1::Command::kReleaseWindow:
      return ReleaseWindow(state, command.release_window());
    case v1::Command::kRecordRelocationConsent:
      return RecordRelocationConsent(state, command.record_relocation_consent(), facts);
    case v1::Command::kRecordWindowDrained:
      return RecordWindowDrained(state, command.record_window_drained(), facts);
    case v1::Command::kReassignServers:
      return ReassignServers(state, command.reassign_servers(), facts);
    case v1::Command::kHealReservation:
      return Heal(state, command.heal_reservation(), facts);
    case v1::Command::kAcceptReplacement:
      return AcceptReplacement(state, command.accept_replacement(), facts);
    case v1::Command::kRecordFeed:
      return RecordFeed(state, command.record_feed(), facts);
    case v1::Command::kReviewShortfall:
      return ReviewShortfall(state, command.review_shortfall(), facts);
    case v1::Command::COMMAND_NOT_SET:
      break;
  }
  return Refused(command, v1::REASON_NOT_FOUND,
                 "The command is empty, expected one of reservations.");
}

}  // namespace concordat::reservations
