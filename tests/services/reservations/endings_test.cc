// Margins around uses, the lock before them, and all the ways in which a use ends.
#include <gmock/gmock.h>

#include "services/reservations/margins.h"
#include "tests/services/reservations/paris.h"

namespace concordat::reservations {
namespace {

using test::EqualsText;
using test::HasText;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;
using testing::SizeIs;

constexpr std::string_view kBasis =
    R"(cause: "an asset freeze" legal_basis { instrument: "Regulation (EU) 269/2014" article: "2" })";

// Half an hour of re-test before each use and an hour of cleaning after it.
struct CleanParis : Paris {
  explicit CleanParis(int before_minutes = 30, int after_minutes = 60) {
    EXPECT_TRUE(When(fmt::format(R"(set_margins {{ site: "sites/paris" model: "models/m"
                       before {{ seconds: {} }} after {{ seconds: {} }} }})",
                                 before_minutes * 60, after_minutes * 60),
                     "margins")
                    .has_margins_set());
  }
  void Contract(const std::string& more) {
    Given(
        fmt::format("contract_signed {{ {} {} }}", ContractText("sites/paris", 10, "other"), more));
  }
  // Confirmed, and started at its time.
  std::string Active(const Wish& wish = {}) {
    const std::string name = Confirmed(wish);
    At(wish.start);
    EXPECT_TRUE(About("start_reservation", name).has_reservation_started());
    return name;
  }
};

Wish Other(Wish wish) {
  wish.contract = "customers/hsbc/contracts/other";
  return wish;
}

TEST(Margins, StandInTheHoldAsTheyWereSetWhenItWasDecided) {
  CleanParis paris;
  const std::string name = paris.Confirmed({.count = 4});
  EXPECT_THAT(paris.Row(name).margins(),
              EqualsText("before { seconds: 1800 } after { seconds: 3600 }"));
  paris.When(R"(set_margins { site: "sites/paris" model: "models/m" })", "none");
  EXPECT_THAT(paris.Row(name).margins().after(), EqualsText("seconds: 3600"));
  EXPECT_THAT(paris.Reserve({.start = "2027-01-01T12:59:59Z", .end = "2027-01-01T14:00:00Z"}),
              HasText(RefusalFor(v1::REASON_NO_CAPACITY)))
      << "what was granted keeps its margins";
  EXPECT_TRUE(paris.Reserve({.start = "2027-01-01T13:00:00Z", .end = "2027-01-01T14:00:00Z"})
                  .has_reservation_held());
}

TEST(Margins, LieOnBothSidesOfEveryUse) {
  CleanParis paris;
  paris.Confirmed({.start = "2027-01-01T14:00:00Z", .end = "2027-01-01T16:00:00Z", .count = 4});
  // 90 minutes between two uses: an hour of cleaning and half an hour of re-test.
  EXPECT_THAT(paris.Reserve({.start = "2027-01-01T10:00:00Z", .end = "2027-01-01T12:31:00Z"}),
              HasText(RefusalFor(v1::REASON_NO_CAPACITY)));
  EXPECT_TRUE(paris.Reserve({.start = "2027-01-01T10:00:00Z", .end = "2027-01-01T12:30:00Z"})
                  .has_reservation_held());
  EXPECT_THAT(paris.Reserve({.start = "2027-01-01T17:29:00Z", .end = "2027-01-01T18:00:00Z"}),
              HasText(RefusalFor(v1::REASON_NO_CAPACITY)));
  EXPECT_TRUE(paris.Reserve({.start = "2027-01-01T17:30:00Z", .end = "2027-01-01T18:00:00Z"})
                  .has_reservation_held());
}

TEST(Margins, DrawWhatTheUseDraws) {
  CleanParis paris;
  paris.Envelope("2027-01-01T12:30:00Z", 150, 360);
  const v1::Event refused = paris.Reserve({.count = 2});
  EXPECT_THAT(refused, HasText(RefusalFor(v1::REASON_POWER_ENVELOPE)))
      << "the use ends at 12:00, its cleaning at 13:00";
  CleanParis none(0, 0);
  none.Envelope("2027-01-01T12:30:00Z", 150, 360);
  EXPECT_TRUE(none.Reserve({.count = 2}).has_reservation_held());
}

