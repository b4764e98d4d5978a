// What may be drawn and cooled over time, stages that last too long, and what the plan came to.
#include <fmt/format.h>

#include "services/inventory/service.h"
#include "services/runtime/check.h"
#include "tests/support/scenario.h"

namespace concordat::inventory {
namespace {

using test::HasText;
using testing::ElementsAre;
using testing::IsEmpty;
using testing::Pair;
using testing::SizeIs;

MATCHER_P(IsRefused, reason, "") {
  *result_listener << arg.ShortDebugString();
  return arg.command_refused().reason() == reason;
}

std::string At(const std::string& rfc3339) {
  return fmt::format("seconds: {}", absl::ToUnixSeconds(test::Time(rfc3339)));
}

struct Paris : test::Scenario<Service> {
  Paris() {
    Scenario::At("2027-01-01T00:00:00Z").Given(R"(site_opened { name: "sites/paris" country: "FR"
      time_zone: "Europe/Paris" })");
    When(R"(define_feed { name: "sites/paris/feeds/a" it_power_watts: 100
      redundancy: REDUNDANCY_2N })");
    When(R"(register_model { name: "models/m" vendor: "v" accelerators: 8 it_power_watts: 100
      cooling_watts: 90 criteria { figure: "x" minimum: 1 maximum: 2 unit: "u" } })");
  }
  v1::Event Set(const std::string& from, int64_t watts, const std::string& more = "",
                const std::string& what = R"(set_envelope { site: "sites/paris")") {
    return When(fmt::format("{} effective_from {{ {} }} it_power_watts: {} {} }}", what,
                            inventory::At(from), watts, more));
  }
  v1::Event SetFeed(const std::string& from, int64_t watts, const std::string& more = "") {
    return Set(from, watts, more, R"(set_feed_envelope { name: "sites/paris/feeds/a")");
  }
  template <typename Row>
  static std::vector<std::pair<std::string, int64_t>> Steps(const Row& row) {
    std::vector<std::pair<std::string, int64_t>> steps;
    for (const v1::EnvelopeSet& step : row.envelope()) {
      steps.emplace_back(runtime::ToText(runtime::ToTime(step.effective_from())).substr(0, 10),
                         step.it_power_watts());
    }
    return steps;
  }
  auto SiteSteps() { return Steps(*state().rows.sites.Get("sites/paris")); }
  auto FeedSteps() { return Steps(*state().rows.feeds.Get("sites/paris/feeds/a")); }
  v1::Server Server() { return *state().rows.servers.Get("sites/paris/servers/s"); }
};

std::string Until(const std::string& time) {
  return fmt::format("until {{ {} }} cause: ENVELOPE_CAUSE_EQUIPMENT detail: \"chiller 2\"",
                     At(time));
}

TEST(Envelopes, WhatIsPastByDaysIsForgotten) {
  Paris paris;
  for (int day = 1; day <= 9; ++day) {
    const std::string now = fmt::format("2027-01-0{}T00:00:00Z", day);
    paris.At(now);
    paris.Set(now, day);
    paris.SetFeed(now, day);
  }
  for (const auto& steps : {paris.SiteSteps(), paris.FeedSteps()})
    EXPECT_THAT(steps,
                ElementsAre(Pair("2027-01-07", 7), Pair("2027-01-08", 8), Pair("2027-01-09", 9)));
}

TEST(Envelopes, ADeratingHoldsForItsTimeAndGivesWayToWhatHadHeld) {
  Paris paris;
  paris.Set("2027-01-03T00:00:00Z", 30);
  paris.Set("2027-01-07T00:00:00Z", 70);
  EXPECT_THAT(paris.Set("2027-01-05T00:00:00Z", 10, Until("2027-01-09T00:00:00Z")),
              HasText(R"(envelope_set { site: "sites/paris" it_power_watts: 10
                cause: ENVELOPE_CAUSE_EQUIPMENT detail: "chiller 2" })"));
  EXPECT_THAT(paris.SiteSteps(),
              ElementsAre(Pair("2027-01-03", 30), Pair("2027-01-05", 10), Pair("2027-01-09", 70)));
  // Within it another step is one until its end.
  paris.Set("2027-01-06T00:00:00Z", 20);
  EXPECT_THAT(paris.SiteSteps(), ElementsAre(Pair("2027-01-03", 30), Pair("2027-01-05", 10),
                                             Pair("2027-01-06", 20), Pair("2027-01-09", 70)));
}

