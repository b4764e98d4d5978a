#include "services/reservations/recurrence.h"

#include <absl/status/status.h>
#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <string_view>
#include <utility>

#include "services/runtime/check.h"

namespace concordat::reservations {
namespace {

constexpr absl::Duration kLongest = absl::Hours(24 * 366);
constexpr size_t kMostDates = 1'000;
constexpr int kMostStartsChecked = 400;
constexpr int kMostYears = 100;
// More than a clock was ever set forward or back: Samoa left out a day.
constexpr absl::Duration kMostClockChange = absl::Hours(48);

absl::Status Wrong(std::string_view field, std::string_view found, std::string_view expected) {
  return absl::InvalidArgumentError(
      fmt::format("{}: found {}, expected {}", field, found, expected));
}

std::string ToText(absl::CivilSecond time) {
  return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}", time.year(), time.month(), time.day(),
                     time.hour(), time.minute(), time.second());
}

std::string ToText(absl::Duration duration) { return std::string(absl::FormatDuration(duration)); }

// Sorted, each once, at most kMostDates.
absl::Status CheckDates(std::string_view field, const std::vector<absl::CivilSecond>& dates) {
  if (dates.size() > kMostDates)
    return Wrong(field, fmt::format("{} of them", dates.size()),
                 fmt::format("at most {}", kMostDates));
  const auto again = std::adjacent_find(dates.begin(), dates.end());
  if (again == dates.end()) return absl::OkStatus();
  return Wrong(field, fmt::format("{} again", ToText(*again)), "it once");
}

// The starts of a rule and the additions, in order.
class AllStarts {
 public:
  AllStarts(const Rule& rule, const RecurringSchedule& schedule, absl::CivilSecond limit)
      : starts_(rule, schedule.start, limit),
        additions_(schedule.additions),
        limit_(limit),
        start_(starts_.Next()) {}

  std::optional<absl::CivilSecond> Next() {
    const bool add = next_ < additions_.size() && additions_[next_] < limit_ &&
                     (!start_ || additions_[next_] < *start_);
    if (add) return additions_[next_++];
    return std::exchange(start_, start_ ? starts_.Next() : std::nullopt);
  }

 private:
  LocalStarts starts_;
  const std::vector<absl::CivilSecond>& additions_;
  absl::CivilSecond limit_;
  std::optional<absl::CivilSecond> start_;
  size_t next_ = 0;
};

}  // namespace

absl::StatusOr<Recurrence> Recurrence::Create(const RecurringSchedule& schedule,
                                              absl::TimeZone zone) {
  absl::StatusOr<Rule> rule = ParseRule(schedule.rule);
  if (!rule.ok()) return rule.status();
  Recurrence recurrence;
  recurrence.rule_ = *std::move(rule);
  recurrence.schedule_ = schedule;
  recurrence.zone_ = zone;
  // Two days later, on the clock, no start can lie before the instant any more.
  if (recurrence.rule_.until)
    recurrence.rule_.last_day =
        absl::CivilDay(absl::ToCivilSecond(*recurrence.rule_.until, zone)) + 2;
  std::sort(recurrence.schedule_.exceptions.begin(), recurrence.schedule_.exceptions.end());
  std::sort(recurrence.schedule_.additions.begin(), recurrence.schedule_.additions.end());
  if (absl::Status status = recurrence.Check(); !status.ok()) return status;
  return recurrence;
}

