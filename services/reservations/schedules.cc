#include "services/reservations/schedules.h"

#include <fmt/format.h>

#include <algorithm>

#include "services/runtime/check.h"
#include "services/runtime/zones.h"

namespace concordat::reservations {
namespace {

absl::Status ParseLocal(std::string_view field, const std::string& text, absl::CivilSecond& time) {
  if (absl::Status status = runtime::CheckText(field, text); !status.ok()) return status;
  if (absl::ParseCivilTime(text, &time)) return absl::OkStatus();
  return absl::InvalidArgumentError(fmt::format(
      "{}: found \"{}\", expected a time of the clock such as 2027-01-04T08:00:00", field, text));
}

absl::Status ParseLocals(std::string_view field,
                         const google::protobuf::RepeatedPtrField<std::string>& texts,
                         std::vector<absl::CivilSecond>& times) {
  for (int i = 0; i < texts.size(); ++i) {
    absl::CivilSecond time;
    absl::Status status = ParseLocal(fmt::format("{}[{}]", field, i), texts[i], time);
    if (!status.ok()) return status;
    times.push_back(time);
  }
  return absl::OkStatus();
}

Length LengthOf(v1::DurationKind kind) {
  return kind == v1::DURATION_KIND_ELAPSED ? Length::kElapsed : Length::kWallClock;
}

Gap GapOf(v1::GapPolicy policy) {
  return policy == v1::GAP_POLICY_SKIP ? Gap::kSkip : Gap::kShiftForward;
}

Fold FoldOf(v1::FoldPolicy policy) {
  if (policy == v1::FOLD_POLICY_BOTH) return Fold::kBoth;
  return policy == v1::FOLD_POLICY_SECOND ? Fold::kSecond : Fold::kFirst;
}

// Zero stands for the usual; a number that the enum does not name is refused.
template <typename Enum>
absl::Status CheckPolicy(std::string_view field, Enum value) {
  return static_cast<int>(value) == 0 ? absl::OkStatus() : runtime::CheckEnum(field, value);
}

}  // namespace

absl::StatusOr<Recurrence> RecurrenceOf(const v1::AccessSchedule& access) {
  const auto zone = runtime::LoadZone("time_zone", access.time_zone());
  if (!zone.ok()) return zone.status();
  RecurringSchedule schedule;
  schedule.rule = access.rule();
  absl::Status status = runtime::FirstError({
      ParseLocal("start", access.start(), schedule.start),
      ParseLocals("exceptions", access.exceptions(), schedule.exceptions),
      ParseLocals("additions", access.additions(), schedule.additions),
      CheckPolicy("duration_kind", access.duration_kind()),
      CheckPolicy("gap", access.gap()),
      CheckPolicy("fold", access.fold()),
  });
  if (!status.ok()) return status;
  schedule.duration =
      absl::Seconds(access.duration().seconds()) + absl::Nanoseconds(access.duration().nanos());
  schedule.length = LengthOf(access.duration_kind());
  schedule.gap = GapOf(access.gap());
  schedule.fold = FoldOf(access.fold());
  return Recurrence::Create(schedule, *zone);
}

v1::AccessSchedule WithPolicies(v1::AccessSchedule access) {
  if (access.duration_kind() == v1::DURATION_KIND_UNSPECIFIED)
    access.set_duration_kind(v1::DURATION_KIND_WALL_CLOCK);
  if (access.gap() == v1::GAP_POLICY_UNSPECIFIED) access.set_gap(v1::GAP_POLICY_SHIFT_FORWARD);
  if (access.fold() == v1::FOLD_POLICY_UNSPECIFIED) access.set_fold(v1::FOLD_POLICY_FIRST);
  return access;
}

absl::StatusOr<Expansion> ExpandWithin(const v1::AccessSchedule& access, absl::Time from,
                                       absl::Time until, absl::Time end) {
  const absl::StatusOr<std::string>& version = runtime::ZoneDataVersion();
  if (!version.ok()) return version.status();
  const absl::StatusOr<Recurrence> recurrence = RecurrenceOf(access);
  if (!recurrence.ok()) return recurrence.status();
  Expansion expansion;
  expansion.zone_data_version = *version;
  if (from < until) expansion.occurrences = recurrence->Expand(from, until);
  for (Occurrence& occurrence : expansion.occurrences)
    occurrence.end = std::min(occurrence.end, end);
  return expansion;
}

absl::Time HorizonOf(absl::Time start, absl::Time end, absl::Time now) {
  return std::min(end, std::max(start, now) + kHorizon);
}

std::optional<absl::Time> ExtensionTimeOf(const v1::Schedule& schedule) {
  const absl::Time until = runtime::ToTime(schedule.occurrences_until());
  if (until >= runtime::ToTime(schedule.end_time())) return std::nullopt;
  return until - kHorizon + kHorizonStep;
}

v1::Occurrence ToMessage(const Occurrence& occurrence) {
  v1::Occurrence message;
  *message.mutable_start_time() = runtime::ToTimestamp(occurrence.start);
  *message.mutable_end_time() = runtime::ToTimestamp(occurrence.end);
  return message;
}

Occurrence OccurrenceOf(const v1::Occurrence& message) {
  return {runtime::ToTime(message.start_time()), runtime::ToTime(message.end_time())};
}

std::string OccurrenceName(const std::string& series, int number) {
  return fmt::format("{}-{}", series, number);
}

}  // namespace concordat::reservations
