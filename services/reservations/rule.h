// A recurrence rule of RFC 5545, section 3.3.10, over the dates of a wall clock.
// Law: pure and without a time zone; what it does not understand it refuses, naming the part, and
// never ignores.
//
// Understood: FREQ=DAILY, WEEKLY, MONTHLY or YEARLY, and INTERVAL, BYDAY (with ordinals where FREQ
// is MONTHLY or YEARLY), BYMONTHDAY, BYMONTH, WKST, COUNT, UNTIL. A date that a month does not have
// is left out.
#pragma once

#include <absl/status/statusor.h>
#include <absl/time/civil_time.h>
#include <absl/time/time.h>

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

namespace concordat::reservations {

enum class Frequency { kDaily, kWeekly, kMonthly, kYearly };

struct Rule {
  struct Day {
    absl::Weekday weekday;
    int ordinal;  // 1 the first, -1 the last of the month or year; 0 each
  };
  Frequency frequency = Frequency::kDaily;
  int interval = 1;
  std::vector<Day> days;        // BYDAY
  std::vector<int> month_days;  // BYMONTHDAY: 1 to 31, or -1, the last, to -31
  std::vector<int> months;      // BYMONTH: 1 to 12
  absl::Weekday week_start = absl::Weekday::monday;
  // How it ends: by one of these at most.
  std::optional<int> count;
  std::optional<absl::Time> until;  // an instant: the last that a start may have
  std::optional<absl::CivilDay>
      last_day;  // a date of the wall clock: the last that a start may have
};

// The rule of a text such as `FREQ=WEEKLY;BYDAY=MO,TU;UNTIL=20281231`, in letters of either case.
// UNTIL is UTC, `20281231T225959Z`, or a date, whose whole day on the wall clock counts; a time
// without `Z` is refused, as RFC 5545 does for a start in a time zone. INVALID_ARGUMENT, naming the
// part: found, expected.
absl::StatusOr<Rule> ParseRule(std::string_view text);

// The starts of a rule on the wall clock, one after the other. The first is the first that matches
// at `first` or later: `first` itself counts only where it matches. Keeps COUNT and a date of
// UNTIL, not an instant of it, which needs a zone. Copies the rule. Not thread-safe.
class LocalStarts {
 public:
  // Gives what lies before `limit`, and at most COUNT of it.
  LocalStarts(const Rule& rule, absl::CivilSecond first, absl::CivilSecond limit);

  // The next, later than all before; nothing where there is none.
  std::optional<absl::CivilSecond> Next();

 private:
  // Fills dates_ with those of the next period that match, and goes on to the period after it.
  void FillPeriod();
  bool Matches(absl::CivilDay day) const;
  bool MatchesDay(absl::CivilDay day) const;

  Rule rule_;
  absl::CivilSecond first_;
  absl::CivilSecond limit_;
  absl::CivilDay anchor_;  // the first day of the next period to look at
  int given_ = 0;
  bool over_ = false;
  uint32_t weekdays_ = 0;                 // bit absl::Weekday: any of them
  uint32_t month_days_ = 0;               // bit 1 to 31
  uint32_t month_days_from_the_end_ = 0;  // bit 1, the last, to 31
  uint32_t months_ = 0;                   // bit 1 to 12
  std::vector<Rule::Day> ordinals_;       // those of BYDAY with an ordinal
  std::vector<absl::CivilDay> dates_;
  size_t next_date_ = 0;
};

}  // namespace concordat::reservations
