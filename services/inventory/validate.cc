#include <fmt/format.h>

#include <set>

#include "services/inventory/decider.h"
#include "services/runtime/check.h"

namespace concordat::inventory {
namespace {

using runtime::FirstError;

// One event holds all of them, so they are bounded.
constexpr int kMostCertifications = 50;
constexpr int kMostCriteria = 100;
constexpr int kMostFigures = 1000;
// Short words: units, figures' names, rooms, racks, serial numbers.
constexpr size_t kWordBytes = 100;
constexpr int kMostAccelerators = 10'000;
constexpr int kHighestPosition = 60;
constexpr int kMostSerials = 1000;
constexpr int kMostVersions = 10'000;
constexpr int kMostDescriptions = 20;
constexpr int64_t kMostWattHours = 1'000'000'000'000'000;
constexpr int64_t kMostLitres = 1'000'000'000'000;
constexpr absl::Duration kLongestReading = absl::Hours(366 * 24);

absl::Status CheckWordText(std::string_view field, std::string_view value) {
  return runtime::CheckText(field, value, runtime::Presence::kRequired, kWordBytes);
}

absl::Status CheckServer(std::string_view name) {
  return runtime::CheckName("name", name, "sites/*/servers/*");
}

absl::Status Check(const v1::OpenSiteRequest& request) {
  absl::Status fields = FirstError({
      runtime::CheckName("name", request.name(), "sites/*"),
      runtime::CheckCountry("country", request.country()),
      CheckWordText("time_zone", request.time_zone()),
      runtime::CheckRange("certifications", request.certifications_size(), 0, kMostCertifications),
  });
  if (fields.ok() && request.has_opening_time())
    fields = runtime::CheckTime("opening_time", true, request.opening_time());
  for (int i = 0; fields.ok() && i < request.certifications_size(); ++i) {
    fields = runtime::CheckWord(fmt::format("certifications[{}]", i), request.certifications(i));
  }
  return fields;
}

// Zero takes everything away from everybody, so it is never meant by saying nothing.
absl::Status CheckWatts(std::string_view field, bool present, int64_t watts) {
  if (present) return runtime::CheckNotNegative(field, watts);
  return absl::InvalidArgumentError(
      fmt::format("{}: found nothing, expected a number of watts, 0 or more", field));
}

// Of the site or a feed. What ends by itself says why it is there.
template <typename Request>
absl::Status CheckStep(const Request& request) {
  absl::Status fields = FirstError({
      runtime::CheckTime("effective_from", request.has_effective_from(), request.effective_from()),
      CheckWatts("it_power_watts", request.has_it_power_watts(), request.it_power_watts()),
      runtime::CheckText("detail", request.detail(), runtime::Presence::kOptional),
  });
  if (fields.ok() && (request.has_until() || request.cause() != v1::ENVELOPE_CAUSE_UNSPECIFIED))
    fields = runtime::CheckEnum("cause", request.cause());
  if (!fields.ok() || !request.has_until()) return fields;
  fields = runtime::CheckTime("until", true, request.until());
  if (!fields.ok() || runtime::ToTime(request.effective_from()) < runtime::ToTime(request.until()))
    return fields;
  return absl::InvalidArgumentError(
      fmt::format("until: found {}, expected after effective_from, {}",
                  runtime::ToText(runtime::ToTime(request.until())),
                  runtime::ToText(runtime::ToTime(request.effective_from()))));
}

absl::Status Check(const v1::SetEnvelopeRequest& request) {
  return FirstError({
      runtime::CheckName("site", request.site(), "sites/*"),
      CheckStep(request),
      CheckWatts("cooling_watts", request.has_cooling_watts(), request.cooling_watts()),
  });
}

absl::Status Check(const v1::SetFeedEnvelopeRequest& request) {
  return FirstError(
      {runtime::CheckName("name", request.name(), "sites/*/feeds/*"), CheckStep(request)});
}

absl::Status CheckCriterion(const std::string& field, const v1::Criterion& criterion) {
  absl::Status fields = FirstError({CheckWordText(field + ".figure", criterion.figure()),
                                    CheckWordText(field + ".unit", criterion.unit())});
  if (!fields.ok() || criterion.minimum() <= criterion.maximum()) return fields;
  return absl::InvalidArgumentError(
      fmt::format("{}.maximum: found {}, expected at least the minimum {}", field,
                  criterion.maximum(), criterion.minimum()));
}

absl::Status CheckOnce(const std::string& field, const std::string& figure,
                       std::set<std::string>& seen) {
  if (seen.insert(figure).second) return absl::OkStatus();
  return absl::InvalidArgumentError(
      fmt::format("{}: found \"{}\" again, expected each figure once", field, figure));
}

template <typename Criteria>
absl::Status CheckCriteria(const Criteria& criteria) {
  absl::Status fields;
  std::set<std::string> seen;
  for (int i = 0; fields.ok() && i < criteria.size(); ++i) {
    const std::string field = fmt::format("criteria[{}]", i);
    fields = CheckCriterion(field, criteria.Get(i));
    if (fields.ok()) fields = CheckOnce(field + ".figure", criteria.Get(i).figure(), seen);
  }
  return fields;
}

// What the maker says, or leaves unsaid.
absl::Status CheckDescription(const v1::RegisterModelRequest& request) {
  absl::Status fields = FirstError({
      runtime::CheckRange("height_units", request.height_units(), 0, kHighestPosition),
      runtime::CheckNotNegative("memory_gigabytes", request.memory_gigabytes()),
      runtime::CheckRange("idle_power_watts", request.idle_power_watts(), 0,
                          request.it_power_watts()),
      runtime::CheckRange("links", request.links_size(), 0, kMostDescriptions),
      runtime::CheckRange("sources", request.sources_size(), 0, kMostDescriptions),
      runtime::CheckRange("not_published", request.not_published_size(), 0, kMostDescriptions),
  });
  if (fields.ok() && request.cooling() != v1::COOLING_KIND_UNSPECIFIED)
    fields = runtime::CheckEnum("cooling", request.cooling());
  for (int i = 0; fields.ok() && i < request.links_size(); ++i) {
    fields = FirstError({CheckWordText(fmt::format("links[{}].name", i), request.links(i).name()),
                         runtime::CheckNotNegative(fmt::format("links[{}].gigabytes_per_second", i),
                                                   request.links(i).gigabytes_per_second())});
  }
  for (int i = 0; fields.ok() && i < request.sources_size(); ++i) {
    fields = FirstError(
        {CheckWordText(fmt::format("sources[{}].publisher", i), request.sources(i).publisher()),
         runtime::CheckText(fmt::format("sources[{}].title", i), request.sources(i).title()),
         CheckWordText(fmt::format("sources[{}].date", i), request.sources(i).date())});
  }
  for (int i = 0; fields.ok() && i < request.not_published_size(); ++i) {
    const std::string& field = request.not_published(i);
    if (request.GetDescriptor()->FindFieldByName(field) == nullptr) {
      fields = absl::InvalidArgumentError(
          fmt::format("not_published[{}]: found \"{}\", expected a field of a model such as "
                      "idle_power_watts",
                      i, field));
    }
  }
  return fields;
}

absl::Status Check(const v1::RegisterModelRequest& request) {
  const bool named = !request.plan().empty();
  absl::Status fields = FirstError({
      runtime::CheckName("name", request.name(), "models/*"),
      runtime::CheckText("vendor", request.vendor()),
      runtime::CheckRange("accelerators", request.accelerators(), 1, kMostAccelerators),
      runtime::CheckPositive("it_power_watts", request.it_power_watts()),
      runtime::CheckPositive("cooling_watts", request.cooling_watts()),
      runtime::CheckRange("criteria", request.criteria_size(), named ? 0 : 1,
                          named ? 0 : kMostCriteria),
  });
  if (fields.ok() && named) fields = runtime::CheckName("plan", request.plan(), "plans/*");
  return FirstError({fields, CheckCriteria(request.criteria()), CheckDescription(request)});
}

// Up to ten years, and not nothing.
absl::Status CheckDuration(std::string_view field, bool has,
                           const google::protobuf::Duration& duration) {
  constexpr int64_t kMostSeconds = int64_t{10} * 366 * 24 * 3600;
  if (!has) return absl::OkStatus();
  if (duration.nanos() == 0 && duration.seconds() > 0 && duration.seconds() <= kMostSeconds)
    return absl::OkStatus();
  return absl::InvalidArgumentError(
      fmt::format("{}: found {}.{:09} s, expected whole seconds from 1 to ten years", field,
                  duration.seconds(), duration.nanos()));
}

absl::Status Check(const v1::RegisterPlanRequest& request) {
  return FirstError({
      runtime::CheckName("name", request.name(), "plans/*"),
      runtime::CheckRange("version", request.version(), 1, kMostVersions),
      runtime::CheckRange("criteria", request.criteria_size(), 1, kMostCriteria),
      CheckCriteria(request.criteria()),
      CheckDuration("validity", request.has_validity(), request.validity()),
      CheckDuration("retest_margin", request.has_retest_margin(), request.retest_margin()),
  });
}

absl::Status Check(const v1::ReportFacilityRequest& request) {
  return FirstError({
      runtime::CheckName("site", request.site(), "sites/*"),
      CheckWatts("it_power_watts", request.has_it_power_watts(), request.it_power_watts()),
      CheckWatts("cooling_watts", request.has_cooling_watts(), request.cooling_watts()),
      runtime::CheckTime("until", request.has_until(), request.until()),
      request.cause() == v1::ENVELOPE_CAUSE_UNSPECIFIED
          ? absl::OkStatus()
          : runtime::CheckEnum("cause", request.cause()),
      runtime::CheckText("detail", request.detail(), runtime::Presence::kOptional),
  });
}

// A part of all the energy that the data centre took.
absl::Status CheckPartOf(std::string_view field, int64_t part, int64_t total) {
  if (part >= 0 && part <= total) return absl::OkStatus();
  return absl::InvalidArgumentError(
      fmt::format("{}: found {}, expected from 0 to total_watt_hours, {}", field, part, total));
}

absl::Status Check(const v1::RecordReadingRequest& request) {
  absl::Status fields = FirstError({
      runtime::CheckName("name", request.name(), "sites/*/readings/*"),
      runtime::CheckSpan("start_time", request.has_start_time(), request.start_time(), "end_time",
                         request.has_end_time(), request.end_time()),
      runtime::CheckRange("total_watt_hours", request.total_watt_hours(), 1, kMostWattHours),
      CheckPartOf("it_watt_hours", request.it_watt_hours(), request.total_watt_hours()),
      CheckPartOf("renewable_watt_hours", request.renewable_watt_hours(),
                  request.total_watt_hours()),
      CheckPartOf("reused_watt_hours", request.reused_watt_hours(), request.total_watt_hours()),
      runtime::CheckRange("water_litres", request.water_litres(), 0, kMostLitres),
      runtime::CheckText("source", request.source(), runtime::Presence::kRequired),
      runtime::CheckText("correction", request.correction(), runtime::Presence::kOptional),
  });
  const absl::Time start = runtime::ToTime(request.start_time());
  if (!fields.ok() || runtime::ToTime(request.end_time()) - start <= kLongestReading) return fields;
  return absl::InvalidArgumentError(
      fmt::format("end_time: found {}, expected 366 days after start_time at most",
                  runtime::ToText(runtime::ToTime(request.end_time()))));
}

absl::Status Check(const v1::SetStageLimitRequest& request) {
  return FirstError({
      runtime::CheckName("site", request.site(), "sites/*"),
      runtime::CheckEnum("state", request.state()),
      CheckDuration("most", request.has_most(), request.most()),
  });
}

absl::Status Check(const v1::DefineRackRequest& request) {
  return FirstError({
      runtime::CheckName("name", request.name(), "sites/*/racks/*"),
      CheckWordText("room", request.room()),
      CheckWordText("rack", request.rack()),
      runtime::CheckRange("height_units", request.height_units(), 1, kHighestPosition),
  });
}

absl::Status Check(const v1::DefineFeedRequest& request) {
  return FirstError({
      runtime::CheckName("name", request.name(), "sites/*/feeds/*"),
      runtime::CheckPositive("it_power_watts", request.it_power_watts()),
      runtime::CheckEnum("redundancy", request.redundancy()),
  });
}

absl::Status Check(const v1::PlanServerRequest& request) {
  return FirstError({
      CheckServer(request.name()),
      runtime::CheckName("model", request.model(), "models/*"),
      runtime::CheckTime("planned_time", request.has_planned_time(), request.planned_time()),
      request.rack().empty() ? absl::OkStatus()
                             : runtime::CheckName("rack", request.rack(), "sites/*/racks/*"),
  });
}

absl::Status Check(const v1::SlipDeliveryRequest& request) {
  return FirstError({
      CheckServer(request.name()),
      runtime::CheckTime("promised_time", request.has_promised_time(), request.promised_time()),
      runtime::CheckEnum("cause", request.cause()),
      runtime::CheckText("detail", request.detail(), runtime::Presence::kOptional),
  });
}

absl::Status Check(const v1::RecordManifestRequest& request) {
  absl::Status fields = FirstError({
      runtime::CheckName("name", request.name(), "sites/*/manifests/*"),
      CheckWordText("order_number", request.order_number()),
      runtime::CheckText("supplier", request.supplier()),
      runtime::CheckRange("serials", request.serials_size(), 1, kMostSerials),
  });
  std::set<std::string> seen;
  for (int i = 0; fields.ok() && i < request.serials_size(); ++i) {
    const std::string field = fmt::format("serials[{}]", i);
    fields = CheckWordText(field, request.serials(i));
    if (fields.ok() && !seen.insert(request.serials(i)).second) {
      fields = absl::InvalidArgumentError(
          fmt::format("{}: found \"{}\" again, expected each once", field, request.serials(i)));
    }
  }
  return fields;
}

absl::Status CheckOptionalText(std::string_view field, const std::string& text) {
  return runtime::CheckText(field, text, runtime::Presence::kOptional, kWordBytes);
}

absl::Status CheckDigest(std::string_view field, const std::string& digest) {
  return digest.empty() ? absl::OkStatus() : runtime::CheckHex(field, digest, 64);
}

absl::Status Check(const v1::CordonServerRequest& request) {
  absl::Status fields =
      FirstError({CheckServer(request.name()), runtime::CheckText("reason", request.reason())});
  if (fields.ok() && request.has_until())
    fields = runtime::CheckTime("until", true, request.until());
  return fields;
}

absl::Status Check(const v1::ReplacePartRequest& request) {
  return FirstError({
      CheckServer(request.name()),
      CheckWordText("slot", request.slot()),
      runtime::CheckName("part", request.part(), "sites/*/parts/*"),
      CheckWordText("kind", request.kind()),
      CheckWordText("serial", request.serial()),
      runtime::CheckText("reason", request.reason()),
  });
}

absl::Status Check(const v1::SanitiseServerRequest& request) {
  return FirstError({
      CheckServer(request.name()),
      runtime::CheckEnum("method", request.method()),
      CheckDigest("evidence_digest", request.evidence_digest()),
      CheckOptionalText("operator", request.operator_()),
  });
}

// A server's name, and a text that is required.
absl::Status CheckServerAndText(const std::string& name, std::string_view field,
                                const std::string& text) {
  return FirstError({CheckServer(name), runtime::CheckText(field, text)});
}

absl::Status Check(const v1::OrderServerRequest& request) {
  return FirstError({
      CheckServer(request.name()),
      runtime::CheckName("model", request.model(), "models/*"),
      runtime::CheckText("supplier", request.supplier()),
      runtime::CheckTime("promised_time", request.has_promised_time(), request.promised_time()),
      CheckOptionalText("order_number", request.order_number()),
  });
}

absl::Status Check(const v1::InstallServerRequest& request) {
  return FirstError({
      CheckServer(request.name()),
      CheckWordText("room", request.room()),
      CheckWordText("rack", request.rack()),
      runtime::CheckRange("position", request.position(), 1, kHighestPosition),
      runtime::CheckText("nvlink_domain", request.nvlink_domain(), runtime::Presence::kOptional,
                         kWordBytes),
      runtime::CheckText("power_feed", request.power_feed(), runtime::Presence::kOptional,
                         kWordBytes),
  });
}

absl::Status Check(const v1::TestServerRequest& request) {
  absl::Status fields =
      FirstError({CheckServer(request.name()),
                  runtime::CheckRange("figures", request.figures_size(), 1, kMostFigures)});
  std::set<std::string> seen;
  for (int i = 0; fields.ok() && i < request.figures_size(); ++i) {
    const v1::Figure& figure = request.figures(i);
    const std::string field = fmt::format("figures[{}]", i);
    fields = FirstError({CheckWordText(field + ".name", figure.name()),
                         CheckWordText(field + ".unit", figure.unit())});
    if (fields.ok()) fields = CheckOnce(field + ".name", figure.name(), seen);
  }
  if (fields.ok()) {
    fields = FirstError({CheckDigest("tool_digest", request.tool_digest()),
                         CheckOptionalText("operator", request.operator_())});
  }
  if (fields.ok() && request.has_ended_time())
    fields = runtime::CheckTime("ended_time", true, request.ended_time());
  if (!fields.ok() || !request.has_started_time()) return fields;
  if (!request.has_ended_time())
    return runtime::CheckTime("started_time", true, request.started_time());
  return runtime::CheckSpan("started_time", true, request.started_time(), "ended_time", true,
                            request.ended_time());
}

}  // namespace

absl::Status Validate(const v1::Command& command) {
  switch (command.command_case()) {
    case v1::Command::kOpenSite:
      return Check(command.open_site());
    case v1::Command::kSetEnvelope:
      return Check(command.set_envelope());
    case v1::Command::kSetFeedEnvelope:
      return Check(command.set_feed_envelope());
    case v1::Command::kSetStageLimit:
      return Check(command.set_stage_limit());
    case v1::Command::kReportFacility:
      return Check(command.report_facility());
    case v1::Command::kRecordReading:
      return Check(command.record_reading());
    case v1::Command::kRegisterModel:
      return Check(command.register_model());
    case v1::Command::kOrderServer:
      return Check(command.order_server());
    case v1::Command::kDeliverServer:
      return FirstError({CheckServer(command.deliver_server().name()),
                         CheckWordText("serial", command.deliver_server().serial())});
    case v1::Command::kInstallServer:
      return Check(command.install_server());
    case v1::Command::kTestServer:
      return Check(command.test_server());
    case v1::Command::kEnterService:
      return CheckServer(command.enter_service().name());
    case v1::Command::kCordonServer:
      return Check(command.cordon_server());
    case v1::Command::kUncordonServer:
      return CheckServer(command.uncordon_server().name());
    case v1::Command::kLeaveService:
      return FirstError({CheckServer(command.leave_service().name()),
                         runtime::CheckText("reason", command.leave_service().reason())});
    case v1::Command::kRegisterPlan:
      return Check(command.register_plan());
    case v1::Command::kDefineRack:
      return Check(command.define_rack());
    case v1::Command::kDefineFeed:
      return Check(command.define_feed());
    case v1::Command::kPlanServer:
      return Check(command.plan_server());
    case v1::Command::kSlipDelivery:
      return Check(command.slip_delivery());
    case v1::Command::kRecordManifest:
      return Check(command.record_manifest());
    case v1::Command::kStartTest:
      return FirstError({CheckServer(command.start_test().name()),
                         CheckOptionalText("operator", command.start_test().operator_())});
    case v1::Command::kQuarantineServer:
      return CheckServerAndText(command.quarantine_server().name(), "reason",
                                command.quarantine_server().reason());
    case v1::Command::kRepairServer:
      return CheckServerAndText(command.repair_server().name(), "detail",
                                command.repair_server().detail());
    case v1::Command::kReplacePart:
      return Check(command.replace_part());
    case v1::Command::kChangeFirmware:
      return FirstError({CheckServer(command.change_firmware().name()),
                         CheckWordText("component", command.change_firmware().component()),
                         CheckWordText("version", command.change_firmware().version())});
    case v1::Command::kWithdrawServer:
      return CheckServerAndText(command.withdraw_server().name(), "reason",
                                command.withdraw_server().reason());
    case v1::Command::kRetireServer:
      return CheckServerAndText(command.retire_server().name(), "reason",
                                command.retire_server().reason());
    case v1::Command::kSanitiseServer:
      return Check(command.sanitise_server());
    case v1::Command::kRemoveServer:
      return CheckServer(command.remove_server().name());
    case v1::Command::kExpireEvidence:
    case v1::Command::kRecordTenancyEnd:
      return absl::OkStatus();  // the site's own
    case v1::Command::kProposeWindow:
    case v1::Command::kAddWork:
    case v1::Command::kAnnounceWindow:
    case v1::Command::kConsentToWindow:
    case v1::Command::kRefuseWindow:
    case v1::Command::kOpenWindow:
    case v1::Command::kCloseWindow:
    case v1::Command::kAbortWindow:
    case v1::Command::kCancelWindow:
    case v1::Command::kRecordAffected:
    case v1::Command::kRecordDrained:
    case v1::Command::kAdvanceWindow:
      return ValidateWindow(command);
    case v1::Command::COMMAND_NOT_SET:
      break;
  }
  return absl::InvalidArgumentError(
      "command: found nothing, expected one of the inventory's commands");
}

}  // namespace concordat::inventory
