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
  for (int i = 0; fields.ok() && i < request.certifications_size(); ++i) {
    fields = runtime::CheckWord(fmt::format("certifications[{}]", i), request.certifications(i));
  }
  return fields;
}

absl::Status Check(const v1::SetEnvelopeRequest& request) {
  return FirstError({
      runtime::CheckName("site", request.site(), "sites/*"),
      runtime::CheckTime("effective_from", request.has_effective_from(), request.effective_from()),
      runtime::CheckNotNegative("it_power_watts", request.it_power_watts()),
      runtime::CheckNotNegative("cooling_watts", request.cooling_watts()),
  });
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

absl::Status Check(const v1::RegisterModelRequest& request) {
  absl::Status fields = FirstError({
      runtime::CheckName("name", request.name(), "models/*"),
      runtime::CheckText("vendor", request.vendor()),
      runtime::CheckRange("accelerators", request.accelerators(), 1, kMostAccelerators),
      runtime::CheckPositive("it_power_watts", request.it_power_watts()),
      runtime::CheckPositive("cooling_watts", request.cooling_watts()),
      runtime::CheckRange("criteria", request.criteria_size(), 1, kMostCriteria),
  });
  std::set<std::string> seen;
  for (int i = 0; fields.ok() && i < request.criteria_size(); ++i) {
    const std::string field = fmt::format("criteria[{}]", i);
    fields = CheckCriterion(field, request.criteria(i));
    if (fields.ok()) fields = CheckOnce(field + ".figure", request.criteria(i).figure(), seen);
  }
  return fields;
}

absl::Status Check(const v1::OrderServerRequest& request) {
  return FirstError({
      CheckServer(request.name()),
      runtime::CheckName("model", request.model(), "models/*"),
      runtime::CheckText("supplier", request.supplier()),
      runtime::CheckTime("promised_time", request.has_promised_time(), request.promised_time()),
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
  return fields;
}

}  // namespace

absl::Status Validate(const v1::Command& command) {
  switch (command.command_case()) {
    case v1::Command::kOpenSite:
      return Check(command.open_site());
    case v1::Command::kSetEnvelope:
      return Check(command.set_envelope());
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
      return FirstError({CheckServer(command.cordon_server().name()),
                         runtime::CheckText("reason", command.cordon_server().reason())});
    case v1::Command::kUncordonServer:
      return CheckServer(command.uncordon_server().name());
    case v1::Command::kLeaveService:
      return FirstError({CheckServer(command.leave_service().name()),
                         runtime::CheckText("reason", command.leave_service().reason())});
    case v1::Command::COMMAND_NOT_SET:
      break;
  }
  return absl::InvalidArgumentError(
      "command: found nothing, expected one of the inventory's commands");
}

}  // namespace concordat::inventory
