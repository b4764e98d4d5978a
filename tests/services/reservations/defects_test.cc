// Defects of comparable systems that no other test is about, by their numbers; the table in the
// README of reservations has all sixteen.
#include <gmock/gmock.h>
#include <google/protobuf/unknown_field_set.h>

#include <set>

#include "services/runtime/engine.h"
#include "tests/services/reservations/paris.h"

namespace concordat::reservations {
namespace {

using test::HasText;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

constexpr char kForEver[] = "9999-01-01T00:00:00Z";

// A timer that comes late finds all three due at once. A notice after the end would be none, and a
// start before it would share its servers. Names are chance, so that either may come first.
TEST(KnownDefects, Case1OnOneInstantTheNoticeComesBeforeTheEndAndTheNextStartAfterIt) {
  std::set<bool> start_comes_first;
  for (int world = 0; world < 20; ++world) {
    Paris paris;
    paris.Given(fmt::format("contract_signed {{ {} notices {{ seconds: 3600 }} }}",
                            ContractText("sites/paris", 10)));
    const auto confirmed = [&](const Wish& wish, const char* id) {
      const std::string name =
          paris.Reserve(wish, fmt::format("{}-{}", id, world)).reservation_held().name();
      EXPECT_TRUE(paris.About("confirm_reservation", name).has_reservation_confirmed());
      return name;
    };
    const std::string first = confirmed({.count = 4}, "first");
    const std::string next = confirmed(
        {.start = "2027-01-01T12:00:00Z", .end = "2027-01-01T14:00:00Z", .count = 4}, "next");
    start_comes_first.insert(next < first);
    paris.At("2027-01-01T10:00:00Z").About("start_reservation", first);
    paris.At("2027-01-01T12:00:00Z");
    const auto due = paris.DueAt("2027-01-01T12:00:00Z");
    ASSERT_THAT(due, SizeIs(3));
    EXPECT_EQ(due[0].kind, "notice");
    EXPECT_TRUE(paris.When(due[0].command, "tick-0").has_notice_given());
    for (int i : {1, 2}) {
      const v1::Event event = paris.When(due[i].command, fmt::format("tick-{}", i));
      EXPECT_TRUE(event.has_reservation_ending() || event.has_reservation_delayed())
          << event.ShortDebugString();
    }
    EXPECT_EQ(paris.Row(first).state(), v1::RESERVATION_STATE_ENDING);
    EXPECT_EQ(paris.Row(next).state(), v1::RESERVATION_STATE_CONFIRMED)
        << "something runs on its servers still";
    EXPECT_THAT(paris.About("give_notice", first), HasText(RefusalFor(v1::REASON_TIME)));
    EXPECT_TRUE(paris.About("end_reservation", first).has_reservation_ended());
    ASSERT_THAT(paris.Reactions(), SizeIs(1));
    EXPECT_TRUE(paris.When(paris.Reactions()[0].command, "react").has_reservation_started());
  }
  EXPECT_THAT(start_comes_first, SizeIs(2)) << "both orders of names were there";
}

TEST(KnownDefects, Case2WhatTimeCannotMendIsNotTriedAgain) {
  Paris paris;
  const std::string late = paris.Confirmed({.count = 4});
  const std::string waits =
      paris.Confirmed({.start = "2027-01-01T12:00:00Z", .end = "2027-01-01T16:00:00Z"});
  const std::string cancelled =
      paris.Confirmed({.start = "2027-01-01T12:00:00Z", .end = "2027-01-01T16:00:00Z"});
  paris.About("cancel_reservation", cancelled);
  paris.At("2027-01-01T10:00:00Z").About("start_reservation", late);
  paris.At("2027-01-01T12:00:00Z").About("begin_end_reservation", late);
  EXPECT_TRUE(paris.About("start_reservation", waits).has_reservation_delayed());
  EXPECT_THAT(paris.DueAt("2027-01-01T12:01:00Z"), SizeIs(1)) << "its servers will be free";
  EXPECT_THAT(paris.About("start_reservation", cancelled),
              HasText(RefusalFor(v1::REASON_WRONG_STATE)));
  EXPECT_THAT(paris.Reactions(), IsEmpty());
  paris.About("cancel_reservation", waits);
  paris.About("end_reservation", late);
  EXPECT_THAT(paris.DueAt(kForEver), IsEmpty()) << "nothing of what is refused is due again";
}

TEST(KnownDefects, Case3AnEndThatMovesBeginsItsNoticesAgainAndTheOldOnesStop) {
  Paris paris;
  paris.Given(fmt::format("contract_signed {{ {} notices {{ seconds: 3600 }} }}",
                          ContractText("sites/paris", 10)));
  const std::string name = paris.Confirmed({.end = "2027-01-01T14:00:00Z"});
  paris.At("2027-01-01T10:00:00Z").About("start_reservation", name);
  const auto notice_at = [&](const std::string& time) {
    paris.At(time);
    const auto due = paris.DueAt(time);
    return due.empty() ? v1::Event() : paris.When(due[0].command, due[0].kind + due[0].deadline);
  };
  EXPECT_THAT(notice_at("2027-01-01T13:00:00Z"),
              HasText(fmt::format("notice_given {{ end_time {{ {} }} }}",
                                  Seconds("2027-01-01T14:00:00Z"))));
  const v1::Event held =
      paris.When(fmt::format(R"(extend_reservation {{ name: "{}" end_time {{ {} }} }})", name,
                             Seconds("2027-01-01T18:00:00Z")),
                 "extend");
  ASSERT_TRUE(held.has_amendment_held()) << held.ShortDebugString();
  paris.When(fmt::format(R"(confirm_amendment {{ reservation: "{}" amendment: "{}" }})", name,
                         held.amendment_held().amendment().name()),
             "confirm");
  EXPECT_THAT(paris.DueAt("2027-01-01T16:59:59Z"), IsEmpty()) << "the former end is nobody's";
  EXPECT_THAT(
      notice_at("2027-01-01T17:00:00Z"),
      HasText(fmt::format("notice_given {{ before_end {{ seconds: 3600 }} "
                          "end_time {{ {} }} replaced_end_time {{ {} }} }}",
                          Seconds("2027-01-01T18:00:00Z"), Seconds("2027-01-01T14:00:00Z"))));
}

// A directory that does not answer, or not yet: contract, customer, project and one of the servers
// are in no row of the site.
TEST(KnownDefects, Case10WhatIsUnknownIsNotAbsentAndWhatWasPromisedStarts) {
  Paris paris;
  const std::string name = "sites/paris/reservations/r-old";
  paris.Given(fmt::format(
      R"(reservation_held {{ name: "{}" terms {{ customer: "customers/new" project: "p" {} }}
          servers: "sites/paris/servers/s1" servers: "sites/paris/servers/unrecorded"
          it_power_watts: 200 cooling_watts: 180 hold_expires_at {{ {} }} }})",
      name, TermsText({.count = 2, .contract = "customers/new/contracts/c"}),
      Seconds("2027-01-01T09:15:00Z")));
  ASSERT_TRUE(paris.About("confirm_reservation", name).has_reservation_confirmed());
  const std::string promised = paris.Row(name).SerializeAsString();
  for (const char* event :
       {R"(contract_signed { name: "customers/other/contracts/c" customer: "customers/other" })",
        R"(contract_recorded { home_site: "sites/borlange"
             contract { name: "customers/new/contracts/d" customer: "customers/new" } })",
        R"(customer_registered { name: "customers/other" })",
        R"(project_registered { name: "customers/other/projects/p" })",
        R"(server_recorded { name: "sites/paris/servers/gone" model: "models/m" lost: true })",
        R"(server_recorded { name: "sites/paris/servers/s4" model: "models/m" lost: true })",
        R"(order_answered { order: "sites/paris/orders/o" state: ORDER_STATE_DECLINED })",
        R"(hold_lapsed { name: "sites/paris/reservations/r-other" })",
        R"(amendment_dropped { reservation: "sites/paris/reservations/r-other" })",
        R"(window_released { window: "sites/paris/windows/w" })"}) {
    paris.Given(event);
    EXPECT_EQ(paris.Row(name).SerializeAsString(), promised) << event;
  }
  // Who asks for more is told what is not known; it costs nothing of what is there.
  EXPECT_THAT(paris.When(fmt::format(R"(extend_reservation {{ name: "{}" end_time {{ {} }} }})",
                                     name, Seconds("2027-01-01T13:00:00Z")),
                         "extend"),
              HasText(RefusalFor(v1::REASON_NOT_FOUND)));
  EXPECT_THAT(
      paris.When(fmt::format(R"(amend_reservation {{ name: "{}" count: 3 }})", name), "amend"),
      HasText(RefusalFor(v1::REASON_NOT_FOUND)));
  EXPECT_EQ(paris.Row(name).SerializeAsString(), promised);
  EXPECT_THAT(paris.Reserve({.count = 3}), HasText(RefusalFor(v1::REASON_NO_CAPACITY)))
      << "s1 is promised and s4 is lost";
  EXPECT_THAT(paris.DueAt("2027-01-01T09:59:59Z"), IsEmpty());
  const auto start = paris.At("2027-01-01T10:00:00Z").DueAt("2027-01-01T10:00:00Z");
  ASSERT_THAT(start, SizeIs(1));
  EXPECT_THAT(paris.When(start[0].command, "start"), HasText(R"(reservation_started {
      servers: "sites/paris/servers/s1" servers: "sites/paris/servers/unrecorded" })"));
  // And it has all of its time.
  EXPECT_THAT(paris.DueAt("2027-01-01T11:59:59Z"), IsEmpty());
}

