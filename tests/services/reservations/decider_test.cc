#include "tests/services/reservations/paris.h"

namespace concordat::reservations {
namespace {

using test::EqualsText;
using test::HasText;
using testing::ElementsAre;
using testing::HasSubstr;

std::vector<std::string> ServersOf(const v1::Event& event) {
  const auto& servers = event.reservation_held().servers();
  return {servers.begin(), servers.end()};
}

TEST(Reservations, HoldsServersWithEverythingThatTheRulesNeed) {
  Paris paris;
  const v1::Event held = paris.Reserve({.count = 2}, "c-7");
  EXPECT_THAT(held, EqualsText(fmt::format(R"(reservation_held {{
    name: "{}"
    terms {{ customer: "customers/hsbc" {} }}
    servers: "sites/paris/servers/s1" servers: "sites/paris/servers/s2"
    it_power_watts: 200 cooling_watts: 180 hold_expires_at {{ {} }}
    site_country: "FR" site_certifications: "HDS" customer_country: "GB" customer_sector: "FINANCE" }})",
                                           held.reservation_held().name(), TermsText({.count = 2}),
                                           Seconds("2027-01-01T09:15:00Z"))));
  EXPECT_TRUE(runtime::MatchesName(held.reservation_held().name(), "sites/*/reservations/*"));
  EXPECT_THAT(
      paris.Row(held.reservation_held().name()),
      HasText(R"(state: RESERVATION_STATE_HELD correlation_id: "c-7" it_power_watts: 200)"));
}

TEST(Reservations, NamesAReservationByItsCommandSoThatItIsCreatedOnce) {
  Paris paris;
  EXPECT_TRUE(paris.Reserve({}, "c-1").has_reservation_held());
  EXPECT_THAT(paris.Reserve({}, "c-1"), HasText(RefusalFor(v1::REASON_ALREADY_EXISTS)));
}

TEST(Reservations, NeverGiveAServerTwice) {
  Paris paris;
  EXPECT_THAT(ServersOf(paris.Reserve({.count = 3})), testing::SizeIs(3));
  const v1::Event refused =
      paris.Reserve({.start = "2027-01-01T11:00:00Z", .end = "2027-01-01T13:00:00Z", .count = 2});
  EXPECT_THAT(refused, HasText(RefusalFor(v1::REASON_NO_CAPACITY)));
  EXPECT_EQ(refused.command_refused().detail(),
            "1 of 4 bookable servers of models/m can be given within 2027-01-01T11:00:00Z to "
            "2027-01-01T13:00:00Z, expected 2. Ruled out: 3 taken (s1, s2, s3). It would fit from "
            "2027-01-01T12:00:00Z on.");
  EXPECT_THAT(ServersOf(paris.Reserve({.count = 1})), ElementsAre("sites/paris/servers/s4"));
}

TEST(Reservations, MayFollowEachOtherBackToBackOnTheSameServers) {
  Paris paris;
  EXPECT_THAT(ServersOf(paris.Reserve(
                  {.start = "2027-01-01T12:00:00Z", .end = "2027-01-01T14:00:00Z", .count = 4})),
              testing::SizeIs(4));
  EXPECT_THAT(ServersOf(paris.Reserve(
                  {.start = "2027-01-01T10:00:00Z", .end = "2027-01-01T12:00:00Z", .count = 4})),
              testing::SizeIs(4));
  EXPECT_THAT(ServersOf(paris.Reserve(
                  {.start = "2027-01-01T14:00:00Z", .end = "2027-01-01T15:00:00Z", .count = 4})),
              testing::SizeIs(4));
  EXPECT_THAT(paris.Reserve({.start = "2027-01-01T11:59:59Z", .end = "2027-01-01T12:00:00Z"}),
              HasText(RefusalFor(v1::REASON_NO_CAPACITY)));
}

