// Access hours of contracts, and reservations that recur.
#include <fmt/format.h>
#include <gmock/gmock.h>

#include <string>
#include <vector>

#include "services/runtime/zones.h"
#include "tests/services/reservations/paris.h"

namespace concordat::reservations {
namespace {

using test::HasText;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

// Mondays and Tuesdays, 08:00 to 18:00 in Paris.
constexpr std::string_view kWorkdays =
    R"(access { rule: "FREQ=WEEKLY;BYDAY=MO,TU" time_zone: "Europe/Paris" start: "2027-01-04T08:00:00"
                duration { seconds: 36000 } })";
// Two weeks, and the clock changes between them.
const Wish kMarch = {.start = "2027-03-22T00:00:00Z", .end = "2027-04-03T00:00:00Z"};

std::string Version() { return *runtime::ZoneDataVersion(); }

std::string ReserveText(const Wish& wish, std::string_view access = kWorkdays) {
  return fmt::format(R"(reserve {{ site: "{}" {} {} }})", wish.site, TermsText(wish), access);
}

std::vector<std::string> Times(
    const google::protobuf::RepeatedPtrField<v1::Occurrence>& occurrences) {
  std::vector<std::string> times;
  for (const v1::Occurrence& occurrence : occurrences) {
    times.push_back(fmt::format("{}/{}", runtime::ToText(runtime::ToTime(occurrence.start_time())),
                                runtime::ToText(runtime::ToTime(occurrence.end_time()))));
  }
  return times;
}

// A series of kMarch that was confirmed; its name.
std::string ConfirmedSeries(Paris& paris, const Wish& wish = kMarch) {
  const v1::Event held = paris.When(ReserveText(wish), "series");
  EXPECT_TRUE(held.has_reservation_held()) << held.ShortDebugString();
  const std::string name = held.reservation_held().name();
  EXPECT_TRUE(paris.About("confirm_reservation", name).has_reservation_confirmed());
  return name;
}

std::vector<v1::ReservationState> StatesOf(Paris& paris, const std::string& series, int count) {
  std::vector<v1::ReservationState> states;
  for (int number = 1; number <= count; ++number)
    states.push_back(paris.Row(OccurrenceName(series, number)).state());
  return states;
}

bool IndexIsThatOfTheRows(Paris& paris) {
  Index rebuilt;
  paris.journal().Scan("", [&](std::string_view key, std::string_view value) {
    rebuilt.Apply({std::string(key), std::nullopt, std::string(value)});
    return true;
  });
  return rebuilt == paris.state().index;
}

TEST(Series, IsHeldAsItsOccurrencesOnTheClockOfItsZone) {
  Paris paris;
  const v1::Event held = paris.When(ReserveText(kMarch));
  EXPECT_THAT(Times(held.reservation_held().occurrences()),
              ElementsAre("2027-03-22T07:00:00Z/2027-03-22T17:00:00Z",
                          "2027-03-23T07:00:00Z/2027-03-23T17:00:00Z",
                          "2027-03-29T06:00:00Z/2027-03-29T16:00:00Z",
                          "2027-03-30T06:00:00Z/2027-03-30T16:00:00Z"));
  EXPECT_THAT(held, HasText(fmt::format(R"(reservation_held {{
                  terms {{ access {{ rule: "FREQ=WEEKLY;BYDAY=MO,TU" duration_kind: DURATION_KIND_WALL_CLOCK
                                     gap: GAP_POLICY_SHIFT_FORWARD fold: FOLD_POLICY_FIRST }} }}
                  it_power_watts: 100 cooling_watts: 90
                  occurrences_until {{ {} }} zone_data_version: "{}" }})",
                                        Seconds(kMarch.end), Version())));
  const std::string name = held.reservation_held().name();
  EXPECT_THAT(held.reservation_held().occurrences(0).name(), name + "-1");
  EXPECT_THAT(held.reservation_held().occurrences(0).servers(),
              ElementsAre("sites/paris/servers/s1"));
  EXPECT_THAT(
      paris.Row(name + "-2"),
      HasText(fmt::format(R"(state: RESERVATION_STATE_HELD series: "{}"
                  terms {{ start_time {{ {} }} end_time {{ {} }} count: 1 }} servers: "sites/paris/servers/s1")",
                          name, Seconds("2027-03-23T07:00:00Z"), Seconds("2027-03-23T17:00:00Z"))));
  EXPECT_FALSE(paris.Row(name + "-2").terms().has_access());
  EXPECT_TRUE(IndexIsThatOfTheRows(paris));
}

