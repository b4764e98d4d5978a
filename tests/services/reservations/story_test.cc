#include "tests/services/reservations/paris.h"

namespace concordat::reservations {
namespace {

using test::HasText;

// Decides what follows, one command each, as the runtime does.
std::vector<v1::Event> Issue(Paris& site, const Intents& intents) {
  std::vector<v1::Event> events;
  for (const auto& intent : intents) {
    events.push_back(site.When(
        intent.command, fmt::format("{}/{}/{}", intent.kind, intent.subject, intent.deadline)));
  }
  return events;
}

template <typename Event>
std::vector<v1::Event> Hear(Paris& site, const std::string& event_text) {
  return Issue(site, site.ReactionsTo(test::Parse<Event>(event_text)));
}

// What one site's event leads to at another.
std::vector<v1::Event> Mirror(Paris& to, const v1::Event& event, const std::string& from) {
  return Issue(to, to.ReactionsTo(event, from));
}

TEST(Story, AReservationFromTheInventoryToItsEnd) {
  Paris paris;
  Hear<inventory::v1::Event>(
      paris,
      R"(server_entered_service { name: "sites/paris/servers/new" model: "models/new" it_power_watts: 7
          cooling_watts: 6 })");
  Hear<inventory::v1::Event>(paris, R"(server_cordoned { name: "sites/paris/servers/s1" })");
  Hear<inventory::v1::Event>(
      paris, fmt::format(R"(envelope_set {{ site: "sites/paris" effective_from {{ {} }}
    it_power_watts: 7 cooling_watts: 6 }})",
                         Seconds("2027-01-01T08:00:00Z")));
  const v1::Event held = paris.Reserve({.model = "models/new"});
  ASSERT_TRUE(held.has_reservation_held()) << held.ShortDebugString();
  const std::string name = held.reservation_held().name();
  const auto confirmed = Hear<compliance::v1::Event>(
      paris,
      fmt::format(R"(reservation_judged {{ reservation: "{}" verdict: VERDICT_CLEARED }})", name));
  ASSERT_EQ(confirmed.size(), 1u);
  EXPECT_TRUE(confirmed[0].has_reservation_confirmed());
  paris.At("2027-01-01T10:00:00Z");
  EXPECT_THAT(Issue(paris, paris.DueAt("2027-01-01T10:00:00Z")).at(0),
              HasText(R"(reservation_started { servers: "sites/paris/servers/new" })"));
  paris.At("2027-01-01T12:00:00Z");
  EXPECT_TRUE(Issue(paris, paris.DueAt("2027-01-01T12:00:00Z")).at(0).has_reservation_ending());
  const auto ended = Hear<deployment::v1::Event>(
      paris, fmt::format(R"(reservation_vacated {{ reservation: "{}" }})", name));
  EXPECT_TRUE(ended.at(0).has_reservation_ended());
  EXPECT_TRUE(paris.DueAt("9999-01-01T00:00:00Z").empty());
}

TEST(Story, AServersPlaceStaysKnownThroughCordonsAndLosses) {
  Paris paris;
  const std::string place = R"(room: "r" rack: "k" position: 3 nvlink_domain: "d" power_feed: "f")";
  Hear<inventory::v1::Event>(
      paris, R"(server_entered_service { name: "sites/paris/servers/new" model: "models/new"
          it_power_watts: 7 cooling_watts: 6 )" +
                 place + "}");
  const std::string about = R"( { name: "sites/paris/servers/new" })";
  for (const char* event : {"server_cordoned", "server_uncordoned", "server_left_service"}) {
    const auto recorded = Hear<inventory::v1::Event>(paris, event + about);
    EXPECT_THAT(recorded.at(0), HasText(R"(server_recorded { model: "models/new" it_power_watts: 7
        cooling_watts: 6 )" + place + "}"))
        << event;
    const auto row = paris.state().rows.server_records.Get("sites/paris/servers/new");
    ASSERT_TRUE(row.has_value());
    EXPECT_THAT(*row, HasText("server { " + place + "}")) << event;
  }
}

TEST(Story, ComplianceProhibitsAndTheServersAreFree) {
  Paris paris;
  const std::string name = paris.Reserve({.count = 4}).reservation_held().name();
  const auto declined = Hear<compliance::v1::Event>(
      paris, fmt::format(R"(reservation_judged {{ reservation: "{}" verdict: VERDICT_PROHIBITED
    findings {{ rule: "rules/x" version: 1 title: "T" outcome: FINDING_OUTCOME_VIOLATED effect: EFFECT_DENY
        citation {{ instrument: "I" article: "1" }} }} }})",
                         name));
  EXPECT_THAT(declined.at(0), HasText(
                                  R"(reservation_declined { reason: REASON_COMPLIANCE detail:
              "rules/x version 1 \"T\" is violated (I, 1)." })"));
  EXPECT_TRUE(paris.Reserve({.count = 4}).has_reservation_held());
}

TEST(Story, AHoldLapsesAndALateJudgementChangesNothing) {
  Paris paris;
  const std::string name = paris.Reserve({.count = 4}).reservation_held().name();
  paris.At("2027-01-01T09:15:00Z");
  EXPECT_TRUE(Issue(paris, paris.DueAt("2027-01-01T09:15:00Z")).at(0).has_hold_lapsed());
  const auto late = Hear<compliance::v1::Event>(
      paris,
      fmt::format(R"(reservation_judged {{ reservation: "{}" verdict: VERDICT_CLEARED }})", name));
  EXPECT_THAT(late.at(0), HasText(RefusalFor(v1::REASON_WRONG_STATE)));
  EXPECT_TRUE(paris.Reserve({.count = 4}).has_reservation_held());
}