TEST(Envelopes, ADeratingThatEndsWhereAStepBeginsLeavesThatStep) {
  Paris paris;
  paris.Set("2027-01-03T00:00:00Z", 30);
  paris.Set("2027-01-09T00:00:00Z", 90);
  paris.Set("2027-01-05T00:00:00Z", 10, Until("2027-01-09T00:00:00Z"));
  EXPECT_THAT(paris.SiteSteps(),
              ElementsAre(Pair("2027-01-03", 30), Pair("2027-01-05", 10), Pair("2027-01-09", 90)));
}

TEST(Envelopes, BeforeItsFirstStepASiteHasNothing) {
  Paris paris;
  paris.Set("2027-01-03T00:00:00Z", 30, Until("2027-01-04T00:00:00Z"));
  EXPECT_THAT(paris.SiteSteps(), ElementsAre(Pair("2027-01-03", 30), Pair("2027-01-04", 0)));
}

TEST(Envelopes, AFeedBeginsWithWhatItWasDefinedWith) {
  Paris paris;
  EXPECT_THAT(paris.FeedSteps(), ElementsAre(Pair("1970-01-01", 100)));
  EXPECT_THAT(paris.SetFeed("2027-01-05T00:00:00Z", 40, Until("2027-01-06T00:00:00Z")),
              HasText(R"(feed_envelope_set { feed: "sites/paris/feeds/a"
                envelope { site: "sites/paris" it_power_watts: 40 } })"));
  EXPECT_THAT(paris.FeedSteps(), ElementsAre(Pair("1970-01-01", 100), Pair("2027-01-05", 40),
                                             Pair("2027-01-06", 100)));
}

TEST(Envelopes, AreNotSetForFeedsThatNobodyKnowsNorForWhatIsOver) {
  Paris paris;
  EXPECT_THAT(paris.Set("2027-01-05T00:00:00Z", 1, "",
                        R"(set_feed_envelope { name: "sites/paris/feeds/x")"),
              IsRefused(v1::REASON_UNKNOWN_FEED));
  EXPECT_THAT(paris.SetFeed("2026-12-30T00:00:00Z", 1), IsRefused(v1::REASON_TIME));
  EXPECT_THAT(paris.SetFeed("2026-12-31T12:00:00Z", 1, Until("2027-01-01T00:00:00Z")),
              IsRefused(v1::REASON_TIME));
}

TEST(Envelopes, WhatEndsByItselfSaysWhy) {
  const auto check = [](const std::string& more) {
    return Service::Validate(test::Parse<v1::Command>(fmt::format(
        R"(set_feed_envelope {{ name: "sites/paris/feeds/a" effective_from {{ seconds: 9 }}
           it_power_watts: 0 {} }})",
        more)));
  };
  EXPECT_TRUE(check("").ok());
  EXPECT_TRUE(check("until { seconds: 10 } cause: ENVELOPE_CAUSE_UTILITY").ok());
  EXPECT_THAT(std::string(check("until { seconds: 10 }").message()), testing::HasSubstr("cause"));
  EXPECT_THAT(std::string(check("until { seconds: 9 } cause: ENVELOPE_CAUSE_UTILITY").message()),
              testing::StartsWith("until: found 1970-01-01T00:00:09Z, expected after"));
}