TEST(Series, LeavesTheTimeBetweenItsOccurrencesToOthers) {
  Paris paris;
  ConfirmedSeries(paris, {.start = kMarch.start, .end = kMarch.end, .count = 4});
  const auto one = [&](const std::string& start, const std::string& end) {
    return paris.Reserve({.start = start, .end = end});
  };
  EXPECT_TRUE(one("2027-03-22T17:00:00Z", "2027-03-23T07:00:00Z").has_reservation_held());
  EXPECT_THAT(one("2027-03-22T16:59:59Z", "2027-03-22T17:30:00Z"),
              HasText(RefusalFor(v1::REASON_NO_CAPACITY)));
  EXPECT_THAT(one("2027-03-29T05:00:00Z", "2027-03-29T06:00:01Z"),
              HasText(RefusalFor(v1::REASON_NO_CAPACITY)));
}

TEST(Series, IsRefusedWhereOneOccurrenceCannotBeHadWhichIsNamed) {
  Paris paris;
  paris.Confirmed({.start = "2027-03-30T15:00:00Z", .end = "2027-03-30T20:00:00Z", .count = 2});
  const std::string before = Dump(paris.journal());
  const v1::Event refused =
      paris.When(ReserveText({.start = kMarch.start, .end = kMarch.end, .count = 3}));
  EXPECT_THAT(refused, HasText(RefusalFor(v1::REASON_NO_CAPACITY)));
  EXPECT_THAT(refused.command_refused().detail(),
              HasSubstr("Occurrence 4 of 4, 2027-03-30T06:00:00Z to 2027-03-30T16:00:00Z: "
                        "2 of 4 bookable servers of models/m can be given"));
  EXPECT_EQ(Dump(paris.journal()), before);
}

TEST(Series, TakesTheEnvelopeAndTheContractInEachOccurrence) {
  Paris paris;
  paris.Envelope("2027-03-29T12:00:00Z", 100, 360);
  const v1::Event refused =
      paris.When(ReserveText({.start = kMarch.start, .end = kMarch.end, .count = 2}));
  EXPECT_THAT(refused, HasText(RefusalFor(v1::REASON_POWER_ENVELOPE)));
  EXPECT_THAT(refused.command_refused().detail(), HasSubstr("Occurrence 3 of 4"));
}

TEST(Series, WithoutAnOccurrenceIsRefused) {
  Paris paris;
  const v1::Event refused =
      paris.When(ReserveText({.start = "2027-03-24T00:00:00Z", .end = "2027-03-27T00:00:00Z"}));
  EXPECT_THAT(refused, HasText(RefusalFor(v1::REASON_SCHEDULE)));
  EXPECT_THAT(refused.command_refused().detail(), HasSubstr("has no occurrence that starts"));
}

TEST(Series, ThatEndsWithinAnOccurrenceCutsItShort) {
  Paris paris;
  const v1::Event held =
      paris.When(ReserveText({.start = kMarch.start, .end = "2027-03-22T12:00:00Z"}));
  EXPECT_THAT(Times(held.reservation_held().occurrences()),
              ElementsAre("2027-03-22T07:00:00Z/2027-03-22T12:00:00Z"));
}

TEST(Series, SharesItsFateWithItsOccurrences) {
  using enum v1::ReservationState;
  for (const auto& [command, state] : std::vector<std::pair<std::string, v1::ReservationState>>{
           {"confirm_reservation", RESERVATION_STATE_CONFIRMED},
           {"decline_reservation", RESERVATION_STATE_DECLINED},
           {"lapse_hold", RESERVATION_STATE_LAPSED},
           {"cancel_reservation", RESERVATION_STATE_CANCELLED}}) {
    Paris paris;
    const std::string name = paris.When(ReserveText(kMarch)).reservation_held().name();
    paris.About(command, name);
    EXPECT_EQ(paris.Row(name).state(), state) << command;
    EXPECT_THAT(StatesOf(paris, name, 4), ElementsAre(state, state, state, state)) << command;
    EXPECT_EQ(paris.state().rows.schedules.Contains(name), state == RESERVATION_STATE_CONFIRMED);
    EXPECT_TRUE(IndexIsThatOfTheRows(paris));
  }
}

TEST(Series, ThatIsCancelledLetsWhatRunsRunOut) {
  using enum v1::ReservationState;
  Paris paris;
  const std::string name = ConfirmedSeries(paris);
  paris.About("cancel_reservation", name + "-2");
  paris.At("2027-03-22T07:00:00Z").About("start_reservation", name + "-1");
  paris.About("cancel_reservation", name);
  EXPECT_THAT(StatesOf(paris, name, 4),
              ElementsAre(RESERVATION_STATE_ACTIVE, RESERVATION_STATE_CANCELLED,
                          RESERVATION_STATE_CANCELLED, RESERVATION_STATE_CANCELLED));
}

TEST(Series, LapsesAsAWholeByOneTimer) {
  Paris paris;
  const std::string name = paris.When(ReserveText(kMarch)).reservation_held().name();
  const auto due = paris.DueAt("2027-01-01T09:15:00Z");
  ASSERT_THAT(due, SizeIs(1));
  EXPECT_EQ(due[0].kind, "lapse");
  EXPECT_EQ(due[0].subject, name);
}