TEST(KnownDefects, Case13WhatIsIdleIsNotTakenAwayBeforeItsEnd) {
  Paris paris;
  const std::string name = paris.Confirmed({.end = "2027-06-01T00:00:00Z"});
  paris.At("2027-01-01T10:00:00Z").About("start_reservation", name);
  EXPECT_THAT(paris.Reactions(), IsEmpty());
  // Nothing is ever deployed on it.
  EXPECT_THAT(paris.DueAt("2027-05-31T23:59:59Z"), IsEmpty());
  EXPECT_EQ(paris.DueAt("2027-06-01T00:00:00Z").at(0).kind, "finish");
}

TEST(KnownDefects, Case15AMisnamedLimitIsRefusedAndNotSwitchedOff) {
  v1::Command command = test::Parse<v1::Command>(
      fmt::format(R"(sign_contract {{ name: "customers/hsbc/contracts/c" sites: "sites/paris"
          start_time {{ {} }} end_time {{ {} }} quota {{ accelerators: 8 }} }})",
                  Seconds("2027-01-01T00:00:00Z"), Seconds("2028-01-01T00:00:00Z")));
  EXPECT_TRUE(runtime::CheckKnown(command).ok());
  // A limit that this release does not know, deep inside.
  v1::ContractQuota& quota = *command.mutable_sign_contract()->mutable_quota();
  quota.GetReflection()->MutableUnknownFields(&quota)->AddVarint(99, 4);
  EXPECT_THAT(std::string(runtime::CheckKnown(command).message()),
              HasSubstr("field 99 of concordat.reservations.v1.ContractQuota"));
}

