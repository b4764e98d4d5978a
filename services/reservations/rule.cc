#include "services/reservations/rule.h"

#include <absl/algorithm/container.h>
#include <absl/status/status.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <set>
#include <string>
#include <utility>

#include "services/runtime/check.h"

namespace concordat::reservations {
namespace {

constexpr int kMostInterval = 1'000;
constexpr int kMostCount = 100'000;
constexpr std::string_view kExample = "such as FREQ=WEEKLY;BYDAY=MO,TU";
constexpr std::string_view kParts =
    "FREQ, INTERVAL, BYDAY, BYMONTHDAY, BYMONTH, WKST, COUNT or UNTIL";
constexpr std::array<std::string_view, 7> kWeekdays = {"MO", "TU", "WE", "TH", "FR", "SA", "SU"};

absl::Status Wrong(std::string_view found, std::string_view expected) {
  return absl::InvalidArgumentError(fmt::format("rule: found {}, expected {}", found, expected));
}

std::vector<std::string_view> Split(std::string_view text, char by) {
  std::vector<std::string_view> parts;
  while (true) {
    const size_t end = text.find(by);
    parts.push_back(text.substr(0, end));
    if (end == text.npos) return parts;
    text.remove_prefix(end + 1);
  }
}

// A whole number with or without a sign, and nothing else.
std::optional<int> ParseNumber(std::string_view text) {
  if (text.size() > 1 && text[0] == '+' && text[1] != '-') text.remove_prefix(1);
  int number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return number;
}

std::optional<absl::Weekday> ParseWeekday(std::string_view text) {
  const auto found = std::find(kWeekdays.begin(), kWeekdays.end(), text);
  if (found == kWeekdays.end()) return std::nullopt;
  return static_cast<absl::Weekday>(found - kWeekdays.begin());
}

absl::Status ParseBetween(std::string_view name, std::string_view value, int least, int most,
                          int& number) {
  const std::optional<int> parsed = ParseNumber(value);
  if (!parsed || *parsed < least || *parsed > most)
    return Wrong(fmt::format("{}={}", name, value), fmt::format("{} to {}", least, most));
  number = *parsed;
  return absl::OkStatus();
}

// Numbers from 1 to `most`, and from the end where `from_the_end`; each once.
absl::Status ParseList(std::string_view name, std::string_view value, int most, bool from_the_end,
                       std::vector<int>& numbers) {
  for (const std::string_view item : Split(value, ',')) {
    const std::optional<int> number = ParseNumber(item);
    if (!number || *number == 0 || *number > most || *number < (from_the_end ? -most : 1)) {
      return Wrong(fmt::format("\"{}\" in {}", item, name),
                   from_the_end ? fmt::format("1 to {}, or -1, the last, to -{}", most, most)
                                : fmt::format("1 to {}", most));
    }
    if (absl::c_linear_search(numbers, *number))
      return Wrong(fmt::format("{} again in {}", *number, name), "it once");
    numbers.push_back(*number);
  }
  return absl::OkStatus();
}

absl::Status ParseDays(std::string_view value, std::vector<Rule::Day>& days) {
  for (const std::string_view item : Split(value, ',')) {
    const size_t letters = item.size() < 2 ? 0 : item.size() - 2;
    const std::optional<absl::Weekday> weekday = ParseWeekday(item.substr(letters));
    const std::optional<int> ordinal =
        letters == 0 ? std::optional(0) : ParseNumber(item.substr(0, letters));
    if (!weekday || !ordinal || (letters > 0 && *ordinal == 0)) {
      return Wrong(fmt::format("\"{}\" in BYDAY", item),
                   "MO, TU, WE, TH, FR, SA or SU, or with an ordinal such as 1MO or -1FR");
    }
    const bool again = std::any_of(days.begin(), days.end(), [&](const Rule::Day& day) {
      return day.weekday == *weekday && day.ordinal == *ordinal;
    });
    if (again) return Wrong(fmt::format("{} again in BYDAY", item), "it once");
    days.push_back({*weekday, *ordinal});
  }
  return absl::OkStatus();
}

// Digits of a text as a number; REQUIRES: digits alone, so few that they fit.
int Digits(std::string_view text, size_t from, size_t count) {
  return ParseNumber(text.substr(from, count)).value_or(-1);
}

absl::Status ParseUntil(std::string_view value, Rule& rule) {
  const absl::Status wrong =
      Wrong(fmt::format("UNTIL={}", value),
            "a date such as 20281231, or a time in UTC such as 20281231T225959Z");
  std::string form(value);
  for (char& c : form) c = c >= '0' && c <= '9' ? '0' : c;
  if (form == "00000000T000000") {
    return Wrong(fmt::format("UNTIL={}, a time without a zone", value),
                 "a date such as 20281231, or a time in UTC such as 20281231T225959Z");
  }
  if (form != "00000000" && form != "00000000T000000Z") return wrong;
  const int year = Digits(value, 0, 4);
  const int month = Digits(value, 4, 2);
  const int day = Digits(value, 6, 2);
  const absl::CivilDay date(year, month, day);
  if (date.year() != year || date.month() != month || date.day() != day) return wrong;
  if (form.size() == 8) {
    rule.last_day = date;
    return absl::OkStatus();
  }
  const int hour = Digits(value, 9, 2);
  const int minute = Digits(value, 11, 2);
  const int second = Digits(value, 13, 2);
  if (hour > 23 || minute > 59 || second > 59) return wrong;
  rule.until = absl::FromCivil(absl::CivilSecond(year, month, day, hour, minute, second),
                               absl::UTCTimeZone());
  return absl::OkStatus();
}

absl::Status ParseFrequency(std::string_view value, Rule& rule) {
  constexpr std::array<std::pair<std::string_view, Frequency>, 4> kFrequencies = {
      {{"DAILY", Frequency::kDaily},
       {"WEEKLY", Frequency::kWeekly},
       {"MONTHLY", Frequency::kMonthly},
       {"YEARLY", Frequency::kYearly}}};
  for (const auto& [name, frequency] : kFrequencies) {
    if (value != name) continue;
    rule.frequency = frequency;
    return absl::OkStatus();
  }
  return Wrong(fmt::format("FREQ={}", value), "DAILY, WEEKLY, MONTHLY or YEARLY");
}

absl::Status ParsePart(std::string_view name, std::string_view value, Rule& rule) {
  if (name == "FREQ") return ParseFrequency(value, rule);
  if (name == "INTERVAL") return ParseBetween(name, value, 1, kMostInterval, rule.interval);
  if (name == "BYDAY") return ParseDays(value, rule.days);
  if (name == "BYMONTHDAY") return ParseList(name, value, 31, true, rule.month_days);
  if (name == "BYMONTH") return ParseList(name, value, 12, false, rule.months);
  if (name == "UNTIL") return ParseUntil(value, rule);
  if (name == "COUNT") {
    rule.count.emplace(0);
    return ParseBetween(name, value, 1, kMostCount, *rule.count);
  }
  if (name == "WKST") {
    const std::optional<absl::Weekday> weekday = ParseWeekday(value);
    if (!weekday) return Wrong(fmt::format("WKST={}", value), "MO, TU, WE, TH, FR, SA or SU");
    rule.week_start = *weekday;
    return absl::OkStatus();
  }
  return Wrong(fmt::format("the part \"{}\"", name), kParts);
}

// What the parts say together.
absl::Status CheckTogether(const Rule& rule, const std::set<std::string_view>& names) {
  if (!names.contains("FREQ")) return Wrong("no FREQ", kExample);
  if (names.contains("COUNT") && names.contains("UNTIL"))
    return Wrong("both COUNT and UNTIL", "one of them");
  if (rule.frequency == Frequency::kWeekly && !rule.month_days.empty())
    return Wrong("BYMONTHDAY with FREQ=WEEKLY", "FREQ=DAILY, MONTHLY or YEARLY with it");
  const bool by_month = rule.frequency == Frequency::kMonthly ||
                        (rule.frequency == Frequency::kYearly && !rule.months.empty());
  const int most = by_month ? 5 : rule.frequency == Frequency::kYearly ? 53 : 0;
  for (const Rule::Day& day : rule.days) {
    if (std::abs(day.ordinal) <= most) continue;
    const std::string found =
        fmt::format("{}{} in BYDAY", day.ordinal, kWeekdays[static_cast<size_t>(day.weekday)]);
    return most == 0 ? Wrong(found, "a day without an ordinal, or FREQ=MONTHLY or YEARLY")
                     : Wrong(found, fmt::format("an ordinal of at most {}", most));
  }
  return absl::OkStatus();
}

int DaysInMonth(absl::CivilDay day) {
  return static_cast<int>(absl::CivilDay(absl::CivilMonth(day) + 1) -
                          absl::CivilDay(absl::CivilMonth(day)));
}

// Whether the `place`th of `length` days is the ordinal's among its weekdays.
bool IsOrdinal(int ordinal, int place, int length) {
  return ordinal > 0 ? (place - 1) / 7 + 1 == ordinal : (length - place) / 7 + 1 == -ordinal;
}

bool Has(uint32_t bits, int bit) { return (bits >> bit & 1) != 0; }

}  // namespace

absl::StatusOr<Rule> ParseRule(std::string_view text) {
  if (absl::Status status = runtime::CheckText("rule", text); !status.ok()) return status;
  std::string capitals(text);
  for (char& c : capitals) c = c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c;
  Rule rule;
  std::set<std::string_view> names;
  for (const std::string_view part : Split(capitals, ';')) {
    const size_t equals = part.find('=');
    if (equals == part.npos || equals + 1 == part.size())
      return Wrong(fmt::format("\"{}\"", part), fmt::format("NAME=VALUE, {}", kExample));
    const std::string_view name = part.substr(0, equals);
    if (!names.insert(name).second) return Wrong(fmt::format("{} again", name), "it once");
    if (absl::Status status = ParsePart(name, part.substr(equals + 1), rule); !status.ok())
      return status;
  }
  if (absl::Status status = CheckTogether(rule, names); !status.ok()) return status;
  return rule;
}

LocalStarts::LocalStarts(const Rule& rule, absl::CivilSecond first, absl::CivilSecond limit)
    : rule_(rule), first_(first), limit_(limit) {
  const absl::CivilDay day(first);
  switch (rule_.frequency) {
    case Frequency::kDaily:
      anchor_ = day;
      break;
    case Frequency::kWeekly: {
      const int past = static_cast<int>(absl::GetWeekday(day)) - static_cast<int>(rule.week_start);
      anchor_ = day - (past + 7) % 7;
      break;
    }
    case Frequency::kMonthly:
      anchor_ = absl::CivilDay(absl::CivilMonth(day));
      break;
    case Frequency::kYearly:
      anchor_ = absl::CivilDay(absl::CivilYear(day));
      break;
  }
  // What the rule leaves open comes from the first start, as RFC 5545 says.
  if (rule_.days.empty() && rule_.month_days.empty()) {
    if (rule_.frequency == Frequency::kWeekly) rule_.days.push_back({absl::GetWeekday(day), 0});
    if (rule_.frequency == Frequency::kMonthly || rule_.frequency == Frequency::kYearly)
      rule_.month_days.push_back(day.day());
    if (rule_.frequency == Frequency::kYearly && rule_.months.empty())
      rule_.months.push_back(day.month());
  }
  for (const Rule::Day& by_day : rule_.days) {
    if (by_day.ordinal == 0) {
      weekdays_ |= 1u << static_cast<int>(by_day.weekday);
    } else {
      ordinals_.push_back(by_day);
    }
  }
  for (const int month_day : rule_.month_days)
    (month_day > 0 ? month_days_ : month_days_from_the_end_) |= 1u << std::abs(month_day);
  for (const int month : rule_.months) months_ |= 1u << month;
}

std::optional<absl::CivilSecond> LocalStarts::Next() {
  if (over_ || (rule_.count && given_ >= *rule_.count)) return std::nullopt;
  while (next_date_ == dates_.size()) {
    if (anchor_ > absl::CivilDay(limit_)) return std::nullopt;
    FillPeriod();
  }
  const absl::CivilDay day = dates_[next_date_++];
  const absl::CivilSecond start(day.year(), day.month(), day.day(), first_.hour(), first_.minute(),
                                first_.second());
  over_ = start >= limit_ || (rule_.last_day && day > *rule_.last_day);
  if (over_) return std::nullopt;
  ++given_;
  return start;
}

void LocalStarts::FillPeriod() {
  absl::CivilDay end;
  absl::CivilDay next;
  switch (rule_.frequency) {
    case Frequency::kDaily:
      end = anchor_ + 1;
      next = anchor_ + rule_.interval;
      break;
    case Frequency::kWeekly:
      end = anchor_ + 7;
      next = anchor_ + 7 * rule_.interval;
      break;
    case Frequency::kMonthly:
      end = absl::CivilDay(absl::CivilMonth(anchor_) + 1);
      next = absl::CivilDay(absl::CivilMonth(anchor_) + rule_.interval);
      break;
    case Frequency::kYearly:
      end = absl::CivilDay(absl::CivilYear(anchor_) + 1);
      next = absl::CivilDay(absl::CivilYear(anchor_) + rule_.interval);
      break;
  }
  dates_.clear();
  next_date_ = 0;
  for (absl::CivilDay day = std::max(anchor_, absl::CivilDay(first_)); day < end; ++day) {
    if (Matches(day)) dates_.push_back(day);
  }
  anchor_ = next;
}

bool LocalStarts::Matches(absl::CivilDay day) const {
  if (months_ != 0 && !Has(months_, day.month())) return false;
  if (!rule_.month_days.empty() && !Has(month_days_, day.day()) &&
      (month_days_from_the_end_ == 0 ||
       !Has(month_days_from_the_end_, DaysInMonth(day) - day.day() + 1))) {
    return false;
  }
  return rule_.days.empty() || MatchesDay(day);
}

bool LocalStarts::MatchesDay(absl::CivilDay day) const {
  const absl::Weekday weekday = absl::GetWeekday(day);
  if (Has(weekdays_, static_cast<int>(weekday))) return true;
  for (const Rule::Day& by_day : ordinals_) {
    if (by_day.weekday != weekday) continue;
    const bool of_year = rule_.frequency == Frequency::kYearly && months_ == 0;
    const int place = of_year ? absl::GetYearDay(day) : day.day();
    const int length =
        of_year ? static_cast<int>(absl::CivilDay(day.year() + 1) - absl::CivilDay(day.year()))
                : DaysInMonth(day);
    if (IsOrdinal(by_day.ordinal, place, length)) return true;
  }
  return false;
}

}  // namespace concordat::reservations
