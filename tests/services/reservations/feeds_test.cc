// Power feeds: what is reserved of each never exceeds it, planned reductions included.
#include "tests/services/reservations/paris.h"

namespace concordat::reservations {
namespace {

using test::HasText;
using testing::ElementsAre;
using testing::HasSubstr;

std::vector<std::string> ServersOf(const v1::Event& event) {
  const auto& servers = event.reservation_held().servers();
  return {servers.begin(), servers.end()};
}

// s1 and s2 hang on feed a, s3 and s4 on feed b, of 100 W each; a gives 100 W and b 200 W.
struct Fed : Paris {
  Fed() {
    for (const auto& [id, feed] :
         {std::pair("s1", "a"), std::pair("s2", "a"), std::pair("s3", "b"), std::pair("s4", "b")})
      Hang(id, feed);
    Feed("a", "", 100);
    Feed("b", "", 200);
  }
  void Hang(const std::string& id, const std::string& feed) {
    Given(fmt::format(
        R"(server_recorded {{ name: "sites/paris/servers/{}" model: "models/m" it_power_watts: 100
            cooling_watts: 90 bookable: true power_feed: "{}" room: "r" rack: "{}" }})",
        id, feed, id));
  }
  // A step of a feed; without a time its first one.
  v1::Event Feed(const std::string& feed, const std::string& from, int64_t watts,
                 const std::string& until = {}) {
    return When(fmt::format(
                    R"(record_feed {{ feed {{ feed: "{}" step {{ site: "sites/paris" {} {}
                        it_power_watts: {} }} }} }})",
                    feed, from.empty() ? "" : fmt::format("effective_from {{ {} }}", Seconds(from)),
                    until.empty() ? "" : fmt::format("until {{ {} }}", Seconds(until)), watts),
                fmt::format("feed-{}", ++feeds_));
  }

 private:
  int feeds_ = 0;
};

TEST(Feeds, GiveNoMoreThanTheyHaveAndOtherFeedsTakeTheRest) {
  Fed paris;
  EXPECT_THAT(
      ServersOf(paris.Reserve({.count = 3})),
      ElementsAre("sites/paris/servers/s1", "sites/paris/servers/s3", "sites/paris/servers/s4"));
  const v1::Event refused = paris.Reserve({});
  EXPECT_THAT(refused, HasText(RefusalFor(v1::REASON_POWER_ENVELOPE)));
  EXPECT_EQ(
      refused.command_refused().detail(),
      "1 servers of models/m are free within 2027-01-01T10:00:00Z to 2027-01-01T12:00:00Z and "
      "there is power for 0 of them, expected 1. At 2027-01-01T10:00:00Z feed a gives 100 W of "
      "100 W already. Ruled out: 3 taken (s1, s3, s4), 1 without power on their feed (s2). It "
      "would fit from 2027-01-01T12:00:00Z on.");
  EXPECT_EQ(refused.command_refused().shortage().short_feed(), "a");
  EXPECT_EQ(refused.command_refused().shortage().short_it_power_watts(), 100);
}

TEST(Feeds, GiveNothingBeyondAReductionThatIsPlanned) {
  Fed paris;
  paris.Feed("b", "2027-01-01T11:00:00Z", 100, "2027-01-01T11:30:00Z");
  EXPECT_THAT(paris.Reserve({.count = 3}), HasText(RefusalFor(v1::REASON_POWER_ENVELOPE)));
  EXPECT_TRUE(paris.Reserve({.end = "2027-01-01T11:00:00Z", .count = 3}).has_reservation_held());
  EXPECT_TRUE(paris.Reserve({.start = "2027-01-01T11:30:00Z", .count = 3}).has_reservation_held());
  EXPECT_THAT(
      paris.Reserve({.start = "2027-01-01T11:00:00Z", .end = "2027-01-01T11:30:00Z", .count = 3}),
      HasText(RefusalFor(v1::REASON_POWER_ENVELOPE)));
}

TEST(Feeds, WithoutALimitGiveWhateverIsAskedOfThem) {
  Fed paris;
  for (const char* id : {"s1", "s2"}) paris.Hang(id, "c");
  EXPECT_TRUE(paris.Reserve({.count = 4}).has_reservation_held());
}

TEST(Feeds, CountWhatIsNamedExactlyToo) {
  Fed paris;
  const auto exactly = [&](const std::string& ids) {
    std::string servers;
    for (const char id : ids) servers += fmt::format(" servers: \"sites/paris/servers/s{}\"", id);
    return paris.Reserve(
        {.count = static_cast<int>(ids.size()),
         .more = fmt::format("placement {{ policy: PLACEMENT_POLICY_EXACT {} }}", servers)});
  };
  const v1::Event refused = exactly("12");
  EXPECT_THAT(refused, HasText(RefusalFor(v1::REASON_POWER_ENVELOPE)));
  EXPECT_THAT(refused.command_refused().detail(), HasSubstr("feed a gives 0 W of 100 W already"));
  EXPECT_TRUE(exactly("134").has_reservation_held());
}

