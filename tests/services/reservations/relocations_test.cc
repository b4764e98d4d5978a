// Moving what is in use out of a maintenance window: on whose word, where to, and when.
#include <gmock/gmock.h>

#include "tests/services/reservations/paris.h"

namespace concordat::reservations {
namespace {

using test::EqualsText;
using test::HasText;
using testing::ElementsAre;
using testing::IsEmpty;
using testing::SizeIs;

constexpr char kMoved[] = "sites/paris/windows/w";
constexpr char kMargins[] = R"(margins_set { site: "sites/paris" model: "models/m"
                                   margins { before { seconds: 1800 } after { seconds: 600 } } })";

// A window on s1 from 11:00 to 13:00; what is in use runs from 10:00 to 14:00.
struct MaintainedParis : Paris {
  MaintainedParis& At(const std::string& rfc3339) {
    Paris::At(rfc3339);
    return *this;
  }
  // Decides what the inventory's event leads to, and nothing that follows.
  v1::Event Hear(const std::string& inventory_event) {
    const auto intents = ReactionsTo(test::Parse<inventory::v1::Event>(inventory_event), "paris");
    EXPECT_THAT(intents, SizeIs(1)) << inventory_event;
    if (intents.empty()) return {};
    return When(intents[0].command, fmt::format("hear-{}", ++heard_));
  }
  v1::Event Announce() {
    return Hear(fmt::format(R"(window_announced {{ name: "{}" window_class: WINDOW_CLASS_PLANNED
        servers: "sites/paris/servers/s1" start_time {{ {} }} end_time {{ {} }} }})",
                            kMoved, Seconds("2027-01-01T11:00:00Z"),
                            Seconds("2027-01-01T13:00:00Z")));
  }
  v1::Event Consent(const std::string& customer = "customers/hsbc", bool relocation = true) {
    return Hear(fmt::format(
        R"(window_consent_given {{ name: "{}" customer: "{}" relocation: {} consented: true }})",
        kMoved, customer, relocation));
  }
  v1::Event Drain() { return Hear(fmt::format(R"(window_drained {{ name: "{}" }})", kMoved)); }
  // Decides the only command that follows.
  v1::Event Follow() {
    const auto intents = Reactions();
    EXPECT_THAT(intents, SizeIs(1));
    return intents.empty() ? v1::Event()
                           : When(intents[0].command, fmt::format("follow-{}", ++heard_));
  }
  void Sign(const std::string& interventions) {
    Given(fmt::format("contract_signed {{ {} interventions {{ {} }} }}",
                      ContractText("sites/paris", 10), interventions));
  }
  std::string Active(int count = 1, const std::string& end = "2027-01-01T14:00:00Z") {
    const std::string name = Confirmed({.end = end, .count = count});
    At("2027-01-01T10:00:00Z");
    EXPECT_TRUE(About("start_reservation", name).has_reservation_started());
    return name;
  }
  v1::AffectedReservation Affected() {
    const auto record = state().rows.window_records.Get(kMoved).value_or(v1::WindowRecord());
    return record.window().affected_size() == 1 ? record.window().affected(0)
                                                : v1::AffectedReservation();
  }

 private:
  int heard_ = 0;
};

