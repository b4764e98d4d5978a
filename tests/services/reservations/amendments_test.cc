// New terms of confirmed reservations: held beside them, judged, and only then in their place.
#include <gmock/gmock.h>

#include "services/reservations/amendments.h"
#include "tests/services/reservations/paris.h"

namespace concordat::reservations {
namespace {

using test::HasText;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

struct AmendParis : Paris {
  v1::Event Amend(const std::string& name, const std::string& changes) {
    return When(fmt::format(R"(amend_reservation {{ name: "{}" {} }})", name, changes),
                fmt::format("amend-{}", ++count_));
  }
  v1::Event Extend(const std::string& name, const std::string& end, bool longest = false) {
    return When(
        fmt::format(R"(extend_reservation {{ name: "{}" end_time {{ {} }} longest_feasible: {} }})",
                    name, Seconds(end), longest),
        fmt::format("extend-{}", ++count_));
  }
  v1::Event Judged(const v1::Event& held, bool cleared) {
    const std::string& amendment = held.amendment_held().amendment().name();
    const std::string about = fmt::format(R"(reservation: "{}" amendment: "{}")",
                                          ReservationOfAmendment(amendment), amendment);
    return When(cleared ? fmt::format("confirm_amendment {{ {} }}", about)
                        : fmt::format(R"(drop_amendment {{ {} detail: "rules/x" }})", about),
                fmt::format("judged-{}", ++count_));
  }
  std::string Active(const Wish& wish = {}) {
    const std::string name = Confirmed(wish);
    At(wish.start);
    EXPECT_TRUE(About("start_reservation", name).has_reservation_started());
    return name;
  }
  // What a second customer could get over a span.
  int FreeWithin(const std::string& start, const std::string& end) {
    return static_cast<int>(state()
                                .index
                                .FindFree("models/m", {test::Time(start), test::Time(end)},
                                          test::Time("2027-01-01T09:00:00Z"), 10)
                                .size());
  }