TEST(KnownDefects, Case16AVetoIsRecordedWithItsRuleAndNothingIsConfirmedWithoutAWord) {
  Paris paris;
  const std::string vetoed = paris.Reserve({}).reservation_held().name();
  const std::string unheard = paris.Reserve({}).reservation_held().name();
  const auto veto = paris.ReactionsTo(test::Parse<compliance::v1::Event>(
      fmt::format(R"(reservation_judged {{ reservation: "{}" verdict: VERDICT_PROHIBITED
          findings {{ rule: "rules/hds" version: 2 title: "Health data" effect: EFFECT_DENY
            outcome: FINDING_OUTCOME_VIOLATED }} }})",
                  vetoed)));
  ASSERT_THAT(veto, SizeIs(1));
  const v1::Event declined = paris.When(veto[0].command, "veto");
  EXPECT_THAT(declined, HasText("reservation_declined { reason: REASON_COMPLIANCE }"));
  EXPECT_THAT(declined.reservation_declined().detail(), HasSubstr("rules/hds version 2"));
  // A judge who is not heard is no consent.
  const auto due = paris.DueAt("2027-01-01T09:15:00Z");
  ASSERT_THAT(due, SizeIs(1));
  EXPECT_TRUE(paris.At("2027-01-01T09:15:00Z").When(due[0].command, "lapse").has_hold_lapsed());
  EXPECT_EQ(paris.Row(unheard).state(), v1::RESERVATION_STATE_LAPSED);
}

}  // namespace
}  // namespace concordat::reservations
