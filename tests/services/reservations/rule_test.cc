#include "services/reservations/rule.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

namespace concordat::reservations {
namespace {

using testing::HasSubstr;

std::string ErrorOf(std::string_view text) {
  const auto rule = ParseRule(text);
  return rule.ok() ? "accepted" : std::string(rule.status().message());
}

// The first starts from 2027-01-01T09:00, a Friday, on: month and day of each.
std::string Starts(std::string_view text, int most = 6, int years = 10,
                   absl::CivilSecond first = absl::CivilSecond(2027, 1, 1, 9, 0, 0)) {
  const auto rule = ParseRule(text);
  if (!rule.ok()) return std::string(rule.status().message());
  LocalStarts starts(*rule, first, first + int64_t{years} * 365 * 86400);
  std::string dates;
  for (int i = 0; i < most; ++i) {
    const auto start = starts.Next();
    if (!start) return dates + " end";
    dates += fmt::format(" {:02}-{:02}", start->month(), start->day());
  }
  return dates;
}

TEST(Rule, ReadsEveryPartThatItUnderstands) {
  const auto rule =
      ParseRule("FREQ=MONTHLY;INTERVAL=2;BYDAY=MO,-1FR;BYMONTHDAY=1,-1;BYMONTH=3;WKST=SU;COUNT=7");
  ASSERT_TRUE(rule.ok()) << rule.status();
  EXPECT_EQ(rule->frequency, Frequency::kMonthly);
  EXPECT_EQ(rule->interval, 2);
  ASSERT_EQ(rule->days.size(), 2u);
  EXPECT_EQ(rule->days[0].weekday, absl::Weekday::monday);
  EXPECT_EQ(rule->days[0].ordinal, 0);
  EXPECT_EQ(rule->days[1].weekday, absl::Weekday::friday);
  EXPECT_EQ(rule->days[1].ordinal, -1);
  EXPECT_THAT(rule->month_days, testing::ElementsAre(1, -1));
  EXPECT_THAT(rule->months, testing::ElementsAre(3));
  EXPECT_EQ(rule->week_start, absl::Weekday::sunday);
  EXPECT_EQ(rule->count, 7);
}

TEST(Rule, ReadsUntilAsAnInstantOrADate) {
  EXPECT_EQ(ParseRule("FREQ=DAILY;UNTIL=20281231T225959Z")->until,
            absl::FromCivil(absl::CivilSecond(2028, 12, 31, 22, 59, 59), absl::UTCTimeZone()));
  EXPECT_EQ(ParseRule("freq=daily;until=20281231")->last_day, absl::CivilDay(2028, 12, 31));
}

TEST(Rule, RefusesWhatItDoesNotUnderstandAndSaysWhatItFound) {
  const struct {
    std::string_view rule;
    std::string_view error;
  } cases[] = {
      {"", "rule: found nothing, expected"},
      {"FREQ", "rule: found \"FREQ\", expected NAME=VALUE, such as FREQ=WEEKLY;BYDAY=MO,TU"},
      {"FREQ=", "rule: found \"FREQ=\", expected NAME=VALUE"},
      {"FREQ=WEEKLY;", "rule: found \"\", expected NAME=VALUE"},
      {"BYDAY=MO", "rule: found no FREQ, expected"},
      {"FREQ=HOURLY", "rule: found FREQ=HOURLY, expected DAILY, WEEKLY, MONTHLY or YEARLY"},
      {"FREQ=DAILY;BYHOUR=9", "rule: found the part \"BYHOUR\", expected FREQ, INTERVAL, BYDAY"},
      {"RRULE:FREQ=DAILY", "rule: found the part \"RRULE:FREQ\""},
      {"FREQ=DAILY;FREQ=DAILY", "rule: found FREQ again, expected it once"},
      {"FREQ=DAILY;INTERVAL=0", "rule: found INTERVAL=0, expected 1 to 1000"},
      {"FREQ=DAILY;INTERVAL=+-1", "rule: found INTERVAL=+-1, expected 1 to 1000"},
      {"FREQ=DAILY;INTERVAL=99999999999", "expected 1 to 1000"},
      {"FREQ=DAILY;COUNT=0", "rule: found COUNT=0, expected 1 to 100000"},
      {"FREQ=DAILY;COUNT=1;UNTIL=20280101", "rule: found both COUNT and UNTIL, expected one"},
      {"FREQ=WEEKLY;BYDAY=MO,XX", "rule: found \"XX\" in BYDAY, expected MO, TU"},
      {"FREQ=WEEKLY;BYDAY=MO,,TU", "rule: found \"\" in BYDAY, expected MO, TU"},
      {"FREQ=WEEKLY;BYDAY=MO,MO", "rule: found MO again in BYDAY, expected it once"},
      {"FREQ=MONTHLY;BYDAY=0MO", "rule: found \"0MO\" in BYDAY"},
      {"FREQ=WEEKLY;BYDAY=2MO", "rule: found 2MO in BYDAY, expected a day without an ordinal"},
      {"FREQ=MONTHLY;BYDAY=6MO", "rule: found 6MO in BYDAY, expected an ordinal of at most 5"},
      {"FREQ=YEARLY;BYDAY=54MO", "rule: found 54MO in BYDAY, expected an ordinal of at most 53"},
      {"FREQ=YEARLY;BYMONTH=3;BYDAY=6MO", "expected an ordinal of at most 5"},
      {"FREQ=MONTHLY;BYMONTHDAY=32", "rule: found \"32\" in BYMONTHDAY, expected 1 to 31, or -1"},
      {"FREQ=MONTHLY;BYMONTHDAY=0", "rule: found \"0\" in BYMONTHDAY"},
      {"FREQ=MONTHLY;BYMONTHDAY=1,1", "rule: found 1 again in BYMONTHDAY"},
      {"FREQ=MONTHLY;BYMONTH=-1", "rule: found \"-1\" in BYMONTH, expected 1 to 12"},
      {"FREQ=WEEKLY;BYMONTHDAY=1", "rule: found BYMONTHDAY with FREQ=WEEKLY"},
      {"FREQ=WEEKLY;WKST=XX", "rule: found WKST=XX, expected MO"},
      {"FREQ=DAILY;UNTIL=20280230", "rule: found UNTIL=20280230, expected a date such as"},
      {"FREQ=DAILY;UNTIL=20280131T250000Z", "rule: found UNTIL=20280131T250000Z, expected"},
      {"FREQ=DAILY;UNTIL=tomorrow", "rule: found UNTIL=TOMORROW, expected a date"},
      {"FREQ=DAILY;UNTIL=20280131T090000",
       "rule: found UNTIL=20280131T090000, a time without a zone, expected"},
      {"FREQ=DAILY;\n", "rule: "},
  };
  for (const auto& [rule, error] : cases) {
    EXPECT_THAT(ErrorOf(rule), HasSubstr(std::string(error))) << rule;
  }
}

TEST(Rule, DatesThatAMonthDoesNotHaveAreLeftOut) {
  EXPECT_EQ(Starts("FREQ=MONTHLY;BYMONTHDAY=31"), " 01-31 03-31 05-31 07-31 08-31 10-31");
  EXPECT_EQ(Starts("FREQ=MONTHLY;BYDAY=5FR", 4), " 01-29 04-30 07-30 10-29");
  EXPECT_EQ(Starts("FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=29", 9, 10), " 02-29 02-29 02-29 end");
  EXPECT_EQ(Starts("FREQ=MONTHLY;BYMONTH=2;BYMONTHDAY=30"), " end");
}

TEST(Rule, CountsFromTheEndOfTheMonthAndTheYear) {
  EXPECT_EQ(Starts("FREQ=MONTHLY;BYMONTHDAY=-1", 3), " 01-31 02-28 03-31");
  EXPECT_EQ(Starts("FREQ=MONTHLY;BYDAY=-1FR", 3), " 01-29 02-26 03-26");
  EXPECT_EQ(Starts("FREQ=YEARLY;BYDAY=-1SU", 2), " 12-26 12-31");
  EXPECT_EQ(Starts("FREQ=YEARLY;BYMONTH=3,10;BYDAY=-1SU", 3), " 03-28 10-31 03-26");
}

TEST(Rule, TheFirstDayOfTheWeekDecidesWhichWeekIsTheNextButOne) {
  // RFC 5545, 3.3.10, its last example but one.
  const absl::CivilSecond tuesday(1997, 8, 5, 9, 0, 0);
  EXPECT_EQ(Starts("FREQ=WEEKLY;INTERVAL=2;COUNT=4;BYDAY=TU,SU;WKST=MO", 5, 1, tuesday),
            " 08-05 08-10 08-19 08-24 end");
  EXPECT_EQ(Starts("FREQ=WEEKLY;INTERVAL=2;COUNT=4;BYDAY=TU,SU;WKST=SU", 5, 1, tuesday),
            " 08-05 08-17 08-19 08-31 end");
}

TEST(Rule, AFirstDateThatDoesNotMatchIsNoStart) {
  EXPECT_EQ(Starts("FREQ=WEEKLY;BYDAY=MO,TU;COUNT=3"), " 01-04 01-05 01-11 end");
}

TEST(Rule, WhatIsLeftOpenComesFromTheFirstDate) {
  EXPECT_EQ(Starts("FREQ=WEEKLY", 3), " 01-01 01-08 01-15");
  EXPECT_EQ(Starts("FREQ=MONTHLY;INTERVAL=5", 3), " 01-01 06-01 11-01");
  EXPECT_EQ(Starts("FREQ=YEARLY;COUNT=2", 3), " 01-01 01-01 end");
  EXPECT_EQ(Starts("FREQ=YEARLY;BYMONTHDAY=15", 3), " 01-15 02-15 03-15");
}

TEST(Rule, ADateOfUntilIsTheLastWithAStart) {
  EXPECT_EQ(Starts("FREQ=DAILY;UNTIL=20270103"), " 01-01 01-02 01-03 end");
}

}  // namespace
}  // namespace concordat::reservations
