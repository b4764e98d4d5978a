#include <absl/algorithm/container.h>
#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <set>

#include "services/reservations/decider.h"
#include "services/reservations/schedules.h"
#include "services/runtime/check.h"

namespace concordat::reservations {
namespace {

using runtime::FirstError;
using Texts = google::protobuf::RepeatedPtrField<std::string>;

// One event holds all of them, so they are bounded.
constexpr int kMostSites = 100;
constexpr int kMostDataClasses = 50;
constexpr int kMostServers = 10'000;
constexpr int kFewestParts = 2;
constexpr int kMostParts = 16;
constexpr int kMostCustomers = 1'000;
// Sums of seconds stay far from overflow.
constexpr int64_t kMostAccelerators = 1'000'000'000;
constexpr int64_t kMostAcceleratorHours = 1'000'000'000'000;
constexpr int64_t kMostAcceleratorSeconds = kMostAcceleratorHours * 3600;
constexpr absl::Duration kLongestMargin = absl::Hours(24 * 30);
constexpr absl::Duration kLongestGrace = absl::Hours(24 * 7);
constexpr absl::Duration kLongestLock = absl::Hours(24 * 366);

// 1 to `most` values, each once, each of which passes `check`.
template <typename Check>
absl::Status CheckEach(const std::string& field, const Texts& values, int most, Check check) {
  absl::Status status = runtime::CheckRange(field, values.size(), 1, most);
  std::set<std::string> seen;
  for (int i = 0; status.ok() && i < values.size(); ++i) {
    const std::string item = fmt::format("{}[{}]", field, i);
    status = check(item, values[i]);
    if (status.ok() && !seen.insert(values[i]).second) {
      status = absl::InvalidArgumentError(
          fmt::format("{}: found \"{}\" again, expected it once", item, values[i]));
    }
  }
  return status;
}

absl::Status CheckDataClasses(const Texts& classes) {
  return CheckEach("data_classes", classes, kMostDataClasses,
                   [](const std::string& field, const std::string& value) {
                     return runtime::CheckWord(field, value);
                   });
}

// Whole seconds from none to `most`.
absl::Status CheckSeconds(std::string_view field, const google::protobuf::Duration& duration,
                          absl::Duration most) {
  if (duration.nanos() == 0 && duration.seconds() >= 0 &&
      duration.seconds() <= absl::ToInt64Seconds(most)) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(
      fmt::format("{}: found {} s and {} ns, expected whole seconds, from 0 to {}", field,
                  duration.seconds(), duration.nanos(), absl::ToInt64Seconds(most)));
}

absl::Status CheckAccess(bool has, const v1::AccessSchedule& access) {
  if (!has) return absl::OkStatus();
  const absl::Status status = RecurrenceOf(access).status();
  if (status.ok()) return status;
  return absl::InvalidArgumentError(fmt::format("access.{}", std::string(status.message())));
}

absl::Status Check(const v1::RegisterCustomerRequest& request) {
  return FirstError({
      runtime::CheckName("name", request.name(), "customers/*"),
      runtime::CheckText("display_name", request.display_name()),
      runtime::CheckCountry("country", request.country()),
      runtime::CheckWord("sector", request.sector()),
  });
}

// Every site's beginning adds up to no more than there is.
absl::Status CheckAllotments(const v1::SignContractRequest& request) {
  const v1::ContractQuota& quota = request.quota();
  int64_t accelerators = 0;
  int64_t hours = 0;
  std::set<std::string> seen;
  for (int i = 0; i < quota.allotments_size(); ++i) {
    const v1::Allotment& allotment = quota.allotments(i);
    const std::string field = fmt::format("quota.allotments[{}]", i);
    const bool covered = absl::c_linear_search(request.sites(), allotment.site());
    if (!covered || !seen.insert(allotment.site()).second) {
      return absl::InvalidArgumentError(
          fmt::format("{}.site: found \"{}\"{}, expected each of sites at most once", field,
                      allotment.site(), covered ? " again" : ""));
    }
    const absl::Status status = FirstError({
        runtime::CheckRange(field + ".accelerators", allotment.accelerators(), 0,
                            quota.accelerators() - accelerators),
        runtime::CheckRange(field + ".accelerator_hours", allotment.accelerator_hours(), 0,
                            quota.accelerator_hours() - hours),
    });
    if (!status.ok()) return status;
    accelerators += allotment.accelerators();
    hours += allotment.accelerator_hours();
  }
  return absl::OkStatus();
}

absl::Status CheckQuota(const v1::SignContractRequest& request) {
  const v1::ContractQuota& quota = request.quota();
  const absl::Status status = FirstError({
      runtime::CheckRange("quota.accelerators", quota.accelerators(), 0, kMostAccelerators),
      runtime::CheckRange("quota.accelerator_hours", quota.accelerator_hours(), 0,
                          kMostAcceleratorHours),
  });
  if (!status.ok()) return status;
  if (request.max_servers_per_site() == 0 && quota.accelerators() == 0 &&
      quota.accelerator_hours() == 0) {
    return absl::InvalidArgumentError(
        "quota: found a contract without any, expected max_servers_per_site, quota.accelerators "
        "or quota.accelerator_hours");
  }
  return CheckAllotments(request);
}

absl::Status CheckNotices(const v1::SignContractRequest& request) {
  constexpr int64_t kLongestSeconds = 400 * 24 * 3600;
  int64_t before = kLongestSeconds + 1;
  absl::Status status = runtime::CheckRange("notices", request.notices_size(), 0, 10);
  for (int i = 0; status.ok() && i < request.notices_size(); ++i) {
    const google::protobuf::Duration& notice = request.notices(i);
    status = runtime::CheckRange(fmt::format("notices[{}] in seconds", i), notice.seconds(), 1,
                                 before - 1);
    if (status.ok() && notice.nanos() != 0) {
      status = absl::InvalidArgumentError(
          fmt::format("notices[{}]: found a part of a second, expected whole seconds", i));
    }
    before = notice.seconds();
  }
  return status;
}

absl::Status CheckInterventions(const v1::Interventions& interventions) {
  const auto check = [](const std::string& what, v1::ConsentRule rule, const std::string& by,
                        int64_t days) {
    if (rule == v1::CONSENT_RULE_CONSENT && by.empty()) {
      return absl::InvalidArgumentError(
          fmt::format("{0}_consent_by: found nothing, expected who consents to {0}", what));
    }
    return FirstError({
        rule == v1::CONSENT_RULE_UNSPECIFIED ? absl::OkStatus() : runtime::CheckEnum(what, rule),
        runtime::CheckText(what + "_consent_by", by, runtime::Presence::kOptional),
        runtime::CheckRange(what + "_notice_days", days, 0, 400),
    });
  };
  return FirstError({
      check("maintenance", interventions.maintenance(), interventions.maintenance_consent_by(),
            interventions.maintenance_notice_days()),
      check("relocation", interventions.relocation(), interventions.relocation_consent_by(),
            interventions.relocation_notice_days()),
  });
}

absl::Status CheckPrices(const v1::SignContractRequest& request) {
  absl::Status status = runtime::CheckRange("prices", request.prices_size(), 0, 100);
  for (int i = 0; status.ok() && i < request.prices_size(); ++i) {
    const v1::PriceSegment& price = request.prices(i);
    const std::string field = fmt::format("prices[{}]", i);
    status = FirstError({
        runtime::CheckTime(field + ".effective_from", price.has_effective_from(),
                           price.effective_from()),
        runtime::CheckNotNegative(field + ".minor_units", price.minor_units()),
    });
    const std::string& currency = price.currency();
    const bool letters =
        currency.size() == 3 &&
        std::all_of(currency.begin(), currency.end(), [](char c) { return c >= 'A' && c <= 'Z'; });
    if (status.ok() && !letters) {
      status = absl::InvalidArgumentError(fmt::format(
          "{}.currency: found \"{}\", expected a code of ISO 4217 such as EUR", field, currency));
    }
    if (!status.ok() || i == 0) continue;
    const v1::PriceSegment& before = request.prices(i - 1);
    if (currency != before.currency()) {
      status = absl::InvalidArgumentError(fmt::format(
          "{}.currency: found {}, expected {} as before it", field, currency, before.currency()));
    } else if (runtime::ToTime(price.effective_from()) <=
               runtime::ToTime(before.effective_from())) {
      status = absl::InvalidArgumentError(
          fmt::format("{}.effective_from: found {}, expected a time after the segment before it",
                      field, runtime::ToText(runtime::ToTime(price.effective_from()))));
    }
  }
  return status;
}

absl::Status Check(const v1::SignContractRequest& request) {
  return FirstError({
      runtime::CheckName("name", request.name(), "customers/*/contracts/*"),
      CheckEach("sites", request.sites(), kMostSites,
                [](const std::string& field, const std::string& value) {
                  return runtime::CheckName(field, value, "sites/*");
                }),
      runtime::CheckRange("max_servers_per_site", request.max_servers_per_site(), 0,
                          std::numeric_limits<int32_t>::max()),
      CheckQuota(request),
      runtime::CheckSpan("start_time", request.has_start_time(), request.start_time(), "end_time",
                         request.has_end_time(), request.end_time()),
      CheckDataClasses(request.data_classes()),
      CheckAccess(request.has_access(), request.access()),
      CheckNotices(request),
      CheckInterventions(request.interventions()),
      CheckPrices(request),
      runtime::CheckRange("conditions.priority", request.conditions().priority(), 0, 1000),
      CheckSeconds("lock_time", request.lock_time(), kLongestLock),
      CheckSeconds("max_grace", request.max_grace(), kLongestGrace),
  });
}

absl::Status Check(const v1::RecordNoticeDeliveryRequest& request) {
  return FirstError({
      runtime::CheckName("name", request.name(), "sites/*/reservations/*"),
      runtime::CheckPositive("before_end in seconds", request.before_end().seconds()),
      runtime::CheckTime("delivered_time", request.has_delivered_time(), request.delivered_time()),
      runtime::CheckText("channel", request.channel()),
      runtime::CheckText("evidence", request.evidence()),
  });
}

absl::Status Check(const v1::PlanWaveRequest& request) {
  const absl::Status status = FirstError({
      runtime::CheckName("name", request.name(), "sites/*/waves/*"),
      runtime::CheckName("model", request.model(), "models/*"),
      runtime::CheckTime("start_time", request.has_start_time(), request.start_time()),
      runtime::CheckRange("share_percent", request.share_percent(), 0, 100),
      runtime::CheckRange("share_servers", request.share_servers(), 0, kMostServers),
      request.servers().empty() ? absl::OkStatus()
                                : CheckEach("servers", request.servers(), kMostServers,
                                            [](const std::string& field, const std::string& value) {
                                              return runtime::CheckName(field, value,
                                                                        "sites/*/servers/*");
                                            }),
      request.customers().empty()
          ? absl::OkStatus()
          : CheckEach("customers", request.customers(), kMostCustomers,
                      [](const std::string& field, const std::string& value) {
                        return runtime::CheckName(field, value, "customers/*");
                      }),
  });
  if (!status.ok() || request.share_percent() == 0 || request.share_servers() == 0) return status;
  return absl::InvalidArgumentError(
      fmt::format("share_servers: found {} beside share_percent {}, expected one of them",
                  request.share_servers(), request.share_percent()));
}

absl::Status Check(const v1::RegisterProjectRequest& request) {
  return FirstError({
      runtime::CheckName("name", request.name(), "customers/*/projects/*"),
      runtime::CheckText("display_name", request.display_name()),
  });
}

absl::Status CheckAmount(const v1::QuotaAmount& amount) {
  return FirstError({
      runtime::CheckNotNegative("amount.accelerators", amount.accelerators()),
      runtime::CheckRange("amount.accelerator_seconds", amount.accelerator_seconds(), 0,
                          kMostAcceleratorSeconds),
  });
}

absl::Status Check(const v1::RequestQuotaRequest& request) {
  if (request.amount().accelerators() == 0 && request.amount().accelerator_seconds() == 0) {
    return absl::InvalidArgumentError(
        "amount: found nothing, expected accelerators, accelerator_seconds or both");
  }
  return FirstError({
      runtime::CheckName("contract", request.contract(), "customers/*/contracts/*"),
      CheckAmount(request.amount()),
      request.on_behalf_of().empty()
          ? absl::OkStatus()
          : runtime::CheckName("on_behalf_of", request.on_behalf_of(), "sites/*"),
  });
}

absl::Status Check(const v1::ReturnQuotaRequest& request) {
  return FirstError({
      runtime::CheckName("contract", request.contract(), "customers/*/contracts/*"),
      CheckAmount(request.amount()),
  });
}

absl::Status Check(const v1::SeparatePartiesRequest& request) {
  return FirstError({
      runtime::CheckName("name", request.name(), "sites/*/separations/*"),
      runtime::CheckRange("parties", request.parties_size(), 2, 2),
      CheckEach("parties", request.parties(), 2,
                [](const std::string& field, const std::string& value) {
                  return runtime::MatchesName(value, "customers/*")
                             ? absl::OkStatus()
                             : runtime::CheckName(field, value, "sites/*/reservations/*");
                }),
      runtime::CheckText("reason", request.reason()),
  });
}

absl::Status Check(const v1::EndSeparationRequest& request) {
  return FirstError({
      runtime::CheckName("name", request.name(), "sites/*/separations/*"),
      runtime::CheckText("reason", request.reason()),
  });
}

// Named servers say how many; a count beside them has to be theirs.
absl::Status CheckPlacement(const v1::ReserveRequest& request) {
  const v1::Placement& placement = request.placement();
  if (placement.policy() != v1::PLACEMENT_POLICY_UNSPECIFIED) {
    const absl::Status known = runtime::CheckEnum("placement.policy", placement.policy());
    if (!known.ok()) return known;
  }
  const bool exact = placement.policy() == v1::PLACEMENT_POLICY_EXACT;
  if (placement.servers().empty()) {
    if (exact) {
      return absl::InvalidArgumentError(
          "placement.servers: found none, expected those that PLACEMENT_POLICY_EXACT wants");
    }
    return runtime::CheckRange("count", request.count(), 1, kMostServers);
  }
  if (!exact && placement.policy() != v1::PLACEMENT_POLICY_UNSPECIFIED) {
    return absl::InvalidArgumentError(fmt::format(
        "placement.policy: found {} with servers that are named, expected PLACEMENT_POLICY_EXACT",
        v1::PlacementPolicy_Name(placement.policy())));
  }
  const absl::Status servers =
      CheckEach("placement.servers", placement.servers(), kMostServers,
                [](const std::string& field, const std::string& value) {
                  return runtime::CheckName(field, value, "sites/*/servers/*");
                });
  if (!servers.ok() || request.count() == 0 || request.count() == placement.servers_size())
    return servers;
  return absl::InvalidArgumentError(
      fmt::format("count: found {}, expected {} as there are servers named, or nothing",
                  request.count(), placement.servers_size()));
}

absl::Status Check(const v1::ReserveRequest& request) {
  return FirstError({
      runtime::CheckName("site", request.site(), "sites/*"),
      runtime::CheckName("contract", request.contract(), "customers/*/contracts/*"),
      runtime::CheckName("model", request.model(), "models/*"),
      CheckPlacement(request),
      runtime::CheckSpan("start_time", request.has_start_time(), request.start_time(), "end_time",
                         request.has_end_time(), request.end_time()),
      runtime::CheckEnum("purpose", request.purpose()),
      CheckDataClasses(request.data_classes()),
      runtime::CheckText("project", request.project(), runtime::Presence::kOptional),
      CheckAccess(request.has_access(), request.access()),
      runtime::CheckRange("min_count", request.min_count(), 0,
                          std::max(request.count(), request.placement().servers_size())),
      CheckSeconds("grace", request.grace(), kLongestGrace),
  });
}

absl::Status Check(const v1::ReserveBundleRequest& request) {
  absl::Status fields =
      runtime::CheckRange("parts", request.parts_size(), kFewestParts, kMostParts);
  for (int i = 0; fields.ok() && i < request.parts_size(); ++i) {
    fields = Check(request.parts(i));
    if (fields.ok() && request.parts(i).has_access()) {
      fields =
          absl::InvalidArgumentError("access: found a schedule, expected none: parts do not recur");
    }
    if (!fields.ok()) {
      return absl::InvalidArgumentError(
          fmt::format("parts[{}].{}", i, std::string(fields.message())));
    }
  }
  return fields;
}

absl::Status Check(const v1::BreakPromiseRequest& request) {
  return FirstError({
      runtime::CheckName("name", request.name(), "sites/*/reservations/*"),
      runtime::CheckText("reason", request.reason()),
  });
}

absl::Status Check(const v1::CancelReservationRequest& request) {
  return FirstError({
      runtime::CheckName("name", request.name(), "sites/*/reservations/*"),
      runtime::CheckText("reason", request.reason()),
  });
}

absl::Status Check(const v1::SetMarginsRequest& request) {
  return FirstError({
      runtime::CheckName("site", request.site(), "sites/*"),
      runtime::CheckName("model", request.model(), "models/*"),
      CheckSeconds("before", request.before(), kLongestMargin),
      CheckSeconds("after", request.after(), kLongestMargin),
  });
}

absl::Status Check(const v1::ReleaseReservationRequest& request) {
  return FirstError({
      runtime::CheckName("name", request.name(), "sites/*/reservations/*"),
      runtime::CheckText("reason", request.reason()),
  });
}

absl::Status Check(const v1::RevokeReservationRequest& request) {
  const v1::LegalBasis& basis = request.legal_basis();
  return FirstError({
      runtime::CheckName("name", request.name(), "sites/*/reservations/*"),
      runtime::CheckText("cause", request.cause()),
      runtime::CheckText("legal_basis.instrument", basis.instrument()),
      runtime::CheckText("legal_basis.article", basis.article()),
      runtime::CheckText("legal_basis.url", basis.url(), runtime::Presence::kOptional),
      runtime::CheckText("legal_basis.wording_date", basis.wording_date(),
                         runtime::Presence::kOptional),
  });
}

absl::Status Check(const v1::ExtendReservationRequest& request) {
  // A bundle's name is understood, so that the refusal can say what to extend instead.
  const bool bundle = runtime::MatchesName(request.name(), "sites/*/bundles/*");
  return FirstError({
      bundle ? absl::OkStatus()
             : runtime::CheckName("name", request.name(), "sites/*/reservations/*"),
      runtime::CheckTime("end_time", request.has_end_time(), request.end_time()),
  });
}

// What is left out stays as it is.
absl::Status Check(const v1::AmendReservationRequest& request) {
  const auto time = [](std::string_view field, bool has, const google::protobuf::Timestamp& value) {
    return has ? runtime::CheckTime(field, has, value) : absl::OkStatus();
  };
  return FirstError({
      runtime::CheckName("name", request.name(), "sites/*/reservations/*"),
      request.model().empty() ? absl::OkStatus()
                              : runtime::CheckName("model", request.model(), "models/*"),
      runtime::CheckRange("count", request.count(), 0, kMostServers),
      runtime::CheckRange("min_count", request.min_count(), 0, kMostServers),
      time("start_time", request.has_start_time(), request.start_time()),
      time("end_time", request.has_end_time(), request.end_time()),
      request.purpose() == v1::PURPOSE_UNSPECIFIED
          ? absl::OkStatus()
          : runtime::CheckEnum("purpose", request.purpose()),
      request.data_classes().empty() ? absl::OkStatus() : CheckDataClasses(request.data_classes()),
      runtime::CheckText("project", request.project(), runtime::Presence::kOptional),
  });
}

absl::Status Check(const v1::WithdrawAmendmentRequest& request) {
  return FirstError({
      runtime::CheckName("name", request.name(), "sites/*/reservations/*"),
      runtime::CheckText("reason", request.reason()),
  });
}

// Commands of reactions and timers were made here; only their subject has to be there.
absl::Status CheckPresent(std::string_view field, const std::string& name) {
  if (!name.empty()) return absl::OkStatus();
  return absl::InvalidArgumentError(fmt::format("{}: found nothing, expected a name", field));
}

}  // namespace

absl::Status Validate(const v1::Command& command) {
  switch (command.command_case()) {
    case v1::Command::kRegisterCustomer:
      return Check(command.register_customer());
    case v1::Command::kSignContract:
      return Check(command.sign_contract());
    case v1::Command::kReserve:
      return Check(command.reserve());
    case v1::Command::kCancelReservation:
      return Check(command.cancel_reservation());
    case v1::Command::kFulfilOrder:
      return CheckPresent("order.name", command.fulfil_order().order().name());
    case v1::Command::kRecordOrderAnswer:
      return CheckPresent("answer.order", command.record_order_answer().answer().order());
    case v1::Command::kRecordContract:
      return CheckPresent("contract.name", command.record_contract().contract().name());
    case v1::Command::kRecordSite:
      return CheckPresent("site.name", command.record_site().site().name());
    case v1::Command::kRecordEnvelope:
      return CheckPresent("envelope.site", command.record_envelope().envelope().site());
    case v1::Command::kRecordServer:
      return CheckPresent("server.name", command.record_server().server().name());
    case v1::Command::kConfirmReservation:
      return CheckPresent("name", command.confirm_reservation().name());
    case v1::Command::kDeclineReservation:
      return CheckPresent("name", command.decline_reservation().name());
    case v1::Command::kLapseHold:
      return CheckPresent("name", command.lapse_hold().name());
    case v1::Command::kStartReservation:
      return CheckPresent("name", command.start_reservation().name());
    case v1::Command::kBeginEndReservation:
      return CheckPresent("name", command.begin_end_reservation().name());
    case v1::Command::kEndReservation:
      return CheckPresent("name", command.end_reservation().name());
    case v1::Command::kExtendSchedule:
      return CheckPresent("name", command.extend_schedule().name());
    case v1::Command::kReviewSchedule:
      return CheckPresent("name", command.review_schedule().name());
    case v1::Command::kSeparateParties:
      return Check(command.separate_parties());
    case v1::Command::kEndSeparation:
      return Check(command.end_separation());
    case v1::Command::kReserveBundle:
      return Check(command.reserve_bundle());
    case v1::Command::kBreakPromise:
      return Check(command.break_promise());
    case v1::Command::kFulfilPart:
      return CheckPresent("part.reservation", command.fulfil_part().part().reservation());
    case v1::Command::kRecordPart:
      return CheckPresent("part.bundle", command.record_part().part().bundle());
    case v1::Command::kPrepareBundle:
      return CheckPresent("name", command.prepare_bundle().name());
    case v1::Command::kPromisePart:
      return CheckPresent("name", command.promise_part().name());
    case v1::Command::kSettleBundle:
      return CheckPresent("name", command.settle_bundle().name());
    case v1::Command::kSettlePart:
      return CheckPresent("name", command.settle_part().name());
    case v1::Command::kRequestQuota:
      return Check(command.request_quota());
    case v1::Command::kReturnQuota:
      return Check(command.return_quota());
    case v1::Command::kGrantQuota:
      return CheckPresent("contract", command.grant_quota().contract());
    case v1::Command::kRecordQuotaAnswer:
      return CheckPresent("site", command.record_quota_answer().site());
    case v1::Command::kReclaimQuota:
      return CheckPresent("returned.contract", command.reclaim_quota().returned().contract());
    case v1::Command::kGiveNotice:
      return CheckPresent("name", command.give_notice().name());
    case v1::Command::kRecordNoticeDelivery:
      return Check(command.record_notice_delivery());
    case v1::Command::kPlanWave:
      return Check(command.plan_wave());
    case v1::Command::kRegisterProject:
      return Check(command.register_project());
    case v1::Command::kRecordProject:
      return CheckPresent("project.name", command.record_project().project().name());
    case v1::Command::kSetMargins:
      return Check(command.set_margins());
    case v1::Command::kReleaseReservation:
      return Check(command.release_reservation());
    case v1::Command::kRevokeReservation:
      return Check(command.revoke_reservation());
    case v1::Command::kExtendReservation:
      return Check(command.extend_reservation());
    case v1::Command::kAmendReservation:
      return Check(command.amend_reservation());
    case v1::Command::kWithdrawAmendment:
      return Check(command.withdraw_amendment());
    case v1::Command::kConfirmAmendment:
      return CheckPresent("amendment", command.confirm_amendment().amendment());
    case v1::Command::kDropAmendment:
      return CheckPresent("amendment", command.drop_amendment().amendment());
    case v1::Command::kRecordWindow:
      return CheckPresent("window.window", command.record_window().window().window());
    case v1::Command::kReviewWindow:
      return CheckPresent("window", command.review_window().window());
    case v1::Command::kProlongWindow:
      return CheckPresent("window", command.prolong_window().window());
    case v1::Command::kReleaseWindow:
      return CheckPresent("window", command.release_window().window());
    case v1::Command::kRecordRelocationConsent:
      return CheckPresent("window", command.record_relocation_consent().window());
    case v1::Command::kRecordWindowDrained:
      return CheckPresent("window", command.record_window_drained().window());
    case v1::Command::kReassignServers:
      return CheckPresent("reservation", command.reassign_servers().reservation());
    case v1::Command::kHealReservation:
      return CheckPresent("name", command.heal_reservation().name());
    case v1::Command::kAcceptReplacement:
      return runtime::CheckName("name", command.accept_replacement().name(),
                                "sites/*/reservations/*");
    case v1::Command::kRecordFeed:
      return CheckPresent("feed.feed", command.record_feed().feed().feed());
    case v1::Command::kReviewShortfall:
      return CheckPresent("site", command.review_shortfall().site());
    case v1::Command::COMMAND_NOT_SET:
      break;
  }
  return absl::InvalidArgumentError(
      "command: found nothing, expected one of the commands of reservations");
}

}  // namespace concordat::reservations
