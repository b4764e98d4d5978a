// Other servers for those that a reservation has lost.
#include <gmock/gmock.h>

#include "tests/services/reservations/paris.h"

namespace concordat::reservations {
namespace {

using test::EqualsText;
using test::HasText;
using testing::ElementsAre;
using testing::IsEmpty;
using testing::SizeIs;

// Servers s1 to s4; what is confirmed runs from 10:00 to 12:00.
struct HealingParis : Paris {
  void Lose(const std::string& id) { Server(id, false, true); }
  // Decides what is due of the reservation at a time; what it came to.
  v1::Event Due(const std::string& rfc3339) {
    At(rfc3339);
    const auto due = DueAt(rfc3339);
    EXPECT_THAT(due, SizeIs(1)) << rfc3339;
    if (due.empty()) return {};
    EXPECT_EQ(due[0].kind, "heal");
    return When(due[0].command, "heal-" + due[0].deadline);
  }
  v1::Event Accept(const std::string& name) {
    return When(fmt::format(R"(accept_replacement {{ name: "{}" }})", name),
                fmt::format("accept-{}", ++accepted_));
  }
  std::string Active(const Wish& wish) {
    const std::string name = Confirmed(wish);
    At(wish.start);
    EXPECT_TRUE(About("start_reservation", name).has_reservation_started());
    return name;
  }

 private:
  int accepted_ = 0;
};

TEST(Healing, GivesWhatIsConfirmedOtherServersSilently) {
  HealingParis paris;
  const std::string name = paris.Confirmed({.count = 2});
  paris.Lose("s1");
  EXPECT_THAT(paris.Due("2027-01-01T09:00:00Z"), EqualsText(fmt::format(R"(servers_reassigned {{
      reservation: "{}" servers: "sites/paris/servers/s2" servers: "sites/paris/servers/s3"
      removed: "sites/paris/servers/s1" added: "sites/paris/servers/s3"
      it_power_watts: 200 cooling_watts: 180 }})",
                                                                        name)));
  const v1::Reservation row = paris.Row(name);
  EXPECT_THAT(row.lost_servers(), IsEmpty());
  EXPECT_FALSE(row.has_heal_time());
  EXPECT_THAT(paris.DueAt("2027-01-01T09:59:59Z"), IsEmpty());
  paris.At("2027-01-01T10:00:00Z");
  EXPECT_THAT(
      paris.About("start_reservation", name),
      HasText(
          R"(reservation_started { servers: "sites/paris/servers/s2" servers: "sites/paris/servers/s3" })"));
}

TEST(Healing, OfWhatIsOnlyHeldBeginsOnceItIsConfirmed) {
  HealingParis paris;
  const std::string name = paris.Reserve({}).reservation_held().name();
  paris.Lose("s1");
  EXPECT_THAT(paris.DueAt("2027-01-01T09:00:00Z"), IsEmpty());
  paris.About("confirm_reservation", name);
  EXPECT_TRUE(paris.Due("2027-01-01T09:00:00Z").has_servers_reassigned());
}

TEST(Healing, LooksAgainEverMoreSeldomUntilTheEnd) {
  HealingParis paris;
  const std::string name = paris.Confirmed({.count = 4, .more = "min_count: 1"});
  paris.Lose("s1");
  std::vector<absl::Duration> waits;
  absl::Time at = test::Time("2027-01-01T09:00:00Z");
  bool started = false;
  for (int i = 0; i < 40 && !paris.DueAt("2027-01-01T11:59:59Z").empty(); ++i) {
    const auto due = paris.DueAt("2027-01-01T11:59:59Z");
    ASSERT_THAT(due, SizeIs(1));
    const std::string now =
        absl::FormatTime(absl::RFC3339_full, *DeadlineOf(paris.Row(name)), absl::UTCTimeZone());
    const v1::Event event = paris.At(now).When(due[0].command, due[0].kind + due[0].deadline);
    if (event.has_reservation_started()) started = true;
    if (!event.has_servers_missing()) continue;
    const absl::Time retry = runtime::ToTime(event.servers_missing().retry_time());
    waits.push_back(retry - test::Time(now));
    at = retry;
  }
  EXPECT_TRUE(started);
  EXPECT_THAT(waits, ElementsAre(absl::Minutes(1), absl::Minutes(2), absl::Minutes(4),
                                 absl::Minutes(8), absl::Minutes(16), absl::Minutes(32),
                                 absl::Minutes(60), absl::Minutes(60)));
  EXPECT_GE(at, test::Time("2027-01-01T12:00:00Z")) << "the last attempt is before the end";
  const auto end = paris.DueAt("2027-01-01T12:00:00Z");
  ASSERT_THAT(end, SizeIs(1));
  EXPECT_TRUE(
      paris.At("2027-01-01T12:00:00Z").When(end[0].command, "end").has_reservation_ending());
  EXPECT_FALSE(paris.Row(name).has_heal_time());
}