TEST(Margins, LeaveNoTimeForAStartThatIsSoonerThanTheReTest) {
  CleanParis paris;
  const v1::Event refused = paris.Reserve({.start = "2027-01-01T09:20:00Z"});
  EXPECT_THAT(refused, HasText(RefusalFor(v1::REASON_MARGIN)));
  EXPECT_THAT(refused.command_refused().detail(),
              HasSubstr("expected 2027-01-01T09:30:00Z or later"));
  EXPECT_TRUE(paris.Reserve({.start = "2027-01-01T09:30:00Z"}).has_reservation_held());
}

TEST(Margins, AreKeptBetweenTheOccurrencesOfASeries) {
  CleanParis paris;
  const auto daily = [](int hours) {
    return fmt::format(R"(access {{ rule: "FREQ=DAILY" time_zone: "Europe/Paris"
        start: "2027-02-01T08:00:00" duration {{ seconds: {} }} }})",
                       hours * 3600);
  };
  Wish wish{.start = "2027-02-01T00:00:00Z", .end = "2027-02-04T00:00:00Z", .more = daily(23)};
  const v1::Event refused = paris.Reserve(wish);
  EXPECT_THAT(refused, HasText(RefusalFor(v1::REASON_MARGIN)));
  EXPECT_THAT(refused.command_refused().detail(), HasSubstr("begins 1h after the one before it; "
                                                            "expected at least 1h30m"));
  wish.more = daily(22);
  const v1::Event held = paris.Reserve(wish);
  ASSERT_TRUE(held.has_reservation_held());
  EXPECT_THAT(paris.Row(held.reservation_held().name() + "-1").margins().before(),
              EqualsText("seconds: 1800"));
}

TEST(Margins, OfASiteThatIsNotThisOneAreSetThere) {
  Paris paris;
  EXPECT_THAT(paris.When(R"(set_margins { site: "sites/borlange" model: "models/m" })"),
              HasText(RefusalFor(v1::REASON_NOT_HOME)));
}

TEST(Endings, CleanAfterTheServersAreProvablyEmptyAndNotBefore) {
  CleanParis paris;
  const std::string name = paris.Active({.count = 4});
  paris.At("2027-01-01T12:00:00Z");
  EXPECT_TRUE(paris.About("begin_end_reservation", name).has_reservation_ending());
  EXPECT_THAT(paris.Reserve({.start = "2027-01-02T10:00:00Z", .end = "2027-01-02T11:00:00Z"}),
              HasText(RefusalFor(v1::REASON_NO_CAPACITY)))
      << "nobody knows how long a removal takes";
  paris.At("2027-01-01T12:20:00Z");
  EXPECT_THAT(
      paris.About("end_reservation", name),
      EqualsText(fmt::format(R"(reservation_cleaning {{ name: "{}" cleaning_until {{ {} }} }})",
                             name, Seconds("2027-01-01T13:20:00Z"))));
  EXPECT_EQ(paris.Row(name).state(), v1::RESERVATION_STATE_CLEANING);
  EXPECT_THAT(paris.About("end_reservation", name), HasText(RefusalFor(v1::REASON_TIME)));
  EXPECT_THAT(paris.Reserve({.start = "2027-01-01T13:40:00Z", .end = "2027-01-01T14:00:00Z"}),
              HasText(RefusalFor(v1::REASON_NO_CAPACITY)));
  EXPECT_TRUE(paris.Reserve({.start = "2027-01-01T13:50:00Z", .end = "2027-01-01T14:00:00Z"})
                  .has_reservation_held());
  ASSERT_THAT(paris.DueAt("2027-01-01T13:20:00Z"), Not(IsEmpty()));
  paris.At("2027-01-01T13:20:00Z");
  EXPECT_TRUE(paris.When(paris.DueAt("2027-01-01T13:20:00Z").back().command, "timer")
                  .has_reservation_ended());
}