TEST(Relocation, OfWhatRunsWaitsForItsCustomersWordAndForTheServersToBeEmpty) {
  MaintainedParis paris;
  const std::string name = paris.Active(2);
  paris.Announce();
  EXPECT_FALSE(paris.Affected().has_kept_from()) << "nobody has consented";
  EXPECT_THAT(paris.Reactions(), IsEmpty());
  EXPECT_THAT(
      paris.Consent(),
      HasText(fmt::format(R"(window_affects {{ relocation_customers: "customers/hsbc"
      affected {{ reservation: "{}" free_servers: "sites/paris/servers/s3"
        kept_from {{ {} }} kept_until {{ {} }} }} }})",
                          name, Seconds("2027-01-01T11:00:00Z"), Seconds("2027-01-01T14:00:00Z"))));
  EXPECT_THAT(paris.Reactions(), IsEmpty()) << "it runs where it is until the window is drained";
  EXPECT_THAT(paris.When(fmt::format(R"(reassign_servers {{ reservation: "{}" window: "{}" }})",
                                     name, kMoved),
                         "early"),
              HasText(RefusalFor(v1::REASON_WRONG_STATE)));
  paris.At("2027-01-01T11:00:00Z").Drain();
  EXPECT_THAT(paris.Follow(), EqualsText(fmt::format(R"(servers_reassigned {{
      reservation: "{}" window: "{}" in_use: true
      servers: "sites/paris/servers/s2" servers: "sites/paris/servers/s3"
      removed: "sites/paris/servers/s1" added: "sites/paris/servers/s3"
      it_power_watts: 200 cooling_watts: 180 }})",
                                                     name, kMoved)));
  EXPECT_TRUE(paris.Follow().window_affects().affected().empty()) << "it is out of the window";
  EXPECT_EQ(paris.Row(name).state(), v1::RESERVATION_STATE_ACTIVE);
}

TEST(Relocation, NeedsNoWordWhereTheContractAsksForNoticeAloneAndItWasLongEnough) {
  for (const auto& [days, moves] : {std::pair(0, true), std::pair(1, false)}) {
    MaintainedParis paris;
    paris.Sign(fmt::format("relocation: CONSENT_RULE_NOTICE relocation_notice_days: {}", days));
    paris.Active();
    paris.Announce();
    EXPECT_EQ(paris.Affected().has_kept_from(), moves) << days;
    if (!moves) paris.Consent();
    EXPECT_TRUE(paris.Affected().has_kept_from()) << "its customer may agree to less notice";
  }
}

TEST(Relocation, IsOverWithTheWindowAndWithAnOverrunItIsNot) {
  MaintainedParis paris;
  paris.Active();
  paris.Announce();
  EXPECT_THAT(paris.Consent(), HasText("window_affects { affected { kept_from { } } }"));
  paris.At("2027-01-01T13:00:00Z");
  EXPECT_FALSE(paris.Drain().window_affects().affected(0).has_kept_from());
  EXPECT_THAT(paris.Reactions(), IsEmpty());
  EXPECT_THAT(paris.Hear(fmt::format(R"(window_overrunning {{ name: "{}" }})", kMoved)),
              HasText(fmt::format("window_affects {{ affected {{ kept_from {{ {} }} }} }}",
                                  Seconds("2027-01-01T13:00:00Z"))));
  EXPECT_TRUE(paris.Follow().has_servers_reassigned());
}

TEST(Relocation, NeverMovesWhatTheContractNeverAllowsToBeMoved) {
  MaintainedParis paris;
  paris.Sign("relocation: CONSENT_RULE_NEVER");
  const std::string name = paris.Active();
  EXPECT_THAT(paris.Announce(), HasText("window_affects { affected { never_moved: true } }"));
  paris.Consent();
  EXPECT_FALSE(paris.Affected().has_kept_from());
  paris.At("2027-01-01T11:00:00Z").Drain();
  EXPECT_THAT(paris.Reactions(), IsEmpty());
  EXPECT_THAT(paris.Row(name).servers(), ElementsAre("sites/paris/servers/s1"));
}

TEST(Relocation, KeepsTheOtherServersFreeUntilThen) {
  MaintainedParis paris;
  paris.Active(2);
  paris.Announce();
  paris.Consent();
  const Wish during = {.start = "2027-01-01T11:00:00Z", .end = "2027-01-01T14:00:00Z"};
  EXPECT_THAT(paris.Reserve(during),
              HasText(R"(reservation_held { servers: "sites/paris/servers/s4" })"));
  EXPECT_THAT(paris.Reserve(during), HasText(RefusalFor(v1::REASON_NO_CAPACITY)));
  EXPECT_THAT(paris.Reserve({.start = "2027-01-01T10:30:00Z", .end = "2027-01-01T11:00:00Z"}),
              HasText(R"(reservation_held { servers: "sites/paris/servers/s3" })"))
      << "before the window it is free";
}

