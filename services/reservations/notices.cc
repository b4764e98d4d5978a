#include "services/reservations/notices.h"

#include <fmt/format.h>

#include <vector>

#include "services/runtime/check.h"

namespace concordat::reservations {
namespace {

// The steps that are still to be given, the longest first.
std::vector<absl::Duration> StepsAhead(const v1::Reservation& reservation) {
  std::vector<absl::Duration> steps;
  const bool goes_on = reservation.state() == v1::RESERVATION_STATE_CONFIRMED ||
                       reservation.state() == v1::RESERVATION_STATE_ACTIVE;
  // What has a schedule ends with its occurrences, of which each has notices of its own.
  if (!goes_on || reservation.terms().has_access()) return steps;
  const absl::Time start = runtime::ToTime(reservation.terms().start_time());
  const absl::Time end = runtime::ToTime(reservation.terms().end_time());
  absl::Duration given = absl::InfiniteDuration();
  if (!reservation.given_notices().empty()) {
    const v1::Notice& last = *reservation.given_notices().rbegin();
    if (runtime::ToTime(last.end_time()) == end) given = absl::Seconds(last.before_end().seconds());
  }
  for (const google::protobuf::Duration& notice : reservation.notices()) {
    const absl::Duration step = absl::Seconds(notice.seconds());
    if (step < given && end - step >= start) steps.push_back(step);
  }
  return steps;
}

}  // namespace

std::optional<absl::Time> NoticeTimeOf(const v1::Reservation& reservation) {
  const std::vector<absl::Duration> steps = StepsAhead(reservation);
  if (steps.empty()) return std::nullopt;
  return runtime::ToTime(reservation.terms().end_time()) - steps.front();
}

std::optional<absl::Duration> NoticeDue(const v1::Reservation& reservation, absl::Time now) {
  const absl::Time end = runtime::ToTime(reservation.terms().end_time());
  std::optional<absl::Duration> due;
  for (const absl::Duration step : StepsAhead(reservation)) {
    if (end - step <= now) due = step;
  }
  return due;
}

std::string NoticeOccasion(const v1::Reservation& reservation) {
  const auto& segments = reservation.segments();
  return fmt::format("{}/{}", reservation.given_notices_size(),
                     segments.empty() ? "" : segments.rbegin()->amendment());
}

}  // namespace concordat::reservations