TEST(Reservations, FillAGapThatFits) {
  Paris paris;
  paris.Reserve({.start = "2027-01-01T10:00:00Z", .end = "2027-01-01T11:00:00Z", .count = 4});
  paris.Reserve({.start = "2027-01-01T12:00:00Z", .end = "2027-01-01T13:00:00Z", .count = 4});
  EXPECT_THAT(paris.Reserve({.start = "2027-01-01T10:30:00Z", .end = "2027-01-01T12:00:00Z"}),
              HasText(RefusalFor(v1::REASON_NO_CAPACITY)));
  EXPECT_THAT(paris.Reserve({.start = "2027-01-01T11:00:00Z", .end = "2027-01-01T12:30:00Z"}),
              HasText(RefusalFor(v1::REASON_NO_CAPACITY)));
  EXPECT_TRUE(paris.Reserve({.start = "2027-01-01T11:00:00Z", .end = "2027-01-01T12:00:00Z"})
                  .has_reservation_held());
}

TEST(Reservations, NeverExceedThePowerEnvelope) {
  Paris paris;
  paris.Envelope("2027-01-01T11:00:00Z", 199, 1000);
  const v1::Event refused = paris.Reserve({.count = 2});
  EXPECT_THAT(refused, HasText(RefusalFor(v1::REASON_POWER_ENVELOPE)));
  EXPECT_EQ(
      refused.command_refused().detail(),
      "At 2027-01-01T11:00:00Z the site would draw 200 W, 200 W of them for this reservation; "
      "expected at most 199 W, 1 W less. Ruled out: 3 without power (s2, s3, s4).");
  EXPECT_TRUE(paris.Reserve({.end = "2027-01-01T11:00:00Z", .count = 2}).has_reservation_held());
  EXPECT_TRUE(paris.Reserve({.start = "2027-01-01T11:00:00Z", .end = "2027-01-01T12:00:00Z"})
                  .has_reservation_held());
  EXPECT_THAT(paris.Reserve({.start = "2027-01-01T11:30:00Z", .end = "2027-01-01T12:00:00Z"}),
              HasText(RefusalFor(v1::REASON_POWER_ENVELOPE)));
}

TEST(Reservations, NeverExceedTheCoolingEnvelope) {
  Paris paris;
  paris.Envelope("2027-01-01T10:30:00Z", 1000, 179);
  paris.Envelope("2027-01-01T10:31:00Z", 1000, 1000);
  EXPECT_THAT(paris.Reserve({.count = 2}), HasText(RefusalFor(v1::REASON_COOLING_ENVELOPE)));
  EXPECT_TRUE(paris.Reserve({.start = "2027-01-01T10:31:00Z", .count = 2}).has_reservation_held());
  EXPECT_TRUE(paris.Reserve({.count = 1}).has_reservation_held());
}

TEST(Reservations, FindNoPowerBeforeTheEnvelopesFirstStep) {
  test::Scenario<Service> scenario;
  scenario.At("2027-01-01T09:00:00Z")
      .Given(R"(site_recorded { name: "sites/paris" country: "FR" })")
      .Given(
          R"(server_recorded { name: "sites/paris/servers/s1" model: "models/m" it_power_watts: 1 bookable: true })")
      .Given(fmt::format("contract_signed {{ {} }}", ContractText("sites/paris", 1)))
      .Given(fmt::format(
          R"(envelope_recorded {{ site: "sites/paris" effective_from {{ {} }} it_power_watts: 9 }})",
          Seconds("2027-01-01T11:00:00Z")));
  const auto reserve = [](const std::string& start) {
    return fmt::format(R"(reserve {{ site: "sites/paris" {} }})", TermsText({.start = start}));
  };
  EXPECT_THAT(scenario.When(reserve("2027-01-01T10:59:59Z"), "a"),
              HasText(RefusalFor(v1::REASON_POWER_ENVELOPE)));
  EXPECT_TRUE(scenario.When(reserve("2027-01-01T11:00:00Z"), "b").has_reservation_held());
}