TEST(Relocation, IsOffWhereTheWordIsTakenBackOrTheWindowDoesNotTakePlace) {
  for (
      const char* event :
      {R"(window_consent_given { name: "sites/paris/windows/w" customer: "customers/hsbc"
                                 relocation_withdrawn: true })",
       R"(window_consent_refused { name: "sites/paris/windows/w" customer: "customers/hsbc"
                                   relocation_withdrawn: true })",
       R"(window_work_added { name: "sites/paris/windows/w" voided_relocations: "customers/hsbc" })",
       R"(window_cancelled { name: "sites/paris/windows/w" })"}) {
    MaintainedParis paris;
    paris.Active(2);
    paris.Announce();
    paris.Consent();
    paris.Hear(event);
    EXPECT_TRUE(paris.Reserve({.start = "2027-01-01T11:00:00Z", .count = 2}).has_reservation_held())
        << event;
  }
}

TEST(Relocation, KeepsForEachWhatNoOtherIsPromised) {
  MaintainedParis paris;
  const std::string first = paris.Confirmed({.end = "2027-01-01T14:00:00Z"});
  const std::string second = paris.Confirmed({.end = "2027-01-01T14:00:00Z"});
  paris.At("2027-01-01T10:00:00Z");
  for (const std::string& name : {first, second})
    EXPECT_TRUE(paris.About("start_reservation", name).has_reservation_started());
  paris.Hear(fmt::format(R"(window_announced {{ name: "{}" window_class: WINDOW_CLASS_PLANNED
      servers: "sites/paris/servers/s1" servers: "sites/paris/servers/s2"
      start_time {{ {} }} end_time {{ {} }} }})",
                         kMoved, Seconds("2027-01-01T11:00:00Z"), Seconds("2027-01-01T13:00:00Z")));
  const v1::Event affects = paris.Consent();
  ASSERT_EQ(affects.window_affects().affected_size(), 2);
  std::vector<std::string> kept;
  for (const auto& affected : affects.window_affects().affected()) {
    EXPECT_TRUE(affected.has_kept_from());
    kept.insert(kept.end(), affected.free_servers().begin(), affected.free_servers().end());
  }
  EXPECT_THAT(kept,
              testing::UnorderedElementsAre("sites/paris/servers/s3", "sites/paris/servers/s4"));
  paris.At("2027-01-01T11:00:00Z").Drain();
  const auto moves = paris.Reactions();
  ASSERT_THAT(moves, SizeIs(2));
  for (const auto& move : moves)
    EXPECT_TRUE(paris.When(move.command, move.subject).has_servers_reassigned());
}

TEST(Relocation, IsOfOneCustomerAndNotOfAnother) {
  MaintainedParis paris;
  paris.Active();
  paris.Announce();
  paris.Consent("customers/volvo");
  EXPECT_FALSE(paris.Affected().has_kept_from());
}

TEST(Relocation, KeepsTheMarginBeforeTheUseOfTheNewServers) {
  MaintainedParis paris;
  paris.Given(kMargins);
  paris.Active();
  paris.Announce();
  paris.Consent();
  EXPECT_THAT(paris.Affected(), HasText(fmt::format(R"(free_servers: "sites/paris/servers/s2"
                  kept_from {{ {} }} kept_until {{ {} }})",
                                                    Seconds("2027-01-01T10:30:00Z"),
                                                    Seconds("2027-01-01T14:10:00Z"))));
}

TEST(Relocation, ThatIsAskedForTooLateForARetestDoesNotTakePlace) {
  MaintainedParis paris;
  paris.Given(kMargins);
  paris.Active();
  paris.Announce();
  paris.At("2027-01-01T10:30:01Z").Consent();
  EXPECT_FALSE(paris.Affected().has_kept_from());
}

