// Bundles: what the coordinator decides and what the parts' sites decide.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/services/reservations/paris.h"

namespace concordat::reservations {
namespace {

using test::EqualsText;
using test::HasText;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

std::string PartText(const std::string& site, const Wish& wish = {}) {
  return fmt::format(R"(parts {{ site: "{}" {} }})", site, TermsText(wish));
}

// A request for a part at Paris and one at Borlänge; the name of the bundle.
struct Coordinator : Paris {
  v1::Event Ask(const std::string& id = "b", const Wish& wish = {}) {
    return When(fmt::format("reserve_bundle {{ {} {} }}", PartText("sites/paris", wish),
                            PartText("sites/borlange", wish)),
                id);
  }
  v1::Event Hear(const std::string& part, const std::string& state,
                 const std::string& site = "sites/borlange") {
    return When(
        fmt::format(R"(record_part {{ site: "{}" part {{ bundle: "{}" reservation: "{}" state: {}
                                detail: "said" }} }})",
                    site, name, part, state),
        fmt::format("hear-{}", ++heard));
  }
  void Begin() {
    const v1::Event event = Ask();
    ASSERT_TRUE(event.has_bundle_requested()) << event.ShortDebugString();
    name = event.bundle_requested().name();
    here = event.bundle_requested().parts(0).reservation();
    there = event.bundle_requested().parts(1).reservation();
  }
  v1::Bundle Row() { return state().rows.bundles.Get(name).value_or(v1::Bundle()); }
  v1::Event Settle() { return About("settle_bundle", name); }
  // The one command that follows from the last event.
  std::string Next() {
    const auto intents = Reactions();
    EXPECT_EQ(intents.size(), 1u);
    return intents.empty() ? "" : intents[0].command.ShortDebugString();
  }

  std::string name, here, there;
  int heard = 0;
};

TEST(BundleCoordinator, ExtendsNoBundleAndNamesThePartsThatCanBe) {
  Coordinator paris;
  paris.Begin();
  const auto extend = [&](const std::string& name, const std::string& id) {
    return paris.When(fmt::format(R"(extend_reservation {{ name: "{}" end_time {{ {} }} }})", name,
                                  Seconds("2027-01-01T18:00:00Z")),
                      id);
  };
  const v1::Event refused = extend(paris.name, "whole");
  EXPECT_THAT(refused, HasText(RefusalFor(v1::REASON_BUNDLE)));
  EXPECT_THAT(refused.command_refused().detail(), HasSubstr(paris.here));
  EXPECT_THAT(refused.command_refused().detail(), HasSubstr(paris.there));
  EXPECT_THAT(extend("sites/paris/bundles/b-none", "none"),
              HasText(RefusalFor(v1::REASON_NOT_FOUND)));
  EXPECT_THAT(extend("sites/borlange/bundles/b-1", "other"),
              HasText(RefusalFor(v1::REASON_NOT_HOME)));
}

TEST(BundleCoordinator, AsksEachSiteForItsPart) {
  Coordinator paris;
  const v1::Event event = paris.Ask();
  EXPECT_THAT(
      event,
      HasText(fmt::format(
          R"(bundle_requested {{ parts {{ site: "sites/paris" terms {{ count: 1 customer: "customers/hsbc" }} }}
                             parts {{ site: "sites/borlange" }} expires_at {{ {} }} }})",
          Seconds("2027-01-01T10:00:00Z"))))
      << "it is given up when its first part begins";
  const v1::BundleRequested& requested = event.bundle_requested();
  EXPECT_THAT(requested.name(), HasSubstr("sites/paris/bundles/b-"));
  EXPECT_THAT(requested.parts(1).reservation(), HasSubstr("sites/borlange/reservations/r-"));
  EXPECT_THAT(paris.Next(), HasSubstr("fulfil_part"));
  Paris borlange("borlange");
  EXPECT_EQ(borlange.ReactionsTo(event, "paris").size(), 1u);
  Paris lulea("lulea");
  EXPECT_THAT(lulea.ReactionsTo(event, "paris"), IsEmpty());
  EXPECT_THAT(paris.Ask("b"), HasText(RefusalFor(v1::REASON_ALREADY_EXISTS)));
}