TEST(Series, StartsAndEndsOccurrenceByOccurrenceAndIsOverAtItsEnd) {
  Paris paris;
  const std::string name = ConfirmedSeries(paris);
  for (int number = 1; number <= 4; ++number) {
    const v1::Reservation row = paris.Row(OccurrenceName(name, number));
    const std::string start = runtime::ToText(runtime::ToTime(row.terms().start_time()));
    const std::string end = runtime::ToText(runtime::ToTime(row.terms().end_time()));
    auto due = paris.DueAt(start);
    ASSERT_THAT(due, SizeIs(1)) << number;
    EXPECT_TRUE(paris.At(start).When(due[0].command).has_reservation_started());
    due = paris.DueAt(end);
    ASSERT_THAT(due, SizeIs(1)) << number;
    EXPECT_TRUE(paris.At(end).When(due[0].command).has_reservation_ending());
    EXPECT_TRUE(paris.About("end_reservation", row.name()).has_reservation_ended());
  }
  EXPECT_THAT(paris.About("start_reservation", name), HasText(RefusalFor(v1::REASON_WRONG_STATE)));
  const auto due = paris.DueAt(kMarch.end);
  ASSERT_THAT(due, SizeIs(1));
  paris.At(kMarch.end);
  EXPECT_THAT(paris.When(due[0].command),
              HasText(fmt::format("reservation_ended {{ name: \"{}\" }}", name)));
  EXPECT_THAT(paris.DueAt("2030-01-01T00:00:00Z"), IsEmpty());
  EXPECT_FALSE(paris.state().rows.schedules.Contains(name));
}

TEST(Series, RemembersServersThatAreLostWhileItIsHeld) {
  Paris paris;
  const std::string name = paris.When(ReserveText(kMarch)).reservation_held().name();
  paris.Server("s1", false, true);
  EXPECT_THAT(paris.Row(name + "-3").lost_servers(), ElementsAre("sites/paris/servers/s1"));
}

TEST(Series, OfAnotherSiteIsHeldFromItsOrder) {
  Paris borlange("borlange");
  const v1::Event held = borlange.When(fmt::format(
      R"(fulfil_order {{ order {{ name: "sites/paris/orders/r-1" site: "sites/borlange"
           reservation: "sites/borlange/reservations/r-1" terms {{ {} {} }} }} }})",
      TermsText(kMarch), kWorkdays));
  EXPECT_THAT(held.reservation_held().occurrences(), SizeIs(4)) << held.ShortDebugString();
  const v1::Event declined = borlange.When(fmt::format(
      R"(fulfil_order {{ order {{ name: "sites/paris/orders/r-2" site: "sites/borlange"
           reservation: "sites/borlange/reservations/r-2" terms {{ {} access {{ rule: "FREQ=HOURLY" }} }} }} }})",
      TermsText(kMarch)));
  EXPECT_THAT(declined, HasText("order_declined { reason: REASON_SCHEDULE }"));
}

// Access hours of a contract.

std::string SignText(std::string_view access, const std::string& end = "2030-01-01T00:00:00Z") {
  return fmt::format(R"(sign_contract {{ name: "customers/hsbc/contracts/hours" sites: "sites/paris"
      max_servers_per_site: 8 start_time {{ {} }} end_time {{ {} }} data_classes: "PUBLIC" {} }})",
                     Seconds("2027-01-01T00:00:00Z"), Seconds(end), access);
}

struct WithHours : Paris {
  WithHours() {
    Given(R"(customer_registered { name: "customers/hsbc" country: "GB" sector: "FINANCE" })");
    signed_ = When(SignText(kWorkdays));
  }
  Wish Asked(const std::string& start, const std::string& end) {
    return {.start = start, .end = end, .contract = "customers/hsbc/contracts/hours"};
  }
  v1::Event signed_;
};

TEST(AccessHours, AreKnownForAHorizonOnceTheContractIsSigned) {
  WithHours paris;
  const v1::ContractSigned& contract = paris.signed_.contract_signed();
  EXPECT_EQ(runtime::ToText(runtime::ToTime(contract.occurrences_until())), "2028-02-05T09:00:00Z");
  EXPECT_EQ(contract.zone_data_version(), Version());
  EXPECT_THAT(contract.occurrences(), SizeIs(114));
  EXPECT_THAT(Times(contract.occurrences())[0], "2027-01-04T07:00:00Z/2027-01-04T17:00:00Z");
}

