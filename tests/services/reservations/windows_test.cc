#include <algorithm>

#include "tests/services/reservations/paris.h"

namespace concordat::reservations {
namespace {

using test::EqualsText;
using test::HasText;
using testing::ElementsAre;

constexpr char kWindow[] = "sites/paris/windows/w";

// Claims s1 and s2 from 11:00 to 13:00.
std::string Announced(const std::string& window_class = "WINDOW_CLASS_PLANNED") {
  return fmt::format(R"(window_announced {{ name: "{}" window_class: {}
      servers: "sites/paris/servers/s1" servers: "sites/paris/servers/s2"
      start_time {{ {} }} end_time {{ {} }} }})",
                     kWindow, window_class, Seconds("2027-01-01T11:00:00Z"),
                     Seconds("2027-01-01T13:00:00Z"));
}

v1::Event Hear(Paris& paris, const std::string& inventory_event) {
  const auto intents =
      paris.ReactionsTo(test::Parse<inventory::v1::Event>(inventory_event), "paris");
  EXPECT_EQ(intents.size(), 1u) << inventory_event;
  return intents.empty() ? v1::Event() : paris.When(intents[0].command, intents[0].kind);
}

std::vector<std::string> AffectedBy(Paris& paris) {
  std::vector<std::string> names;
  const auto record = paris.state().rows.window_records.Get(kWindow).value_or(v1::WindowRecord());
  for (const auto& affected : record.window().affected()) names.push_back(affected.reservation());
  return names;
}

TEST(WindowClaims, AnAnnouncedWindowNamesWhatItOverlapsAndWhereThatCouldGo) {
  Paris paris;
  const std::string overlaps = paris.Confirmed({.count = 2});
  paris.Confirmed({.start = "2027-01-01T13:00:00Z", .end = "2027-01-01T14:00:00Z", .count = 4});
  EXPECT_THAT(
      Hear(paris, Announced()),
      HasText(fmt::format(R"(window_affects {{
      window: "{}" servers: "sites/paris/servers/s1" servers: "sites/paris/servers/s2"
      start_time {{ {} }} end_time {{ {} }} announced_time {{ {} }}
      affected {{ reservation: "{}" customer: "customers/hsbc"
        servers: "sites/paris/servers/s1" servers: "sites/paris/servers/s2"
        start_time {{ {} }} end_time {{ {} }} needs_consent: true
        free_servers: "sites/paris/servers/s3" free_servers: "sites/paris/servers/s4" }} }})",
                          kWindow, Seconds("2027-01-01T11:00:00Z"), Seconds("2027-01-01T13:00:00Z"),
                          Seconds("2027-01-01T09:00:00Z"), overlaps,
                          Seconds("2027-01-01T10:00:00Z"), Seconds("2027-01-01T12:00:00Z"))));
}

TEST(WindowClaims, AnEmergencyAsksNobodyAndNamesThemAll) {
  Paris paris;
  paris.Confirmed({});
  const v1::Event affects = Hear(paris, Announced("WINDOW_CLASS_EMERGENCY"));
  ASSERT_EQ(affects.window_affects().affected_size(), 1);
  EXPECT_FALSE(affects.window_affects().affected(0).needs_consent());
}

TEST(WindowClaims, AContractThatAsksForNoticeAloneIsAskedOnlyWhereNoticeWasTooShort) {
  for (const auto& [days, asked] : {std::pair(0, false), std::pair(1, true)}) {
    Paris paris;
    paris.Given(
        fmt::format(R"(contract_signed {{ {} interventions {{ maintenance: CONSENT_RULE_NOTICE
        maintenance_notice_days: {} }} }})",
                    ContractText("sites/paris", 10), days));
    paris.Confirmed({.count = 4});
    const v1::Event affects = Hear(paris, Announced());
    ASSERT_EQ(affects.window_affects().affected_size(), 1);
    EXPECT_EQ(affects.window_affects().affected(0).needs_consent(), asked) << days;
  }
}

TEST(WindowClaims, WhatAContractNeverAllowsNeedsTheCustomersWord) {
  Paris paris;
  paris.Given(
      fmt::format(R"(contract_signed {{ {} interventions {{ maintenance: CONSENT_RULE_NEVER }} }})",
                  ContractText("sites/paris", 10)));
  paris.Confirmed({.count = 4});
  EXPECT_THAT(Hear(paris, Announced()),
              HasText("window_affects { affected { needs_consent: true } }"));
}