TEST(BundleCoordinator, RefusesWhatItCanTellItself) {
  Coordinator paris;
  EXPECT_THAT(paris.Ask("a", {.contract = "customers/hsbc/contracts/none"}),
              HasText(RefusalFor(v1::REASON_NOT_FOUND)));
  const v1::Event late = paris.Ask("c", {.end = "2029-01-01T00:00:00Z"});
  EXPECT_THAT(late, HasText(RefusalFor(v1::REASON_TIME)));
  EXPECT_THAT(late.command_refused().detail(), HasSubstr("Part 1: "));
}

TEST(BundleCoordinator, AsksForPromisesOnceAllIsHeldAndCommitsOnceAllIsPromised) {
  Coordinator paris;
  paris.Begin();
  EXPECT_THAT(paris.Hear(paris.there, "PART_STATE_HELD"), HasText("part_recorded {}"));
  EXPECT_THAT(paris.Reactions(), IsEmpty());
  EXPECT_THAT(paris.About("prepare_bundle", paris.name),
              HasText(RefusalFor(v1::REASON_WRONG_STATE)));
  paris.Hear(paris.here, "PART_STATE_HELD", "sites/paris");
  EXPECT_THAT(paris.Next(), HasSubstr("prepare_bundle"));
  EXPECT_THAT(paris.Settle(), HasText(RefusalFor(v1::REASON_WRONG_STATE)));
  EXPECT_THAT(paris.About("prepare_bundle", paris.name),
              EqualsText(fmt::format(R"(bundle_prepared {{ name: "{}" parts: "{}" parts: "{}" }})",
                                     paris.name, paris.here, paris.there)));
  EXPECT_THAT(paris.Next(), HasSubstr("promise_part")) << "of its own part";
  paris.Hear(paris.here, "PART_STATE_PROMISED", "sites/paris");
  EXPECT_THAT(paris.Reactions(), IsEmpty());
  paris.Hear(paris.there, "PART_STATE_PROMISED");
  EXPECT_THAT(paris.Next(), HasSubstr("settle_bundle"));
  EXPECT_THAT(paris.Settle(),
              EqualsText(fmt::format(R"(bundle_committed {{ name: "{}" parts: "{}" parts: "{}" }})",
                                     paris.name, paris.here, paris.there)));
  EXPECT_THAT(paris.Row(), HasText("state: BUNDLE_STATE_COMMITTED"));
  EXPECT_THAT(paris.DueAt("2027-01-01T23:00:00Z"), IsEmpty());
  EXPECT_THAT(paris.Settle(), HasText(RefusalFor(v1::REASON_WRONG_STATE)));
}

TEST(BundleCoordinator, AbortsOnceAPartHasFailedAndReleasesTheOthers) {
  for (const char* failure : {"DECLINED", "LAPSED", "CANCELLED"}) {
    Coordinator paris;
    paris.Begin();
    paris.Hear(paris.here, "PART_STATE_HELD", "sites/paris");
    paris.Hear(paris.there, fmt::format("PART_STATE_{}", failure));
    EXPECT_THAT(paris.Next(), HasSubstr("settle_bundle")) << failure;
    const v1::Event aborted = paris.Settle();
    EXPECT_THAT(aborted,
                HasText(fmt::format(
                    R"(bundle_aborted {{ name: "{}" reason: REASON_BUNDLE_ABORTED parts: "{}" }})",
                    paris.name, paris.here)));
    EXPECT_EQ(aborted.bundle_aborted().parts_size(), 1) << "what failed holds nothing";
    EXPECT_THAT(paris.Next(), HasSubstr("settle_part"));
    EXPECT_THAT(paris.Row(), HasText("state: BUNDLE_STATE_ABORTED"));
  }
}

