#include "services/reservations/waves.h"

#include "tests/services/reservations/paris.h"

namespace concordat::reservations {
namespace {

using test::EqualsText;
using test::HasText;

struct WithWaves : Paris {
  v1::Event Plan(const std::string& id, const std::string& from, const std::string& more) {
    return When(fmt::format(R"(plan_wave {{ name: "sites/paris/waves/{}" model: "models/m"
                               start_time {{ {} }} {} }})",
                            id, Seconds(from), more),
                fmt::format("plan-{}-{}", id, ++planned_));
  }
  std::set<std::string> Closed(const std::string& customer, const std::string& at) {
    return ClosedServers(state(), "models/m", customer, test::Time(at));
  }
  static std::string Named(int i) { return fmt::format("sites/paris/servers/s{}", i); }

 private:
  int planned_ = 0;
};

constexpr char kHsbc[] = R"(customers: "customers/hsbc" share_percent: 50)";

TEST(Waves, OpenAShareToTheNamedAndCloseTheRestUntilAnotherOpensIt) {
  WithWaves paris;
  EXPECT_TRUE(paris.Closed("customers/sap", "2027-01-02T00:00:00Z").empty())
      << "before the first wave everything is open";
  EXPECT_THAT(paris.Plan("first", "2027-02-01T00:00:00Z", kHsbc),
              EqualsText(fmt::format(R"(wave_planned {{ name: "sites/paris/waves/first"
                model: "models/m" customers: "customers/hsbc" share_percent: 50
                start_time {{ {} }} }})",
                                     Seconds("2027-02-01T00:00:00Z"))));
  EXPECT_TRUE(paris.Plan("general", "2027-03-01T00:00:00Z", "").has_wave_planned());
  EXPECT_EQ(paris.Closed("customers/hsbc", "2027-01-31T23:59:59Z").size(), 4u);
  EXPECT_EQ(paris.Closed("customers/hsbc", "2027-02-01T00:00:00Z"),
            (std::set<std::string>{WithWaves::Named(3), WithWaves::Named(4)}));
  EXPECT_EQ(paris.Closed("customers/sap", "2027-02-01T00:00:00Z").size(), 4u);
  EXPECT_TRUE(paris.Closed("customers/sap", "2027-03-01T00:00:00Z").empty());
  EXPECT_EQ(
      NextOpening(paris.state(), "models/m", "customers/sap", test::Time("2027-02-01T00:00:00Z")),
      test::Time("2027-03-01T00:00:00Z"));
}

TEST(Waves, RefuseWhoComesTooEarlyAndSayWhenTheNextOneOpens) {
  WithWaves paris;
  paris.Plan("first", "2027-02-01T00:00:00Z", kHsbc);
  paris.Plan("general", "2027-03-01T00:00:00Z", "");
  const auto reserve = [&](const char* start, const char* end, int count) {
    return paris.Reserve({.start = start, .end = end, .count = count});
  };
  const v1::Event early = reserve("2027-01-02T00:00:00Z", "2027-01-03T00:00:00Z", 1);
  EXPECT_THAT(early, HasText(RefusalFor(v1::REASON_WAVE)));
  EXPECT_THAT(early.command_refused().detail(), testing::HasSubstr("2027-02-01T00:00:00Z"));
  EXPECT_THAT(reserve("2027-02-01T00:00:00Z", "2027-02-03T00:00:00Z", 3),
              HasText(RefusalFor(v1::REASON_WAVE)));
  EXPECT_THAT(reserve("2027-02-01T00:00:00Z", "2027-02-03T00:00:00Z", 2),
              HasText(R"(reservation_held { servers: "sites/paris/servers/s1"
                servers: "sites/paris/servers/s2" })"));
  EXPECT_TRUE(reserve("2027-03-01T00:00:00Z", "2027-03-02T00:00:00Z", 4).has_reservation_held());
  EXPECT_THAT(reserve("2027-03-01T00:00:00Z", "2027-03-02T00:00:00Z", 1),
              HasText(RefusalFor(v1::REASON_NO_CAPACITY)))
      << "it is no wave that is in the way";
}

// Reserved for after the opening, amended to a start before it.
TEST(Waves, GiveNoAmendmentToAnEarlierStartWhatTheyHaveNotOpenedThen) {
  for (const bool others : {false, true}) {
    WithWaves paris;
    if (others) {
      paris.Plan("later", "2027-02-01T00:00:00Z",
                 R"(servers: "sites/paris/servers/s1" servers: "sites/paris/servers/s2")");
    } else {
      paris.Plan("later", "2027-02-01T00:00:00Z", "");
    }
    const std::string name = paris.Confirmed(
        {.start = "2027-02-01T00:00:00Z", .end = "2027-02-02T00:00:00Z", .count = 2});
    EXPECT_THAT(paris.Row(name).servers(),
                testing::ElementsAre(WithWaves::Named(1), WithWaves::Named(2)));
    const std::string before = paris.Row(name).SerializeAsString();
    const auto sooner = [&](const std::string& start) {
      return paris.When(fmt::format(R"(amend_reservation {{ name: "{}" start_time {{ {} }} }})",
                                    name, Seconds(start)),
                        "amend-" + start);
    };
    const v1::Event amended = sooner("2027-01-31T00:00:00Z");
    if (!others) {
      EXPECT_TRUE(amended.has_command_refused()) << amended.ShortDebugString();
      EXPECT_EQ(paris.Row(name).SerializeAsString(), before);
      continue;
    }
    EXPECT_THAT(amended, HasText(fmt::format(
                             R"(amendment_held {{ amendment {{ servers: "{}" servers: "{}" }} }})",
                             WithWaves::Named(3), WithWaves::Named(4))))
        << "what is open to all then";
  }
}