TEST(Endings, OfOneUseComeBeforeTheStartOfTheNextOnTheSameInstantAndServers) {
  Paris paris;
  const std::string first = paris.Confirmed({.count = 4});
  const std::string next =
      paris.Confirmed({.start = "2027-01-01T12:00:00Z", .end = "2027-01-01T13:00:00Z", .count = 4});
  paris.At("2027-01-01T10:00:00Z");
  paris.About("start_reservation", first);
  // Whichever timer comes first: the next use does not begin before the one before it has ended.
  paris.At("2027-01-01T12:00:00Z");
  EXPECT_TRUE(paris.About("start_reservation", next).has_reservation_delayed());
  EXPECT_TRUE(paris.About("begin_end_reservation", first).has_reservation_ending());
  EXPECT_TRUE(paris.About("end_reservation", first).has_reservation_ended());
  ASSERT_THAT(paris.Reactions(), SizeIs(1));
  EXPECT_TRUE(paris.When(paris.Reactions()[0].command, "react").has_reservation_started());
}

TEST(Endings, LetTheCustomerFinishWithinTheGraceThatItHas) {
  CleanParis paris;
  paris.Contract("max_grace { seconds: 1800 }");
  const Wish asks = Other({.count = 4, .more = "grace { seconds: 1800 }"});
  const std::string name = paris.Active(asks);
  EXPECT_THAT(paris.Reserve({.start = "2027-01-01T13:30:00Z", .end = "2027-01-01T14:00:00Z"}),
              HasText(RefusalFor(v1::REASON_NO_CAPACITY)))
      << "the grace is promised to nobody else: 12:30, cleaned 13:30, re-tested 14:00";
  EXPECT_TRUE(paris.Reserve({.start = "2027-01-01T14:00:00Z", .end = "2027-01-01T15:00:00Z"})
                  .has_reservation_held());
  paris.At("2027-01-01T12:00:00Z");
  EXPECT_THAT(
      paris.About("begin_end_reservation", name),
      EqualsText(fmt::format(R"(reservation_grace_started {{ name: "{}" grace_until {{ {} }} }})",
                             name, Seconds("2027-01-01T12:30:00Z"))));
  EXPECT_EQ(paris.Row(name).state(), v1::RESERVATION_STATE_ENDING);
  EXPECT_THAT(paris.About("end_reservation", name), HasText(RefusalFor(v1::REASON_WRONG_STATE)));
  EXPECT_THAT(paris.About("begin_end_reservation", name), HasText(RefusalFor(v1::REASON_TIME)));
  ASSERT_THAT(paris.DueAt("2027-01-01T12:30:00Z"), Not(IsEmpty()));
  paris.At("2027-01-01T12:30:00Z");
  EXPECT_TRUE(paris.When(paris.DueAt("2027-01-01T12:30:00Z").back().command, "timer")
                  .has_reservation_ending());
  EXPECT_FALSE(paris.Row(name).ending().has_grace_until());
}

TEST(Endings, GrantNoMoreGraceThanTheContract) {
  Paris paris;
  const v1::Event refused = paris.Reserve({.more = "grace { seconds: 60 }"});
  EXPECT_THAT(refused, HasText(RefusalFor(v1::REASON_CONTRACT)));
  EXPECT_THAT(refused.command_refused().detail(), HasSubstr("expected at most the 0 of"));
}

