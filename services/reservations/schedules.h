// Schedules as events carry them: how they become occurrences, and how far ahead these are known.
// Law: pure; an occurrence that stands in an event is a fact and is never computed again.
#pragma once

#include <absl/status/statusor.h>
#include <absl/time/time.h>

#include <optional>
#include <string>
#include <vector>

#include "concordat/reservations/v1/api.pb.h"
#include "services/reservations/recurrence.h"

namespace concordat::reservations {

// How far ahead occurrences are facts.
inline constexpr absl::Duration kHorizon = absl::Hours(24 * 400);
// The horizon moves on in steps of this.
inline constexpr absl::Duration kHorizonStep = absl::Hours(24 * 30);

// INVALID_ARGUMENT, naming the field of the schedule: found, expected. A rule without end is fine,
// for it ends with the time span that it counts in.
absl::StatusOr<Recurrence> RecurrenceOf(const v1::AccessSchedule& access);

// With the policies that were left open.
v1::AccessSchedule WithPolicies(v1::AccessSchedule access);

// What a schedule comes to, and with which data of the time zones.
struct Expansion {
  std::vector<Occurrence> occurrences;
  std::string zone_data_version;
};

// The occurrences that start within [from, until), by the process's data of the time zones; those
// that end after `end` end there. INVALID_ARGUMENT where the schedule cannot be understood,
// FAILED_PRECONDITION where the data has no version.
absl::StatusOr<Expansion> ExpandWithin(const v1::AccessSchedule& access, absl::Time from,
                                       absl::Time until, absl::Time end);

// Up to when the occurrences of a schedule in [start, end) are to be known.
absl::Time HorizonOf(absl::Time start, absl::Time end, absl::Time now);
// When a schedule's horizon has to move on; nothing where it has reached the end.
std::optional<absl::Time> ExtensionTimeOf(const v1::Schedule& schedule);

v1::Occurrence ToMessage(const Occurrence& occurrence);
Occurrence OccurrenceOf(const v1::Occurrence& message);

// `<series>-<number>`: the reservation that is an occurrence of another one.
std::string OccurrenceName(const std::string& series, int number);

}  // namespace concordat::reservations