TEST(Waves, LeaveAnAmendmentThatStartsNoSoonerWhatItWasGranted) {
  WithWaves paris;
  const std::string name =
      paris.Confirmed({.start = "2027-01-10T00:00:00Z", .end = "2027-01-11T00:00:00Z", .count = 2});
  paris.Plan("later", "2027-02-01T00:00:00Z", "");
  EXPECT_THAT(
      paris.When(fmt::format(R"(amend_reservation {{ name: "{}" end_time {{ {} }} }})", name,
                             Seconds("2027-01-12T00:00:00Z")),
                 "longer"),
      HasText(fmt::format(R"(amendment_held {{ amendment {{ servers: "{}" servers: "{}" }} }})",
                          WithWaves::Named(1), WithWaves::Named(2))));
  paris.About("withdraw_amendment", name);
  const v1::Event more =
      paris.When(fmt::format(R"(amend_reservation {{ name: "{}" count: 3 }})", name), "more");
  EXPECT_TRUE(more.has_command_refused()) << "a third one is not open: " << more.ShortDebugString();
}

TEST(Waves, MayBeAboutSomeServersAlone) {
  WithWaves paris;
  paris.Plan("sap", "2027-02-01T00:00:00Z",
             R"(customers: "customers/sap" servers: "sites/paris/servers/s1")");
  EXPECT_THAT(paris.Reserve({}),
              HasText(R"(reservation_held { servers: "sites/paris/servers/s2" })"))
      << "the others are open to all";
  EXPECT_TRUE(paris.Closed("customers/sap", "2027-02-01T00:00:00Z").empty());
}

TEST(Waves, CountServersOrPercentRoundedDown) {
  WithWaves paris;
  paris.Plan("a", "2027-02-01T00:00:00Z", "share_percent: 49");
  EXPECT_EQ(paris.Closed("customers/x", "2027-02-01T00:00:00Z").size(), 3u);
  paris.Plan("b", "2027-02-02T00:00:00Z", "share_servers: 3");
  EXPECT_EQ(paris.Closed("customers/x", "2027-02-02T00:00:00Z").size(), 1u);
  paris.Server("s1", false);
  EXPECT_EQ(paris.Closed("customers/x", "2027-02-02T00:00:00Z").size(), 0u)
      << "a cordon moves the share to the next server";
}

TEST(Waves, ArePlannedAnewOnlyUntilTheyOpen) {
  WithWaves paris;
  EXPECT_TRUE(paris.Plan("first", "2027-02-01T00:00:00Z", kHsbc).has_wave_planned());
  EXPECT_TRUE(paris.Plan("first", "2027-02-02T00:00:00Z", kHsbc).has_wave_planned());
  EXPECT_EQ(paris.Closed("customers/hsbc", "2027-02-01T00:00:00Z").size(), 4u);
  paris.At("2027-02-02T00:00:00Z");
  EXPECT_THAT(paris.Plan("first", "2027-02-03T00:00:00Z", kHsbc),
              HasText(RefusalFor(v1::REASON_ALREADY_EXISTS)));
  EXPECT_THAT(paris.Plan("late", "2027-02-01T00:00:00Z", kHsbc),
              HasText(RefusalFor(v1::REASON_TIME)));
  EXPECT_THAT(paris.Plan("odd", "2027-02-03T00:00:00Z", R"(servers: "sites/paris/servers/none")"),
              HasText(RefusalFor(v1::REASON_NOT_FOUND)));
  EXPECT_THAT(paris.When(R"(plan_wave { name: "sites/lyon/waves/w" })"),
              HasText(RefusalFor(v1::REASON_NOT_HOME)));
}

TEST(Waves, NeedOneKindOfShare) {
  const auto check = [](const std::string& more) {
    return Validate(test::Parse<v1::Command>(
                        fmt::format(R"(plan_wave {{ name: "sites/paris/waves/w" model: "models/m"
                                       start_time {{ seconds: 1 }} {} }})",
                                    more)))
        .ok();
  };
  EXPECT_TRUE(check(""));
  EXPECT_TRUE(check("share_percent: 100"));
  for (const char* bad :
       {"share_percent: 101", "share_percent: -1", "share_percent: 1 share_servers: 1",
        R"(customers: "hsbc")", R"(servers: "s1")",
        R"(customers: "customers/a" customers: "customers/a")"}) {
    EXPECT_FALSE(check(bad)) << bad;
  }
}

}  // namespace
}  // namespace concordat::reservations
