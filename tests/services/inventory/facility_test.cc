// What the site's plant can give, and what its meters say.
#include <fmt/format.h>

#include "services/inventory/service.h"
#include "services/runtime/check.h"
#include "tests/support/scenario.h"

namespace concordat::inventory {
namespace {

using test::HasText;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

MATCHER_P(IsRefused, reason, "") {
  *result_listener << arg.ShortDebugString();
  return arg.command_refused().reason() == reason;
}

std::string Seconds(const std::string& rfc3339) {
  return fmt::format("seconds: {}", absl::ToUnixSeconds(test::Time(rfc3339)));
}

struct Paris : test::Scenario<Service> {
  Paris() {
    Scenario::At("2027-01-01T00:00:00Z").Given(R"(site_opened { name: "sites/paris" country: "FR"
      time_zone: "Europe/Paris" })");
    Set("2027-01-01T00:00:00Z", 100, 80);
  }
  Paris& At(const std::string& rfc3339) {
    Scenario::At(rfc3339);
    return *this;
  }
  v1::Event Set(const std::string& from, int64_t power, int64_t cooling,
                const std::string& more = "") {
    return When(fmt::format(R"(set_envelope {{ site: "sites/paris" effective_from {{ {} }}
                               it_power_watts: {} cooling_watts: {} {} }})",
                            Seconds(from), power, cooling, more));
  }
  // A report, and all that follows from it.
  size_t Report(int64_t power, int64_t cooling, const std::string& until) {
    When(fmt::format(R"(report_facility {{ site: "sites/paris" it_power_watts: {}
                        cooling_watts: {} until {{ {} }} cause: ENVELOPE_CAUSE_EQUIPMENT
                        detail: "chiller 2" }})",
                     power, cooling, Seconds(until)));
    const auto follows = Reactions();
    for (const auto& intent : follows) {
      EXPECT_EQ(intent.kind, "follow");
      When(intent.command, intent.subject, "system:inventory");
    }
    return follows.size();
  }
  // The steps from the present one on, as `12T power/cooling`, by day and hour.
  std::vector<std::string> Steps() {
    std::vector<std::string> steps;
    const v1::Site site = *state().rows.sites.Get("sites/paris");
    for (const v1::EnvelopeSet& step : site.envelope()) {
      steps.push_back(fmt::format(
          "{} {}/{}", runtime::ToText(runtime::ToTime(step.effective_from())).substr(8, 5),
          step.it_power_watts(), step.cooling_watts()));
    }
    return steps;
  }
  v1::Event Read(const std::string& name, const std::string& from, const std::string& to,
                 const std::string& more = "") {
    return When(fmt::format(
        R"(record_reading {{ name: "sites/paris/readings/{}" start_time {{ {} }} end_time {{ {} }}
           total_watt_hours: 120 it_watt_hours: 100 renewable_watt_hours: 60
           reused_watt_hours: 30 water_litres: 5 source: "meters" {} }})",
        name, Seconds(from), Seconds(to), more));
  }
};

TEST(Facility, WhatOperatorsSetDuringAReportHoldsBehindIt) {
  Paris paris;
  paris.At("2027-01-02T08:00:00Z").Report(60, 60, "2027-01-02T12:00:00Z");
  paris.At("2027-01-02T08:30:00Z").Report(60, 60, "2027-01-02T14:00:00Z");
  EXPECT_THAT(paris.Steps(),
              ElementsAre("01T00 100/80", "02T08 60/60", "02T12 60/60", "02T14 100/80"));
  const v1::Event set = paris.At("2027-01-02T09:00:00Z").Set("2027-01-02T09:00:00Z", 30, 30);
  EXPECT_EQ(set.envelope_set().also_from_size(), 2);
  EXPECT_THAT(paris.Steps(), ElementsAre("01T00 100/80", "02T08 60/60", "02T09 30/30",
                                         "02T12 30/30", "02T14 30/30"));
  EXPECT_EQ(paris.At("2027-01-02T10:00:00Z").Report(60, 60, "2027-01-02T20:00:00Z"), 0u)
      << "it is less than what the facility gives";
  // Written down late, before the report's first step.
  Paris late;
  late.At("2027-01-02T08:00:00Z").Report(60, 60, "2027-01-02T12:00:00Z");
  late.Set("2027-01-02T07:00:00Z", 120, 120);
  EXPECT_THAT(late.Steps(),
              ElementsAre("01T00 100/80", "02T07 120/120", "02T08 120/120", "02T12 120/120"));
}