TEST(BundleCoordinator, AbortsWhenItsTimeIsOver) {
  Coordinator paris;
  paris.Begin();
  EXPECT_THAT(paris.DueAt("2027-01-01T09:59:59Z"), IsEmpty());
  const auto due = paris.DueAt("2027-01-01T10:00:00Z");
  ASSERT_EQ(due.size(), 1u);
  EXPECT_TRUE(due[0].command.has_settle_bundle());
  paris.At("2027-01-01T10:00:00Z");
  const v1::Event aborted = paris.When(due[0].command, "due");
  EXPECT_THAT(aborted, HasText("bundle_aborted { reason: REASON_HOLD_LAPSED }"));
  EXPECT_EQ(aborted.bundle_aborted().parts_size(), 2);
  EXPECT_THAT(paris.DueAt("2027-01-02T10:00:00Z"), IsEmpty());
}

TEST(BundleCoordinator, BelievesOnlyAPartsOwnSiteAndNoStepBack) {
  Coordinator paris;
  paris.Begin();
  EXPECT_THAT(paris.Hear(paris.there, "PART_STATE_HELD", "sites/lulea"),
              HasText(RefusalFor(v1::REASON_NOT_HOME)));
  EXPECT_THAT(paris.Hear("sites/borlange/reservations/r-other", "PART_STATE_HELD"),
              HasText(RefusalFor(v1::REASON_NOT_FOUND)));
  EXPECT_THAT(paris.Hear(paris.there, "PART_STATE_PROMISED"),
              HasText(RefusalFor(v1::REASON_WRONG_STATE)));
  EXPECT_THAT(paris.Hear(paris.there, "PART_STATE_LAPSED"), HasText("part_recorded {}"));
  EXPECT_THAT(paris.Hear(paris.there, "PART_STATE_HELD"),
              HasText(RefusalFor(v1::REASON_WRONG_STATE)));
}

// Borlänge, asked by Paris.
struct PartSite : Paris {
  PartSite() : Paris("borlange") {}
  v1::Event Fulfil(const Wish& wish = {}) {
    return When(
        fmt::format(
            R"(fulfil_part {{ bundle: "{}" site: "sites/paris" part {{ site: "sites/borlange" reservation: "{}"
                        terms {{ customer: "customers/hsbc" {} }} }} }})",
            bundle, name, TermsText(wish)),
        "fulfil");
  }
  v1::Event Order(const std::string& command, const std::string& more = "",
                  const std::string& site = "sites/paris") {
    return When(fmt::format(R"({} {{ name: "{}" bundle: "{}" site: "{}" {} }})", command, name,
                            bundle, site, more),
                fmt::format("order-{}", ++orders));
  }
  void HoldAndClear() {
    ASSERT_TRUE(Fulfil().has_reservation_held());
    ASSERT_TRUE(About("confirm_reservation", name).has_part_held());
  }
  v1::Reservation Part() { return Row(name); }

  const std::string bundle = "sites/paris/bundles/b-1";
  const std::string name = "sites/borlange/reservations/r-1p2";
  int orders = 0;
};

TEST(BundlePart, IsHeldClearedPromisedAndConfirmed) {
  PartSite borlange;
  EXPECT_THAT(borlange.Fulfil(), HasText(fmt::format(
                                     R"(reservation_held {{ name: "{}" bundle: "{}"
                                         servers: "sites/borlange/servers/s1" }})",
                                     borlange.name, borlange.bundle)));
  EXPECT_THAT(borlange.Order("promise_part"), HasText(RefusalFor(v1::REASON_WRONG_STATE)))
      << "compliance has not cleared it";
  EXPECT_THAT(borlange.About("confirm_reservation", borlange.name),
              EqualsText(fmt::format(R"(part_held {{ name: "{}" bundle: "{}" }})", borlange.name,
                                     borlange.bundle)));
  EXPECT_THAT(borlange.About("confirm_reservation", borlange.name),
              HasText(RefusalFor(v1::REASON_WRONG_STATE)));
  EXPECT_THAT(borlange.Order("promise_part"),
              EqualsText(fmt::format(R"(part_promised {{ name: "{}" bundle: "{}" }})",
                                     borlange.name, borlange.bundle)));
  EXPECT_THAT(borlange.Order("promise_part"), HasText(RefusalFor(v1::REASON_WRONG_STATE)));
  EXPECT_THAT(*borlange.state().rows.promises.Get(borlange.name),
              HasText(fmt::format(R"(bundle: "{}" promised_time {{ {} }})", borlange.bundle,
                                  Seconds("2027-01-01T09:00:00Z"))));
  EXPECT_THAT(borlange.Order("settle_part", "committed: true"),
              EqualsText(fmt::format(R"(reservation_confirmed {{ name: "{}" bundle: "{}" }})",
                                     borlange.name, borlange.bundle)));
  EXPECT_FALSE(borlange.state().rows.promises.Contains(borlange.name));
  EXPECT_THAT(borlange.Part(), HasText("state: RESERVATION_STATE_CONFIRMED"));
  EXPECT_EQ(borlange.DueAt("2027-01-01T10:00:00Z").size(), 1u) << "it starts like any other";
}