 private:
  int count_ = 0;
};

std::vector<std::string> Names(const google::protobuf::RepeatedPtrField<std::string>& servers) {
  std::vector<std::string> names;
  for (const std::string& server : servers) names.push_back(server.substr(server.rfind('/') + 1));
  return names;
}

TEST(Amendments, AreHeldBesideWhatIsConfirmedAndReplaceItInOneEvent) {
  AmendParis paris;
  const std::string name = paris.Confirmed({.count = 2});
  const v1::Event held =
      paris.Amend(name, fmt::format("count: 3 end_time {{ {} }}", Seconds("2027-01-01T13:00:00Z")));
  ASSERT_TRUE(held.has_amendment_held()) << held.ShortDebugString();
  const v1::Amendment& amendment = held.amendment_held().amendment();
  EXPECT_THAT(Names(amendment.servers()), ElementsAre("s1", "s2", "s3")) << "it keeps what it has";
  EXPECT_THAT(held.amendment_held(), HasText(R"(site_country: "FR" customer_sector: "FINANCE")"));
  EXPECT_EQ(paris.Row(name).terms().count(), 2);
  EXPECT_EQ(paris.FreeWithin("2027-01-01T10:00:00Z", "2027-01-01T12:00:00Z"), 1);
  EXPECT_EQ(paris.FreeWithin("2027-01-01T12:00:00Z", "2027-01-01T13:00:00Z"), 1);
  const v1::Event confirmed = paris.Judged(held, true);
  ASSERT_TRUE(confirmed.has_amendment_confirmed());
  const v1::Reservation row = paris.Row(name);
  EXPECT_THAT(row, HasText(R"(terms { count: 3 } it_power_watts: 300 segments { count: 3 })"));
  EXPECT_FALSE(row.has_amendment());
  EXPECT_EQ(paris.FreeWithin("2027-01-01T10:00:00Z", "2027-01-01T13:00:00Z"), 1);
}

TEST(Amendments, ThatAreRejectedLapsedOrWithdrawnFreeNothingOfWhatWasConfirmed) {
  for (const char* how : {"rejected", "lapsed", "withdrawn"}) {
    AmendParis paris;
    const std::string name = paris.Confirmed({.count = 2});
    const v1::Reservation before = paris.Row(name);
    const v1::Event held = paris.Amend(name, "count: 4");
    ASSERT_TRUE(held.has_amendment_held());
    v1::Event dropped;
    if (how == std::string("rejected")) dropped = paris.Judged(held, false);
    if (how == std::string("withdrawn"))
      dropped = paris.When(fmt::format(R"(withdraw_amendment {{ name: "{}" }})", name));
    if (how == std::string("lapsed")) {
      ASSERT_THAT(paris.DueAt("2027-01-01T09:15:00Z"), SizeIs(1));
      paris.At("2027-01-01T09:15:00Z");
      dropped = paris.When(paris.DueAt("2027-01-01T09:15:00Z")[0].command, "timer");
    }
    EXPECT_TRUE(dropped.has_amendment_dropped()) << how << ": " << dropped.ShortDebugString();
    EXPECT_EQ(paris.Row(name).SerializeAsString(), before.SerializeAsString()) << how;
    EXPECT_EQ(paris.FreeWithin("2027-01-01T10:00:00Z", "2027-01-01T12:00:00Z"), 2) << how;
    EXPECT_THAT(paris.Judged(held, true), HasText(RefusalFor(v1::REASON_WRONG_STATE)))
        << "a judgement that comes late changes nothing";
  }
}

TEST(Amendments, OfOneReservationAreDecidedOneAtATime) {
  AmendParis paris;
  const std::string name = paris.Confirmed({.count = 2});
  ASSERT_TRUE(paris.Amend(name, "count: 3").has_amendment_held());
  const v1::Event second = paris.Amend(name, "count: 4");
  EXPECT_THAT(second, HasText(RefusalFor(v1::REASON_WRONG_STATE)));
  EXPECT_THAT(second.command_refused().detail(), HasSubstr("WithdrawAmendment"));
}

TEST(Amendments, CountOnlyWhatIsNewAgainstContractAndEnvelope) {
  AmendParis paris;
  paris.Given(fmt::format("contract_signed {{ {} }}", ContractText("sites/paris", 3, "three")));
  const std::string name =
      paris.Confirmed({.count = 2, .contract = "customers/hsbc/contracts/three"});
  EXPECT_THAT(paris.Amend(name, "count: 4"), HasText(RefusalFor(v1::REASON_CONTRACT)));
  paris.Envelope("2026-01-01T00:00:00Z", 300, 360);
  EXPECT_TRUE(paris.Amend(name, "count: 3").has_amendment_held())
      << "300 W together, not 200 W and 300 W";
  EXPECT_THAT(paris.Reserve({}), HasText(RefusalFor(v1::REASON_POWER_ENVELOPE)))
      << "what is held for it is taken";
}

TEST(Amendments, ToAnotherTimeTakeBothUntilOneIsChosen) {
  AmendParis paris;
  const std::string name = paris.Confirmed({.count = 4});
  const v1::Event held = paris.Amend(
      name, fmt::format("start_time {{ {} }} end_time {{ {} }}", Seconds("2027-01-01T11:00:00Z"),
                        Seconds("2027-01-01T14:00:00Z")));
  ASSERT_TRUE(held.has_amendment_held()) << held.ShortDebugString();
  EXPECT_EQ(paris.FreeWithin("2027-01-01T10:00:00Z", "2027-01-01T11:00:00Z"), 0);
  EXPECT_EQ(paris.FreeWithin("2027-01-01T13:00:00Z", "2027-01-01T14:00:00Z"), 0);
  ASSERT_TRUE(paris.Judged(held, true).has_amendment_confirmed());
  EXPECT_EQ(paris.FreeWithin("2027-01-01T10:00:00Z", "2027-01-01T11:00:00Z"), 4);
  EXPECT_THAT(paris.DueAt("2027-01-01T10:30:00Z"), IsEmpty()) << "it starts at 11:00 now";
}

TEST(Amendments, ToAnotherTimeWithMoreServersCountTheirOwnOnce) {
  AmendParis paris;
  const std::string name = paris.Confirmed({});
  const v1::Event held = paris.Amend(
      name, fmt::format("count: 2 start_time {{ {} }} end_time {{ {} }}",
                        Seconds("2027-01-01T14:00:00Z"), Seconds("2027-01-01T16:00:00Z")));
  ASSERT_TRUE(held.has_amendment_held()) << held.ShortDebugString();
  EXPECT_THAT(Names(held.amendment_held().amendment().servers()), ElementsAre("s1", "s2"));
  EXPECT_TRUE(paris.Judged(held, true).has_amendment_confirmed());
  EXPECT_THAT(Names(paris.Row(name).servers()), ElementsAre("s1", "s2"));
}

TEST(Amendments, OfWhatIsInUseKeepItsServersAndMayAddSome) {
  AmendParis paris;
  const std::string name = paris.Active({.count = 2});
  paris.At("2027-01-01T10:30:00Z");
  EXPECT_THAT(paris.Amend(name, "count: 1"), HasText(RefusalFor(v1::REASON_RUNNING)));
  EXPECT_THAT(paris.Amend(name, R"(model: "models/other")"),
              HasText(RefusalFor(v1::REASON_RUNNING)));
  const v1::Event held = paris.Amend(name, "count: 3");
  ASSERT_TRUE(held.has_amendment_held()) << held.ShortDebugString();
  const v1::Event confirmed = paris.Judged(held, true);
  ASSERT_TRUE(confirmed.has_amendment_confirmed()) << confirmed.ShortDebugString();
  EXPECT_THAT(Names(confirmed.amendment_confirmed().added_servers()), ElementsAre("s3"));
  const auto segments = paris.Row(name).segments();
  ASSERT_EQ(segments.size(), 2);
  EXPECT_THAT(segments[0],
              HasText(fmt::format("count: 2 end_time {{ {} }}", Seconds("2027-01-01T10:30:00Z"))));
  EXPECT_THAT(segments[1], HasText(fmt::format("count: 3 start_time {{ {} }}",
                                               Seconds("2027-01-01T10:30:00Z"))));
  EXPECT_EQ(paris.state().index.running().it_power, 300);
}

TEST(Amendments, ThatJoinAUseFindTheSiteAsItIsNow) {
  AmendParis paris;
  const std::string name = paris.Active({.count = 2});
  const v1::Event held = paris.Amend(name, "count: 3");
  ASSERT_TRUE(held.has_amendment_held());
  paris.Envelope("2026-01-01T00:00:00Z", 250, 360);
  EXPECT_THAT(paris.Judged(held, true),
              HasText("amendment_dropped { reason: REASON_POWER_ENVELOPE }"));
  EXPECT_EQ(paris.Row(name).terms().count(), 2);
}

TEST(Amendments, ThatJoinAUseWithAServerThatNeedsAnotherTestAreDropped) {
  AmendParis paris;
  const std::string name = paris.Active({.count = 2});
  const v1::Event held = paris.Amend(name, "count: 3");
  ASSERT_TRUE(held.has_amendment_held());
  EXPECT_THAT(paris.When(R"(record_server { server { name: "sites/paris/servers/s3" untested: true }
                                            test_only: true })",
                         "untested"),
              HasText(R"(server_recorded { name: "sites/paris/servers/s3" untested: true })"));
  const v1::Event dropped = paris.Judged(held, true);
  EXPECT_THAT(dropped, HasText("amendment_dropped { reason: REASON_NO_CAPACITY }"));
  EXPECT_THAT(dropped.amendment_dropped().detail(),
              HasSubstr("sites/paris/servers/s3 needs another test"));
  EXPECT_THAT(Names(paris.Row(name).servers()), ElementsAre("s1", "s2"));
}