TEST(AccessHours, ReservationsKeepThem) {
  WithHours paris;
  EXPECT_TRUE(paris.Reserve(paris.Asked("2027-01-04T07:00:00Z", "2027-01-04T17:00:00Z"))
                  .has_reservation_held());
  for (const auto& [start, end] : std::vector<std::pair<std::string, std::string>>{
           {"2027-01-04T06:59:59Z", "2027-01-04T10:00:00Z"},
           {"2027-01-04T16:00:00Z", "2027-01-04T17:00:01Z"},
           {"2027-01-04T07:00:00Z", "2027-01-05T17:00:00Z"},
           {"2027-01-06T07:00:00Z", "2027-01-06T08:00:00Z"},
           {"2028-02-07T07:00:00Z", "2028-02-07T08:00:00Z"}}) {
    const v1::Event refused = paris.Reserve(paris.Asked(start, end));
    EXPECT_THAT(refused, HasText(RefusalFor(v1::REASON_ACCESS_HOURS))) << start;
    EXPECT_THAT(
        refused.command_refused().detail(),
        HasSubstr("expected within the access hours of customers/hsbc/contracts/hours, "
                  "FREQ=WEEKLY;BYDAY=MO,TU in Europe/Paris, which are known up to 2028-02"));
  }
}

TEST(AccessHours, HoldForEveryOccurrenceOfASeries) {
  WithHours paris;
  Wish wish = paris.Asked("2027-03-22T00:00:00Z", "2027-04-03T00:00:00Z");
  EXPECT_TRUE(paris.When(ReserveText(wish)).has_reservation_held());
  const v1::Event refused = paris.When(
      ReserveText(
          wish,
          R"(access { rule: "FREQ=DAILY;COUNT=3" time_zone: "Europe/Paris" start: "2027-03-22T08:00:00"
                  duration { seconds: 3600 } })"),
      "daily");
  EXPECT_THAT(refused, HasText(RefusalFor(v1::REASON_ACCESS_HOURS)));
  EXPECT_THAT(refused.command_refused().detail(), HasSubstr("Occurrence 3 of 3"));
}

TEST(AccessHours, ThatTouchAreAsGoodAsOne) {
  Paris paris;
  paris.Given(R"(customer_registered { name: "customers/hsbc" country: "GB" sector: "FINANCE" })");
  paris.When(SignText(R"(access { rule: "FREQ=WEEKLY;BYDAY=SA,SU" time_zone: "Europe/Paris"
                                  start: "2027-01-02T00:00:00" duration { seconds: 86400 } })"));
  const auto asked = [&](const std::string& start, const std::string& end) {
    return paris.Reserve(
        {.start = start, .end = end, .contract = "customers/hsbc/contracts/hours"});
  };
  // The night in which the clock goes forward is among them: 47 hours.
  EXPECT_TRUE(asked("2027-03-26T23:00:00Z", "2027-03-28T22:00:00Z").has_reservation_held());
  EXPECT_THAT(asked("2027-03-26T23:00:00Z", "2027-03-28T22:00:01Z"),
              HasText(RefusalFor(v1::REASON_ACCESS_HOURS)));
}

TEST(AccessHours, WithoutAnOccurrenceInTheTermAreRefused) {
  Paris paris;
  paris.Given(R"(customer_registered { name: "customers/hsbc" country: "GB" sector: "FINANCE" })");
  EXPECT_THAT(paris.When(SignText(kWorkdays, "2027-01-03T00:00:00Z")),
              HasText(RefusalFor(v1::REASON_SCHEDULE)));
}

// Horizons.

TEST(Horizons, MoveOnByATimerWithoutAGapOrARepetition) {
  WithHours paris;
  const std::string name = "customers/hsbc/contracts/hours";
  std::vector<std::string> known = Times(paris.signed_.contract_signed().occurrences());
  int extensions = 0;
  for (absl::Time now = test::Time("2027-01-01T09:00:00Z");
       now < test::Time("2029-12-01T00:00:00Z"); now += absl::Hours(24)) {
    const std::string at = runtime::ToText(now);
    for (const auto& intent : paris.DueAt(at)) {
      ASSERT_EQ(intent.kind, "extend");
      const v1::Event extended = paris.At(at).When(intent.command);
      ASSERT_TRUE(extended.has_schedule_extended()) << extended.ShortDebugString();
      for (const std::string& times : Times(extended.schedule_extended().occurrences()))
        known.push_back(times);
      ++extensions;
    }
    const v1::Schedule schedule = *paris.state().rows.schedules.Get(name);
    ASSERT_GE(runtime::ToTime(schedule.occurrences_until()),
              std::min(now + absl::Hours(24 * 369), test::Time("2030-01-01T00:00:00Z")));
    ASSERT_LT(schedule.occurrences_size(), 125);
  }
  EXPECT_EQ(extensions, 24);
  // What it comes to when it is asked for in one piece.
  v1::AccessSchedule access = test::Parse<v1::ReserveRequest>(std::string(kWorkdays)).access();
  const auto all = ExpandWithin(access, test::Time("2027-01-01T09:00:00Z"),
                                test::Time("2030-01-01T00:00:00Z"), absl::InfiniteFuture());
  google::protobuf::RepeatedPtrField<v1::Occurrence> expected;
  for (const Occurrence& occurrence : all->occurrences) *expected.Add() = ToMessage(occurrence);
  EXPECT_EQ(known, Times(expected));
}