TEST(WindowClaims, WorkThatAsksForABurnInMakesTheServersUntested) {
  Paris paris;
  Hear(paris, Announced());
  const auto intents = paris.ReactionsTo(test::Parse<inventory::v1::Event>(fmt::format(
      R"(window_closed {{ name: "{}" retest: true
          servers: "sites/paris/servers/s1" servers: "sites/paris/servers/s2" }})",
      kWindow)));
  ASSERT_EQ(intents.size(), 3u);
  for (const auto& intent : intents) paris.When(intent.command, intent.kind + intent.subject);
  EXPECT_FALSE(paris.state().rows.window_records.Contains(kWindow));
  EXPECT_TRUE(paris.state().rows.server_records.Get("sites/paris/servers/s1")->server().untested());
  EXPECT_THAT(paris.Reserve({.count = 3}), HasText(RefusalFor(v1::REASON_NO_CAPACITY)));
}

TEST(WindowClaims, WhatIsOnlyHeldIsAskedToo) {
  Paris paris;
  paris.Reserve({});
  EXPECT_THAT(Hear(paris, Announced()),
              HasText("window_affects { affected { needs_consent: true } }"));
}

TEST(WindowClaims, NoNewReservationGetsAClaimedServerAndTouchingIsNoOverlap) {
  Paris paris;
  Hear(paris, Announced());
  EXPECT_THAT(
      paris.Reserve({.start = "2027-01-01T12:00:00Z", .end = "2027-01-01T14:00:00Z", .count = 3}),
      HasText(RefusalFor(v1::REASON_NO_CAPACITY)));
  EXPECT_THAT(
      paris.Reserve({.start = "2027-01-01T12:00:00Z", .end = "2027-01-01T14:00:00Z", .count = 2}),
      HasText(
          R"(reservation_held { servers: "sites/paris/servers/s3" servers: "sites/paris/servers/s4" })"));
  EXPECT_THAT(paris.Reserve({.start = "2027-01-01T14:00:00Z", .end = "2027-01-01T15:00:00Z"}),
              HasText(R"(reservation_held { servers: "sites/paris/servers/s1" })"));
  EXPECT_THAT(paris.Reserve({.start = "2027-01-01T10:00:00Z", .end = "2027-01-01T11:00:00Z"}),
              HasText(R"(reservation_held { servers: "sites/paris/servers/s1" })"));
}

TEST(WindowClaims, AReservationKeepsTheServersThatAWindowClaims) {
  Paris paris;
  const std::string name = paris.Confirmed({.count = 2});
  Hear(paris, Announced());
  EXPECT_EQ(paris.Row(name).servers_size(), 2);
  paris.At("2027-01-01T10:00:00Z");
  EXPECT_THAT(
      paris.About("start_reservation", name),
      HasText(
          R"(reservation_started { servers: "sites/paris/servers/s1" servers: "sites/paris/servers/s2" })"));
}

TEST(WindowClaims, AWindowThatIsOverClaimsNothing) {
  for (const char* over :
       {"window_closed", "window_aborted", "window_cancelled", "window_consent_lapsed"}) {
    Paris paris;
    Hear(paris, Announced());
    EXPECT_THAT(Hear(paris, fmt::format(R"({} {{ name: "{}" }})", over, kWindow)),
                EqualsText(fmt::format(R"(window_released {{ window: "{}" }})", kWindow)));
    EXPECT_TRUE(
        paris.Reserve({.start = "2027-01-01T12:00:00Z", .end = "2027-01-01T14:00:00Z", .count = 4})
            .has_reservation_held())
        << over;
  }
}

TEST(WindowClaims, AnOverrunClaimsWithoutEndAndSaysWhomItAffectsNow) {
  Paris paris;
  Hear(paris, Announced());
  const std::string later =
      paris.Confirmed({.start = "2027-01-01T14:00:00Z", .end = "2027-01-01T15:00:00Z", .count = 1});
  paris.At("2027-01-01T13:00:00Z");
  const v1::Event affects =
      Hear(paris, fmt::format(R"(window_overrunning {{ name: "{}" }})", kWindow));
  EXPECT_FALSE(affects.window_affects().has_end_time());
  EXPECT_THAT(AffectedBy(paris), ElementsAre(later));
  EXPECT_THAT(
      paris.Reserve({.start = "2027-06-01T12:00:00Z", .end = "2027-06-01T14:00:00Z", .count = 3}),
      HasText(RefusalFor(v1::REASON_NO_CAPACITY)));
}