TEST(Facility, WhatOperatorsSetHoldsUntilTheirNextStepAlone) {
  Paris paris;
  paris.Set("2027-01-02T10:00:00Z", 50, 50);
  paris.At("2027-01-02T08:00:00Z").Report(60, 60, "2027-01-02T12:00:00Z");
  EXPECT_THAT(paris.Steps(), ElementsAre("01T00 100/80", "02T08 60/60", "02T10 50/50"));
  paris.At("2027-01-02T09:00:00Z").Set("2027-01-02T09:00:00Z", 30, 30);
  EXPECT_THAT(paris.Steps(),
              ElementsAre("01T00 100/80", "02T08 60/60", "02T09 30/30", "02T10 50/50"));
  const v1::Event ends = paris.Set(
      "2027-01-02T09:30:00Z", 10, 10,
      "until { " + Seconds("2027-01-02T09:45:00Z") + " } cause: ENVELOPE_CAUSE_PLANNED_WORK");
  EXPECT_EQ(ends.envelope_set().also_from_size(), 0);
}

TEST(Facility, TheEnvelopeIsTheLeastOfThePlanAndOfWhatIsReportedAndComesBackByItself) {
  Paris paris;
  paris.At("2027-01-02T08:00:00Z");
  EXPECT_EQ(paris.Report(120, 50, "2027-01-02T12:00:00Z"), 1u);
  EXPECT_THAT(paris.Steps(), ElementsAre("01T00 100/80", "02T08 100/50", "02T12 100/80"));
  const v1::Site site = *paris.state().rows.sites.Get("sites/paris");
  EXPECT_EQ(site.facility().detail(), "chiller 2");
  EXPECT_THAT(site.envelope(1), HasText(R"(cause: ENVELOPE_CAUSE_EQUIPMENT detail: "chiller 2"
                                           plan { it_power_watts: 100 cooling_watts: 80 })"));
}

TEST(Facility, TheSameReportAgainChangesNothingAndAFullerOneGivesBackThePlan) {
  Paris paris;
  paris.At("2027-01-02T08:00:00Z").Report(40, 50, "2027-01-02T12:00:00Z");
  EXPECT_EQ(paris.At("2027-01-02T09:00:00Z").Report(40, 50, "2027-01-02T12:00:00Z"), 0u);
  EXPECT_EQ(paris.At("2027-01-02T10:00:00Z").Report(70, 90, "2027-01-02T11:00:00Z"), 2u);
  EXPECT_THAT(paris.Steps(), ElementsAre("01T00 100/80", "02T08 40/50", "02T10 70/80",
                                         "02T11 100/80", "02T12 100/80"));
  EXPECT_EQ(paris.At("2027-01-02T10:30:00Z").Report(500, 500, "2027-01-02T11:00:00Z"), 1u);
  EXPECT_THAT(paris.Steps(), ElementsAre("01T00 100/80", "02T08 40/50", "02T10 70/80",
                                         "02T10 100/80", "02T11 100/80", "02T12 100/80"));
}

TEST(Facility, TheLastReportHoldsThoughWhatFollowsAnEarlierOneIsDecidedAfterIt) {
  Paris paris;
  paris.At("2027-01-02T08:00:00Z").Report(50, 40, "2027-01-02T12:00:00Z");
  paris.At("2027-01-02T09:00:00Z");
  const auto report = [&](int64_t power, int64_t cooling, const char* id) {
    paris.When(fmt::format(R"(report_facility {{ site: "sites/paris" it_power_watts: {}
                              cooling_watts: {} until {{ {} }} }})",
                           power, cooling, Seconds("2027-01-02T12:00:00Z")),
               id);
    return paris.Reactions();
  };
  auto owed = report(70, 60, "more");
  EXPECT_EQ(owed.size(), 1u);
  for (const auto& intent : report(50, 40, "less")) owed.push_back(intent);
  EXPECT_EQ(owed.size(), 1u) << "it is what holds so far";
  for (size_t next = 0; next < owed.size(); ++next) {
    ASSERT_LT(next, 10u) << "it never comes to rest";
    EXPECT_TRUE(paris.When(owed[next].command, fmt::format("follow-{}", next), "system:inventory")
                    .has_envelope_set());
    for (const auto& intent : paris.Reactions()) owed.push_back(intent);
  }
  EXPECT_THAT(paris.Steps(),
              ElementsAre("01T00 100/80", "02T08 50/40", "02T09 50/40", "02T12 100/80"));
}