TEST(Relocation, LeavesServersThatNobodyGetsBeforeTheyAreClean) {
  MaintainedParis paris;
  paris.Given(kMargins);
  const std::string name = paris.Active(3);
  paris.Announce();
  paris.Consent();
  paris.At("2027-01-01T11:00:00Z").Drain();
  EXPECT_THAT(paris.Follow(),
              HasText(fmt::format("servers_reassigned {{ cleaning_until {{ {} }} }}",
                                  Seconds("2027-01-01T11:10:00Z"))));
  EXPECT_THAT(paris.Row(name).left_servers(), SizeIs(1));
  // The work is done at once, and the window over.
  paris.At("2027-01-01T11:01:00Z").Hear(fmt::format(R"(window_closed {{ name: "{}" }})", kMoved));
  EXPECT_THAT(paris.Reserve({.start = "2027-01-01T11:39:00Z", .end = "2027-01-01T12:00:00Z"}),
              HasText(RefusalFor(v1::REASON_NO_CAPACITY)))
      << "its re-test would begin a minute before it is clean";
  EXPECT_THAT(paris.Reserve({.start = "2027-01-01T11:40:00Z", .end = "2027-01-01T12:00:00Z"}),
              HasText(R"(reservation_held { servers: "sites/paris/servers/s1" })"));
  Index rebuilt;
  paris.journal().Scan("", [&](std::string_view key, std::string_view value) {
    rebuilt.Apply({key, std::nullopt, value});
    return true;
  });
  EXPECT_TRUE(rebuilt == paris.state().index);
}

TEST(Relocation, LeavesServersThatTheNextTenantGetsOnlyAfterATest) {
  MaintainedParis paris;
  paris.Given(R"(server_recorded { name: "sites/paris/servers/s1" model: "models/m" bookable: true
                     it_power_watts: 100 cooling_watts: 90 retest_after_tenant: true })");
  paris.Active();
  paris.Announce();
  paris.Consent();
  paris.At("2027-01-01T11:00:00Z").Drain();
  EXPECT_THAT(paris.Follow(),
              HasText(R"(servers_reassigned { retest_servers: "sites/paris/servers/s1" })"));
  EXPECT_TRUE(paris.state().rows.server_records.Get("sites/paris/servers/s1")->server().untested());
}

TEST(Relocation, LooksForOthersWhereWhatWasKeptIsLost) {
  MaintainedParis paris;
  paris.Active();
  paris.Announce();
  paris.Consent();
  paris.Server("s2", false, true);
  EXPECT_THAT(paris.Follow(),
              HasText(R"(window_affects { affected { free_servers: "sites/paris/servers/s3" } })"));
}

// Windows are no reservations: one may be announced on what another keeps.
TEST(Relocation, LooksForOthersWhereAnotherWindowClaimsWhatWasKept) {
  for (const bool reviewed : {true, false}) {
    MaintainedParis paris;
    const std::string name = paris.Active();
    paris.Announce();
    EXPECT_THAT(
        paris.Consent(),
        HasText(R"(window_affects { affected { free_servers: "sites/paris/servers/s2" } })"));
    paris.Hear(fmt::format(R"(window_announced {{ name: "sites/paris/windows/other"
        window_class: WINDOW_CLASS_PLANNED servers: "sites/paris/servers/s2"
        start_time {{ {} }} end_time {{ {} }} }})",
                           Seconds("2027-01-01T13:00:00Z"), Seconds("2027-01-01T13:30:00Z")));
    const auto follows = paris.Reactions();
    ASSERT_THAT(follows, SizeIs(1));
    // Draining looks again too.
    if (reviewed) {
      EXPECT_THAT(paris.When(follows[0].command, "review"), HasText(R"(window_affects {
          affected { free_servers: "sites/paris/servers/s3" } })"));
    }
    paris.At("2027-01-01T11:00:00Z").Drain();
    EXPECT_THAT(paris.Follow(),
                HasText(R"(servers_reassigned { servers: "sites/paris/servers/s3" })"));
  }
}