TEST(Reservations, StayWithinTheContractAtEveryInstant) {
  Paris paris;
  paris.Given(fmt::format("contract_signed {{ {} }}", ContractText("sites/paris", 2, "small")));
  const std::string small = "customers/hsbc/contracts/small";
  EXPECT_THAT(paris.Reserve({.count = 3, .contract = small}),
              HasText(RefusalFor(v1::REASON_CONTRACT)));
  EXPECT_TRUE(
      paris
          .Reserve(
              {.start = "2027-01-01T10:00:00Z", .end = "2027-01-01T11:00:00Z", .contract = small})
          .has_reservation_held());
  EXPECT_TRUE(paris
                  .Reserve({.start = "2027-01-01T11:00:00Z",
                            .end = "2027-01-01T12:00:00Z",
                            .count = 2,
                            .contract = small})
                  .has_reservation_held());
  const v1::Event refused = paris.Reserve(
      {.start = "2027-01-01T10:30:00Z", .end = "2027-01-01T11:30:00Z", .contract = small});
  EXPECT_THAT(refused, HasText(RefusalFor(v1::REASON_CONTRACT)));
  EXPECT_THAT(refused.command_refused().detail(), HasSubstr("up to 2 servers reserved"));
  EXPECT_TRUE(
      paris
          .Reserve(
              {.start = "2027-01-01T10:30:00Z", .end = "2027-01-01T11:00:00Z", .contract = small})
          .has_reservation_held());
}

TEST(Reservations, NeedAContractThatCoversThem) {
  Paris paris;
  EXPECT_THAT(paris.Reserve({.contract = "customers/hsbc/contracts/other"}),
              HasText(RefusalFor(v1::REASON_NOT_FOUND)));
  EXPECT_THAT(paris.Reserve({.data_class = "SECRET"}), HasText(RefusalFor(v1::REASON_CONTRACT)));
  EXPECT_THAT(paris.Reserve({.start = "2027-12-31T00:00:00Z", .end = "2028-01-01T00:00:01Z"}),
              HasText(RefusalFor(v1::REASON_TIME)));
  EXPECT_TRUE(paris.Reserve({.start = "2027-12-31T00:00:00Z", .end = "2028-01-01T00:00:00Z"})
                  .has_reservation_held());
  paris.Given(
      R"(contract_signed { name: "customers/hsbc/contracts/away" sites: "sites/borlange" max_servers_per_site: 1 })");
  EXPECT_THAT(paris.Reserve({.contract = "customers/hsbc/contracts/away"}),
              HasText(RefusalFor(v1::REASON_CONTRACT)));
}

TEST(Reservations, BeginNotInThePastButClocksMayDiffer) {
  Paris paris;
  EXPECT_THAT(paris.Reserve({.start = "2027-01-01T08:58:59Z"}),
              HasText(RefusalFor(v1::REASON_TIME)));
  const v1::Event held = paris.Reserve({.start = "2027-01-01T08:59:00Z"});
  EXPECT_THAT(held, HasText(fmt::format("reservation_held {{ hold_expires_at {{ {} }} }}",
                                        Seconds("2027-01-01T09:15:00Z"))));
}

TEST(Reservations, RefuseSpansAndCountsThatAreNone) {
  Paris paris;
  EXPECT_THAT(paris.Reserve({.start = "2027-01-01T12:00:00Z", .end = "2027-01-01T11:00:00Z"}),
              HasText(RefusalFor(v1::REASON_TIME)));
  EXPECT_THAT(paris.Reserve({.start = "2027-01-01T12:00:00Z", .end = "2027-01-01T12:00:00Z"}),
              HasText(RefusalFor(v1::REASON_TIME)));
  EXPECT_THAT(paris.Reserve({.count = 0}), HasText(RefusalFor(v1::REASON_CONTRACT)));
  EXPECT_THAT(paris.Reserve({.count = -1}), HasText(RefusalFor(v1::REASON_CONTRACT)));
}

TEST(Reservations, FindNoCapacityOfAModelThatIsNotThere) {
  Paris paris;
  EXPECT_THAT(paris.Reserve({.model = "models/other"}),
              HasText(RefusalFor(v1::REASON_NO_CAPACITY)));
}