TEST(Amendments, ComeBeforeTheLockAndTheStart) {
  AmendParis paris;
  paris.Given(fmt::format("contract_signed {{ {} lock_time {{ seconds: 1800 }} }}",
                          ContractText("sites/paris", 9, "locked")));
  const std::string name =
      paris.Confirmed({.count = 2, .contract = "customers/hsbc/contracts/locked"});
  const std::string other = paris.Confirmed({});
  paris.At("2027-01-01T09:30:00Z");
  EXPECT_THAT(paris.Amend(name, "count: 3"), HasText(RefusalFor(v1::REASON_LOCKED)));
  paris.At("2027-01-01T10:00:00Z");
  EXPECT_THAT(paris.Amend(other, "count: 2"), HasText(RefusalFor(v1::REASON_TIME)));
}

TEST(Amendments, HeldUntilTheStartLapseBeforeIt) {
  AmendParis paris;
  const std::string name = paris.Confirmed({.count = 2});
  paris.At("2027-01-01T09:59:00Z");
  ASSERT_TRUE(paris.Amend(name, "count: 3").has_amendment_held());
  paris.At("2027-01-01T10:00:00Z");
  const auto first = paris.DueAt("2027-01-01T10:00:00Z");
  ASSERT_THAT(first, SizeIs(1));
  EXPECT_TRUE(paris.When(first[0].command, "t-1").has_amendment_dropped());
  const auto then = paris.DueAt("2027-01-01T10:00:00Z");
  ASSERT_THAT(then, SizeIs(1));
  EXPECT_TRUE(paris.When(then[0].command, "t-2").has_reservation_started());
}