TEST(Facility, WhatOperatorsSetWithinTheTimeOfAReportIsKept) {
  Paris paris;
  paris.Set("2027-01-02T10:00:00Z", 30, 30,
            fmt::format("until {{ {} }} cause: ENVELOPE_CAUSE_PLANNED_WORK",
                        Seconds("2027-01-02T14:00:00Z")));
  EXPECT_EQ(paris.At("2027-01-02T08:00:00Z").Report(60, 60, "2027-01-02T20:00:00Z"), 2u);
  EXPECT_THAT(paris.Steps(), ElementsAre("01T00 100/80", "02T08 60/60", "02T10 30/30",
                                         "02T14 60/60", "02T20 100/80"));
  // The plant is whole again: what was planned is there as it was set.
  EXPECT_EQ(paris.At("2027-01-02T09:00:00Z").Report(100, 80, "2027-01-02T10:00:00Z"), 2u);
  EXPECT_THAT(paris.Steps(), ElementsAre("01T00 100/80", "02T08 60/60", "02T09 100/80",
                                         "02T10 30/30", "02T14 100/80", "02T20 100/80"));
}

TEST(Facility, OnlyAReactionSaysWhatIsPlannedBesideAStep) {
  Paris paris;
  EXPECT_FALSE(paris.Set("2027-01-02T00:00:00Z", 1, 1, "plan { it_power_watts: 9 }")
                   .envelope_set()
                   .has_plan());
}

TEST(Facility, AReportThatIsOverIsRefused) {
  Paris paris;
  EXPECT_THAT(paris.When(fmt::format(R"(report_facility {{ site: "sites/paris" it_power_watts: 1
                                        cooling_watts: 1 until {{ {} }} }})",
                                     Seconds("2027-01-01T00:00:00Z"))),
              IsRefused(v1::REASON_TIME));
}