TEST(Healing, TakesAsManyAsThereAreAndLooksForTheRest) {
  HealingParis paris;
  const std::string name = paris.Confirmed({.count = 3});
  paris.Lose("s1");
  paris.Lose("s2");
  EXPECT_THAT(paris.Due("2027-01-01T09:00:00Z"),
              HasText(fmt::format(R"(servers_reassigned {{ removed: "sites/paris/servers/s1"
                                       added: "sites/paris/servers/s4" retry_time {{ {} }} }})",
                                  Seconds("2027-01-01T09:01:00Z"))));
  EXPECT_THAT(paris.Row(name).lost_servers(), ElementsAre("sites/paris/servers/s2"));
  EXPECT_THAT(paris.Due("2027-01-01T09:01:00Z"),
              EqualsText(fmt::format(R"(servers_missing {{ reservation: "{}"
                  customer: "customers/hsbc" lost_servers: "sites/paris/servers/s2"
                  retry_time {{ {} }} }})",
                                     name, Seconds("2027-01-01T09:02:00Z"))));
  paris.Server("s2");
  EXPECT_THAT(paris.Row(name).lost_servers(), IsEmpty()) << "it is back before the start";
  EXPECT_THAT(paris.DueAt("2027-01-01T09:59:59Z"), IsEmpty());
}

TEST(Healing, OffersWhatRunsOthersAndMovesNothing) {
  HealingParis paris;
  const std::string name = paris.Active({.count = 2});
  paris.At("2027-01-01T10:30:00Z").Server("s1", false, true);
  EXPECT_THAT(paris.Due("2027-01-01T10:30:00Z"),
              EqualsText(fmt::format(R"(replacement_offered {{ reservation: "{}"
                  customer: "customers/hsbc" lost_servers: "sites/paris/servers/s1"
                  free_servers: "sites/paris/servers/s3" retry_time {{ {} }} }})",
                                     name, Seconds("2027-01-02T10:30:00Z"))));
  EXPECT_THAT(paris.Row(name).servers(),
              ElementsAre("sites/paris/servers/s1", "sites/paris/servers/s2"));
  EXPECT_THAT(paris.Row(name).offered_servers(), ElementsAre("sites/paris/servers/s3"));
  EXPECT_THAT(paris.DueAt("2027-01-01T11:59:59Z"), IsEmpty());
  paris.At("2027-01-01T11:00:00Z");
  EXPECT_THAT(paris.Accept(name), EqualsText(fmt::format(R"(servers_reassigned {{
      reservation: "{}" servers: "sites/paris/servers/s2" servers: "sites/paris/servers/s3"
      removed: "sites/paris/servers/s1" added: "sites/paris/servers/s3"
      it_power_watts: 200 cooling_watts: 180 in_use: true }})",
                                                         name)));
  EXPECT_THAT(paris.Row(name), HasText(fmt::format(R"(outages {{ server: "sites/paris/servers/s1"
      start_time {{ {} }} end_time {{ {} }} }})",
                                                   Seconds("2027-01-01T10:30:00Z"),
                                                   Seconds("2027-01-01T11:00:00Z"))));
  EXPECT_THAT(paris.Row(name).offered_servers(), IsEmpty());
  EXPECT_THAT(paris.Accept(name), HasText(RefusalFor(v1::REASON_WRONG_STATE)))
      << "it has all of its servers";
}

TEST(Healing, AcceptingTakesWhatIsFreeThenAndNotWhatWasOffered) {
  HealingParis paris;
  const std::string name = paris.Active({.count = 2});
  paris.Lose("s1");
  EXPECT_TRUE(paris.Due("2027-01-01T10:00:00Z").has_replacement_offered());
  paris.Confirmed({.start = "2027-01-01T11:00:00Z", .end = "2027-01-01T12:00:00Z", .count = 2});
  EXPECT_THAT(paris.Accept(name), HasText(RefusalFor(v1::REASON_NO_CAPACITY)));
  EXPECT_THAT(paris.Row(name).lost_servers(), ElementsAre("sites/paris/servers/s1"));
}

TEST(Healing, OffersTheSameServerOnceItIsBack) {
  HealingParis paris;
  const std::string name = paris.Active({.count = 4});
  paris.Lose("s1");
  EXPECT_TRUE(paris.Due("2027-01-01T10:00:00Z").has_servers_missing());
  paris.At("2027-01-01T10:10:00Z").Server("s1");
  EXPECT_THAT(paris.Row(name).lost_servers(), ElementsAre("sites/paris/servers/s1"))
      << "it was tested and wiped; who uses the rest must know";
  EXPECT_THAT(paris.Due("2027-01-01T10:10:00Z"),
              HasText(R"(replacement_offered { free_servers: "sites/paris/servers/s1" })"));
  EXPECT_THAT(paris.Accept(name), HasText(R"(servers_reassigned { removed: "sites/paris/servers/s1"
                                              added: "sites/paris/servers/s1" in_use: true })"));
  EXPECT_THAT(paris.Row(name).servers(), SizeIs(4));
  EXPECT_THAT(paris.Row(name).lost_servers(), IsEmpty());
}