TEST(Release, GivesBackWhatIsInUseAtOnceAndItsServersOnceTheyAreVacated) {
  CleanParis paris;
  const std::string name = paris.Active({.count = 4});
  paris.At("2027-01-01T11:00:00Z");
  EXPECT_THAT(
      paris.When(fmt::format(R"(release_reservation {{ name: "{}" reason: "converged" }})", name)),
      EqualsText(
          fmt::format(R"(reservation_released {{ name: "{}" reason: "converged" }})", name)));
  EXPECT_EQ(paris.Row(name).state(), v1::RESERVATION_STATE_ENDING);
  EXPECT_EQ(paris.state().index.ContractPeak(
                "customers/hsbc/contracts/frame",
                {test::Time("2027-01-01T11:00:00Z"), test::Time("2027-01-01T12:00:00Z")}),
            0)
      << "against the contract it counts no longer";
  EXPECT_THAT(paris.Reserve({.start = "2027-01-01T12:45:00Z", .end = "2027-01-01T13:00:00Z"}),
              HasText(RefusalFor(v1::REASON_NO_CAPACITY)));
  EXPECT_TRUE(paris.About("end_reservation", name).has_reservation_cleaning());
  EXPECT_TRUE(paris.Reserve({.start = "2027-01-01T12:30:00Z", .end = "2027-01-01T13:00:00Z"})
                  .has_reservation_held());
}

TEST(Release, IsForWhatIsInUse) {
  Paris paris;
  const std::string name = paris.Confirmed({});
  const std::string release = fmt::format(R"(release_reservation {{ name: "{}" }})", name);
  EXPECT_THAT(paris.When(release), HasText(RefusalFor(v1::REASON_WRONG_STATE)));
  paris.At("2027-01-01T10:00:00Z");
  paris.About("start_reservation", name);
  EXPECT_TRUE(paris.When(release, "c-2").has_reservation_released());
  EXPECT_THAT(paris.When(release, "c-3"), HasText(RefusalFor(v1::REASON_WRONG_STATE)));
}

TEST(Cancel, WithWorkRunningIsRefusedAndNamesReleaseAndRevoke) {
  CleanParis paris;
  const std::string name = paris.Active();
  const v1::Event refused = paris.About("cancel_reservation", name);
  EXPECT_THAT(refused, HasText(RefusalFor(v1::REASON_RUNNING)));
  EXPECT_THAT(refused.command_refused().detail(), HasSubstr("ReleaseReservation"));
  EXPECT_THAT(refused.command_refused().detail(), HasSubstr("RevokeReservation"));
}

TEST(Lock, KeepsTheTermsFromTheLockTimeOnExceptFromALegalBasis) {
  CleanParis paris;
  paris.Contract("lock_time { seconds: 1800 }");
  const std::string first = paris.Confirmed(Other({}));
  const std::string second = paris.Confirmed(Other({}));
  EXPECT_THAT(paris.Row(first).terms().lock_time(), EqualsText("seconds: 1800"));
  paris.At("2027-01-01T09:29:59Z");
  EXPECT_TRUE(paris.About("cancel_reservation", first).has_reservation_cancelled());
  paris.At("2027-01-01T09:30:00Z");
  const v1::Event refused = paris.About("cancel_reservation", second);
  EXPECT_THAT(refused, HasText(RefusalFor(v1::REASON_LOCKED)));
  EXPECT_THAT(refused.command_refused().detail(), HasSubstr("since 2027-01-01T09:30:00Z"));
  EXPECT_TRUE(paris.When(fmt::format(R"(revoke_reservation {{ name: "{}" {} }})", second, kBasis))
                  .has_reservation_revoked());
}

TEST(Lock, DoesNotKeepACustomerWhoseStartIsDelayed) {
  CleanParis paris(0, 0);
  paris.Contract("lock_time { seconds: 1800 }");
  const std::string name = paris.Confirmed(Other({}));
  paris.Server("s1", false, true);
  paris.At("2027-01-01T10:00:00Z");
  EXPECT_TRUE(paris.About("start_reservation", name).has_reservation_delayed());
  EXPECT_TRUE(paris.About("cancel_reservation", name).has_reservation_cancelled());
}

