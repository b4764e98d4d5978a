#include <fmt/format.h>

#include <set>

#include "services/inventory/decider.h"
#include "services/runtime/check.h"

namespace concordat::inventory {
namespace {

using runtime::FirstError;

// One event names them all, so they are bounded.
constexpr int kMostServers = 1000;
constexpr int kMostWork = 100;
constexpr int kMostDone = 200;
constexpr int kMostNoticeDays = 366;

absl::Status CheckWindow(std::string_view name) {
  return runtime::CheckName("name", name, "sites/*/windows/*");
}

absl::Status CheckServers(const google::protobuf::RepeatedPtrField<std::string>& servers) {
  absl::Status fields = runtime::CheckRange("servers", servers.size(), 1, kMostServers);
  std::set<std::string> seen;
  for (int i = 0; fields.ok() && i < servers.size(); ++i) {
    const std::string field = fmt::format("servers[{}]", i);
    fields = runtime::CheckName(field, servers[i], "sites/*/servers/*");
    if (!fields.ok() || seen.insert(servers[i]).second) continue;
    fields = absl::InvalidArgumentError(
        fmt::format("{}: found \"{}\" again, expected each server once", field, servers[i]));
  }
  return fields;
}

absl::Status CheckWork(std::string_view field,
                       const google::protobuf::RepeatedPtrField<std::string>& work) {
  absl::Status fields = runtime::CheckRange(field, work.size(), 0, kMostWork);
  for (int i = 0; fields.ok() && i < work.size(); ++i)
    fields = runtime::CheckText(fmt::format("{}[{}]", field, i), work[i]);
  return fields;
}

// An emergency has a basis, and nothing else has.
absl::Status CheckBasis(const v1::ProposeWindowRequest& request) {
  if (request.window_class() == v1::WINDOW_CLASS_EMERGENCY) {
    return FirstError({runtime::CheckEnum("basis_kind", request.basis_kind()),
                       runtime::CheckText("basis", request.basis())});
  }
  if (request.basis_kind() == v1::BASIS_KIND_UNSPECIFIED && request.basis().empty())
    return absl::OkStatus();
  return absl::InvalidArgumentError(
      fmt::format("basis: found one of {}, expected one of WINDOW_CLASS_EMERGENCY only",
                  v1::WindowClass_Name(request.window_class())));
}

absl::Status CheckConsentBy(const v1::ProposeWindowRequest& request) {
  if (!request.has_consent_by()) return absl::OkStatus();
  absl::Status fields = runtime::CheckTime("consent_by", true, request.consent_by());
  const absl::Time by = runtime::ToTime(request.consent_by());
  const absl::Time start = runtime::ToTime(request.start_time());
  if (!fields.ok() || by <= start) return fields;
  return absl::InvalidArgumentError(
      fmt::format("consent_by: found {}, expected at most the start {}", runtime::ToText(by),
                  runtime::ToText(start)));
}

absl::Status Check(const v1::ProposeWindowRequest& request) {
  return FirstError({
      CheckWindow(request.name()),
      CheckServers(request.servers()),
      runtime::CheckSpan("start_time", request.has_start_time(), request.start_time(), "end_time",
                         request.has_end_time(), request.end_time()),
      runtime::CheckEnum("window_class", request.window_class()),
      runtime::CheckRange("work", request.work_size() + request.retest_work_size(), 1,
                          2 * kMostWork),
      CheckWork("work", request.work()),
      CheckWork("retest_work", request.retest_work()),
      runtime::CheckRange("notice_days", request.notice_days(), 0, kMostNoticeDays),
      CheckConsentBy(request),
      runtime::CheckEnum("overrun", request.overrun()),
      CheckBasis(request),
  });
}

template <typename Request>
absl::Status CheckCustomer(const Request& request) {
  return FirstError({CheckWindow(request.name()),
                     runtime::CheckName("customer", request.customer(), "customers/*")});
}

// Commands of reactions and timers were made here; only their subject has to be there.
absl::Status CheckPresent(std::string_view field, const std::string& name) {
  if (!name.empty()) return absl::OkStatus();
  return absl::InvalidArgumentError(fmt::format("{}: found nothing, expected a name", field));
}

}  // namespace

absl::Status ValidateWindow(const v1::Command& command) {
  if (command.has_propose_window()) return Check(command.propose_window());
  if (command.has_add_work()) {
    return FirstError({CheckWindow(command.add_work().name()),
                       runtime::CheckText("text", command.add_work().text())});
  }
  if (command.has_announce_window()) return CheckWindow(command.announce_window().name());
  if (command.has_consent_to_window()) return CheckCustomer(command.consent_to_window());
  if (command.has_refuse_window()) {
    return FirstError({CheckCustomer(command.refuse_window()),
                       runtime::CheckText("reason", command.refuse_window().reason())});
  }
  if (command.has_open_window()) return CheckWindow(command.open_window().name());
  if (command.has_close_window()) {
    return FirstError(
        {CheckWindow(command.close_window().name()),
         runtime::CheckRange("done", command.close_window().done_size(), 0, kMostDone)});
  }
  if (command.has_abort_window()) {
    return FirstError(
        {CheckWindow(command.abort_window().name()),
         runtime::CheckText("reason", command.abort_window().reason()),
         runtime::CheckRange("done", command.abort_window().done_size(), 0, kMostDone)});
  }
  if (command.has_cancel_window()) {
    return FirstError({CheckWindow(command.cancel_window().name()),
                       runtime::CheckText("reason", command.cancel_window().reason())});
  }
  if (command.has_record_affected())
    return CheckPresent("affected.name", command.record_affected().affected().name());
  if (command.has_record_drained()) return CheckPresent("name", command.record_drained().name());
  return CheckPresent("name", command.advance_window().name());
}

}  // namespace concordat::inventory