TEST(Extension, KeepsTheServersAndWhatWasAgreedBefore) {
  AmendParis paris;
  const std::string name = paris.Active({.count = 2});
  const v1::Event held = paris.Extend(name, "2027-01-01T14:00:00Z");
  ASSERT_TRUE(held.has_amendment_held()) << held.ShortDebugString();
  EXPECT_TRUE(held.amendment_held().amendment().extension());
  ASSERT_TRUE(paris.Judged(held, true).has_amendment_confirmed());
  const v1::Event again = paris.Extend(name, "2027-01-01T15:00:00Z");
  ASSERT_TRUE(paris.Judged(again, true).has_amendment_confirmed()) << "as often as there is room";
  const auto segments = paris.Row(name).segments();
  ASSERT_EQ(segments.size(), 3);
  EXPECT_THAT(segments[0],
              HasText(fmt::format("end_time {{ {} }}", Seconds("2027-01-01T12:00:00Z"))));
  EXPECT_THAT(segments[1], HasText(fmt::format(
                               R"(amendment: "{}" start_time {{ {} }} end_time {{ {} }})",
                               held.amendment_held().amendment().name(),
                               Seconds("2027-01-01T12:00:00Z"), Seconds("2027-01-01T14:00:00Z"))));
  EXPECT_THAT(paris.DueAt("2027-01-01T14:59:59Z"), IsEmpty());
  EXPECT_THAT(paris.DueAt("2027-01-01T15:00:00Z"), SizeIs(1));
}

TEST(Extension, ThatDoesNotFitIsRefusedWithTheLongestFeasibleEndOrShortened) {
  AmendParis paris;
  const std::string name = paris.Active({.count = 4});
  paris.Confirmed({.start = "2027-01-01T13:30:00Z", .end = "2027-01-01T15:00:00Z"});
  const v1::Event refused = paris.Extend(name, "2027-01-01T14:00:00Z");
  EXPECT_THAT(refused, HasText(fmt::format("command_refused {{ reason: REASON_NO_CAPACITY "
                                           "longest_end_time {{ {} }} }}",
                                           Seconds("2027-01-01T13:30:00Z"))));
  EXPECT_THAT(refused.command_refused().detail(),
              HasSubstr("The longest feasible end is 2027-01-01T13:30:00Z"));
  const v1::Event shorter = paris.Extend(name, "2027-01-01T14:00:00Z", true);
  EXPECT_THAT(
      shorter.amendment_held().amendment(),
      HasText(fmt::format("terms {{ end_time {{ {} }} }} asked_end_time {{ {} }}",
                          Seconds("2027-01-01T13:30:00Z"), Seconds("2027-01-01T14:00:00Z"))));
}