TEST(Healing, WaitsForAnAmendmentAndIsRefusedWhereThereIsNothingToHeal) {
  HealingParis paris;
  const std::string name = paris.Confirmed({});
  EXPECT_THAT(paris.When(fmt::format(R"(heal_reservation {{ name: "{}" }})", name), "heal"),
              HasText(RefusalFor(v1::REASON_WRONG_STATE)));
  EXPECT_THAT(paris.Accept(name), HasText(RefusalFor(v1::REASON_WRONG_STATE)));
  EXPECT_THAT(paris.Accept("sites/lyon/reservations/r-1"),
              HasText(RefusalFor(v1::REASON_NOT_HOME)));
  EXPECT_THAT(paris.Accept("sites/paris/reservations/r-1"),
              HasText(RefusalFor(v1::REASON_NOT_FOUND)));
  EXPECT_TRUE(paris
                  .When(fmt::format(R"(amend_reservation {{ name: "{}" end_time {{ {} }} }})", name,
                                    Seconds("2027-01-01T13:00:00Z")),
                        "amend")
                  .has_amendment_held());
  paris.Lose("s1");
  EXPECT_THAT(paris.DueAt("2027-01-01T09:00:00Z"), IsEmpty());
  paris.When(fmt::format(R"(withdraw_amendment {{ name: "{}" }})", name), "withdraw");
  EXPECT_TRUE(paris.Due("2027-01-01T09:00:00Z").has_servers_reassigned());
}

TEST(Healing, ThatComesLateKeepsNoEndWaiting) {
  HealingParis paris;
  const std::string name = paris.Active({});
  paris.Lose("s1");
  EXPECT_TRUE(paris.Due("2027-01-01T12:00:00Z").has_servers_missing());
  EXPECT_THAT(paris.Accept(name), HasText(RefusalFor(v1::REASON_TIME)));
  const auto due = paris.DueAt("2027-01-01T12:00:00Z");
  ASSERT_THAT(due, SizeIs(1));
  EXPECT_EQ(due[0].kind, "finish");
}

TEST(Healing, KeepsTheMarginBeforeAUse) {
  const char* margins = R"(margins_set { site: "sites/paris" model: "models/m"
                                         margins { before { seconds: 1800 } after { seconds: 600 } } })";
  {
    HealingParis paris;
    paris.Given(margins);
    paris.Confirmed({});
    paris.At("2027-01-01T09:30:00Z").Server("s1", false, true);
    EXPECT_TRUE(paris.Due("2027-01-01T09:30:00Z").has_servers_reassigned());
  }
  HealingParis paris;
  paris.Given(margins);
  const std::string name = paris.Confirmed({});
  paris.At("2027-01-01T09:30:01Z").Server("s1", false, true);
  EXPECT_TRUE(paris.Due("2027-01-01T09:30:01Z").has_servers_missing())
      << "a second too late for a re-test";
  EXPECT_THAT(paris.Row(name).lost_servers(), SizeIs(1));
}

TEST(Healing, NeverDrawsMoreThanWhatWasReserved) {
  HealingParis paris;
  paris.Confirmed({});
  for (const char* id : {"s2", "s3", "s4"}) {
    paris.Given(fmt::format(R"(server_recorded {{ name: "sites/paris/servers/{}" model: "models/m"
        it_power_watts: 101 cooling_watts: 90 bookable: true }})",
                            id));
  }
  paris.Lose("s1");
  EXPECT_TRUE(paris.Due("2027-01-01T09:00:00Z").has_servers_missing());
}

TEST(Healing, ADelayedStartGoesOnAtOnceWithOtherServers) {
  HealingParis paris;
  paris.Active({.end = "2027-01-01T11:00:00Z", .count = 3});
  const std::string name =
      paris.Confirmed({.start = "2027-01-01T10:30:00Z", .end = "2027-01-01T12:00:00Z", .count = 1});
  paris.Lose("s4");
  EXPECT_TRUE(paris.Due("2027-01-01T10:00:00Z").has_servers_missing());
  paris.At("2027-01-01T10:30:00Z");
  EXPECT_TRUE(paris.About("start_reservation", name).has_reservation_delayed());
  paris.Server("s5");
  const v1::Event healed =
      paris.When(fmt::format(R"(heal_reservation {{ name: "{}" }})", name), "heal-again");
  ASSERT_TRUE(healed.has_servers_reassigned()) << healed.ShortDebugString();
  const auto start = paris.Reactions();
  ASSERT_THAT(start, SizeIs(1));
  EXPECT_EQ(start[0].kind, "start");
}

}  // namespace
}  // namespace concordat::reservations
