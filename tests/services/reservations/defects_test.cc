// Defects of comparable systems that no other test is about, by their numbers; the table in the
// README of reservations has all sixteen.
#include <gmock/gmock.h>
#include <google/protobuf/unknown_field_set.h>

#include "services/runtime/engine.h"
#include "tests/services/reservations/paris.h"

namespace concordat::reservations {
namespace {

using test::HasText;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

constexpr char kForEver[] = "9999-01-01T00:00:00Z";

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