TEST(Extension, NeverMovesAUseToOtherServers) {
  AmendParis paris;
  const std::string name = paris.Active({});
  paris.Confirmed({.start = "2027-01-01T12:00:00Z", .end = "2027-01-01T13:00:00Z"});
  const v1::Event refused = paris.Extend(name, "2027-01-01T13:00:00Z", true);
  EXPECT_THAT(refused, HasText(RefusalFor(v1::REASON_NO_CAPACITY)))
      << "s1 is promised, and that s2 is free does not help";
  EXPECT_THAT(refused.command_refused().detail(), HasSubstr("the present one"));
}

TEST(Extension, HasItsMarginsToo) {
  AmendParis paris;
  paris.When(R"(set_margins { site: "sites/paris" model: "models/m" before { seconds: 1800 }
                              after { seconds: 3600 } })",
             "margins");
  const std::string name = paris.Active({.count = 4});
  paris.Confirmed({.start = "2027-01-01T16:00:00Z", .end = "2027-01-01T17:00:00Z", .count = 4});
  EXPECT_THAT(paris.Extend(name, "2027-01-01T14:31:00Z"),
              HasText(RefusalFor(v1::REASON_NO_CAPACITY)));
  EXPECT_TRUE(paris.Extend(name, "2027-01-01T14:30:00Z").has_amendment_held());
}

TEST(Extension, StaysWithinTheContract) {
  AmendParis paris;
  paris.Given(fmt::format("contract_signed {{ {} }}", ContractText("sites/paris", 2, "two")));
  const Wish mine{.count = 2, .contract = "customers/hsbc/contracts/two"};
  const std::string name = paris.Active(mine);
  paris.Confirmed({.start = "2027-01-01T13:00:00Z",
                   .end = "2027-01-01T14:00:00Z",
                   .contract = "customers/hsbc/contracts/two"});
  EXPECT_THAT(
      paris.Extend(name, "2027-01-01T14:00:00Z"),
      HasText(fmt::format("command_refused {{ reason: REASON_CONTRACT longest_end_time {{ {} }} }}",
                          Seconds("2027-01-01T13:00:00Z"))));
  EXPECT_THAT(paris.Extend(name, "2028-02-01T00:00:00Z"), HasText(RefusalFor(v1::REASON_TIME)))
      << "the contract ends before";
}

TEST(Extension, OfAnotherSitesReservationIsAskedThere) {
  AmendParis paris;
  EXPECT_THAT(paris.Extend("sites/borlange/reservations/r-1", "2027-01-01T13:00:00Z"),
              HasText(RefusalFor(v1::REASON_NOT_HOME)));
}

TEST(AmendmentReactions, FollowTheJudgementOfTheAmendmentAndNotOfItsReservation) {
  Paris paris;
  const auto judged = [&](const char* verdict) {
    return paris.ReactionsTo(test::Parse<compliance::v1::Event>(fmt::format(
        R"(reservation_judged {{ reservation: "sites/paris/reservations/r-1/amendments/a-1" verdict: {} }})",
        verdict)));
  };
  ASSERT_THAT(judged("VERDICT_CLEARED"), SizeIs(1));
  EXPECT_THAT(judged("VERDICT_CLEARED")[0].command,
              test::EqualsText(R"(confirm_amendment { reservation: "sites/paris/reservations/r-1"
                            amendment: "sites/paris/reservations/r-1/amendments/a-1" })"));
  ASSERT_THAT(judged("VERDICT_PROHIBITED"), SizeIs(1));
  EXPECT_TRUE(judged("VERDICT_PROHIBITED")[0].command.has_drop_amendment());
}

}  // namespace
}  // namespace concordat::reservations