TEST(Story, ParisOrdersAtBorlangeAndHearsWhatBecomesOfIt) {
  Paris paris;
  Paris borlange("borlange");
  const v1::Event ordered = paris.Reserve({.count = 2, .site = "sites/borlange"});
  const std::string order = ordered.reservation_ordered().name();
  const v1::Event held = Mirror(borlange, ordered, "paris").at(0);
  ASSERT_TRUE(held.has_reservation_held()) << held.ShortDebugString();
  EXPECT_TRUE(Mirror(paris, held, "borlange").empty());
  const std::string name = held.reservation_held().name();
  EXPECT_EQ(name, ordered.reservation_ordered().reservation());
  const v1::Event confirmed = borlange.About("confirm_reservation", name);
  EXPECT_TRUE(Mirror(paris, confirmed, "borlange").at(0).has_order_answered());
  EXPECT_EQ(paris.state().rows.orders.Get(order)->state(), v1::ORDER_STATE_CONFIRMED);
  const v1::Event cancelled = borlange.About("cancel_reservation", name);
  EXPECT_TRUE(Mirror(paris, cancelled, "borlange").at(0).has_order_answered());
  EXPECT_EQ(paris.state().rows.orders.Get(order)->state(), v1::ORDER_STATE_CANCELLED);
}

TEST(Story, OrdersOfTwoSitesForTheSameServersGetOneYesAndOneNo) {
  Paris paris;
  Paris lyon("lyon");
  Paris borlange("borlange");
  const v1::Event first = paris.Reserve({.count = 3, .site = "sites/borlange"});
  const v1::Event second = lyon.Reserve({.count = 3, .site = "sites/borlange"});
  // Both sites sign contracts of their own name; Borlänge knows one under that name.
  EXPECT_TRUE(Mirror(borlange, first, "paris").at(0).has_reservation_held());
  const v1::Event declined = Mirror(borlange, second, "lyon").at(0);
  EXPECT_THAT(declined, HasText(R"(order_declined { reason: REASON_NO_CAPACITY })"));
  EXPECT_TRUE(Mirror(paris, declined, "borlange").empty()) << "the answer is Lyon's";
  EXPECT_TRUE(Mirror(lyon, declined, "borlange").at(0).has_order_answered());
  EXPECT_EQ(lyon.state().rows.orders.Get(second.reservation_ordered().name())->state(),
            v1::ORDER_STATE_DECLINED);
  EXPECT_EQ(paris.state().rows.orders.Get(first.reservation_ordered().name())->state(),
            v1::ORDER_STATE_PENDING);
}

TEST(Story, OfThoseThatWaitTheContractOfTheHighestPriorityStartsFirst) {
  Paris paris;
  for (const auto& [id, priority] :
       {std::pair("low", 1), std::pair("high", 9), std::pair("mid", 5)}) {
    paris.Given(fmt::format("contract_signed {{ {} conditions {{ priority: {} }} }}",
                            ContractText("sites/paris", 10, id), priority));
  }
  const std::string late = paris.Confirmed({.count = 4});
  std::map<std::string, std::string> waiting;
  for (const char* id : {"low", "high", "mid"}) {
    waiting[id] = paris.Confirmed({.start = "2027-01-01T12:00:00Z",
                                   .end = "2027-01-01T14:00:00Z",
                                   .contract = fmt::format("customers/hsbc/contracts/{}", id)});
  }
  paris.At("2027-01-01T10:00:00Z").About("start_reservation", late);
  paris.At("2027-01-01T12:00:00Z").About("begin_end_reservation", late);
  for (const auto& [id, name] : waiting)
    EXPECT_TRUE(paris.About("start_reservation", name).has_reservation_delayed());
  paris.About("end_reservation", late);
  std::vector<std::string> order;
  for (const auto& intent : paris.Reactions()) order.push_back(intent.subject);
  EXPECT_THAT(order, testing::ElementsAre(waiting["high"], waiting["mid"], waiting["low"]));
}

TEST(Story, ADelayedReservationStartsAsSoonAsTheLateOneEnds) {
  Paris paris;
  const std::string first = paris.Confirmed({.count = 4});
  const std::string second =
      paris.Confirmed({.start = "2027-01-01T12:00:00Z", .end = "2027-01-01T14:00:00Z", .count = 4});
  paris.At("2027-01-01T10:00:00Z");
  Issue(paris, paris.DueAt("2027-01-01T10:00:00Z"));
  paris.At("2027-01-01T12:00:00Z");
  // Both deadlines are due at once, the end of one and the start of the other.
  EXPECT_EQ(Issue(paris, paris.DueAt("2027-01-01T12:00:00Z")).size(), 2u);
  EXPECT_TRUE(paris.DueAt("2027-01-01T12:00:00Z").empty());
  EXPECT_EQ(paris.Row(first).state(), v1::RESERVATION_STATE_ENDING);
  EXPECT_EQ(paris.Row(second).state(), v1::RESERVATION_STATE_CONFIRMED);
  paris.At("2027-01-01T12:00:20Z").About("end_reservation", first);
  EXPECT_TRUE(Issue(paris, paris.Reactions()).at(0).has_reservation_started());
}

}  // namespace
}  // namespace concordat::reservations