TEST(Reservations, NeedTheirSiteToBeKnown) {
  test::Scenario<Service> scenario;
  scenario.At("2027-01-01T09:00:00Z")
      .Given(fmt::format("contract_signed {{ {} }}", ContractText("sites/paris", 1)));
  EXPECT_THAT(scenario.When(fmt::format(R"(reserve {{ site: "sites/paris" {} }})", TermsText({}))),
              HasText(RefusalFor(v1::REASON_NOT_FOUND)));
}

TEST(Reservations, UseNeitherCordonedNorLostServers) {
  Paris paris;
  paris.Server("s1", false);
  paris.Server("s2", false, true);
  paris.Server("s3", true, true);
  EXPECT_THAT(ServersOf(paris.Reserve({})), ElementsAre("sites/paris/servers/s4"));
  paris.Server("s2");
  EXPECT_THAT(ServersOf(paris.Reserve({})), ElementsAre("sites/paris/servers/s2"));
}

TEST(Reservations, HoldNoLongerThanUntilTheyStart) {
  Paris paris;
  EXPECT_THAT(paris.Reserve({.start = "2027-01-01T09:05:00Z"}),
              HasText(fmt::format("reservation_held {{ hold_expires_at {{ {} }} }}",
                                  Seconds("2027-01-01T09:05:00Z"))));
  EXPECT_THAT(paris.Reserve({.start = "2027-01-01T09:00:00Z", .end = "2027-01-01T09:10:00Z"}),
              HasText(fmt::format("reservation_held {{ hold_expires_at {{ {} }} }}",
                                  Seconds("2027-01-01T09:10:00Z"))));
}

TEST(Reservations, AreConfirmedOnceAndOnlyWhileTheyAreHeld) {
  Paris paris;
  const std::string name = paris.Reserve({}).reservation_held().name();
  paris.At("2027-01-01T09:15:00Z");
  EXPECT_THAT(paris.About("confirm_reservation", name),
              EqualsText(fmt::format("reservation_confirmed {{ name: \"{}\" }}", name)));
  EXPECT_THAT(paris.About("confirm_reservation", name),
              HasText(RefusalFor(v1::REASON_WRONG_STATE)));
  const std::string late = paris.Reserve({}).reservation_held().name();
  paris.At("2027-01-01T09:30:00.000001Z");
  EXPECT_THAT(paris.About("confirm_reservation", late),
              HasText(RefusalFor(v1::REASON_HOLD_LAPSED)));
  EXPECT_THAT(paris.About("lapse_hold", late),
              EqualsText(fmt::format("hold_lapsed {{ name: \"{}\" }}", late)));
  EXPECT_THAT(paris.About("lapse_hold", late), HasText(RefusalFor(v1::REASON_WRONG_STATE)));
  EXPECT_THAT(paris.About("confirm_reservation", late),
              HasText(RefusalFor(v1::REASON_WRONG_STATE)));
}

TEST(Reservations, AreFreeAgainWhenDeclinedLapsedOrCancelled) {
  Paris paris;
  const Wish all{.count = 4};
  std::string name = paris.Reserve(all).reservation_held().name();
  EXPECT_THAT(
      paris.When(fmt::format(R"(decline_reservation {{ name: "{}" detail: "rules/x." }})", name),
                 "d"),
      EqualsText(fmt::format(
          R"(reservation_declined {{ name: "{}" reason: REASON_COMPLIANCE detail: "rules/x." }})",
          name)));
  EXPECT_EQ(paris.Row(name).detail(), "rules/x.");
  name = paris.Reserve(all).reservation_held().name();
  EXPECT_TRUE(paris.About("lapse_hold", name).has_hold_lapsed());
  name = paris.Confirmed(all);
  EXPECT_THAT(
      paris.When(fmt::format(R"(cancel_reservation {{ name: "{}" reason: "no need" }})", name),
                 "x"),
      EqualsText(fmt::format(R"(reservation_cancelled {{ name: "{}" reason: "no need" }})", name)));
  EXPECT_TRUE(paris.Reserve(all).has_reservation_held());
}