TEST(Horizons, OfASeriesReserveWhatCanBeHadAndSayWhatCannot) {
  Paris paris;
  paris.Given(R"(customer_registered { name: "customers/hsbc" country: "GB" sector: "FINANCE" })");
  paris.When(SignText(""));
  const Wish wish = {.start = "2027-01-04T00:00:00Z",
                     .end = "2029-01-01T00:00:00Z",
                     .count = 3,
                     .contract = "customers/hsbc/contracts/hours"};
  const std::string name = ConfirmedSeries(paris, wish);
  EXPECT_EQ(paris.Row(name).occurrences(), 115);  // up to 2028-02-08
  paris.Confirmed({.start = "2028-02-14T00:00:00Z",
                   .end = "2028-02-15T00:00:00Z",
                   .count = 2,
                   .contract = wish.contract});
  ASSERT_THAT(paris.DueAt("2027-02-03T00:00:00Z"), SizeIs(5 * 2 + 1)) << "starts, and a horizon";
  const v1::Event extended = paris.At("2027-02-03T00:00:00Z").About("extend_schedule", name);
  ASSERT_TRUE(extended.has_schedule_extended()) << extended.ShortDebugString();
  EXPECT_THAT(extended,
              HasText(fmt::format(R"(schedule_extended {{ name: "{}" zone_data_version: "{}"
      occurrences_until {{ {} }} }})",
                                  name, Version(), Seconds("2028-03-09T00:00:00Z"))));
  const auto& added = extended.schedule_extended().occurrences();
  ASSERT_THAT(added, SizeIs(9));
  EXPECT_EQ(added[0].name(), name + "-116");
  EXPECT_THAT(added[0].servers(), SizeIs(3));
  EXPECT_EQ(added[1].reason(), v1::REASON_NO_CAPACITY) << added[1].ShortDebugString();
  EXPECT_THAT(added[1].detail(), HasSubstr("2 of 4 bookable servers"));
  EXPECT_EQ(paris.Row(name + "-116").state(), v1::RESERVATION_STATE_CONFIRMED);
  EXPECT_EQ(paris.Row(name + "-117").state(), v1::RESERVATION_STATE_UNSPECIFIED);
  EXPECT_EQ(paris.Row(name).occurrences(), 124);
  EXPECT_TRUE(IndexIsThatOfTheRows(paris));
  EXPECT_THAT(paris.About("extend_schedule", name), HasText(RefusalFor(v1::REASON_TIME)));
  paris.About("cancel_reservation", name);
  EXPECT_EQ(paris.Row(name + "-124").state(), v1::RESERVATION_STATE_CANCELLED);
  EXPECT_THAT(paris.About("extend_schedule", name), HasText(RefusalFor(v1::REASON_NOT_FOUND)));
}

// Mondays, 09:00 to 11:00 in Paris, from June on.
constexpr std::string_view kMondays =
    R"(access { rule: "FREQ=WEEKLY;BYDAY=MO" time_zone: "Europe/Paris" start: "2027-06-07T09:00:00"
                duration { seconds: 7200 } })";

// What the Mondays come to when they are asked for in one piece.
std::vector<Occurrence> Mondays(const std::string& from, const std::string& until) {
  return ExpandWithin(test::Parse<v1::ReserveRequest>(std::string(kMondays)).access(),
                      test::Time(from), test::Time(until), absl::InfiniteFuture())
      ->occurrences;
}

std::vector<std::string> Times(const std::vector<Occurrence>& occurrences) {
  google::protobuf::RepeatedPtrField<v1::Occurrence> messages;
  for (const Occurrence& occurrence : occurrences) *messages.Add() = ToMessage(occurrence);
  return Times(messages);
}

TEST(Horizons, OfASeriesReachNoFurtherThanThoseOfTheAccessHours) {
  WithHours paris;
  const v1::Event held = paris.When(
      ReserveText(paris.Asked("2027-06-01T00:00:00Z", "2029-01-01T00:00:00Z"), kMondays), "series");
  ASSERT_TRUE(held.has_reservation_held()) << held.ShortDebugString();
  const v1::ReservationHeld& series = held.reservation_held();
  EXPECT_EQ(runtime::ToText(runtime::ToTime(series.occurrences_until())), "2028-02-05T09:00:00Z");
  EXPECT_EQ(Times(series.occurrences()),
            Times(Mondays("2027-06-01T00:00:00Z", "2028-02-05T09:00:00Z")));
  EXPECT_THAT(
      paris.When(ReserveText(paris.Asked("2028-03-01T00:00:00Z", "2029-01-01T00:00:00Z"), kMondays),
                 "later"),
      HasText(RefusalFor(v1::REASON_ACCESS_HOURS)))
      << "it begins where the hours are not known yet";
}