TEST(BundlePart, LapsesBeforeItIsPromisedAndNeverAfter) {
  PartSite first;
  first.HoldAndClear();
  EXPECT_EQ(first.DueAt("2027-01-01T09:15:00Z").size(), 1u);
  first.At("2027-01-01T09:16:00Z");
  EXPECT_THAT(first.Order("promise_part"), HasText(RefusalFor(v1::REASON_HOLD_LAPSED)));
  EXPECT_THAT(first.About("lapse_hold", first.name),
              HasText(fmt::format(R"(hold_lapsed {{ bundle: "{}" }})", first.bundle)));

  PartSite second;
  second.HoldAndClear();
  second.Order("promise_part");
  EXPECT_THAT(second.DueAt("2030-01-01T00:00:00Z"), IsEmpty());
  second.At("2027-01-01T11:00:00Z");
  EXPECT_THAT(second.About("lapse_hold", second.name), HasText(RefusalFor(v1::REASON_WRONG_STATE)));
  EXPECT_THAT(
      second.When(fmt::format(R"(cancel_reservation {{ name: "{}" reason: "no" }})", second.name)),
      HasText(RefusalFor(v1::REASON_WRONG_STATE)));
  EXPECT_TRUE(second.Order("settle_part", "committed: true").has_reservation_confirmed());
}

TEST(BundlePart, ThatIsNotToBeHadIsDeclinedOnceWithWhatWasShort) {
  PartSite borlange;
  EXPECT_THAT(borlange.Fulfil({.count = 5}),
              HasText(fmt::format(R"(reservation_declined {{ name: "{}" bundle: "{}"
                  reason: REASON_NO_CAPACITY shortage {{ terms {{ count: 5 }} }} }})",
                                  borlange.name, borlange.bundle)));
  EXPECT_THAT(borlange.Part(), HasText("state: RESERVATION_STATE_DECLINED"));
  EXPECT_THAT(borlange.Fulfil(), HasText(RefusalFor(v1::REASON_ALREADY_EXISTS)));
}

TEST(BundlePart, IsReleasedWhereTheBundleDoesNotTakePlace) {
  for (const bool promised : {false, true}) {
    PartSite borlange;
    borlange.HoldAndClear();
    if (promised) borlange.Order("promise_part");
    EXPECT_THAT(borlange.Order("settle_part", R"(detail: "no power")"),
                HasText(fmt::format(
                    R"(reservation_declined {{ name: "{}" reason: REASON_BUNDLE_ABORTED bundle: "{}"
                    detail: "{} does not take place. no power" }})",
                    borlange.name, borlange.bundle, borlange.bundle)));
    EXPECT_FALSE(borlange.state().rows.promises.Contains(borlange.name));
    EXPECT_THAT(borlange.Order("settle_part", "committed: true"),
                HasText(RefusalFor(v1::REASON_WRONG_STATE)));
  }
}

TEST(BundlePart, IsNeverConfirmedWithoutItsPromise) {
  PartSite borlange;
  borlange.HoldAndClear();
  EXPECT_THAT(borlange.Order("settle_part", "committed: true"),
              HasText(RefusalFor(v1::REASON_WRONG_STATE)));
}

TEST(BundlePart, BelievesOnlyTheBundlesOwnSite) {
  PartSite borlange;
  borlange.HoldAndClear();
  for (const char* command : {"promise_part", "settle_part"}) {
    EXPECT_THAT(borlange.Order(command, "", "sites/lulea"),
                HasText(RefusalFor(v1::REASON_NOT_HOME)));
  }
}

