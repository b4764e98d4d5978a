#include "services/reservations/recurrence.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "services/runtime/check.h"
#include "services/runtime/zones.h"

namespace concordat::reservations {
namespace {

using testing::HasSubstr;

absl::TimeZone Zone(const std::string& name = "Europe/Paris") {
  return *runtime::LoadZone("zone", name);
}

// Every night from 02:30 on, for three hours, from the Friday before Paris goes to summer time
// (2027-03-28, 02:00 to 03:00) on; it goes back on 2027-10-31, 03:00 to 02:00.
RecurringSchedule Nights() {
  RecurringSchedule schedule;
  schedule.rule = "FREQ=DAILY";
  schedule.start = absl::CivilSecond(2027, 3, 26, 2, 30, 0);
  schedule.duration = absl::Hours(3);
  return schedule;
}

std::string Expanded(const RecurringSchedule& schedule, const std::string& from,
                     const std::string& to, const absl::TimeZone& zone = Zone()) {
  const auto recurrence = Recurrence::Create(schedule, zone);
  if (!recurrence.ok()) return std::string(recurrence.status().message());
  absl::Time first, last;
  std::string error;
  EXPECT_TRUE(absl::ParseTime(absl::RFC3339_full, from, &first, &error)) << error;
  EXPECT_TRUE(absl::ParseTime(absl::RFC3339_full, to, &last, &error)) << error;
  std::string text;
  for (const Occurrence& occurrence : recurrence->Expand(first, last)) {
    text += fmt::format("{}{}/{}", text.empty() ? "" : " ", runtime::ToText(occurrence.start),
                        runtime::ToText(occurrence.end));
  }
  return text;
}

std::string InSpring(const RecurringSchedule& schedule) {
  return Expanded(schedule, "2027-03-28T00:00:00Z", "2027-03-29T00:00:00Z");
}

std::string InAutumn(const RecurringSchedule& schedule) {
  return Expanded(schedule, "2027-10-31T00:00:00Z", "2027-11-01T00:00:00Z");
}

std::string ErrorOf(const RecurringSchedule& schedule) {
  const auto recurrence = Recurrence::Create(schedule, Zone());
  return recurrence.ok() ? "accepted" : std::string(recurrence.status().message());
}

TEST(Recurrence, KeepsTheTimeOfTheClockWhenTheClockChanges) {
  RecurringSchedule schedule = Nights();
  schedule.rule = "FREQ=WEEKLY;BYDAY=MO";
  schedule.start = absl::CivilSecond(2027, 3, 1, 8, 0, 0);
  schedule.duration = absl::Hours(10);
  EXPECT_EQ(Expanded(schedule, "2027-03-20T00:00:00Z", "2027-04-01T00:00:00Z"),
            "2027-03-22T07:00:00Z/2027-03-22T17:00:00Z 2027-03-29T06:00:00Z/2027-03-29T16:00:00Z");
}

TEST(Recurrence, AStartThatDoesNotExistIsLaterByTheGapOrSkipped) {
  RecurringSchedule schedule = Nights();
  EXPECT_EQ(InSpring(schedule), "2027-03-28T01:30:00Z/2027-03-28T03:30:00Z");
  schedule.length = Length::kElapsed;
  EXPECT_EQ(InSpring(schedule), "2027-03-28T01:30:00Z/2027-03-28T04:30:00Z");
  schedule.gap = Gap::kSkip;
  EXPECT_EQ(InSpring(schedule), "");
}

TEST(Recurrence, AStartThatExistsTwiceIsTheFirstTheSecondOrBoth) {
  RecurringSchedule schedule = Nights();
  EXPECT_EQ(InAutumn(schedule), "2027-10-31T00:30:00Z/2027-10-31T04:30:00Z");
  schedule.fold = Fold::kSecond;
  EXPECT_EQ(InAutumn(schedule), "2027-10-31T01:30:00Z/2027-10-31T04:30:00Z");
  schedule.fold = Fold::kBoth;
  schedule.duration = absl::Minutes(15);
  EXPECT_EQ(InAutumn(schedule),
            "2027-10-31T00:30:00Z/2027-10-31T00:45:00Z 2027-10-31T01:30:00Z/2027-10-31T01:45:00Z");
}

TEST(Recurrence, OccurrencesThatAClockChangeMakesOverlapAreOne) {
  RecurringSchedule schedule = Nights();
  schedule.fold = Fold::kBoth;
  EXPECT_EQ(InAutumn(schedule), "2027-10-31T00:30:00Z/2027-10-31T04:30:00Z");
  schedule.start = absl::CivilSecond(2027, 3, 26, 9, 0, 0);
  schedule.duration = absl::Hours(24);
  schedule.length = Length::kElapsed;
  EXPECT_EQ(Expanded(schedule, "2027-03-27T00:00:00Z", "2027-03-30T00:00:00Z"),
            "2027-03-27T08:00:00Z/2027-03-29T07:00:00Z 2027-03-29T07:00:00Z/2027-03-30T07:00:00Z");
}

TEST(Recurrence, AnOccurrenceNeverEndsBeforeItsStart) {
  RecurringSchedule schedule = Nights();
  schedule.duration = absl::Minutes(45);  // to 03:15, and 02:30 became 03:30
  EXPECT_EQ(InSpring(schedule), "2027-03-28T01:30:00Z/2027-03-28T02:15:00Z");
}

TEST(Recurrence, AnEndThatExistsTwiceIsTheFirstAfterTheStart) {
  RecurringSchedule schedule = Nights();
  schedule.start = absl::CivilSecond(2027, 3, 26, 1, 0, 0);
  schedule.duration = absl::Minutes(90);
  EXPECT_EQ(Expanded(schedule, "2027-10-30T23:00:00Z", "2027-10-31T22:00:00Z"),
            "2027-10-30T23:00:00Z/2027-10-31T00:30:00Z");
}

TEST(Recurrence, ADayThatAZoneLeftOutIsAGap) {
  RecurringSchedule schedule = Nights();
  schedule.start = absl::CivilSecond(2011, 12, 29, 9, 0, 0);
  schedule.gap = Gap::kSkip;
  EXPECT_EQ(
      Expanded(schedule, "2011-12-29T00:00:00Z", "2012-01-01T00:00:00Z", Zone("Pacific/Apia")),
      "2011-12-29T19:00:00Z/2011-12-29T22:00:00Z 2011-12-30T19:00:00Z/2011-12-30T22:00:00Z "
      "2011-12-31T19:00:00Z/2011-12-31T22:00:00Z");
}

TEST(Recurrence, ExceptionsTakeAwayAndAdditionsAdd) {
  RecurringSchedule schedule = Nights();
  schedule.rule = "FREQ=DAILY;COUNT=3";
  schedule.exceptions = {absl::CivilSecond(2027, 3, 27, 2, 30, 0)};
  schedule.additions = {absl::CivilSecond(2027, 3, 26, 12, 0, 0)};
  EXPECT_EQ(Expanded(schedule, "2027-03-01T00:00:00Z", "2027-05-01T00:00:00Z"),
            "2027-03-26T01:30:00Z/2027-03-26T04:30:00Z 2027-03-26T11:00:00Z/2027-03-26T14:00:00Z "
            "2027-03-28T01:30:00Z/2027-03-28T03:30:00Z");
}

TEST(Recurrence, UntilEndsStartsAndIsInclusive) {
  RecurringSchedule schedule = Nights();
  schedule.rule = "FREQ=DAILY;UNTIL=20270327T013000Z";
  const std::string two =
      "2027-03-26T01:30:00Z/2027-03-26T04:30:00Z 2027-03-27T01:30:00Z/2027-03-27T04:30:00Z";
  EXPECT_EQ(Expanded(schedule, "2027-03-01T00:00:00Z", "2027-05-01T00:00:00Z"), two);
  schedule.rule = "FREQ=DAILY;UNTIL=20270327";
  EXPECT_EQ(Expanded(schedule, "2027-03-01T00:00:00Z", "2027-05-01T00:00:00Z"), two);
  schedule.rule = "FREQ=DAILY;UNTIL=20270327T012959Z";
  EXPECT_EQ(Expanded(schedule, "2027-03-01T00:00:00Z", "2027-05-01T00:00:00Z"), two.substr(0, 41));
}

TEST(Recurrence, RefusesSchedulesThatAreNotWhatTheirAuthorMeans) {
  const auto with = [](auto change) {
    RecurringSchedule schedule = Nights();
    change(schedule);
    return ErrorOf(schedule);
  };
  EXPECT_THAT(ErrorOf(Nights()), "accepted");
  EXPECT_THAT(with([](RecurringSchedule& s) { s.rule = ""; }), HasSubstr("rule: found nothing"));
  EXPECT_THAT(with([](RecurringSchedule& s) { s.rule = "FREQ=DAILY;UNTIL=20270325"; }),
              "rule: found UNTIL before the start, 2027-03-26T02:30:00, expected it later");
  EXPECT_THAT(with([](RecurringSchedule& s) { s.rule = "FREQ=DAILY;UNTIL=20270326T012959Z"; }),
              "rule: found UNTIL before the start, 2027-03-26T02:30:00, expected it later");
  EXPECT_THAT(with([](RecurringSchedule& s) { s.rule = "FREQ=WEEKLY;BYDAY=MO;UNTIL=20270328"; }),
              HasSubstr("rule: found nothing that takes place"));
  EXPECT_THAT(with([](RecurringSchedule& s) { s.rule = "FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30"; }),
              HasSubstr("rule: found nothing that takes place within 100 years"));
  EXPECT_THAT(with([](RecurringSchedule& s) { s.start = absl::CivilSecond(1969, 1, 1, 0, 0, 0); }),
              "start: found 1969-01-01T00:00:00, expected a year from 1970 to 9999");
  EXPECT_THAT(with([](RecurringSchedule& s) { s.duration = absl::ZeroDuration(); }),
              "duration: found 0, expected whole seconds, from 1s to 8784h");
  EXPECT_THAT(with([](RecurringSchedule& s) { s.duration = absl::Milliseconds(1500); }),
              HasSubstr("duration: found 1.5s"));
  EXPECT_THAT(with([](RecurringSchedule& s) { s.duration = absl::InfiniteDuration(); }),
              HasSubstr("duration: found inf"));
  EXPECT_THAT(with([](RecurringSchedule& s) { s.duration = absl::Hours(25); }),
              "duration: found 25h from 2027-03-26T02:30:00 on, and the next start at "
              "2027-03-27T02:30:00, expected at most 24h");
  EXPECT_THAT(
      with([](RecurringSchedule& s) { s.exceptions = {absl::CivilSecond(2027, 3, 27, 2, 0, 0)}; }),
      "exceptions: found 2027-03-27T02:00:00, expected the start of an occurrence, as the "
      "clock shows it");
  EXPECT_THAT(with([](RecurringSchedule& s) { s.additions = {s.start}; }),
              "additions: found 2027-03-26T02:30:00, which the rule has, expected another");
  EXPECT_THAT(with([](RecurringSchedule& s) { s.additions = {s.start + 3600}; }),
              HasSubstr("duration: found 3h from 2027-03-26T02:30:00 on"));
  EXPECT_THAT(with([](RecurringSchedule& s) { s.additions = {s.start - 1}; }),
              HasSubstr("additions: found 2027-03-26T02:29:59, expected 2027-03-26T02:30:00"));
  EXPECT_THAT(with([](RecurringSchedule& s) {
                s.exceptions = {s.start, s.start};
              }),
              "exceptions: found 2027-03-26T02:30:00 again, expected it once");
  EXPECT_THAT(with([](RecurringSchedule& s) { s.exceptions.resize(1001, s.start); }),
              "exceptions: found 1001 of them, expected at most 1000");
  EXPECT_THAT(with([](RecurringSchedule& s) {
                s.rule = "FREQ=DAILY;COUNT=1";
                s.exceptions = {s.start};
              }),
              HasSubstr("rule: found nothing that takes place"));
}

TEST(Zones, AreThoseOfTheDataBaseAlone) {
  EXPECT_TRUE(runtime::LoadZone("zone", "Australia/Lord_Howe").ok());
  EXPECT_TRUE(runtime::LoadZone("zone", "UTC").ok());
  EXPECT_TRUE(runtime::LoadZone("zone", "Etc/GMT+5").ok());
  for (const std::string name :
       {"", "Paris", "Europe/Pariss", "europe/paris", "localtime", "right/Europe/Paris",
        "posix/Europe/Paris", "/etc/localtime", "../zoneinfo/UTC", "Fixed/UTC+01:00:00", "libc:UTC",
        ":UTC", "tzdata.zi"}) {
    EXPECT_THAT(std::string(runtime::LoadZone("zone", name).status().message()),
                testing::AnyOf(HasSubstr("expected a time zone of the IANA data base"),
                               HasSubstr("zone: found nothing")))
        << name;
  }
}

TEST(Zones, TheDataSaysItsVersion) {
  const auto& version = runtime::ZoneDataVersion();
  ASSERT_TRUE(version.ok()) << version.status();
  EXPECT_THAT(*version, testing::MatchesRegex("20[0-9][0-9][a-z]+.*"));
}

}  // namespace
}  // namespace concordat::reservations