TEST(WindowClaims, AWindowLooksAgainWhenAReservationThatItAffectsChanges) {
  Paris paris;
  const std::string first = paris.Confirmed({});
  const std::string second = paris.Confirmed({});
  Hear(paris, Announced());
  std::vector<std::string> both = {first, second};
  std::sort(both.begin(), both.end());
  EXPECT_EQ(AffectedBy(paris), both);
  paris.About("cancel_reservation", first);
  const auto review = paris.Reactions();
  ASSERT_EQ(review.size(), 1u);
  EXPECT_TRUE(paris.When(review[0].command, "review-1").has_window_affects());
  EXPECT_THAT(AffectedBy(paris), ElementsAre(second));
  EXPECT_THAT(paris.When(review[0].command, "review-2"),
              HasText(RefusalFor(v1::REASON_WRONG_STATE)))
      << "nothing has changed since";
  paris.At("2027-01-01T10:00:00Z").About("start_reservation", second);
  const auto started = paris.Reactions();
  ASSERT_EQ(started.size(), 1u);
  EXPECT_THAT(paris.When(started[0].command, "review-3"),
              HasText("window_affects { affected { active: true } }"));
  paris.At("2027-01-01T12:00:00Z").About("begin_end_reservation", second);
  ASSERT_EQ(paris.Reactions().size(), 1u);
  paris.When(paris.Reactions()[0].command, "review-4");
  EXPECT_TRUE(AffectedBy(paris).empty()) << "its time is over";
}

TEST(WindowClaims, CommandsThatComeLateOrAreMisledAreRefused) {
  Paris paris;
  Hear(paris, Announced());
  EXPECT_THAT(Hear(paris, Announced()), HasText(RefusalFor(v1::REASON_ALREADY_EXISTS)));
  EXPECT_THAT(paris.When(R"(record_window { window { window: "sites/lyon/windows/w" } })", "lyon"),
              HasText(RefusalFor(v1::REASON_NOT_HOME)));
  for (const char* command : {"review_window", "prolong_window", "release_window"}) {
    EXPECT_THAT(
        paris.When(fmt::format(R"({} {{ window: "sites/paris/windows/x" }})", command), command),
        HasText(RefusalFor(v1::REASON_NOT_FOUND)));
  }
}

// Decides the only command that follows.
v1::Event Follow(Paris& paris, const std::string& id) {
  const auto intents = paris.Reactions();
  EXPECT_EQ(intents.size(), 1u);
  return intents.empty() ? v1::Event() : paris.When(intents[0].command, id);
}

TEST(WindowClaims, WhatHasNotStartedGetsOtherServersAndTheWindowAffectsItNoMore) {
  Paris paris;
  const std::string name = paris.Confirmed({.count = 2});
  Hear(paris, Announced());
  EXPECT_THAT(Follow(paris, "reassign"), EqualsText(fmt::format(R"(servers_reassigned {{
      reservation: "{}" window: "{}"
      servers: "sites/paris/servers/s3" servers: "sites/paris/servers/s4"
      removed: "sites/paris/servers/s1" removed: "sites/paris/servers/s2"
      added: "sites/paris/servers/s3" added: "sites/paris/servers/s4"
      it_power_watts: 200 cooling_watts: 180 }})",
                                                                name, kWindow)));
  Follow(paris, "review");
  EXPECT_TRUE(AffectedBy(paris).empty());
  EXPECT_TRUE(
      paris.Reserve({.start = "2027-01-01T10:00:00Z", .end = "2027-01-01T11:00:00Z", .count = 2})
          .has_reservation_held())
      << "what it gave up is free where the window claims nothing";
}

// What closes it is not heard yet. Each of its servers is free for what is left of the reservation.
TEST(WindowClaims, WhatWouldStartAfterAWindowsEndIsNotMovedWithinIt) {
  Paris paris;
  const std::string name =
      paris.Confirmed({.start = "2027-01-01T12:00:00Z", .end = "2027-01-01T15:00:00Z"});
  for (const char* id : {"s3", "s4"}) paris.Server(id, false);
  Hear(paris, Announced());
  EXPECT_TRUE(paris.Reactions().empty()) << "the window claims s2 until 13:00";
  paris.At("2027-01-01T13:00:00Z");
  paris.When(fmt::format(R"(review_window {{ window: "{}" }})", kWindow), "review");
  EXPECT_TRUE(paris.Reactions().empty());
  EXPECT_THAT(paris.When(fmt::format(R"(reassign_servers {{ reservation: "{}" window: "{}" }})",
                                     name, kWindow),
                         "reassign"),
              HasText(RefusalFor(v1::REASON_WRONG_STATE)));
}

// The longer terms would stand in the window, the confirmed ones do not.
TEST(WindowClaims, AnAmendmentThatIsNotDecidedIsAskedForTooAndNotMoved) {
  for (const bool confirmed : {true, false}) {
    Paris paris;
    const std::string name =
        paris.Confirmed({.start = "2027-01-01T10:00:00Z", .end = "2027-01-01T11:00:00Z"});
    const v1::Event held =
        paris.When(fmt::format(R"(amend_reservation {{ name: "{}" end_time {{ {} }} }})", name,
                               Seconds("2027-01-01T12:00:00Z")),
                   "amend");
    ASSERT_TRUE(held.has_amendment_held()) << held.ShortDebugString();
    Hear(paris, Announced());
    EXPECT_THAT(AffectedBy(paris), ElementsAre(name));
    EXPECT_TRUE(paris.Reactions().empty());
    EXPECT_THAT(paris.When(fmt::format(R"(reassign_servers {{ reservation: "{}" window: "{}" }})",
                                       name, kWindow),
                           "reassign"),
                HasText(RefusalFor(v1::REASON_WRONG_STATE)));
    paris.When(fmt::format(R"({} {{ reservation: "{}" amendment: "{}" {} }})",
                           confirmed ? "confirm_amendment" : "drop_amendment", name,
                           held.amendment_held().amendment().name(),
                           confirmed ? "" : R"(detail: "rules/x")"),
               "judge");
    Follow(paris, "review");
    EXPECT_EQ(AffectedBy(paris).size(), confirmed ? 1u : 0u);
  }
}