TEST(Reservations, GoThroughTheirLife) {
  Paris paris;
  const std::string name = paris.Confirmed({.count = 2});
  EXPECT_THAT(paris.About("start_reservation", name), HasText(RefusalFor(v1::REASON_TIME)));
  paris.At("2027-01-01T10:00:00Z");
  EXPECT_THAT(paris.About("start_reservation", name),
              EqualsText(fmt::format(R"(reservation_started {{ name: "{}" customer: "customers/hsbc"
                servers: "sites/paris/servers/s1" servers: "sites/paris/servers/s2" end_time {{ {} }} }})",
                                     name, Seconds("2027-01-01T12:00:00Z"))));
  EXPECT_THAT(paris.About("begin_end_reservation", name), HasText(RefusalFor(v1::REASON_TIME)));
  EXPECT_THAT(paris.About("end_reservation", name), HasText(RefusalFor(v1::REASON_WRONG_STATE)));
  EXPECT_THAT(paris.About("cancel_reservation", name), HasText(RefusalFor(v1::REASON_RUNNING)));
  paris.At("2027-01-01T12:00:00Z");
  EXPECT_THAT(paris.About("begin_end_reservation", name), HasText("reservation_ending {}"));
  EXPECT_THAT(paris.About("cancel_reservation", name), HasText(RefusalFor(v1::REASON_WRONG_STATE)));
  EXPECT_THAT(paris.About("end_reservation", name), HasText("reservation_ended {}"));
  for (const char* command :
       {"end_reservation", "cancel_reservation", "start_reservation", "begin_end_reservation",
        "confirm_reservation", "decline_reservation", "lapse_hold"}) {
    EXPECT_THAT(paris.About(command, name), HasText(RefusalFor(v1::REASON_WRONG_STATE))) << command;
  }
}

TEST(Reservations, OccupyTheirServersUntilNothingRunsAnyMore) {
  Paris paris;
  const std::string name = paris.Confirmed({.count = 4});
  paris.At("2027-01-01T10:00:00Z").About("start_reservation", name);
  paris.At("2027-01-01T12:00:00Z");
  const Wish after{.start = "2027-01-01T12:00:00Z", .end = "2027-01-01T13:00:00Z"};
  EXPECT_THAT(paris.Reserve(after), HasText(RefusalFor(v1::REASON_NO_CAPACITY)))
      << "ACTIVE past its end";
  paris.About("begin_end_reservation", name);
  EXPECT_THAT(paris.Reserve(after), HasText(RefusalFor(v1::REASON_NO_CAPACITY))) << "ENDING";
  paris.About("end_reservation", name);
  EXPECT_TRUE(paris.Reserve(after).has_reservation_held());
}

TEST(Reservations, OccupyTheirPowerUntilNothingRunsAnyMore) {
  Paris paris;
  paris.Envelope("2026-01-02T00:00:00Z", 299, 1000);
  const std::string name = paris.Confirmed({.count = 2});
  paris.At("2027-01-01T10:00:00Z").About("start_reservation", name);
  paris.At("2027-01-01T12:00:00Z");
  const Wish after{.start = "2027-01-01T13:00:00Z", .end = "2027-01-01T14:00:00Z", .count = 1};
  paris.Server("s5");
  EXPECT_THAT(paris.Reserve({.start = after.start, .end = after.end, .count = 1}),
              HasText(RefusalFor(v1::REASON_POWER_ENVELOPE)))
      << "ACTIVE past its end";
  paris.About("begin_end_reservation", name);
  EXPECT_THAT(paris.Reserve(after), HasText(RefusalFor(v1::REASON_POWER_ENVELOPE))) << "ENDING";
  paris.About("end_reservation", name);
  EXPECT_TRUE(paris.Reserve(after).has_reservation_held());
}

// Two reservations back to back on the same server, and the first does not end in time.
struct LateParis : Paris {
  LateParis() {
    first = Confirmed({.count = 4});
    second =
        Confirmed({.start = "2027-01-01T12:00:00Z", .end = "2027-01-01T16:00:00Z", .count = 2});
    At("2027-01-01T10:00:00Z").About("start_reservation", first);
    At("2027-01-01T12:00:00Z").About("begin_end_reservation", first);
  }
  std::string first;
  std::string second;
};