absl::Status Recurrence::Check() const {
  const absl::CivilSecond first = schedule_.start;
  if (first.year() < 1970 || first.year() > 9999)
    return Wrong("start", ToText(first), "a year from 1970 to 9999");
  const absl::Duration duration = schedule_.duration;
  if (duration < absl::Seconds(1) || duration > kLongest ||
      duration % absl::Seconds(1) != absl::ZeroDuration()) {
    return Wrong("duration", ToText(duration),
                 fmt::format("whole seconds, from 1s to {}", ToText(kLongest)));
  }
  if ((rule_.until && *rule_.until < zone_.At(first).pre) ||
      (rule_.last_day && *rule_.last_day < absl::CivilDay(first)))
    return Wrong("rule", fmt::format("UNTIL before the start, {}", ToText(first)), "it later");
  absl::Status status = CheckDates("exceptions", schedule_.exceptions);
  if (status.ok()) status = CheckDates("additions", schedule_.additions);
  if (!status.ok()) return status;
  if (!schedule_.additions.empty() && schedule_.additions.front() < first)
    return Wrong("additions", ToText(schedule_.additions.front()),
                 fmt::format("{}, the start, or later", ToText(first)));

  const absl::CivilSecond limit(first.year() + kMostYears, first.month(), first.day());
  AllStarts starts(rule_, schedule_, limit);
  std::optional<absl::CivilSecond> last;
  size_t exceptions = 0;
  int checked = 0;
  while (checked < kMostStartsChecked || exceptions < schedule_.exceptions.size()) {
    const std::optional<absl::CivilSecond> start = starts.Next();
    if (!start) break;
    if (exceptions < schedule_.exceptions.size() && schedule_.exceptions[exceptions] < *start)
      break;
    if (exceptions < schedule_.exceptions.size() && schedule_.exceptions[exceptions] == *start)
      ++exceptions;
    if (IsException(*start)) continue;
    std::vector<Occurrence> occurrences;
    AddOccurrences(*start, occurrences);
    if (occurrences.empty()) continue;
    if (last && *start == *last)
      return Wrong("additions", fmt::format("{}, which the rule has", ToText(*start)), "another");
    if (last && absl::Seconds(*start - *last) < duration) {
      return Wrong("duration",
                   fmt::format("{} from {} on, and the next start at {}", ToText(duration),
                               ToText(*last), ToText(*start)),
                   fmt::format("at most {}", ToText(absl::Seconds(*start - *last))));
    }
    last = start;
    ++checked;
  }
  if (exceptions < schedule_.exceptions.size())
    return Wrong("exceptions", ToText(schedule_.exceptions[exceptions]),
                 "the start of an occurrence, as the clock shows it");
  if (checked > 0) return absl::OkStatus();
  return Wrong("rule", fmt::format("nothing that takes place within {} years", kMostYears),
               "a rule with an occurrence");
}

std::vector<Occurrence> Recurrence::Expand(absl::Time from, absl::Time to) const {
  std::vector<Occurrence> all;
  // Wide enough for whatever may begin within, be moved there, or be merged with what does.
  const absl::Duration before = 3 * schedule_.duration + kMostClockChange;
  const absl::CivilSecond first = absl::ToCivilSecond(from - before, zone_);
  const absl::CivilSecond limit = absl::ToCivilSecond(to + before, zone_);
  AllStarts starts(rule_, schedule_, limit);
  while (const std::optional<absl::CivilSecond> start = starts.Next()) {
    if (*start >= first && !IsException(*start)) AddOccurrences(*start, all);
  }
  std::sort(all.begin(), all.end(), [](const Occurrence& a, const Occurrence& b) {
    return std::pair(a.start, a.end) < std::pair(b.start, b.end);
  });
  std::vector<Occurrence> merged;
  for (const Occurrence& occurrence : all) {
    if (!merged.empty() && occurrence.start < merged.back().end) {
      merged.back().end = std::max(merged.back().end, occurrence.end);
    } else {
      merged.push_back(occurrence);
    }
  }
  std::erase_if(merged, [&](const Occurrence& occurrence) {
    return occurrence.start < from || occurrence.start >= to;
  });
  return merged;
}

void Recurrence::AddOccurrences(absl::CivilSecond start,
                                std::vector<Occurrence>& occurrences) const {
  const bool added =
      std::binary_search(schedule_.additions.begin(), schedule_.additions.end(), start);
  const auto add = [&](absl::Time at) {
    if (!added && rule_.until && at > *rule_.until) return;
    occurrences.push_back({at, EndOf(start, at)});
  };
  const absl::TimeZone::TimeInfo info = zone_.At(start);
  switch (info.kind) {
    case absl::TimeZone::TimeInfo::UNIQUE:
      return add(info.pre);
    case absl::TimeZone::TimeInfo::SKIPPED:
      // `pre` reads the time by the offset before the change: later by the length of the gap.
      if (schedule_.gap == Gap::kShiftForward) add(info.pre);
      return;
    case absl::TimeZone::TimeInfo::REPEATED:
      if (schedule_.fold != Fold::kSecond) add(info.pre);
      if (schedule_.fold != Fold::kFirst) add(info.post);
      return;
  }
}

absl::Time Recurrence::EndOf(absl::CivilSecond local_start, absl::Time start) const {
  const absl::Time elapsed = start + schedule_.duration;
  if (schedule_.length == Length::kElapsed) return elapsed;
  // The first time that the clock shows it. Where that is not after the start, the start was moved,
  // or is the second in a fold; then the second end is as far from it as the elapsed one.
  const absl::Time end = zone_.At(local_start + absl::ToInt64Seconds(schedule_.duration)).pre;
  return end > start ? end : elapsed;
}

bool Recurrence::IsException(absl::CivilSecond start) const {
  return std::binary_search(schedule_.exceptions.begin(), schedule_.exceptions.end(), start);
}

}  // namespace concordat::reservations