TEST(WindowClaims, WhatHasNotStartedGetsOtherServersOnceItsAmendmentIsOver) {
  Paris paris;
  const std::string name = paris.Confirmed({.count = 2});
  const v1::Event held =
      paris.When(fmt::format(R"(amend_reservation {{ name: "{}" end_time {{ {} }} }})", name,
                             Seconds("2027-01-01T12:30:00Z")),
                 "amend");
  ASSERT_TRUE(held.has_amendment_held()) << held.ShortDebugString();
  EXPECT_EQ(Hear(paris, Announced()).window_affects().affected(0).free_servers_size(), 0);
  EXPECT_TRUE(paris.Reactions().empty());
  paris.When(
      fmt::format(R"(drop_amendment {{ reservation: "{}" amendment: "{}" detail: "rules/x" }})",
                  name, held.amendment_held().amendment().name()),
      "drop");
  EXPECT_THAT(Follow(paris, "review"), HasText(R"(window_affects { affected {
      free_servers: "sites/paris/servers/s3" free_servers: "sites/paris/servers/s4" } })"));
  EXPECT_THAT(Follow(paris, "reassign"), HasText(R"(servers_reassigned {
      servers: "sites/paris/servers/s3" servers: "sites/paris/servers/s4" })"));
  Follow(paris, "review-again");
  EXPECT_TRUE(AffectedBy(paris).empty());
}

TEST(WindowClaims, WhatRunsIsNotMovedUnasked) {
  Paris paris;
  const std::string name = paris.Confirmed({});
  paris.At("2027-01-01T10:00:00Z").About("start_reservation", name);
  Hear(paris, Announced());
  EXPECT_TRUE(paris.Reactions().empty());
  EXPECT_THAT(paris.When(fmt::format(R"(reassign_servers {{ reservation: "{}" window: "{}" }})",
                                     name, kWindow),
                         "reassign"),
              HasText(RefusalFor(v1::REASON_WRONG_STATE)));
}

TEST(WindowClaims, WhereNothingElseIsFreeTheReservationKeepsWhatItHas) {
  Paris paris;
  const std::string name = paris.Confirmed({.count = 3});
  Hear(paris, Announced());
  EXPECT_TRUE(paris.Reactions().empty()) << "one server is free, two are in the window";
  EXPECT_THAT(paris.When(fmt::format(R"(reassign_servers {{ reservation: "{}" window: "{}" }})",
                                     name, kWindow),
                         "reassign"),
              HasText(RefusalFor(v1::REASON_NO_CAPACITY)));
  EXPECT_EQ(paris.Row(name).servers(0), "sites/paris/servers/s1");
}

TEST(WindowClaims, OtherServersMustNotDrawMore) {
  Paris paris;
  const std::string name = paris.Confirmed({});
  for (const char* id : {"s3", "s4"}) {
    paris.Given(fmt::format(R"(server_recorded {{ name: "sites/paris/servers/{}" model: "models/m"
        it_power_watts: 101 cooling_watts: 90 bookable: true }})",
                            id));
  }
  Hear(paris, Announced());
  EXPECT_THAT(Follow(paris, "reassign"), HasText(RefusalFor(v1::REASON_POWER_ENVELOPE)));
}

TEST(WindowClaims, AnIndexWithClaimsEqualsOneRebuiltFromItsRows) {
  Paris paris;
  paris.Confirmed({.count = 2});
  Hear(paris, Announced());
  paris.Server("s1", false);
  Hear(paris, fmt::format(R"(window_overrunning {{ name: "{}" }})", kWindow));
  Index rebuilt;
  paris.journal().Scan("", [&](std::string_view key, std::string_view value) {
    rebuilt.Apply({key, std::nullopt, value});
    return true;
  });
  EXPECT_TRUE(rebuilt == paris.state().index);
  Hear(paris, fmt::format(R"(window_closed {{ name: "{}" }})", kWindow));
  EXPECT_FALSE(rebuilt == paris.state().index);
}

}  // namespace
}  // namespace concordat::reservations