TEST(Reservations, StartOnlyOnServersThatAreReallyFree) {
  LateParis paris;
  EXPECT_THAT(paris.About("start_reservation", paris.second),
              EqualsText(fmt::format(R"(reservation_delayed {{ name: "{}"
                taken_servers: "sites/paris/servers/s1" taken_servers: "sites/paris/servers/s2" retry_time {{ {} }}
                detail:
                    "2 of its servers are still taken, sites/paris/servers/s1 first; expected all of them free." }})",
                                     paris.second, Seconds("2027-01-01T12:01:00Z"))));
  EXPECT_EQ(paris.Row(paris.second).state(), v1::RESERVATION_STATE_CONFIRMED);
  EXPECT_TRUE(paris.DueAt("2027-01-01T12:00:59Z").empty()) << "the deadline has moved";
  EXPECT_EQ(paris.DueAt("2027-01-01T12:01:00Z").size(), 1u);
  paris.About("end_reservation", paris.first);
  EXPECT_TRUE(paris.About("start_reservation", paris.second).has_reservation_started());
  EXPECT_FALSE(paris.Row(paris.second).has_retry_time());
}

TEST(Reservations, TryADelayedStartLessAndLessOftenAndDeclineItAtItsEnd) {
  LateParis paris;
  std::vector<std::string> retries;
  v1::Event event;
  for (int i = 0; i < 20; ++i) {
    event = paris.About("start_reservation", paris.second);
    if (!event.has_reservation_delayed()) break;
    retries.push_back(
        runtime::ToText(runtime::ToTime(event.reservation_delayed().retry_time())).substr(11, 8));
    paris.At(runtime::ToText(runtime::ToTime(event.reservation_delayed().retry_time())));
  }
  EXPECT_THAT(retries, ElementsAre("12:01:00", "12:03:00", "12:07:00", "12:15:00", "12:31:00",
                                   "13:03:00", "14:03:00", "15:03:00", "16:00:00"));
  EXPECT_THAT(event, HasText(R"(reservation_declined { reason: REASON_NO_CAPACITY })"));
  EXPECT_THAT(event.reservation_declined().detail(), HasSubstr("2 of its servers are still taken"));
  EXPECT_TRUE(paris.DueAt("9999-01-01T00:00:00Z").empty());
}

TEST(Reservations, StartOnlyWithinThePowerThatIsReallyThere) {
  Paris paris;
  paris.Envelope("2026-01-02T00:00:00Z", 250, 1000);
  const std::string late = paris.Confirmed({.count = 2});
  paris.Server("s1", false);
  paris.Server("s2", false);
  const std::string next =
      paris.Confirmed({.start = "2027-01-01T12:00:00Z", .end = "2027-01-01T14:00:00Z", .count = 2});
  paris.At("2027-01-01T10:00:00Z").About("start_reservation", late);
  paris.At("2027-01-01T12:00:00Z").About("begin_end_reservation", late);
  const v1::Event delayed = paris.About("start_reservation", next);
  EXPECT_THAT(
      delayed,
      HasText(
          R"(reservation_delayed { detail: "The site would draw 400 W now, expected at most 250 W." })"));
  EXPECT_EQ(delayed.reservation_delayed().taken_servers_size(), 0);
  paris.About("end_reservation", late);
  EXPECT_TRUE(paris.About("start_reservation", next).has_reservation_started());
}

TEST(Reservations, DoNotStartOnceTheirTimeSpanIsOver) {
  Paris paris;
  const std::string name = paris.Confirmed({});
  paris.At("2027-01-01T12:00:00Z");
  EXPECT_THAT(paris.About("start_reservation", name),
              HasText("reservation_declined { reason: REASON_TIME }"));
}