TEST(Readings, AreKeptOnceForEachSpanAndCorrectedWithAReason) {
  Paris paris;
  paris.At("2027-03-02T00:00:00Z");
  EXPECT_THAT(paris.Read("jan", "2027-01-01T00:00:00Z", "2027-02-01T00:00:00Z"),
              HasText(R"(reading_recorded { name: "sites/paris/readings/jan" total_watt_hours: 120
                it_watt_hours: 100 renewable_watt_hours: 60 reused_watt_hours: 30 water_litres: 5
                source: "meters" })"));
  EXPECT_THAT(paris.Reactions(), IsEmpty());
  EXPECT_THAT(paris.Read("jan", "2027-01-01T00:00:00Z", "2027-02-01T00:00:00Z"),
              IsRefused(v1::REASON_ALREADY_EXISTS));
  EXPECT_THAT(
      paris.Read("feb", "2027-02-01T00:00:00Z", "2027-03-01T00:00:00Z", "correction: \"x\""),
      IsRefused(v1::REASON_NOT_FOUND));
  EXPECT_TRUE(
      paris.Read("feb", "2027-02-01T00:00:00Z", "2027-03-01T00:00:00Z").has_reading_recorded());
  // A correction may change the span, and gives the rest free.
  EXPECT_TRUE(paris
                  .Read("jan", "2027-01-02T00:00:00Z", "2027-02-01T00:00:00Z",
                        "correction: \"meter A was read twice\"")
                  .has_reading_recorded());
  const auto row = paris.state().rows.readings.Get("sites/paris/readings/jan");
  EXPECT_EQ(row->corrections(), 1);
  EXPECT_EQ(row->reading().correction(), "meter A was read twice");
  EXPECT_TRUE(paris.Read("new-year", "2027-01-01T00:00:00Z", "2027-01-02T00:00:00Z")
                  .has_reading_recorded());
}

TEST(Readings, NeverCoverAnInstantTwiceNorWhatIsToCome) {
  Paris paris;
  paris.At("2027-03-02T00:00:00Z");
  paris.Read("jan", "2027-01-10T00:00:00Z", "2027-01-20T00:00:00Z");
  for (const auto& [from, to] : std::vector<std::pair<std::string, std::string>>{
           {"2027-01-01T00:00:00Z", "2027-01-10T00:00:01Z"},
           {"2027-01-12T00:00:00Z", "2027-01-13T00:00:00Z"},
           {"2027-01-19T23:59:59Z", "2027-02-01T00:00:00Z"},
           {"2027-01-01T00:00:00Z", "2027-02-01T00:00:00Z"}}) {
    const v1::Event refused = paris.Read("x", from, to);
    EXPECT_THAT(refused, IsRefused(v1::REASON_READING_OVERLAP)) << from;
    EXPECT_THAT(refused.command_refused().detail(), HasSubstr("sites/paris/readings/jan"));
  }
  EXPECT_TRUE(
      paris.Read("x", "2027-01-01T00:00:00Z", "2027-01-10T00:00:00Z").has_reading_recorded());
  EXPECT_TRUE(
      paris.Read("y", "2027-01-20T00:00:00Z", "2027-01-21T00:00:00Z").has_reading_recorded());
  EXPECT_THAT(paris.Read("z", "2027-03-01T00:00:00Z", "2027-03-02T00:00:01Z"),
              IsRefused(v1::REASON_TIME));
}

TEST(Readings, OfImpossibleFiguresAreRefusedByName) {
  const auto check = [](const std::string& fields) {
    return std::string(
        Service::Validate(
            test::Parse<v1::Command>(fmt::format(
                R"(record_reading {{ name: "sites/paris/readings/r" start_time {{ seconds: 1 }}
                   source: "m" {} }})",
                fields)))
            .message());
  };
  const std::string end = "end_time { seconds: 2 } ";
  EXPECT_EQ(check(end + "total_watt_hours: 2 it_watt_hours: 2"), "");
  EXPECT_THAT(check(end + "total_watt_hours: 2 it_watt_hours: 3"),
              HasSubstr("it_watt_hours: found 3, expected from 0 to total_watt_hours, 2"));
  EXPECT_THAT(check(end + "total_watt_hours: 2 renewable_watt_hours: -1"),
              HasSubstr("renewable_watt_hours: found -1"));
  EXPECT_THAT(check(end), HasSubstr("total_watt_hours"));
  EXPECT_THAT(check(end + "total_watt_hours: 2 water_litres: -5"), HasSubstr("water_litres"));
  EXPECT_THAT(check("end_time { seconds: 31708801 } total_watt_hours: 2"),
              HasSubstr("366 days after start_time"));
}

}  // namespace
}  // namespace concordat::inventory