TEST(Relocation, DoesNotGoWhereAnotherWindowWasAnnouncedJustNow) {
  MaintainedParis paris;
  paris.Active();
  paris.Announce();
  paris.Consent();
  paris.At("2027-01-01T11:00:00Z").Drain();
  const auto moves = paris.Reactions();
  ASSERT_THAT(moves, SizeIs(1));
  paris.Hear(fmt::format(R"(window_announced {{ name: "sites/paris/windows/other"
      window_class: WINDOW_CLASS_PLANNED servers: "sites/paris/servers/s2"
      start_time {{ {} }} end_time {{ {} }} }})",
                         Seconds("2027-01-01T13:00:00Z"), Seconds("2027-01-01T13:30:00Z")));
  const auto reviews = paris.Reactions();
  EXPECT_THAT(paris.When(moves[0].command, "move"), HasText(RefusalFor(v1::REASON_NO_CAPACITY)));
  ASSERT_THAT(reviews, SizeIs(1));
  EXPECT_TRUE(paris.When(reviews[0].command, "review").has_window_affects());
  EXPECT_THAT(paris.Follow(),
              HasText(R"(servers_reassigned { servers: "sites/paris/servers/s3" })"));
}

TEST(Relocation, KeepsWhatItHasWhereTheReservationIsExtended) {
  MaintainedParis paris;
  const std::string name = paris.Active(2);
  paris.Announce();
  paris.Consent();
  const v1::Event held =
      paris.When(fmt::format(R"(extend_reservation {{ name: "{}" end_time {{ {} }} }})", name,
                             Seconds("2027-01-01T15:00:00Z")),
                 "extend");
  ASSERT_TRUE(held.has_amendment_held()) << held.ShortDebugString();
  paris.When(fmt::format(R"(confirm_amendment {{ reservation: "{}" amendment: "{}" }})", name,
                         held.amendment_held().amendment().name()),
             "confirm");
  EXPECT_THAT(paris.Follow(), HasText(fmt::format(R"(window_affects {{ affected {{
      free_servers: "sites/paris/servers/s3" kept_until {{ {} }} }} }})",
                                                  Seconds("2027-01-01T15:00:00Z"))));
}

TEST(Relocation, DoesNotTakePlaceWhileSomethingRunsThereStill) {
  MaintainedParis paris;
  // From 10:00 to 10:30 on s1; then the other, on s2, is in use.
  const std::string late = paris.Confirmed({.end = "2027-01-01T10:30:00Z"});
  const std::string name = paris.Confirmed({.end = "2027-01-01T14:00:00Z", .count = 3});
  paris.At("2027-01-01T10:00:00Z");
  paris.About("start_reservation", late);
  paris.About("start_reservation", name);
  paris.Hear(fmt::format(R"(window_announced {{ name: "{}" window_class: WINDOW_CLASS_PLANNED
      servers: "sites/paris/servers/s2" start_time {{ {} }} end_time {{ {} }} }})",
                         kMoved, Seconds("2027-01-01T11:00:00Z"), Seconds("2027-01-01T13:00:00Z")));
  EXPECT_THAT(paris.Consent(), HasText(R"(window_affects { affected {
      free_servers: "sites/paris/servers/s1" } })"));
  // It is never vacated.
  paris.At("2027-01-01T10:30:00Z").About("begin_end_reservation", late);
  paris.At("2027-01-01T11:00:00Z");
  EXPECT_THAT(paris.When(fmt::format(R"(record_window_drained {{ window: "{}" }})", kMoved), "d"),
              HasText("window_affects { drained: true }"));
  EXPECT_THAT(paris.Reactions(), IsEmpty());
  EXPECT_THAT(paris.When(fmt::format(R"(reassign_servers {{ reservation: "{}" window: "{}" }})",
                                     name, kMoved),
                         "move"),
              HasText("command_refused {}"));
  EXPECT_THAT(paris.Row(name).servers(), testing::Contains("sites/paris/servers/s2"));
}

}  // namespace
}  // namespace concordat::reservations