TEST(Horizons, OfASeriesMoveOnWithThoseOfTheAccessHours) {
  WithHours paris;
  const v1::Event held = paris.When(
      ReserveText(paris.Asked("2027-06-01T00:00:00Z", "2029-01-01T00:00:00Z"), kMondays), "series");
  ASSERT_TRUE(held.has_reservation_held()) << held.ShortDebugString();
  const std::string name = held.reservation_held().name();
  ASSERT_TRUE(paris.About("confirm_reservation", name).has_reservation_confirmed());
  std::vector<std::string> known = Times(held.reservation_held().occurrences());
  for (absl::Time now = test::Time("2027-01-01T09:00:00Z");
       now < test::Time("2028-03-01T00:00:00Z"); now += absl::Hours(24)) {
    paris.At(runtime::ToText(now));
    // Nobody starts what has begun, so that it stays due.
    for (const auto& intent : Due(paris.state().rows, now, 1000)) {
      if (intent.kind != "extend") continue;
      const v1::Event extended = paris.When(intent.command);
      ASSERT_TRUE(extended.has_schedule_extended()) << extended.ShortDebugString();
      if (intent.subject != name) continue;
      for (const v1::Occurrence& occurrence : extended.schedule_extended().occurrences())
        ASSERT_EQ(occurrence.reason(), v1::REASON_UNSPECIFIED) << occurrence.ShortDebugString();
      for (const std::string& times : Times(extended.schedule_extended().occurrences()))
        known.push_back(times);
    }
  }
  EXPECT_EQ(known, Times(Mondays("2027-06-01T00:00:00Z", "2029-01-01T00:00:00Z")));
}

TEST(Horizons, OfASeriesOfManyServersMoveOnInSeveralEvents) {
  constexpr int kCount = 340;  // of so many one event has 58 occurrences at most
  const std::string contract = "customers/hsbc/contracts/many";
  Paris paris;
  paris.Envelope("2026-01-01T00:00:00Z", 100'000, 100'000);
  for (int i = 1; i <= kCount; ++i) paris.Server(fmt::format("s{}", i));
  paris.Given(R"(customer_registered { name: "customers/hsbc" country: "GB" sector: "FINANCE" })");
  paris.When(fmt::format(
      R"(sign_contract {{ name: "{}" sites: "sites/paris" max_servers_per_site: {}
                            start_time {{ {} }} end_time {{ {} }} data_classes: "PUBLIC" }})",
      contract, kCount, Seconds("2027-01-01T00:00:00Z"), Seconds("2035-01-01T00:00:00Z")));
  const v1::Event held = paris.When(ReserveText({.start = "2027-06-01T00:00:00Z",
                                                 .end = "2034-01-01T00:00:00Z",
                                                 .count = kCount,
                                                 .contract = contract},
                                                kMondays),
                                    "series");
  ASSERT_TRUE(held.has_reservation_held()) << held.command_refused().detail();
  const std::string name = held.reservation_held().name();
  EXPECT_EQ(held.reservation_held().occurrences_size(), 57);
  ASSERT_TRUE(paris.About("confirm_reservation", name).has_reservation_confirmed());
  // Nobody was there for long.
  paris.At("2029-06-01T00:00:00Z");
  std::vector<v1::ScheduleExtended> events;
  for (bool more = true; more && events.size() < 5;) {
    more = false;
    for (const auto& intent : Due(paris.state().rows, test::Time("2029-06-01T00:00:00Z"), 1000)) {
      if (intent.kind != "extend") continue;
      events.push_back(paris.When(intent.command).schedule_extended());
      more = true;
    }
  }
  ASSERT_EQ(events.size(), 2u);
  std::vector<std::string> added;
  for (const v1::ScheduleExtended& event : events) {
    int64_t servers = 0;
    for (const v1::Occurrence& occurrence : event.occurrences()) {
      EXPECT_EQ(occurrence.servers_size(), kCount) << occurrence.detail();
      servers += occurrence.servers_size();
    }
    EXPECT_LE(servers, kMostServersOfSeries);
    for (const std::string& times : Times(event.occurrences())) added.push_back(times);
  }
  const std::vector<Occurrence> all = Mondays("2028-07-05T00:00:00Z", "2030-07-06T00:00:00Z");
  EXPECT_EQ(added, Times(all));
  ASSERT_EQ(events[0].occurrences_size(), 58);
  EXPECT_EQ(runtime::ToTime(events[0].occurrences_until()), all.at(58).start);
  EXPECT_EQ(runtime::ToTime(events[1].occurrences_until()), test::Time("2030-07-06T00:00:00Z"));
  EXPECT_EQ(paris.Row(name).occurrences(), 57 + 104);
}