TEST(Reservations, MayBeGivenBackWhileTheirStartIsDelayed) {
  LateParis paris;
  paris.About("start_reservation", paris.second);
  EXPECT_TRUE(paris.About("cancel_reservation", paris.second).has_reservation_cancelled());
  EXPECT_FALSE(paris.state().rows.delayed.Contains(paris.second));
  EXPECT_TRUE(paris.DueAt("9999-01-01T00:00:00Z").empty());
}

TEST(Reservations, KnowWhichOfTheirServersAreLost) {
  Paris paris;
  const std::string name = paris.Confirmed({.count = 2, .more = "min_count: 1"});
  paris.Server("s1", false, true);
  EXPECT_THAT(
      paris.Row(name),
      HasText(
          R"(lost_servers: "sites/paris/servers/s1" servers: "sites/paris/servers/s1" servers:
              "sites/paris/servers/s2")"));
  paris.Server("s1");
  EXPECT_EQ(paris.Row(name).lost_servers_size(), 0) << "repaired before the start";
  paris.Server("s2", false, true);
  paris.At("2027-01-01T10:00:00Z");
  EXPECT_THAT(paris.About("start_reservation", name).reservation_started().servers(),
              ElementsAre("sites/paris/servers/s1"))
      << "a lost server is not handed over, and no other takes its place silently";
  paris.Server("s2");
  EXPECT_THAT(paris.Row(name).lost_servers(), ElementsAre("sites/paris/servers/s2"))
      << "what it lost while it ran";
}

TEST(Reservations, WaitWhenAllTheirServersAreLost) {
  Paris paris;
  const std::string name = paris.Confirmed({});
  paris.Server("s1", false, true);
  paris.At("2027-01-01T10:00:00Z");
  EXPECT_TRUE(paris.About("start_reservation", name).has_reservation_delayed());
  paris.Server("s1");
  EXPECT_TRUE(paris.About("start_reservation", name).has_reservation_started());
}

TEST(Reservations, OfAnotherSiteAreDecidedThere) {
  Paris paris;
  for (const char* command :
       {"cancel_reservation", "confirm_reservation", "start_reservation", "end_reservation"}) {
    EXPECT_THAT(paris.About(command, "sites/borlange/reservations/r-1"),
                HasText(RefusalFor(v1::REASON_NOT_HOME)));
    EXPECT_THAT(paris.About(command, "sites/paris/reservations/r-1"),
                HasText(RefusalFor(v1::REASON_NOT_FOUND)));
    EXPECT_THAT(paris.About(command, ""), HasText(RefusalFor(v1::REASON_NOT_HOME)));
  }
}

TEST(Reservations, ChangeNothingWhereACommandIsRefused) {
  Paris paris;
  paris.Confirmed({.count = 4});
  const std::string before = Dump(paris.journal());
  EXPECT_TRUE(paris.Reserve({}).has_command_refused());
  EXPECT_TRUE(
      paris.About("end_reservation", "sites/paris/reservations/none").has_command_refused());
  EXPECT_EQ(Dump(paris.journal()), before);
}

TEST(Reservations, SurviveEventsOfWhatTheyDoNotKnow) {
  Paris paris;
  for (
      const char* event :
      {"", R"(reservation_confirmed { name: "x" })", R"(reservation_ended {})",
       R"(order_answered { order: "x" })", R"(reservation_delayed { name: "x" })",
       R"(server_recorded { lost: true })", R"(envelope_recorded { site: "x" })",
       R"(reservation_held { name: "y" servers: "z" terms { start_time { seconds: 9 } end_time { seconds: 1 }
           count: -5 } it_power_watts: -7 })",
       R"(reservation_started { name: "y" })",
       R"(reservation_held { name: "y" servers: "z" servers: "z" })",
       R"(reservation_ending { name: "y" })", R"(server_recorded { name: "z" bookable: true })",
       R"(reservation_ended { name: "y" })"}) {
    paris.Given(event);
  }
  EXPECT_EQ(paris.Row("y").state(), v1::RESERVATION_STATE_ENDED);
  EXPECT_TRUE(paris.Reserve({}).has_reservation_held());
}

}  // namespace
}  // namespace concordat::reservations