TEST(BundlePart, IsBrokenByAnOperatorAloneAndSaysSo) {
  PartSite borlange;
  borlange.HoldAndClear();
  const std::string command =
      fmt::format(R"(break_promise {{ name: "{}" reason: "paris is gone" }})", borlange.name);
  EXPECT_THAT(borlange.When(command, "1"), HasText(RefusalFor(v1::REASON_WRONG_STATE)));
  borlange.Order("promise_part");
  const v1::Event broken = borlange.When(command, "2");
  EXPECT_THAT(broken, EqualsText(fmt::format(
                          R"(promise_broken {{ name: "{}" bundle: "{}" reason: "paris is gone" }})",
                          borlange.name, borlange.bundle)));
  EXPECT_THAT(borlange.Part(),
              HasText(R"(state: RESERVATION_STATE_CANCELLED part_state: PART_STATE_BROKEN
                                          detail: "paris is gone")"));
  EXPECT_FALSE(borlange.state().rows.promises.Contains(borlange.name));
  EXPECT_EQ(borlange.Reserve({.count = 4, .site = "sites/borlange"}).event_case(),
            v1::Event::kReservationHeld)
      << "its servers are free";
  EXPECT_THAT(borlange.Order("settle_part", "committed: true"),
              HasText(RefusalFor(v1::REASON_WRONG_STATE)));
  const Paris paris;
  const auto told = paris.ReactionsTo(broken, "borlange");
  ASSERT_EQ(told.size(), 1u);
  EXPECT_THAT(told[0].command.record_part(),
              HasText(R"(site: "sites/borlange" part { state: PART_STATE_BROKEN
                         reason: REASON_PROMISE_BROKEN detail: "paris is gone" })"));
  EXPECT_THAT(borlange.When(R"(break_promise { name: "sites/paris/reservations/x" reason: "y" })"),
              HasText(RefusalFor(v1::REASON_NOT_HOME)));
  EXPECT_THAT(
      borlange.When(R"(break_promise { name: "sites/borlange/reservations/x" reason: "y" })"),
      HasText(RefusalFor(v1::REASON_NOT_FOUND)));
}

TEST(BundlePart, ThatIsRevokedIsToldToItsCoordinator) {
  PartSite borlange;
  borlange.HoldAndClear();
  borlange.Order("promise_part");
  borlange.Order("settle_part", "committed: true");
  const v1::Event revoked = borlange.When(fmt::format(
      R"(revoke_reservation {{ name: "{}" cause: "the grid"
         legal_basis {{ instrument: "Regulation (EU) 2017/1485" article: "22" }} }})",
      borlange.name));
  EXPECT_THAT(revoked,
              HasText(fmt::format(R"(reservation_revoked {{ bundle: "{}" }})", borlange.bundle)));
  const auto told = Paris().ReactionsTo(revoked, "borlange");
  ASSERT_EQ(told.size(), 1u);
  EXPECT_THAT(told[0].command.record_part(),
              HasText(R"(part { state: PART_STATE_CANCELLED detail: "Revoked: the grid" })"));
}

TEST(BundlePart, KnowsServersThatItHasLostWhileItIsPromised) {
  PartSite borlange;
  borlange.HoldAndClear();
  borlange.Order("promise_part");
  borlange.Server("s1", false, true);
  EXPECT_THAT(borlange.Part(), HasText(R"(lost_servers: "sites/borlange/servers/s1")"));
}

TEST(BundlePart, ProhibitedByComplianceTellsTheCoordinator) {
  PartSite borlange;
  borlange.Fulfil();
  const v1::Event declined = borlange.When(
      fmt::format(R"(decline_reservation {{ name: "{}" detail: "rules/x." }})", borlange.name));
  EXPECT_THAT(declined,
              HasText(fmt::format(R"(reservation_declined {{ bundle: "{}" }})", borlange.bundle)));
  const Paris paris;
  EXPECT_EQ(paris.ReactionsTo(declined, "borlange").size(), 1u);
}

}  // namespace
}  // namespace concordat::reservations