TEST(Feeds, DelayAStartThatTheyCannotPowerNow) {
  Fed paris;
  const std::string name = paris.Confirmed({.count = 3});
  paris.Feed("a", "2027-01-01T10:00:00Z", 99);
  paris.At("2027-01-01T10:00:00Z");
  const v1::Event delayed = paris.About("start_reservation", name);
  ASSERT_TRUE(delayed.has_reservation_delayed());
  EXPECT_EQ(delayed.reservation_delayed().detail(),
            "Feed a would give 100 W now, expected at most 99 W.");
  paris.Feed("a", "2027-01-01T10:05:00Z", 100);
  paris.At("2027-01-01T10:05:00Z");
  EXPECT_TRUE(paris.About("start_reservation", name).has_reservation_started());
}

TEST(Feeds, HoldAnAmendmentOnlyWhereTheyCanPowerIt) {
  Fed paris;
  const std::string name = paris.Confirmed({.count = 3});
  paris.Feed("b", "2027-01-01T12:00:00Z", 100, "2027-01-01T13:00:00Z");
  const auto extend = [&](const std::string& end) {
    return paris.When(
        fmt::format(R"(extend_reservation {{ name: "{}" end_time {{ {} }} }})", name, Seconds(end)),
        end);
  };
  const v1::Event refused = extend("2027-01-01T12:00:01Z");
  EXPECT_THAT(refused, HasText(RefusalFor(v1::REASON_POWER_ENVELOPE)));
  EXPECT_EQ(refused.command_refused().detail(),
            "At 2027-01-01T12:00:00Z feed b would give 200 W, 200 W of them for this reservation; "
            "expected at most 100 W, 100 W less. The longest feasible end is 2027-01-01T12:00:00Z, "
            "the present one.");
  paris.Feed("b", "2027-01-01T12:00:00Z", 200);
  EXPECT_TRUE(extend("2027-01-01T12:30:00Z").has_amendment_held());
}

TEST(Feeds, TheirStepsAreARowAndADeratingGivesWayToWhatHadHeld) {
  Fed paris;
  paris.Feed("a", "2027-02-01T00:00:00Z", 300);
  paris.Feed("a", "2027-01-15T00:00:00Z", 50, "2027-02-10T00:00:00Z");
  const auto site = paris.state().rows.site_records.Get("sites/paris");
  std::vector<std::pair<std::string, int64_t>> steps;
  for (const v1::EnvelopeRecorded& step : site->feeds(0).envelope())
    steps.emplace_back(runtime::ToText(runtime::ToTime(step.effective_from())),
                       step.it_power_watts());
  EXPECT_THAT(steps, ElementsAre(testing::Pair("1970-01-01T00:00:00Z", 100),
                                 testing::Pair("2027-01-15T00:00:00Z", 50),
                                 testing::Pair("2027-02-10T00:00:00Z", 300)));
}

TEST(Feeds, AreRecordedAsTheInventorySaysThem) {
  Paris paris;
  const auto defined = paris.ReactionsTo(test::Parse<inventory::v1::Event>(
      R"(feed_defined { name: "sites/paris/feeds/a" it_power_watts: 900 redundancy: REDUNDANCY_2N })"));
  ASSERT_EQ(defined.size(), 1u);
  EXPECT_THAT(defined[0].command, HasText(R"(record_feed { feed { feed: "a"
      step { site: "sites/paris" it_power_watts: 900 } } })"));
  const auto derated = paris.ReactionsTo(test::Parse<inventory::v1::Event>(R"(feed_envelope_set {
      feed: "sites/paris/feeds/a" envelope { site: "sites/paris" effective_from { seconds: 7 }
        until { seconds: 9 } it_power_watts: 500 cause: ENVELOPE_CAUSE_PLANNED_WORK
        detail: "busbar 3" } })"));
  ASSERT_EQ(derated.size(), 1u);
  EXPECT_THAT(derated[0].command, HasText(R"(record_feed { feed { feed: "a" step {
      site: "sites/paris" effective_from { seconds: 7 } until { seconds: 9 } it_power_watts: 500
      cause: "planned work: busbar 3" } } })"));
}

TEST(Feeds, AServerThatComesBackOnAnotherFeedCountsThere) {
  Fed paris;
  paris.Reserve({.count = 1});
  paris.Hang("s1", "b");
  const Span span{test::Time("2027-01-01T10:00:00Z"), test::Time("2027-01-01T12:00:00Z")};
  const absl::Time now = test::Time("2027-01-01T09:00:00Z");
  EXPECT_EQ(paris.state().index.feeds().Left("a", span, now), 100);
  EXPECT_EQ(paris.state().index.feeds().Left("b", span, now), 100);
}

}  // namespace
}  // namespace concordat::reservations
