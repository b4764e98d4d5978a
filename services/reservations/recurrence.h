// When a schedule such as "every Monday and Tuesday, 08:00 to 18:00 in Paris" takes place: its
// occurrences as half-open spans of UTC.
// Law: pure; a schedule, the data of its zone and a span of time always give the same occurrences,
// and the parts of a span give together what the whole gives.
//
// What a clock change does to an occurrence is the schedule's choice:
//
//   a start that does not exist (gap), 02:30 where the clock goes from 02:00 to 03:00
//     Gap::kSkip           there is no occurrence
//     Gap::kShiftForward   it starts later by the length of the gap, at 03:30 (RFC 5545, 3.3.5)
//   a start that exists twice (fold), 02:30 where the clock goes from 03:00 back to 02:00
//     Fold::kFirst         it starts the first time (RFC 5545, 3.3.5)
//     Fold::kSecond        it starts the second time
//     Fold::kBoth          it takes place twice
//   a change between start and end
//     Length::kElapsed     it is as long as ever, and ends at another time of the clock
//     Length::kWallClock   it ends when the clock shows the end, after the start, for the first
//                          time, and is longer or shorter. An end that does not exist is later by
//                          the length of the gap. An occurrence that was shifted so far that its
//                          end would not be after its start is as long as ever.
//
// Occurrences that a clock change makes overlap are merged into one: a schedule says when there is
// access, not how often. Those that would overlap on the clock itself are refused: the schedule is
// not what its author thinks. COUNT counts starts of the rule on the clock, before exceptions,
// additions and skips; UNTIL ends starts, not occurrences, and is inclusive.
#pragma once

#include <absl/status/statusor.h>
#include <absl/time/civil_time.h>
#include <absl/time/time.h>

#include <string>
#include <vector>

#include "services/reservations/rule.h"

namespace concordat::reservations {

enum class Gap { kSkip, kShiftForward };
enum class Fold { kFirst, kSecond, kBoth };
enum class Length { kElapsed, kWallClock };

// A schedule as its author wrote it; times are those of the wall clock of its zone.
struct RecurringSchedule {
  std::string rule;         // RFC 5545, see rule.h
  absl::CivilSecond start;  // DTSTART, of the years 1970 to 9999
  absl::Duration duration;  // whole seconds, from 1 second to 366 days
  Length length = Length::kWallClock;
  Gap gap = Gap::kShiftForward;
  Fold fold = Fold::kFirst;
  std::vector<absl::CivilSecond> exceptions;  // EXDATE: starts that do not count
  std::vector<absl::CivilSecond> additions;   // RDATE: starts beside those of the rule
};

// Half-open.
struct Occurrence {
  absl::Time start;
  absl::Time end;
  bool operator==(const Occurrence&) const = default;
};

// A schedule that can take place. Immutable, so any thread may use it.
class Recurrence {
 public:
  // INVALID_ARGUMENT, saying what was found and what is expected: a rule that rule.h refuses; an
  // end before the start; a duration out of range or
  // longer than from one start to the next; an exception that is no start; an addition that is one
  // already or is before the start; more than 1,000 of them; nothing that takes place within a
  // hundred years. Overlaps are looked for among the first 400 starts.
  static absl::StatusOr<Recurrence> Create(const RecurringSchedule& schedule, absl::TimeZone zone);

  // The occurrences that start within [from, to), ordered, none overlapping another one. Costs a
  // step for each start of the rule before `to`, about 100 ns, and about as much again for each
  // within. REQUIRES: from <= to, and neither is infinite.
  std::vector<Occurrence> Expand(absl::Time from, absl::Time to) const;

 private:
  Recurrence() = default;
  absl::Status Check() const;
  void AddOccurrences(absl::CivilSecond start, std::vector<Occurrence>& occurrences) const;
  absl::Time EndOf(absl::CivilSecond local_start, absl::Time start) const;
  bool IsException(absl::CivilSecond start) const;

  Rule rule_;
  RecurringSchedule schedule_;  // exceptions and additions are sorted
  absl::TimeZone zone_;
};

}  // namespace concordat::reservations