TEST(Stages, HaveALimitAStateTheLatestHolds) {
  Paris paris;
  const auto limit = [&](const std::string& fields) {
    paris.When(fmt::format(R"(set_stage_limit {{ site: "sites/paris" {} }})", fields));
    std::vector<std::pair<std::string, int64_t>> limits;
    const auto site = paris.state().rows.sites.Get("sites/paris");
    for (const v1::StageLimitSet& one : site->stage_limits())
      limits.emplace_back(v1::ServerState_Name(one.state()).substr(13), one.most().seconds());
    return limits;
  };
  EXPECT_THAT(limit("state: SERVER_STATE_UNDER_TEST most { seconds: 9 }"),
              ElementsAre(Pair("UNDER_TEST", 9)));
  EXPECT_THAT(limit("state: SERVER_STATE_DELIVERED most { seconds: 7 }"),
              ElementsAre(Pair("DELIVERED", 7), Pair("UNDER_TEST", 9)));
  EXPECT_THAT(limit("state: SERVER_STATE_UNDER_TEST most { seconds: 5 }"),
              ElementsAre(Pair("DELIVERED", 7), Pair("UNDER_TEST", 5)));
  EXPECT_THAT(limit("state: SERVER_STATE_DELIVERED"), ElementsAre(Pair("UNDER_TEST", 5)));
}

TEST(Stages, AreMeasuredWithTheTimesInService) {
  Paris paris;
  paris.Given(R"(server_planned { name: "sites/paris/servers/s" model: "models/m"
    planned_time { seconds: 1 } rack: "sites/paris/racks/k" })");
  paris.At("2027-01-01T00:01:00Z");
  paris.Given(R"(server_ordered { name: "sites/paris/servers/s" model: "models/m"
    promised_time { seconds: 2 } })");
  paris.Given(R"(delivery_slipped { name: "sites/paris/servers/s" before { seconds: 2 }
    promised_time { seconds: 3 } cause: SLIP_CAUSE_CUSTOMS detail: "licence" })");
  paris.At("2027-01-01T01:00:00Z");
  paris.Given(R"(server_entered_service { name: "sites/paris/servers/s" })");
  paris.At("2027-01-01T02:00:00Z");
  paris.Given(R"(server_left_service { name: "sites/paris/servers/s" })");
  paris.At("2027-01-01T03:00:00Z");
  paris.Given(R"(server_entered_service { name: "sites/paris/servers/s" })");
  EXPECT_THAT(paris.Server(), HasText(fmt::format(
                                  R"(planned_rack: "sites/paris/racks/k"
    first_promised_time {{ seconds: 2 }} promised_time {{ seconds: 3 }}
    slip_list {{ before {{ seconds: 2 }} promised_time {{ seconds: 3 }} cause: SLIP_CAUSE_CUSTOMS
      detail: "licence" recorded_time {{ {} }} }}
    service {{ start_time {{ {} }} end_time {{ {} }} }} service {{ start_time {{ {} }} }}
    stages {{ state: SERVER_STATE_ORDERED seconds: 3540 }}
    stages {{ state: SERVER_STATE_IN_SERVICE seconds: 3600 }}
    stages {{ state: SERVER_STATE_OUT_OF_SERVICE seconds: 3600 }}
    stages {{ state: SERVER_STATE_PLANNED seconds: 60 }})",
                                  At("2027-01-01T00:01:00Z"), At("2027-01-01T01:00:00Z"),
                                  At("2027-01-01T02:00:00Z"), At("2027-01-01T03:00:00Z"))));
}

TEST(BadPlans, ARackWhereAnotherStandsAndOneThatNobodyDefined) {
  Paris paris;
  const auto rack = [&](const std::string& id, const std::string& place) {
    return paris.When(fmt::format(
        R"(define_rack {{ name: "sites/paris/racks/{}" room: "r" rack: "{}" height_units: 48 }})",
        id, place));
  };
  const auto plan = [&](const std::string& on) {
    return paris.When(fmt::format(R"(plan_server {{ name: "sites/paris/servers/{}" model: "models/m"
      planned_time {{ seconds: 1900000000 }} rack: "sites/paris/racks/{}" }})",
                                  on, on));
  };
  EXPECT_TRUE(rack("k1", "01").has_rack_defined());
  EXPECT_THAT(rack("k2", "01"), IsRefused(v1::REASON_ALREADY_EXISTS));
  EXPECT_THAT(rack("k1", "02"), IsRefused(v1::REASON_ALREADY_EXISTS));
  EXPECT_THAT(plan("k2"), IsRefused(v1::REASON_NOT_FOUND));
  EXPECT_THAT(plan("k1"), HasText(R"(server_planned { rack: "sites/paris/racks/k1" })"));
}

}  // namespace
}  // namespace concordat::inventory