// New data of the time zones. The histories say that older data gave other times.

struct WithOldData : Paris {
  // A series of one server, found with data by which summer time began a week later.
  WithOldData() {
    v1::Event held = Paris().When(ReserveText(kMarch), "series");
    v1::ReservationHeld& old = *held.mutable_reservation_held();
    old.set_zone_data_version("1999a");
    for (int i : {2, 3}) {
      v1::Occurrence& occurrence = *old.mutable_occurrences(i);
      occurrence.mutable_start_time()->set_seconds(occurrence.start_time().seconds() + 3600);
      occurrence.mutable_end_time()->set_seconds(occurrence.end_time().seconds() + 3600);
    }
    name = old.name();
    Given(held.ShortDebugString());
    About("confirm_reservation", name);
  }
  v1::Event Reviewed() {
    const auto due = DueAt("2027-01-01T09:00:00Z");
    EXPECT_THAT(due, SizeIs(1));
    EXPECT_EQ(due.at(0).kind, "review");
    EXPECT_EQ(due.at(0).subject, name);
    return When(due.at(0).command);
  }
  std::string Start(int number) {
    return runtime::ToText(runtime::ToTime(Row(OccurrenceName(name, number)).terms().start_time()));
  }
  std::string name;
};

TEST(NewZoneData, MoveWhatHasNotBegunByAnEventThatTellsOldAndNew) {
  WithOldData paris;
  EXPECT_EQ(paris.Start(3), "2027-03-29T07:00:00Z") << "a fact, whatever the data say now";
  const v1::Event shifted = paris.Reviewed();
  EXPECT_THAT(
      shifted,
      test::EqualsText(fmt::format(
          R"(occurrences_shifted {{ name: "{0}" zone_data_version_before: "1999a" zone_data_version: "{1}"
          shifts {{ before {{ name: "{0}-3" start_time {{ {2} }} end_time {{ {3} }} }}
                    after {{ name: "{0}-3" start_time {{ {4} }} end_time {{ {5} }} }} }}
          shifts {{ before {{ name: "{0}-4" start_time {{ {6} }} end_time {{ {7} }} }}
                    after {{ name: "{0}-4" start_time {{ {8} }} end_time {{ {9} }} }} }} }})",
          paris.name, Version(), Seconds("2027-03-29T07:00:00Z"), Seconds("2027-03-29T17:00:00Z"),
          Seconds("2027-03-29T06:00:00Z"), Seconds("2027-03-29T16:00:00Z"),
          Seconds("2027-03-30T07:00:00Z"), Seconds("2027-03-30T17:00:00Z"),
          Seconds("2027-03-30T06:00:00Z"), Seconds("2027-03-30T16:00:00Z"))));
  EXPECT_EQ(paris.Start(2), "2027-03-23T07:00:00Z");
  EXPECT_EQ(paris.Start(3), "2027-03-29T06:00:00Z");
  EXPECT_TRUE(IndexIsThatOfTheRows(paris));
  EXPECT_THAT(paris.DueAt("2027-01-01T09:00:00Z"), IsEmpty());
  ASSERT_THAT(paris.DueAt("2027-03-22T07:00:00Z"), SizeIs(1));
  EXPECT_THAT(paris.About("review_schedule", paris.name),
              HasText(fmt::format(R"(occurrences_kept {{ zone_data_version_before: "{0}"
                                     zone_data_version: "{0}" }})",
                                  Version())));
}

TEST(NewZoneData, NeverTakeAwayWhatWasPromised) {
  WithOldData paris;
  // All servers, in the hour that the third occurrence would need now.
  paris.Confirmed({.start = "2027-03-29T05:00:00Z", .end = "2027-03-29T07:00:00Z", .count = 4});
  const v1::Event shifted = paris.Reviewed();
  const auto& shifts = shifted.occurrences_shifted().shifts();
  ASSERT_THAT(shifts, SizeIs(2));
  EXPECT_TRUE(shifts[0].kept());
  EXPECT_THAT(shifts[0].detail(),
              "sites/paris/servers/s1 is not free within 2027-03-29T06:00:00Z to "
              "2027-03-29T07:00:00Z.");
  EXPECT_FALSE(shifts[1].kept());
  EXPECT_EQ(paris.Start(3), "2027-03-29T07:00:00Z");
  EXPECT_EQ(paris.Start(4), "2027-03-30T06:00:00Z");
  EXPECT_TRUE(IndexIsThatOfTheRows(paris));
}