TEST(Revocation, CarriesItsCauseAndLegalBasisAndFreesWhatHadNotStarted) {
  Paris paris;
  const std::string name = paris.Confirmed({.count = 4});
  EXPECT_THAT(paris.When(fmt::format(R"(revoke_reservation {{ name: "{}" {} }})", name, kBasis)),
              EqualsText(fmt::format(R"(reservation_revoked {{ name: "{}" {} }})", name, kBasis)));
  EXPECT_THAT(paris.Row(name), HasText(R"(state: RESERVATION_STATE_REVOKED
      ending { cause: "an asset freeze" legal_basis { article: "2" } })"));
  EXPECT_TRUE(paris.Reserve({.count = 4}).has_reservation_held());
  EXPECT_THAT(paris.About("cancel_reservation", name), HasText(RefusalFor(v1::REASON_WRONG_STATE)));
}

TEST(Revocation, OfWhatIsInUseVacatesItLikeAnEndAndThenItIsRevoked) {
  CleanParis paris;
  const std::string name = paris.Active({.count = 4});
  const v1::Event revoked =
      paris.When(fmt::format(R"(revoke_reservation {{ name: "{}" {} }})", name, kBasis));
  EXPECT_TRUE(revoked.reservation_revoked().vacates());
  EXPECT_EQ(paris.Row(name).state(), v1::RESERVATION_STATE_ENDING);
  EXPECT_THAT(paris.Reserve({.start = "2027-01-02T10:00:00Z", .end = "2027-01-02T11:00:00Z"}),
              HasText(RefusalFor(v1::REASON_NO_CAPACITY)));
  EXPECT_TRUE(paris.About("end_reservation", name).has_reservation_cleaning());
  paris.At("2027-01-01T11:00:00Z");
  EXPECT_TRUE(paris.About("end_reservation", name).has_reservation_ended());
  EXPECT_EQ(paris.Row(name).state(), v1::RESERVATION_STATE_REVOKED);
}

TEST(Revocation, OfASeriesTakesWhatHasNotBegun) {
  Paris paris;
  const v1::Event held = paris.Reserve({.start = "2027-02-01T00:00:00Z",
                                        .end = "2027-02-04T00:00:00Z",
                                        .more = R"(access { rule: "FREQ=DAILY"
      time_zone: "Europe/Paris" start: "2027-02-01T08:00:00" duration { seconds: 3600 } })"});
  const std::string name = held.reservation_held().name();
  paris.About("confirm_reservation", name);
  paris.When(fmt::format(R"(revoke_reservation {{ name: "{}" {} }})", name, kBasis));
  EXPECT_EQ(paris.Row(name + "-2").state(), v1::RESERVATION_STATE_REVOKED);
  EXPECT_THAT(paris.DueAt("9999-01-01T00:00:00Z"), IsEmpty());
}

TEST(PartialStart, HandsOverWhatIsThereOnceItIsEnough) {
  Paris paris;
  const std::string strict = paris.Confirmed({.count = 2});
  const std::string lenient = paris.Confirmed({.count = 2, .more = "min_count: 1"});
  paris.Server("s1", false, true);
  paris.Server("s3", false, true);
  paris.At("2027-01-01T10:00:00Z");
  EXPECT_THAT(paris.About("start_reservation", strict).reservation_delayed().detail(),
              HasSubstr("1 of its 2 servers are lost; expected at least 2"));
  EXPECT_THAT(paris.About("start_reservation", lenient).reservation_started().servers(),
              ElementsAre("sites/paris/servers/s4"));
  EXPECT_THAT(paris.Row(lenient).lost_servers(), ElementsAre("sites/paris/servers/s3"));
}

TEST(EndingReactions, TellTheSiteThatOrderedWhatBecameOfIt) {
  Paris paris;
  const auto intents =
      paris.ReactionsTo(test::Parse<v1::Event>(fmt::format(
                            R"(reservation_revoked {{ name: "sites/borlange/reservations/r-1" {}
                                   order: "sites/paris/orders/r-1" }})",
                            kBasis)),
                        "borlange");
  ASSERT_THAT(intents, SizeIs(1));
  EXPECT_THAT(intents[0].command.record_order_answer().answer(),
              HasText(R"(state: ORDER_STATE_REVOKED detail: "an asset freeze")"));
}

}  // namespace
}  // namespace concordat::reservations