TEST(NewZoneData, DoNotMoveWhatHasBegun) {
  WithOldData paris;
  paris.At("2027-03-29T06:30:00Z");
  const v1::Event shifted = paris.About("review_schedule", paris.name);
  // The third would have begun by now: it stays. The fourth moves.
  const auto& shifts = shifted.occurrences_shifted().shifts();
  ASSERT_THAT(shifts, SizeIs(2)) << shifted.ShortDebugString();
  EXPECT_TRUE(shifts[0].kept());
  EXPECT_THAT(shifts[0].detail(), HasSubstr("It would have begun at 2027-03-29T06:00:00Z"));
  EXPECT_FALSE(shifts[1].kept());
}

TEST(NewZoneData, MoveAContractsHours) {
  WithHours signed_now;
  v1::Event event = signed_now.signed_;
  v1::ContractSigned& contract = *event.mutable_contract_signed();
  contract.set_zone_data_version("9999z");
  contract.mutable_occurrences(0)->mutable_start_time()->set_seconds(
      contract.occurrences(0).start_time().seconds() + 3600);
  Paris paris;
  paris.Given(event.ShortDebugString());
  const Wish early = signed_now.Asked("2027-01-04T07:00:00Z", "2027-01-04T08:00:00Z");
  EXPECT_THAT(paris.Reserve(early), HasText(RefusalFor(v1::REASON_ACCESS_HOURS)));
  const auto due = paris.DueAt("2027-01-01T09:00:00Z");
  ASSERT_THAT(due, SizeIs(1)) << "a version that sorts after ours is another one too";
  const v1::Event shifted = paris.When(due[0].command);
  ASSERT_THAT(shifted.occurrences_shifted().shifts(), SizeIs(1)) << shifted.ShortDebugString();
  EXPECT_TRUE(paris.Reserve(early).has_reservation_held());
}

TEST(NewZoneData, ThatChangeNothingAreNoted) {
  WithHours signed_now;
  v1::Event event = signed_now.signed_;
  event.mutable_contract_signed()->set_zone_data_version("1999a");
  Paris paris;
  paris.Given(event.ShortDebugString());
  const auto due = paris.DueAt("2027-01-01T09:00:00Z");
  ASSERT_THAT(due, SizeIs(1));
  EXPECT_THAT(paris.When(due[0].command),
              test::EqualsText(fmt::format(
                  R"(occurrences_kept {{ name: "customers/hsbc/contracts/hours"
                     zone_data_version_before: "1999a" zone_data_version: "{}" }})",
                  Version())));
  EXPECT_THAT(paris.DueAt("2027-01-01T09:00:00Z"), IsEmpty());
}

TEST(Schedules, OfBadFormAreRefusedByField) {
  const auto message = [](const std::string& access) {
    const auto command =
        test::Parse<v1::Command>(ReserveText({}, fmt::format("access {{ {} }}", access)));
    return std::string(Validate(command).message());
  };
  const std::string zone = "time_zone: \"Europe/Paris\" ";
  const std::string start = "start: \"2027-01-04T08:00:00\" ";
  const std::string rule = "rule: \"FREQ=DAILY\" ";
  const std::string duration = "duration { seconds: 60 } ";
  EXPECT_EQ(message(zone + start + rule + duration), "");
  EXPECT_THAT(message(start + rule + duration), HasSubstr("access.time_zone: found nothing"));
  EXPECT_THAT(message("time_zone: \"Paris\"" + start + rule + duration),
              HasSubstr("access.time_zone: found \"Paris\", expected a time zone"));
  EXPECT_THAT(message(zone + start + duration), HasSubstr("access.rule: found nothing"));
  EXPECT_THAT(message(zone + start + "rule: \"FREQ=HOURLY\"" + duration),
              HasSubstr("access.rule: found FREQ=HOURLY, expected DAILY"));
  EXPECT_THAT(message(zone + rule + duration), HasSubstr("access.start: found nothing"));
  EXPECT_THAT(
      message(zone + rule + duration + "start: \"2027-02-30T08:00:00\""),
      HasSubstr("access.start: found \"2027-02-30T08:00:00\", expected a time of the clock"));
  EXPECT_THAT(message(zone + start + rule), HasSubstr("access.duration: found 0, expected"));
  EXPECT_THAT(message(zone + start + rule + "duration { seconds: 86401 }"),
              HasSubstr("access.duration: found 24h1s"));
  EXPECT_THAT(message(zone + start + rule + "duration { seconds: 1 nanos: 5 }"),
              HasSubstr("access.duration: found 1.000000005s"));
  EXPECT_THAT(message(zone + start + rule + duration + "exceptions: \"2027-01-04\""),
              HasSubstr("access.exceptions[0]: found \"2027-01-04\", expected"));
  v1::Command command = test::Parse<v1::Command>(
      ReserveText({}, fmt::format("access {{ {} }}", zone + start + rule + duration)));
  command.mutable_reserve()->mutable_access()->set_gap(static_cast<v1::GapPolicy>(9));
  EXPECT_THAT(std::string(Validate(command).message()), HasSubstr("access.gap: found 9"));
}

}  // namespace
}  // namespace concordat::reservations
